"""Weight steps on the simplex at fixed means, and the duality gap that says when to stop.

L(π) = −E[log Σ_i π_i φ_i] is convex with ∂L/∂π_i = −r_i and Σ_i π_i r_i = 1, so that for every
weight vector ρ, L(π) − L(ρ) <= Σ_i (ρ_i − π_i) r_i <= max_i r_i − 1: the duality gap.

The mirror step π_i ∝ π_i exp(η r_i) lowers L by at least η Σ π_i r_i² − log Σ π_i exp(η r_i)
(Jensen, applied to the responsibilities), which is never negative while η max_i r_i <= 1: it is 0
at η = 0, and its derivative is Σ π_i r_i² minus the mean of r under the tilted weights, where
exp(η r)/r, a decreasing function of r on that range, favours small r. So η is bounded by 1/max r,
and no step size can make the step diverge.

The euclidean step goes to the projection of π + η r onto the simplex. The same bound does not keep
the loss from rising there, and exact zeros may leave a point without any density; so the step is
shortened until the loss does not rise. The projection lies in a direction of descent, so that some
length achieves it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gemjax._base.numerics import largest, log_normalise, log_shift, safe_exp, safe_log, tiny
from gemjax._model.densities import Densities
from gemjax._model.statistics import duality_gap, gains, ratios
from gemjax._weights import newton

RULES = ("mirror", "euclidean", "multiplicative", "newton", "fixed")

# Shares of a euclidean step that are tried where all of it raises the loss.
_SHARES = (0.5, 0.25, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-6)


class Step(NamedTuple):
    """Where a weight step stands: log-weights and ratios (n,), and the share of it () to take."""

    log_weights: jax.Array
    ratios: jax.Array
    share: jax.Array


def weight_step(
    rule: str,
    log_weights: jax.Array,
    r: jax.Array,
    weight_step_size: ArrayLike,
    share: ArrayLike = 1.0,
) -> jax.Array:
    """One step of a rule from log-weights (n,) with ratios r (n,); normalised log-weights.

    Of a euclidean step only the share () is taken.
    """
    if rule == "multiplicative":
        return log_shift(log_weights, jnp.log(jnp.where(r < tiny(r.dtype), tiny(r.dtype), r)))
    bound = 1 / largest(r)
    bounded = jnp.where(weight_step_size < bound, weight_step_size, bound)
    if rule == "mirror":
        return log_shift(log_weights, bounded * r)
    weights = safe_exp(log_weights)
    return log_normalise(safe_log(weights + share * (_projected(weights + bounded * r) - weights)))


def _projected(weights: jax.Array) -> jax.Array:
    """(n,) the projection onto the simplex, linear while its support, a choice, stays."""
    # optax divides floats by integers there; elsewhere the strictest setting of JAX holds.
    with jax.numpy_dtype_promotion("standard"):
        projection = optax.projections.projection_simplex(jax.lax.stop_gradient(weights))
    support = projection > 0
    size = jnp.sum(support, dtype=weights.dtype)
    excess = (jnp.sum(jnp.where(support, weights, 0)) - 1) / size
    return jnp.where(support & (weights > excess), weights - excess, 0)


def _share(rule: str, stored: Densities, at: Step, weight_step_size: jax.Array) -> jax.Array:
    """() the share to take of a step: all, or of a euclidean one the largest that is no ascent.

    Beyond rounding, that is: where nothing is to be gained, all of it is as good as nothing.
    """
    if rule != "euclidean":
        return at.share
    weights = safe_exp(at.log_weights)
    rounding = 4 * float(jnp.finfo(weights.dtype).eps)
    change = safe_exp(weight_step(rule, at.log_weights, at.ratios, weight_step_size)) - weights

    def shorter() -> jax.Array:
        shares = jnp.asarray((*_SHARES, 0), weights.dtype)
        good = gains(stored, weights, change, shares) >= -rounding  # always of the last: nothing
        return shares[jnp.argmax(good)]

    whole = gains(stored, weights, change, at.share[None])[0] >= -rounding
    return jax.lax.cond(whole, lambda: at.share, shorter)


def solve(
    rule: str,
    stored: Densities,
    log_weights: jax.Array,
    *,
    weight_steps: int,
    weight_step_size: ArrayLike,
    weight_tolerance: ArrayLike,
) -> jax.Array:
    """Up to `weight_steps` steps from `log_weights` (n,), stopping below the tolerance."""
    if rule == "fixed" or weight_steps == 0:
        return log_weights
    dtype = log_weights.dtype
    size, tolerance = (jnp.asarray(x, dtype) for x in (weight_step_size, weight_tolerance))
    if rule == "newton":
        found = newton.steps(stored, safe_exp(log_weights), tolerance, weight_steps)
        return jnp.where(jnp.any(jnp.isnan(log_weights)), jnp.nan, safe_log(found))
    last, _ = _steps(rule, weight_steps, stored, log_weights, size, tolerance)
    return last


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _steps(
    rule: str,
    weight_steps: int,
    stored: Densities,
    log_weights: jax.Array,
    size: jax.Array,
    tolerance: jax.Array,
) -> tuple[jax.Array, Step]:
    """The log-weights (n,) after the last step, and all steps (K, …): share 0 where none was taken.

    A scan whose body does nothing once it has stopped: outside `vmap` that costs nothing.
    """
    all_of_it = jnp.ones_like(tolerance)

    def update(log_weights: jax.Array) -> tuple[jax.Array, Step, jax.Array]:
        at = Step(log_weights, ratios(stored, log_weights), all_of_it)
        going = ~(duality_gap(at.ratios) < tolerance)
        share = jax.lax.stop_gradient(_share(rule, stored, at, size))  # a choice
        at = at._replace(share=jnp.where(going, share, 0))
        step = weight_step(rule, log_weights, at.ratios, size, share)
        return jnp.where(going, step, log_weights), at, going

    def rest(log_weights: jax.Array) -> tuple[jax.Array, Step, jax.Array]:
        return (
            log_weights,
            Step(log_weights, jnp.ones_like(log_weights), 0 * all_of_it),
            jnp.zeros_like(begins),
        )

    def body(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple, Step]:
        log_weights, going = carry
        log_weights, at, going = jax.lax.cond(going, update, rest, log_weights)
        return (log_weights, going), at

    begins = ~jnp.any(jnp.isnan(log_weights))  # weights that are NaN have nowhere to go
    (last, _), steps = jax.lax.scan(body, (log_weights, begins), length=weight_steps)
    return last, steps


@_steps.defjvp
def _steps_jvp(rule: str, weight_steps: int, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    """The chain rule, arranged so that the tangents of all densities are met only once.

    The change of r(densities, weights) is the sum of two partial changes. That with the densities
    is taken for all steps in one pass over the points, at the weights that are known by now; that
    with the weights, step after step, needs the densities but not their tangents.
    """
    stored, _, size, _ = primals
    dstored, dlog_weights, dsize, _ = tangents
    last, steps = _steps(rule, weight_steps, *primals)

    def all_ratios(stored: Densities) -> jax.Array:
        return jax.vmap(lambda log_weights: ratios(stored, log_weights))(steps.log_weights)

    _, direct = jax.jvp(all_ratios, (stored,), (dstored,))
    kept = dataclasses.replace(stored, fresh=None)

    def follow(dlog_weights: jax.Array, x: tuple[Step, jax.Array]) -> tuple[jax.Array, Step]:
        at, dr = x
        _, more = jax.jvp(lambda y: ratios(kept, y), (at.log_weights,), (dlog_weights,))
        dr = dr + more
        _, new = jax.jvp(
            lambda log_weights, r, size: weight_step(rule, log_weights, r, size, at.share),
            (at.log_weights, at.ratios, size),
            (dlog_weights, dr, dsize),
        )
        dat = Step(dlog_weights, dr, jnp.zeros_like(at.share))
        return jnp.where(at.share > 0, new, dlog_weights), dat

    dlast, dsteps = jax.lax.scan(follow, dlog_weights, (steps, direct))
    return (last, steps), (dlast, dsteps)
