"""Weight steps on the simplex at fixed means, and the duality gap that says when to stop.

L(π) = −E[log Σ_i π_i φ_i] is convex with ∂L/∂π_i = −r_i and Σ_i π_i r_i = 1, so that for every
weight vector ρ, L(π) − L(ρ) <= Σ_i (ρ_i − π_i) r_i <= max_i r_i − 1: the duality gap.

The mirror step π_i ∝ π_i exp(η r_i) lowers L by at least η Σ π_i r_i² − log Σ π_i exp(η r_i)
(Jensen, applied to the responsibilities), which is never negative while η max_i r_i <= 1: it is 0
at η = 0, and its derivative is Σ π_i r_i² minus the mean of r under the tilted weights, where
exp(η r)/r, a decreasing function of r on that range, favours small r. So η is bounded by 1/max r,
and no step size can make the step diverge.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gemjax import newton
from gemjax.expectation import Densities, duality_gap, ratios
from gemjax.numerics import log_normalise, safe_exp, safe_log, tiny

RULES = ("mirror", "euclidean", "multiplicative", "newton", "fixed")


def weight_step(
    rule: str, log_weights: jax.Array, r: jax.Array, weight_step_size: ArrayLike
) -> jax.Array:
    """One step of a rule from log-weights (n,) with ratios r (n,); normalised log-weights."""
    if rule == "multiplicative":
        return log_normalise(log_weights + jnp.log(jnp.maximum(r, tiny(r.dtype))))
    bounded = jnp.minimum(weight_step_size, 1 / jax.lax.stop_gradient(jnp.max(r)))
    if rule == "mirror":
        return log_normalise(log_weights + bounded * r)
    weights = safe_exp(log_weights) + bounded * r
    # optax divides floats by integers there; elsewhere the strictest setting of JAX holds.
    with jax.numpy_dtype_promotion("standard"):
        projected = optax.projections.projection_simplex(weights)
    return log_normalise(safe_log(projected))


def solve(
    rule: str,
    stored: Densities,
    log_weights: jax.Array,
    *,
    weight_steps: int,
    weight_step_size: ArrayLike,
    weight_tolerance: ArrayLike,
) -> jax.Array:
    """Up to `weight_steps` steps from `log_weights` (n,), stopping below the tolerance.

    Newton's steps are differentiated at their limit. The others are a scan whose body does nothing
    once it has stopped: unlike a while loop it can be differentiated in reverse mode, and outside
    `vmap` it costs as little.
    """
    if rule == "fixed" or weight_steps == 0:
        return log_weights
    if rule == "newton":
        tolerance = jnp.asarray(weight_tolerance, log_weights.dtype)
        found, _, _ = newton.solve(stored, safe_exp(log_weights), tolerance, weight_steps)
        return jnp.where(jnp.any(jnp.isnan(log_weights)), jnp.nan, safe_log(found))

    def update(log_weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        r = ratios(stored, log_weights)
        done = duality_gap(r) < weight_tolerance
        step = weight_step(rule, log_weights, r, weight_step_size)
        return jnp.where(done, log_weights, step), done

    def body(
        carry: tuple[jax.Array, jax.Array], _: None
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        log_weights, done = carry
        return jax.lax.cond(done, lambda w: (w, done), update, log_weights), None

    # Weights that are NaN have nowhere to go.
    start = (log_weights, jnp.any(jnp.isnan(log_weights)))
    (log_weights, _), _ = jax.lax.scan(body, start, length=weight_steps)
    return log_weights
