"""One covariance of any form for all components."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from gemjax._families.covariance import Covariance, shares
from gemjax._families.packed import (
    about_means,
    free_of,
    from_free,
    outer,
    packed,
    products,
    symmetric,
)
from gemjax._families.parameters import check_array, check_matrices
from gemjax._families.spectrum import (
    factor,
    inverse_factor,
    is_floored,
    least_deviation,
    least_eigenvalue,
    log_determinant,
    raised,
    times,
)
from gemjax._numerics.pytree import exported


@exported
@dataclasses.dataclass(frozen=True, eq=False)
class Tied(Covariance):
    """Σ_i = Σ of any form, the same for all. mclust's EEE, scikit-learn's "tied".

    Args:
      covariance: (d, d) Σ, symmetric and positive definite.
      floor: () what no eigenvalue falls below, traced.

    >>> import gemjax as gj
    >>> gj.covariance.Tied([[2.0, 1.0], [1.0, 2.0]]).num_parameters(5, 2)
    3
    """

    covariance: Any
    floor: Any = 0.0

    has_differences = True
    covariance_ndim = 2

    @staticmethod
    def features(points: jax.Array) -> jax.Array:
        return jnp.concatenate([points, jnp.ones_like(points[..., :1, :])], axis=-2)

    @staticmethod
    def base(points: jax.Array) -> jax.Array:
        return jnp.zeros_like(points[..., 0, :])

    def shared(self, points: jax.Array, base: jax.Array) -> jax.Array:
        inverse = inverse_factor(self.covariance)
        white = times(inverse, points)
        return -0.5 * (jnp.sum(white * white, axis=-2) - log_determinant(inverse))

    @staticmethod
    def squares(points: jax.Array) -> jax.Array:
        return products(points)

    def natural(self, means: jax.Array) -> jax.Array:
        white = self.whiten(means)
        return jnp.concatenate([white, -0.5 * jnp.sum(means * white, axis=1)[:, None]], axis=1)

    def differences(self, means: jax.Array, features: jax.Array) -> jax.Array:
        apart = features[None, :-1] - means[:, :, None]
        inverse = inverse_factor(self.covariance)
        white = times(inverse[None], apart)
        return -0.5 * (jnp.sum(white * white, axis=1) - log_determinant(inverse))

    def moments_of(self, share: jax.Array, apart: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        weighted = share[:, None] * apart
        second = packed(times(weighted, apart.swapaxes(1, 2)))
        return jnp.sum(weighted, axis=2), second

    def whiten(self, vectors: jax.Array) -> jax.Array:
        inverse = inverse_factor(self.covariance)
        return times(times(vectors, inverse.T), inverse)

    def colour(self, noise: jax.Array, component: jax.Array) -> jax.Array:
        return times(noise, factor(self.covariance).T)

    def matrices(self, n: int, d: int) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(self.covariance), (n, d, d))

    def least_deviation(self) -> jax.Array:
        return least_deviation(jnp.asarray(self.covariance))

    def reach(self, means: jax.Array, radius: jax.Array) -> jax.Array:
        farthest = radius + jnp.sqrt(jnp.max(jnp.sum(means * means, axis=1)))
        return 0.5 * farthest * farthest / least_eigenvalue(self.covariance)

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        fitted = within(means, mass, moments, total)
        return dataclasses.replace(self, covariance=raised(fitted, self.floor))

    def floored(self, n: int) -> jax.Array:
        return jnp.broadcast_to(is_floored(self.covariance, self.floor), (n,))

    def merge_costs(self, means: jax.Array, weights: jax.Array) -> jax.Array:
        return 0.5 * jnp.log1p(shares(weights) * self.squared_distances(means))

    def merge(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        apart, share = means[kept] - means[freed], shares(weights)[kept, freed]
        return dataclasses.replace(self, covariance=self.covariance + share * outer(apart, apart))

    def to_free(self) -> Any:
        return free_of(self.covariance)

    def from_free(self, free: Any) -> Self:
        return dataclasses.replace(self, covariance=from_free(free))

    def num_parameters(self, n: int, d: int) -> int:
        return d * (d + 1) // 2

    def check(self, name: str, n: int, d: int) -> None:
        check_matrices(f"{name}.covariance", self.covariance, (d, d))
        check_array(f"{name}.floor", self.floor, ())

    @classmethod
    def nearest(cls, matrices: jax.Array, weights: jax.Array, floor: Any) -> Self:
        return cls(jnp.sum(weights[:, None, None] * matrices, axis=0), floor)


def within(
    means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None
) -> jax.Array:
    """(d, d) E[(x − μ)(x − μ)ᵀ] within the components."""
    assert total is not None
    d = means.shape[1]
    about = jnp.sum(about_means(means, mass, moments[:, :d]), axis=0)
    return (symmetric(total, d) + about) / jnp.sum(mass)
