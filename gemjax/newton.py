"""Weights solved to optimality: sequential quadratic programming on the simplex.

L(π) + Σ π_i − 1 has the same minimum over π >= 0 as L has over the simplex (Kim, Carbonetto,
Stephens and Anitescu, "A fast algorithm for maximum likelihood estimation of mixture proportions
using sequential quadratic programming", 2020). Its gradient is 1 − r and its Hessian
H_ik = E[φ_i φ_k/p²], with Hπ = r, so a Newton step minimises ½ x'Hx − (2r − 1)'x over x >= 0: one
product over the points, one small quadratic program, one line search.

Two functions, since there are two derivatives to be had: `solve`, for weights that are a solution,
has that of the solution; `steps`, for weights within an iteration of a fit, has that of the steps
as taken, also of few.

Both are custom rules for a while loop. Where JAX differentiates a scan in reverse, it drops such
rules from what is computed in its body before derivatives (`process_custom_jvp_call` in jax 0.10),
and derivatives of derivatives see only the loop; inside `jax.checkpoint` it keeps most. So each is
called within one, and nothing in the loop is held fixed: what still sees it gets the derivative of
its iterations in forward mode and an error in reverse mode, but no wrong value.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gemjax import quadratic
from gemjax.densities import Densities
from gemjax.expectation import curvature, duality_gap, gains, ratios
from gemjax.numerics import safe_log, vary_alike
from gemjax.types import Status

# Shares of the way to the quadratic model's minimum that the line search compares.
_SHARES = (1, 0.99999, 0.999, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-6)
_PATIENCE = 3  # steps without a lower gap, once the loss is at its rounding error


def least_tolerance(dtype: jnp.dtype) -> float:
    """The duality gap that rounding leaves: 64 eps."""
    return 64 * float(jnp.finfo(dtype).eps)


class _Carry(NamedTuple):
    """Weights and ratios (n,), gap (), number of steps (), steps in vain since the last gain ()."""

    weights: jax.Array
    ratios: jax.Array
    gap: jax.Array
    count: jax.Array
    idle: jax.Array


def solve(
    stored: Densities, start: jax.Array, tolerance: jax.Array, max_steps: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Optimal weights (n,), the number of Newton steps () and a `Status` ().

    `start` (n,) are weights on the simplex. Differentiable in the densities to any order, by the
    implicit function theorem on the support of the solution; not in the start.
    """
    return jax.checkpoint(_solution, static_argnums=0)(max_steps, stored, start, tolerance)


def steps(
    stored: Densities, start: jax.Array, tolerance: jax.Array, max_steps: int
) -> jax.Array:
    """The same weights (n,), differentiable in the densities and the start, as the steps taken."""
    return jax.checkpoint(_as_taken, static_argnums=0)(max_steps, stored, start, tolerance)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solution(
    max_steps: int, stored: Densities, start: jax.Array, tolerance: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    return _iterate(stored, start, tolerance, max_steps)


@_solution.defjvp
def _solution_jvp(max_steps: int, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    """On the support r(π, φ) = 1, so that H dπ = ∂r/∂φ dφ there; elsewhere dπ = 0."""
    stored = primals[0]
    found = weights, _, _ = solve(*primals, max_steps)
    log_weights = safe_log(weights)
    _, change = jax.jvp(lambda s: ratios(s, log_weights), (stored,), (tangents[0],))
    dweights = quadratic.solve_on_support(curvature(stored, weights), change, weights > 0)
    none = np.zeros((), jax.dtypes.float0)
    return found, (dweights, none, none)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _as_taken(
    max_steps: int, stored: Densities, start: jax.Array, tolerance: jax.Array
) -> jax.Array:
    return _iterate(stored, start, tolerance, max_steps)[0]


@_as_taken.defjvp
def _as_taken_jvp(max_steps: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """Of the same steps, written so that reverse mode can follow them."""
    return jax.jvp(
        lambda *x: _iterate(*x, max_steps, differentiable=True)[0], primals, tangents
    )


def _bounded_while(going: Any, step: Any, carry: _Carry, most: int) -> _Carry:
    """A while loop of at most so many steps, as a scan that reverse mode can follow."""

    def body(carry: _Carry, _: None) -> tuple[_Carry, None]:
        return _either(going(carry), lambda: step(carry), lambda: carry), None

    return jax.lax.scan(jax.checkpoint(body, prevent_cse=False), carry, length=most)[0]


def _iterate(
    stored: Densities,
    start: jax.Array,
    tolerance: jax.Array,
    max_steps: int,
    *,
    differentiable: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    n, dtype = start.shape[0], start.dtype
    eps = float(jnp.finfo(dtype).eps)
    tolerance = jnp.maximum(tolerance, least_tolerance(dtype))
    slight = jnp.maximum(4 * eps, 0.01 * tolerance)
    shares = jnp.asarray(_SHARES, dtype)
    either = _either if differentiable else jax.lax.cond

    def look(weights: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        r = ratios(stored, safe_log(weights))
        return weights, r, duality_gap(r)

    def step(carry: _Carry) -> _Carry:
        weights, r, gap, count, idle = carry
        problem = (curvature(stored, weights), 2 * r - 1, weights)
        if differentiable:
            model = quadratic.follow(quadratic.solve(*jax.lax.stop_gradient(problem)), *problem)
        else:
            model = quadratic.solve(*problem)
        # A choice, not a value: nothing is differentiated.
        at, change = jax.lax.stop_gradient((weights, model - weights))
        rise = shares * jnp.sum(change) - gains(jax.lax.stop_gradient(stored), at, change, shares)
        rise = jnp.where(jnp.isnan(rise), jnp.inf, rise)
        best = jnp.argmin(rise)
        longer = weights + shares[best] * (model - weights)
        tried = look(_normalised(jnp.where(longer > 0, longer, 0)))
        # Weights too small to matter to the loss only show in the gap, and EM sets them right: in
        # one step from above, so that one that was set to zero by mistake starts anew from there.
        good = (rise[best] < -slight) | ((tried[2] < gap) & (rise[best] <= 4 * eps))
        em = jnp.where((weights == 0) & (r > 1), slight / n, weights * r)
        weights, r, new_gap = either(good, lambda: tried, lambda: look(_normalised(em)))
        idle = jnp.where(good | (new_gap < gap), 0, idle + 1)
        return _Carry(weights, r, new_gap, count + 1, idle)

    def going(carry: _Carry) -> jax.Array:
        return (carry.gap > tolerance) & (carry.count < max_steps) & (carry.idle < _PATIENCE)

    even = jnp.full((n,), 1 / n, dtype)
    begin = look(start)
    # From weights that leave some point nearly without density, a quadratic model sees nothing.
    begin = either(begin[2] < n, lambda: begin, lambda: look(0.5 * (start + even)))
    zero = jnp.int32(0)
    carry = _Carry(*begin, zero, zero)
    carry = vary_alike(carry, stored, start, tolerance, but=stored.blocks.axis)
    if differentiable:
        weights, r, gap, count, idle = _bounded_while(going, step, carry, max_steps)
    else:
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


def _either(good: jax.Array, left: Any, right: Any) -> Any:
    """Like `lax.cond`, whose transpose JAX 0.10 does not find under `vmap` in a custom rule."""
    return jax.tree.map(lambda a, b: jnp.where(good, a, b), left(), right())


def _normalised(weights: jax.Array) -> jax.Array:
    return weights / jnp.sum(weights)
