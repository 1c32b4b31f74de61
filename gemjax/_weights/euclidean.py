"""Projected gradient on the simplex."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gemjax._base.settings import setting
from gemjax._model.densities import Densities
from gemjax._model.statistics import gains
from gemjax._numerics.finite import log_normalise, safe_exp, safe_log
from gemjax._weights.rules import WeightRule, bounded

# Shares of a step that are tried where all of it raises the loss.
_SHARES = (0.5, 0.25, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-6)


@dataclasses.dataclass(frozen=True)
class Euclidean(WeightRule):
    """To the projection of π + η r onto the simplex, η bounded by 1/max r.

    That bound does not keep the loss from rising here, and exact zeros may leave a point without
    any density; so the step is shortened until the loss does not rise. The projection lies in a
    direction of descent, so that some length achieves it.

    >>> import gemjax as gj
    >>> gj.rules.Euclidean().step_size
    1.0
    """

    step_size: ArrayLike = setting(1.0, above=0)

    def step(self, log_weights: jax.Array, r: jax.Array) -> jax.Array:
        return self.part(log_weights, r, 1.0)

    def part(self, log_weights: jax.Array, r: jax.Array, share: ArrayLike) -> jax.Array:
        weights = safe_exp(log_weights)
        projected = _projected(weights + bounded(self.step_size, r) * r)
        return log_normalise(safe_log(weights + share * (projected - weights)))

    def share(self, densities: Densities, log_weights: jax.Array, r: jax.Array) -> jax.Array:
        """() all, or the largest share that is no ascent.

        Beyond rounding, that is: where nothing is to be gained, all of it is as good as nothing.
        """
        weights = safe_exp(log_weights)
        one, rounding = jnp.ones((), r.dtype), 4 * float(jnp.finfo(weights.dtype).eps)
        change = safe_exp(self.step(log_weights, r)) - weights

        def shorter() -> jax.Array:
            shares = jnp.asarray((*_SHARES, 0), weights.dtype)
            good = gains(densities, weights, change, shares) >= -rounding  # of the last: nothing
            return shares[jnp.argmax(good)]

        whole = gains(densities, weights, change, one[None])[0] >= -rounding
        return jax.lax.cond(whole, lambda: one, shorter)


def _projected(weights: jax.Array) -> jax.Array:
    """(n,) the projection onto the simplex, linear while its support, a choice, stays."""
    import optax  # a tenth of all imports, and few come here

    # optax divides floats by integers there; elsewhere the strictest setting of JAX holds.
    with jax.numpy_dtype_promotion("standard"):
        projection = optax.projections.projection_simplex(jax.lax.stop_gradient(weights))
    support = projection > 0
    size = jnp.sum(support, dtype=weights.dtype)
    excess = (jnp.sum(jnp.where(support, weights, 0)) - 1) / size
    return jnp.where(support & (weights > excess), weights - excess, 0)
