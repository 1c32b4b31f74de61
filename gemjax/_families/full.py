"""Covariances of any form, one per component."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._families.covariance import Covariance
from gemjax._families.packed import (
    about_means,
    free_of,
    from_free,
    outer,
    packed,
    pairs,
    products,
    symmetric,
)
from gemjax._families.parameters import check_array, check_matrices, pair, pooled
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
from gemjax._numerics.finite import safe_divide
from gemjax._numerics.pytree import exported


@exported
@dataclasses.dataclass(frozen=True, eq=False)
class Full(Covariance):
    """Σ_i of any form, one per component. mclust's VVV, scikit-learn's "full".

    Args:
      covariances: (n, d, d) Σ_i, symmetric and positive definite.
      floor: () what no eigenvalue falls below, traced. EM's step then still maximises: eigenvalues
        below the floor are set to it.

    >>> import gemjax as gj
    >>> covariance = gj.covariance.Full([[[2.0, 1.0], [1.0, 2.0]]])
    >>> mixture = gj.make_mixture([[0.0, 0.0]], covariance=covariance)
    >>> round(float(gj.log_density(mixture, jnp.zeros((1, 2)))[0]), 4)  # −log 2π − log(3)/2
    -2.3872
    """

    covariances: Any
    floor: Any = 0.0

    has_differences = True
    covariance_ndim = 2
    per_component = ("covariances",)

    @staticmethod
    def features(points: jax.Array) -> jax.Array:
        one = jnp.ones_like(points[..., :1, :])
        return jnp.concatenate([points, products(points), one], axis=-2)

    @staticmethod
    def base(points: jax.Array) -> jax.Array:
        return jnp.zeros_like(points[..., 0, :])

    def natural(self, means: jax.Array) -> jax.Array:
        inverse = inverse_factor(self.covariances)
        precision = times(inverse.swapaxes(1, 2), inverse)
        white = times(inverse, means[:, :, None])[:, :, 0]
        first = times(white[:, None, :], inverse)[:, 0]
        logs = -log_determinant(inverse)
        constant = -0.5 * (jnp.sum(white * white, axis=1) + logs)
        a, b, _ = pairs(means.shape[1])
        products = packed(precision) * jnp.asarray(np.where(a == b, -0.5, -1)[None], means.dtype)
        return jnp.concatenate([first, products, constant[:, None]], axis=1)

    def differences(self, means: jax.Array, features: jax.Array) -> jax.Array:
        apart = features[None, : means.shape[1]] - means[:, :, None]
        inverse = inverse_factor(self.covariances)
        white, logs = times(inverse, apart), -log_determinant(inverse)
        return -0.5 * (jnp.sum(white * white, axis=1) + logs[:, None])

    def moments_of(self, share: jax.Array, apart: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        weighted = share[:, None] * apart
        second = packed(times(weighted, apart.swapaxes(1, 2)))
        return jnp.concatenate([jnp.sum(weighted, axis=2), second], axis=1), None

    def whiten(self, vectors: jax.Array) -> jax.Array:
        inverse = inverse_factor(self.covariances)
        return times(times(inverse, vectors[:, :, None]).swapaxes(1, 2), inverse)[:, 0]

    def colour(self, noise: jax.Array, component: jax.Array) -> jax.Array:
        return times(factor(self.covariances)[component], noise[..., None])[..., 0]

    def matrices(self, n: int, d: int) -> jax.Array:
        return jnp.asarray(self.covariances)

    def least_deviation(self) -> jax.Array:
        return least_deviation(jnp.asarray(self.covariances))

    def reach(self, means: jax.Array, radius: jax.Array) -> jax.Array:
        logs = log_determinant(factor(self.covariances))
        farthest = (radius + jnp.sqrt(jnp.max(jnp.sum(means * means, axis=1)))) ** 2
        least = jnp.min(least_eigenvalue(self.covariances))
        return 0.5 * (farthest / least + jnp.max(logs) - jnp.min(logs))

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        d = means.shape[1]
        scatter = symmetric(moments[:, d:-1], d) + about_means(means, mass, moments[:, :d])
        # A component without mass keeps its own; as an input, too, so that no derivative is NaN.
        some = (mass > 0)[:, None, None]
        fitted = jnp.where(some, safe_divide(scatter, mass[:, None, None]), self.covariances)
        return dataclasses.replace(self, covariances=self.at_floor(fitted))

    def at_floor(self, spread: jax.Array) -> jax.Array:
        return raised(spread, self.floor)

    def floored(self, n: int) -> jax.Array:
        return is_floored(self.covariances, self.floor)

    def merge_costs(self, means: jax.Array, weights: jax.Array) -> jax.Array:
        S = self.covariances

        def log_merged(p: jax.Array, q: jax.Array) -> jax.Array:
            p, q = p[..., None, None], q[..., None, None]
            apart = means[:, None] - means[None]
            return log_determinant(
                factor(p * S[:, None] + q * S[None] + p * q * outer(apart, apart))
            )

        return pair(weights, log_merged, log_determinant(factor(S)))

    def merge(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        p, q = pooled(weights, kept, freed)
        apart, S = means[kept] - means[freed], self.covariances
        merged = p * S[kept] + q * S[freed] + p * q * outer(apart, apart)
        return dataclasses.replace(self, covariances=S.at[kept].set(merged))

    def to_free(self) -> Any:
        return free_of(self.covariances)

    def from_free(self, free: Any) -> Self:
        return dataclasses.replace(self, covariances=from_free(free))

    def divergence(self, other: Self, d: int) -> jax.Array:
        def trace(a: jax.Array, b: jax.Array) -> jax.Array:
            white = times(inverse_factor(b), factor(a))
            return jnp.sum(white * white, axis=(1, 2))

        S, T = self.covariances, other.covariances
        return 0.5 * (trace(S, T) + trace(T, S)) - d

    def num_parameters(self, n: int, d: int) -> int:
        return n * d * (d + 1) // 2

    def check(self, name: str, n: int, d: int) -> None:
        check_matrices(f"{name}.covariances", self.covariances, (n, d, d))
        check_array(f"{name}.floor", self.floor, ())

    @classmethod
    def nearest(cls, matrices: jax.Array, weights: jax.Array, floor: Any) -> Self:
        return cls(matrices, floor)
