"""Identity covariances: log φ_i(x) = x·μ_i − |μ_i|²/2 − |x|²/2 − (d/2) log 2π."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from gemjax._families.covariance import Covariance
from gemjax._numerics.pytree import exported


@exported
@dataclasses.dataclass(frozen=True)
class Identity(Covariance):
    """Σ_i = I: noise of known scale, which is the unit of the data.

    >>> import gemjax as gj
    >>> gj.make_mixture([[0.0]]).covariance
    Identity()
    """

    has_differences = True

    @staticmethod
    def features(points: jax.Array) -> jax.Array:
        *batch, _, C = points.shape
        return jnp.concatenate([points, jnp.ones((*batch, 1, C), points.dtype)], axis=-2)

    @staticmethod
    def base(points: jax.Array) -> jax.Array:
        return -0.5 * jnp.sum(points * points, axis=-2)

    def natural(self, means: jax.Array) -> jax.Array:
        return jnp.concatenate([means, -0.5 * jnp.sum(means * means, axis=1)[:, None]], axis=1)

    def differences(self, means: jax.Array, features: jax.Array) -> jax.Array:
        apart = features[None, :-1] - means[:, :, None]
        return -0.5 * jnp.sum(apart * apart, axis=1)

    def whiten(self, vectors: jax.Array) -> jax.Array:
        return vectors

    def colour(self, noise: jax.Array, component: jax.Array) -> jax.Array:
        return noise

    def matrices(self, n: int, d: int) -> jax.Array:
        return jnp.broadcast_to(jnp.eye(d), (n, d, d))

    def reach(self, means: jax.Array, radius: jax.Array) -> jax.Array:
        # At a distance of at most R from every mean, log φ_i − log φ_k <= R²/2.
        farthest = radius + jnp.sqrt(jnp.max(jnp.sum(means * means, axis=1)))
        return 0.5 * farthest * farthest

    @classmethod
    def nearest(cls, matrices: jax.Array, weights: jax.Array, floor: Any) -> Self:
        return cls()
