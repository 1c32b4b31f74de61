"""Covariances along the axes: Σ_i = diag(v_i), or one diag(v) for all."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from gemjax._families.covariance import Covariance, shares
from gemjax._families.parameters import at_least, check_array, excess, pair, pooled
from gemjax._numerics.finite import safe_divide
from gemjax._numerics.pytree import exported


@exported
@dataclasses.dataclass(frozen=True, eq=False)
class Diagonal(Covariance):
    """Σ_i = diag(v_i): each with a variance per coordinate. mclust's VVI, scikit-learn's "diag".

    Args:
      variances: (n, d) v_i, positive.
      floor: () what no variance falls below, traced.

    >>> import gemjax as gj
    >>> gj.covariance.Diagonal([[1.0, 4.0]]).matrices(1, 2).tolist()
    [[[1.0, 0.0], [0.0, 4.0]]]
    """

    variances: Any
    floor: Any = 0.0

    has_differences = True
    covariance_ndim = 1
    per_component = ("variances",)

    @staticmethod
    def features(points: jax.Array) -> jax.Array:
        one = jnp.ones_like(points[..., :1, :])
        return jnp.concatenate([points, points * points, one], axis=-2)

    @staticmethod
    def base(points: jax.Array) -> jax.Array:
        return jnp.zeros_like(points[..., 0, :])

    def natural(self, means: jax.Array) -> jax.Array:
        v = self.variances
        constant = -0.5 * jnp.sum(means * means / v + jnp.log(v), axis=1, keepdims=True)
        return jnp.concatenate([means / v, -0.5 / v, constant], axis=1)

    def differences(self, means: jax.Array, features: jax.Array) -> jax.Array:
        v = self.variances
        apart = features[None, : means.shape[1]] - means[:, :, None]
        squares = jnp.sum(apart * apart / v[:, :, None], axis=1)
        return -0.5 * (squares + jnp.sum(jnp.log(v), axis=1, keepdims=True))

    def whiten(self, vectors: jax.Array) -> jax.Array:
        return vectors / self.variances

    def colour(self, noise: jax.Array, component: jax.Array) -> jax.Array:
        return jnp.sqrt(self.variances)[component] * noise

    def matrices(self, n: int, d: int) -> jax.Array:
        v = jnp.asarray(self.variances)
        return v[:, :, None] * jnp.eye(d, dtype=v.dtype)[None]

    def least_deviation(self) -> jax.Array:
        return jnp.sqrt(jnp.min(self.variances))

    def reach(self, means: jax.Array, radius: jax.Array) -> jax.Array:
        logs = jnp.sum(jnp.log(self.variances), axis=1)
        farthest = (radius + jnp.sqrt(jnp.max(jnp.sum(means * means, axis=1)))) ** 2
        return 0.5 * (farthest / jnp.min(self.variances) + jnp.max(logs) - jnp.min(logs))

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        d = means.shape[1]
        scatter = scatter_about(means, mass, moments[:, :d], moments[:, d : 2 * d])
        fitted = self.at_floor(safe_divide(scatter, mass[:, None]))
        variances = jnp.where(mass[:, None] > 0, fitted, self.variances)
        return dataclasses.replace(self, variances=variances)

    def at_floor(self, spread: jax.Array) -> jax.Array:
        return at_least(spread, self.floor)

    def floored(self, n: int) -> jax.Array:
        return jnp.any(self.variances <= self.floor, axis=1)

    def merge_costs(self, means: jax.Array, weights: jax.Array) -> jax.Array:
        v = self.variances

        def log_merged(p: jax.Array, q: jax.Array) -> jax.Array:
            p, q = p[..., None], q[..., None]
            apart = (means[:, None] - means[None]) ** 2
            return jnp.sum(jnp.log(p * v[:, None] + q * v[None] + p * q * apart), axis=-1)

        return pair(weights, log_merged, jnp.sum(jnp.log(v), axis=1))

    def merge(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        p, q = pooled(weights, kept, freed)
        apart, v = means[kept] - means[freed], self.variances
        merged = p * v[kept] + q * v[freed] + p * q * apart * apart
        return dataclasses.replace(self, variances=v.at[kept].set(merged))

    def to_free(self) -> Any:
        return jnp.log(self.variances)

    def from_free(self, free: Any) -> Self:
        return dataclasses.replace(self, variances=jnp.exp(free))

    def divergence(self, other: Self, d: int) -> jax.Array:
        return jnp.sum(excess(self.variances, other.variances), axis=1)

    def num_parameters(self, n: int, d: int) -> int:
        return n * d

    def check(self, name: str, n: int, d: int) -> None:
        check_array(f"{name}.variances", self.variances, (n, d), positive=True)
        check_array(f"{name}.floor", self.floor, ())

    @classmethod
    def nearest(cls, matrices: jax.Array, weights: jax.Array, floor: Any) -> Self:
        return cls(jnp.diagonal(matrices, axis1=1, axis2=2), floor)


@exported
@dataclasses.dataclass(frozen=True, eq=False)
class SharedDiagonal(Covariance):
    """Σ_i = diag(v): one variance per coordinate, the same for all. mclust's EEI.

    Args:
      variances: (d,) v, positive.
      floor: () what no variance falls below, traced.

    >>> import gemjax as gj
    >>> gj.covariance.SharedDiagonal([1.0, 4.0]).num_parameters(3, 2)
    2
    """

    variances: Any
    floor: Any = 0.0

    has_differences = True
    covariance_ndim = 1

    @staticmethod
    def features(points: jax.Array) -> jax.Array:
        return jnp.concatenate([points, jnp.ones_like(points[..., :1, :])], axis=-2)

    @staticmethod
    def base(points: jax.Array) -> jax.Array:
        return jnp.zeros_like(points[..., 0, :])

    def shared(self, points: jax.Array, base: jax.Array) -> jax.Array:
        v = self.variances
        squares = jnp.sum(points * points / v[:, None], axis=-2)
        return -0.5 * (squares + jnp.sum(jnp.log(v)))

    @staticmethod
    def squares(points: jax.Array) -> jax.Array:
        return points * points

    def natural(self, means: jax.Array) -> jax.Array:
        white = self.whiten(means)
        return jnp.concatenate([white, -0.5 * jnp.sum(means * white, axis=1)[:, None]], axis=1)

    def differences(self, means: jax.Array, features: jax.Array) -> jax.Array:
        v = self.variances
        apart = features[None, :-1] - means[:, :, None]
        return -0.5 * (jnp.sum(apart * apart / v[None, :, None], axis=1) + jnp.sum(jnp.log(v)))

    def whiten(self, vectors: jax.Array) -> jax.Array:
        return vectors / self.variances[None]

    def colour(self, noise: jax.Array, component: jax.Array) -> jax.Array:
        return jnp.broadcast_to(jnp.sqrt(self.variances), noise.shape) * noise

    def matrices(self, n: int, d: int) -> jax.Array:
        return jnp.broadcast_to(jnp.diag(jnp.asarray(self.variances)), (n, d, d))

    def least_deviation(self) -> jax.Array:
        return jnp.sqrt(jnp.min(self.variances))

    def reach(self, means: jax.Array, radius: jax.Array) -> jax.Array:
        farthest = radius + jnp.sqrt(jnp.max(jnp.sum(means * means, axis=1)))
        return 0.5 * farthest * farthest / jnp.min(self.variances)

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        assert total is not None
        first = moments[:, : means.shape[1]]
        scatter = total + jnp.sum(scatter_about(means, mass, first, jnp.zeros_like(first)), axis=0)
        return dataclasses.replace(self, variances=at_least(scatter / jnp.sum(mass), self.floor))

    def floored(self, n: int) -> jax.Array:
        return jnp.broadcast_to(jnp.any(self.variances <= self.floor), (n,))

    def merge_costs(self, means: jax.Array, weights: jax.Array) -> jax.Array:
        apart = (means[:, None] - means[None]) ** 2 / self.variances[None, None]
        return 0.5 * jnp.sum(jnp.log1p(shares(weights)[..., None] * apart), axis=-1)

    def merge(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        apart, share = means[kept] - means[freed], shares(weights)[kept, freed]
        return dataclasses.replace(self, variances=self.variances + share * apart * apart)

    def to_free(self) -> Any:
        return jnp.log(self.variances)

    def from_free(self, free: Any) -> Self:
        return dataclasses.replace(self, variances=jnp.exp(free))

    def num_parameters(self, n: int, d: int) -> int:
        return d

    def check(self, name: str, n: int, d: int) -> None:
        check_array(f"{name}.variances", self.variances, (d,), positive=True)
        check_array(f"{name}.floor", self.floor, ())

    @classmethod
    def nearest(cls, matrices: jax.Array, weights: jax.Array, floor: Any) -> Self:
        axes = jnp.diagonal(matrices, axis1=1, axis2=2)
        return cls(jnp.sum(weights[:, None] * axes, axis=0), floor)


def scatter_about(
    means: jax.Array, mass: jax.Array, first: jax.Array, second: jax.Array
) -> jax.Array:
    """(n, d) E[ψ (x − μ)²] per coordinate from E[ψ x] and E[ψ x²] (n, d)."""
    return second - means * (2 * first - mass[:, None] * means)
