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

from gemjax._base.records import Status
from gemjax._model.densities import Densities
from gemjax._model.statistics import curvature, curvature_times, duality_gap, gains, ratios
from gemjax._numerics.finite import safe_log
from gemjax._numerics.pytree import vary_alike
from gemjax._weights import interior_point

# Shares of the way to the quadratic model's minimum that the line search compares.
_SHARES = (1, 0.99999, 0.999, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-6)
_PATIENCE = 3  # steps without a lower gap, once the loss is at its rounding error


def least_tolerance(dtype: jnp.dtype) -> float:
    """The duality gap that rounding leaves: 64 eps."""
    return 64 * float(jnp.finfo(dtype).eps)


class Choice(NamedTuple):
    """What one step of the loop chose.

    hessian (n, n) and model (n,), the minimum of the quadratic model; share (), of the way there;
    kind (): 1 for Newton's step, 2 for EM's, 0 for none.
    """

    hessian: jax.Array
    model: jax.Array
    share: jax.Array
    kind: jax.Array


class Choices(NamedTuple):
    """What a whole solve chose: whether the start was averaged (), each step (K, …), whether EM's
    step was taken at the end (), and which weights were then set to zero (n,)."""

    averaged: jax.Array
    steps: Choice
    polished: jax.Array
    cleared: jax.Array


class _At(NamedTuple):
    """Weights and ratios (n,), and the duality gap ()."""

    weights: jax.Array
    ratios: jax.Array
    gap: jax.Array


class _Carry(NamedTuple):
    """Where the loop is, number of steps (), steps in vain since the last gain (), and the choices
    so far, where they are recorded."""

    at: _At
    number: jax.Array
    idle: jax.Array
    record: Choice | None


def solve(
    densities: Densities, start: jax.Array, tolerance: jax.Array, max_steps: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Optimal weights (n,), the number of Newton steps () and a `Status` ().

    `start` (n,) are weights on the simplex. Differentiable in the densities to any order, by the
    implicit function theorem on the support of the solution; not in the start.
    """
    return jax.checkpoint(_solution, static_argnums=0)(max_steps, densities, start, tolerance)


def steps(
    densities: Densities, start: jax.Array, tolerance: jax.Array, max_steps: int
) -> jax.Array:
    """The same weights (n,), differentiable in the densities and the start, as the steps taken.

    To second order: see `_as_chosen`.
    """
    return jax.checkpoint(_as_taken, static_argnums=0)(max_steps, densities, start, tolerance)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solution(
    max_steps: int, densities: Densities, start: jax.Array, tolerance: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    return _iterate(densities, start, tolerance, max_steps)[:3]


@_solution.defjvp
def _solution_jvp(max_steps: int, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    """On the support r(π, φ) = 1, so that H dπ = ∂r/∂φ dφ there; elsewhere dπ = 0."""
    densities, start, tolerance = primals
    found = weights, _, _ = solve(densities, start, tolerance, max_steps)
    log_weights = safe_log(weights)
    _, change = jax.jvp(lambda s: ratios(s, log_weights), (densities,), (tangents[0],))
    dweights = interior_point.solve_on_support(curvature(densities, weights), change, weights > 0)
    none = np.zeros((), jax.dtypes.float0)
    return found, (dweights, none, none)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _as_taken(
    max_steps: int, densities: Densities, start: jax.Array, tolerance: jax.Array
) -> jax.Array:
    return _iterate(densities, start, tolerance, max_steps)[0]


@_as_taken.defjvp
def _as_taken_jvp(max_steps: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    densities, start, tolerance = jax.lax.stop_gradient(primals)
    *_, choices = _iterate(densities, start, tolerance, max_steps, recorded=True)
    assert choices is not None
    slight = _slight(tolerance, start.dtype)
    return jax.jvp(
        lambda densities, start: _as_chosen(densities, start, choices, slight),
        primals[:2],
        tangents[:2],
    )


def _as_chosen(
    densities: Densities, start: jax.Array, choices: Choices, slight: jax.Array
) -> jax.Array:
    """The weights (n,) of a solve again, by its choices, without a search for any of them.

    On its support the model's minimum x solves Hx = c. From the recorded x, steps x + H₀⁻¹(c − Hx)
    with the recorded H₀ do not move it, and each gives it one more order of derivatives in H and c.
    Where H is blind, because components coincide, x stays where it started.
    """
    taken = choices.steps
    inverses = jax.vmap(interior_point.inverse_on_support)(taken.hessian, taken.model > 0)

    def step(weights: jax.Array, x: tuple[Choice, jax.Array]) -> tuple[jax.Array, None]:
        chosen, inverse = x
        r = ratios(densities, safe_log(weights))
        model = chosen.model
        for _ in range(2):
            rest = 2 * r - 1 - curvature_times(densities, weights, model)
            model = model + interior_point.times(inverse, rest)
        move = jnp.where(chosen.model > 0, weights - jax.lax.stop_gradient(weights), 0)
        blind = move - interior_point.times(inverse, interior_point.times(chosen.hessian, move))
        newton = _part(weights, model + blind, chosen.share)
        em = _em(weights, r, slight)
        return jnp.where(chosen.kind == 1, newton, jnp.where(chosen.kind == 2, em, weights)), None

    step = jax.checkpoint(step, prevent_cse=False)
    weights = jnp.where(choices.averaged, _averaged(start), start)
    weights, _ = jax.lax.scan(step, weights, (taken, inverses))
    r = ratios(densities, safe_log(weights))
    weights = jnp.where(choices.polished, _normalised(weights * r), weights)
    cleared = _normalised(jnp.where(choices.cleared, 0, weights))
    return jnp.where(jnp.any(choices.cleared), cleared, weights)


def _averaged(weights: jax.Array) -> jax.Array:
    return 0.5 * (weights + 1 / weights.shape[0])


def _part(weights: jax.Array, model: jax.Array, share: jax.Array) -> jax.Array:
    """(n,) a share of the way from the weights to the model's minimum."""
    longer = weights + share * (model - weights)
    return _normalised(jnp.where(longer > 0, longer, 0))


def _em(weights: jax.Array, r: jax.Array, slight: jax.Array) -> jax.Array:
    """(n,) EM's update; a weight that was set to zero by mistake starts anew from there."""
    again = slight / weights.shape[0]
    return _normalised(jnp.where((weights == 0) & (r > 1), again, weights * r))


def _slight(tolerance: jax.Array, dtype: Any) -> jax.Array:
    """() the fall of the loss below which a step counts for nothing."""
    tolerance = jnp.maximum(tolerance, least_tolerance(dtype))
    return jnp.maximum(4 * float(jnp.finfo(dtype).eps), 0.01 * tolerance)


def _iterate(
    densities: Densities,
    start: jax.Array,
    tolerance: jax.Array,
    max_steps: int,
    *,
    recorded: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array, Choices | None]:
    n, dtype = start.shape[0], start.dtype
    eps = float(jnp.finfo(dtype).eps)
    slight = _slight(tolerance, dtype)
    tolerance = jnp.maximum(tolerance, least_tolerance(dtype))
    shares = jnp.asarray(_SHARES, dtype)

    def at(weights: jax.Array) -> _At:
        r = ratios(densities, safe_log(weights))
        return _At(weights, r, duality_gap(r))

    def step(carry: _Carry) -> _Carry:
        (weights, r, gap), number, idle, record = carry
        hessian = curvature(densities, weights)
        model = interior_point.solve(hessian, 2 * r - 1, weights)
        change = model - weights
        rise = shares * jnp.sum(change) - gains(densities, weights, change, shares)
        rise = jnp.where(jnp.isnan(rise), jnp.inf, rise)
        best = jnp.argmin(rise)
        tried = at(_part(weights, model, shares[best]))
        # Weights too small to matter to the loss only show in the gap, and EM sets them right, in
        # one step from above.
        good = (rise[best] < -slight) | ((tried.gap < gap) & (rise[best] <= 4 * eps))
        new = jax.lax.cond(good, lambda: tried, lambda: at(_em(weights, r, slight)))
        idle = jnp.where(good | (new.gap < gap), 0, idle + 1)
        if record is not None:
            chosen = Choice(hessian, model, shares[best], jnp.where(good, 1, 2).astype(dtype))
            record = jax.tree.map(lambda all_, one: all_.at[number].set(one), record, chosen)
        return _Carry(new, number + 1, idle, record)

    def going(carry: _Carry) -> jax.Array:
        return (carry.at.gap > tolerance) & (carry.number < max_steps) & (carry.idle < _PATIENCE)

    begin = at(start)
    # From weights that leave some point nearly without density, a quadratic model sees nothing.
    averaged = ~(begin.gap < n)
    begin = jax.lax.cond(averaged, lambda: at(_averaged(start)), lambda: begin)
    zero, record = jnp.int32(0), None
    if recorded:
        shapes = ((n, n), (n,), (), ())
        record = Choice(*(jnp.zeros((max_steps, *shape), dtype) for shape in shapes))
    carry = _Carry(begin, zero, zero, record)
    carry = vary_alike(carry, densities, start, tolerance, but=densities.blocks.axis)
    end, number, idle, record = jax.lax.while_loop(going, step, carry)

    limit = jnp.maximum(end.gap, tolerance)

    def choose(good: jax.Array, new: _At, old: _At) -> _At:
        return jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)

    # One step of EM gives tiny weights their relative accuracy.
    new = at(_normalised(end.weights * end.ratios))
    polished = new.gap <= limit
    end = choose(polished, new, end)
    # Then inactive ones become zero. With r <= 1 for them afterwards, the loss cannot have risen.
    inactive = (end.weights < 1 - end.ratios) & (1 - end.ratios > eps**0.5)
    new = at(_normalised(jnp.where(inactive, 0, end.weights)))
    falls = (new.gap <= limit) & jnp.all(jnp.where(inactive, new.ratios, 0) <= 1)
    weights, _, gap = choose(falls, new, end)
    status = jnp.where(gap <= tolerance, Status.OK, Status.STEP_LIMIT)
    status = jnp.where((gap > tolerance) & (idle >= _PATIENCE), Status.STALLED, status)
    lost = ~(jnp.isfinite(gap) & jnp.all(jnp.isfinite(weights)) & jnp.isfinite(tolerance))
    weights = jnp.where(lost, 1 / n, weights)
    status = jnp.where(lost, Status.DIVERGED, status).astype(jnp.int32)
    choices = None
    if record is not None:
        choices = Choices(averaged, record, polished, inactive & falls)
    return weights, number, status, choices


def _normalised(weights: jax.Array) -> jax.Array:
    return weights / jnp.sum(weights)
