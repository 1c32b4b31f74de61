"""Weights solved to optimality: sequential quadratic programming on the simplex.

L(π) + Σ π_i − 1 has the same minimum over π >= 0 as L has over the simplex (Kim, Carbonetto,
Stephens and Anitescu, "A fast algorithm for maximum likelihood estimation of mixture proportions
using sequential quadratic programming", 2020). Its gradient is 1 − r and its Hessian
H_ik = E[φ_i φ_k/p²], with Hπ = r, so a Newton step minimises ½ x'Hx − (2r − 1)'x over x >= 0: one
product over the points, one small quadratic program, one line search.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from gemjax import quadratic
from gemjax.expectation import Densities, curvature, duality_gap, gains, ratios
from gemjax.numerics import safe_log, vary_alike
from gemjax.types import Status

# Shares of the way to the quadratic model's minimum that the line search compares.
_SHARES = (1, 0.99999, 0.999, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-6)
_PATIENCE = 3  # steps without a lower gap, once the loss is at its rounding error


def least_tolerance(dtype: jnp.dtype) -> float:
    """The duality gap that rounding leaves: 64 eps."""
    return 64 * float(jnp.finfo(dtype).eps)


def solve(
    stored: Densities, start: jax.Array, tolerance: jax.Array, max_steps: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Optimal weights (n,), the number of Newton steps () and a `Status` ().

    `start` (n,) are weights on the simplex. Differentiable in the densities to any order, by the
    implicit function theorem on the support of the solution; not in the start.
    """
    fixed = jax.lax.stop_gradient((stored, start, tolerance))
    weights, num_steps, status = _iterate(*fixed, max_steps)
    return _implicit(stored, weights), num_steps, status


def _iterate(
    stored: Densities, start: jax.Array, tolerance: jax.Array, max_steps: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    n, dtype = start.shape[0], start.dtype
    eps = float(jnp.finfo(dtype).eps)
    tolerance = jnp.maximum(tolerance, least_tolerance(dtype))
    slight = jnp.maximum(4 * eps, 0.01 * tolerance)
    shares = jnp.asarray(_SHARES, dtype)

    def look(weights: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        r = ratios(stored, safe_log(weights))
        return weights, r, duality_gap(r)

    def step(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        weights, r, gap, count, idle = carry
        hessian = curvature(stored, weights)
        model = quadratic.solve(hessian, 2 * r - 1, weights)
        rise = shares * jnp.sum(model - weights) - gains(stored, weights, model - weights, shares)
        rise = jnp.where(jnp.isnan(rise), jnp.inf, rise)
        best = jnp.argmin(rise)
        longer = weights + shares[best] * (model - weights)
        tried = look(_normalised(jnp.maximum(longer, 0)))
        # Weights too small to matter to the loss only show in the gap, and EM sets them right: in
        # one step from above, so that one that was set to zero by mistake starts anew from there.
        good = (rise[best] < -slight) | ((tried[2] < gap) & (rise[best] <= 4 * eps))
        em = jnp.where((weights == 0) & (r > 1), slight / n, weights * r)
        weights, r, new_gap = jax.lax.cond(good, lambda: tried, lambda: look(_normalised(em)))
        idle = jnp.where(good | (new_gap < gap), 0, idle + 1)
        return weights, r, new_gap, count + 1, idle

    def going(carry: tuple[jax.Array, ...]) -> jax.Array:
        _, _, gap, count, idle = carry
        return (gap > tolerance) & (count < max_steps) & (idle < _PATIENCE)

    even = jnp.full((n,), 1 / n, dtype)
    begin = look(start)
    # From weights that leave some point nearly without density, a quadratic model sees nothing.
    begin = jax.lax.cond(begin[2] < n, lambda: begin, lambda: look(0.5 * (start + even)))
    zero = jnp.int32(0)
    carry = vary_alike((*begin, zero, zero), stored, start, tolerance, but=stored.blocks.axis)
    weights, r, gap, count, idle = jax.lax.while_loop(going, step, carry)

    limit = jnp.maximum(gap, tolerance)

    def choose(good: jax.Array, new: tuple[jax.Array, ...], old: tuple[jax.Array, ...]) -> Any:
        return tuple(jnp.where(good, a, b) for a, b in zip(new, old, strict=True))

    # One step of EM gives tiny weights their relative accuracy.
    found, new = (weights, r, gap), look(_normalised(weights * r))
    found = weights, r, gap = choose(new[2] <= limit, new, found)
    # Then inactive ones become zero. With r <= 1 for them afterwards, the loss cannot have risen.
    inactive = (weights < 1 - r) & (1 - r > eps**0.5)
    new = look(_normalised(jnp.where(inactive, 0, weights)))
    falls = jnp.all(jnp.where(inactive, new[1], 0) <= 1)
    weights, r, gap = choose((new[2] <= limit) & falls, new, found)
    status = jnp.where(gap <= tolerance, Status.OK, Status.STEP_LIMIT)
    status = jnp.where((gap > tolerance) & (idle >= _PATIENCE), Status.STALLED, status)
    lost = ~(jnp.isfinite(gap) & jnp.all(jnp.isfinite(weights)) & jnp.isfinite(tolerance))
    weights = jnp.where(lost, even, weights)
    return weights, count, jnp.where(lost, Status.DIVERGED, status).astype(jnp.int32)


def _normalised(weights: jax.Array) -> jax.Array:
    return weights / jnp.sum(weights)


@jax.custom_jvp
def _implicit(stored: Densities, weights: jax.Array) -> jax.Array:
    """`weights`, optimal for `stored`, with the derivative that this gives them.

    On the support r(π, φ) = 1, so H dπ = ∂r/∂φ dφ there; elsewhere dπ = 0.
    """
    return weights


@_implicit.defjvp
def _implicit_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    stored, fixed = primals
    weights = _implicit(stored, fixed)  # again, so that derivatives of derivatives are right
    log_weights = safe_log(weights)
    _, change = jax.jvp(lambda s: ratios(s, log_weights), (stored,), (tangents[0],))
    hessian = curvature(stored, weights)
    support = weights > 0
    scale = jnp.where(support, 1 / jnp.sqrt(jnp.where(support, jnp.diagonal(hessian), 1)), 0)
    matrix = hessian * scale[:, None] * scale[None]
    matrix = matrix + jnp.diag(jnp.where(support, 0, 1).astype(matrix.dtype))
    times = functools.partial(jnp.matmul, matrix, precision=jax.lax.Precision.HIGHEST)
    fixed_matrix = jax.lax.stop_gradient(matrix)
    solution = jax.lax.custom_linear_solve(
        times,
        scale * change,
        lambda _, b: quadratic.solve_singular(fixed_matrix, b),
        symmetric=True,
    )
    return weights, scale * solution
