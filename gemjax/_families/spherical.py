"""Round covariances: Σ_i = v_i I, or v I with one variance for all."""

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
class Spherical(Covariance):
    """Σ_i = v_i I: round, each of its own size. mclust's VII, scikit-learn's "spherical".

    Args:
      variances: (n,) v_i, positive.
      floor: () what no variance falls below, traced; 0 by default, where a component on one point
        ends a fit as DIVERGED.

    >>> import gemjax as gj
    >>> gj.covariance.Spherical([1.0, 4.0]).matrices(2, 1).tolist()
    [[[1.0]], [[4.0]]]
    """

    variances: Any
    floor: Any = 0.0

    has_differences = True
    covariance_ndim = 0
    per_component = ("variances",)

    @staticmethod
    def features(points: jax.Array) -> jax.Array:
        square = jnp.sum(points * points, axis=-2, keepdims=True)
        return jnp.concatenate([points, square, jnp.ones_like(square)], axis=-2)

    @staticmethod
    def base(points: jax.Array) -> jax.Array:
        return jnp.zeros_like(points[..., 0, :])

    def natural(self, means: jax.Array) -> jax.Array:
        v = self.variances[:, None]
        square = jnp.sum(means * means, axis=1, keepdims=True)
        constant = -0.5 * (square / v + means.shape[1] * jnp.log(v))
        return jnp.concatenate([means / v, -0.5 / v, constant], axis=1)

    def differences(self, means: jax.Array, features: jax.Array) -> jax.Array:
        d, v = means.shape[1], self.variances[:, None]
        apart = features[None, :d] - means[:, :, None]
        return -0.5 * (jnp.sum(apart * apart, axis=1) / v + d * jnp.log(v))

    def whiten(self, vectors: jax.Array) -> jax.Array:
        return vectors / self.variances[:, None]

    def colour(self, noise: jax.Array, component: jax.Array) -> jax.Array:
        return jnp.sqrt(self.variances)[component][..., None] * noise

    def matrices(self, n: int, d: int) -> jax.Array:
        v = jnp.asarray(self.variances)
        return v[:, None, None] * jnp.eye(d, dtype=v.dtype)[None]

    def least_deviation(self) -> jax.Array:
        return jnp.sqrt(jnp.min(self.variances))

    def reach(self, means: jax.Array, radius: jax.Array) -> jax.Array:
        logs = jnp.log(self.variances)
        farthest = (radius + jnp.sqrt(jnp.max(jnp.sum(means * means, axis=1)))) ** 2
        spread = means.shape[1] * (jnp.max(logs) - jnp.min(logs))
        return 0.5 * (farthest / jnp.min(self.variances) + spread)

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        d = means.shape[1]
        scatter = _about(means, mass, moments[:, :d], moments[:, d])
        fitted = self.at_floor(safe_divide(scatter, d * mass))
        return dataclasses.replace(self, variances=jnp.where(mass > 0, fitted, self.variances))

    def at_floor(self, spread: jax.Array) -> jax.Array:
        return at_least(spread, self.floor)

    def floored(self, n: int) -> jax.Array:
        return self.variances <= self.floor

    def merge_costs(self, means: jax.Array, weights: jax.Array) -> jax.Array:
        d, v = means.shape[1], self.variances
        apart = jnp.sum((means[:, None] - means[None]) ** 2, axis=-1)

        def log_merged(p: jax.Array, q: jax.Array) -> jax.Array:
            return d * jnp.log(p * v[:, None] + q * v[None] + p * q * apart / d)

        return pair(weights, log_merged, d * jnp.log(v))

    def merge(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        p, q = pooled(weights, kept, freed)
        apart, v = means[kept] - means[freed], self.variances
        merged = p * v[kept] + q * v[freed] + p * q * jnp.mean(apart * apart)
        return dataclasses.replace(self, variances=v.at[kept].set(merged))

    def to_free(self) -> Any:
        return jnp.log(self.variances)

    def from_free(self, free: Any) -> Self:
        return dataclasses.replace(self, variances=jnp.exp(free))

    def divergence(self, other: Self, d: int) -> jax.Array:
        return d * excess(self.variances, other.variances)

    def num_parameters(self, n: int, d: int) -> int:
        return n

    def check(self, name: str, n: int, d: int) -> None:
        check_array(f"{name}.variances", self.variances, (n,), positive=True)
        check_array(f"{name}.floor", self.floor, ())

    @classmethod
    def nearest(cls, matrices: jax.Array, weights: jax.Array, floor: Any) -> Self:
        d = matrices.shape[-1]
        return cls(jnp.trace(matrices, axis1=1, axis2=2) / d, floor)


@exported
@dataclasses.dataclass(frozen=True, eq=False)
class SharedSpherical(Covariance):
    """Σ_i = v I: round, all of one size, which is fitted. mclust's EII.

    Args:
      variance: () v, positive.
      floor: () what v does not fall below, traced.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-3.0], [-1.0], [1.0], [3.0]])
    >>> start = gj.make_mixture([[-2.0], [2.0]], covariance=gj.covariance.SharedSpherical(0.1))
    >>> fit = gj.fit(gj.classical_em(), target, start, num_iterations=1)
    >>> round(float(fit.mixture.covariance.variance), 3)
    1.0
    """

    variance: Any
    floor: Any = 0.0

    has_differences = True
    covariance_ndim = 0

    @staticmethod
    def features(points: jax.Array) -> jax.Array:
        return jnp.concatenate([points, jnp.ones_like(points[..., :1, :])], axis=-2)

    @staticmethod
    def base(points: jax.Array) -> jax.Array:
        return -0.5 * jnp.sum(points * points, axis=-2)

    def shared(self, points: jax.Array, base: jax.Array) -> jax.Array:
        return base / self.variance - 0.5 * points.shape[-2] * jnp.log(self.variance)

    @staticmethod
    def squares(points: jax.Array) -> jax.Array:
        return jnp.sum(points * points, axis=-2, keepdims=True)

    def natural(self, means: jax.Array) -> jax.Array:
        square = jnp.sum(means * means, axis=1, keepdims=True)
        return jnp.concatenate([means, -0.5 * square], axis=1) / self.variance

    def differences(self, means: jax.Array, features: jax.Array) -> jax.Array:
        apart = features[None, :-1] - means[:, :, None]
        constant = 0.5 * means.shape[1] * jnp.log(self.variance)
        return -0.5 * jnp.sum(apart * apart, axis=1) / self.variance - constant

    def whiten(self, vectors: jax.Array) -> jax.Array:
        return vectors / self.variance

    def colour(self, noise: jax.Array, component: jax.Array) -> jax.Array:
        return jnp.sqrt(self.variance) * noise

    def matrices(self, n: int, d: int) -> jax.Array:
        v = jnp.asarray(self.variance)
        return jnp.broadcast_to(v * jnp.eye(d, dtype=v.dtype), (n, d, d))

    def least_deviation(self) -> jax.Array:
        return jnp.sqrt(jnp.asarray(self.variance))

    def reach(self, means: jax.Array, radius: jax.Array) -> jax.Array:
        farthest = radius + jnp.sqrt(jnp.max(jnp.sum(means * means, axis=1)))
        return 0.5 * farthest * farthest / self.variance

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        assert total is not None
        d = means.shape[1]
        scatter = total[0] + jnp.sum(_about(means, mass, moments[:, :d], jnp.zeros_like(mass)))
        return dataclasses.replace(
            self, variance=at_least(scatter / (d * jnp.sum(mass)), self.floor)
        )

    def floored(self, n: int) -> jax.Array:
        return jnp.broadcast_to(self.variance <= self.floor, (n,))

    def merge_costs(self, means: jax.Array, weights: jax.Array) -> jax.Array:
        d = means.shape[1]
        return 0.5 * d * jnp.log1p(shares(weights) * self.squared_distances(means) / d)

    def merge(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        apart, share = means[kept] - means[freed], shares(weights)[kept, freed]
        return dataclasses.replace(self, variance=self.variance + share * jnp.mean(apart * apart))

    def to_free(self) -> Any:
        return jnp.log(self.variance)

    def from_free(self, free: Any) -> Self:
        return dataclasses.replace(self, variance=jnp.exp(free))

    def num_parameters(self, n: int, d: int) -> int:
        return 1

    def check(self, name: str, n: int, d: int) -> None:
        check_array(f"{name}.variance", self.variance, (), positive=True)
        check_array(f"{name}.floor", self.floor, ())

    @classmethod
    def nearest(cls, matrices: jax.Array, weights: jax.Array, floor: Any) -> Self:
        d = matrices.shape[-1]
        return cls(jnp.sum(weights * jnp.trace(matrices, axis1=1, axis2=2)) / d, floor)


def _about(means: jax.Array, mass: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
    """(n,) E[ψ |x − μ|²] from E[ψ x] (n, d) and E[ψ |x|²] (n,)."""
    return second - jnp.sum(means * (2 * first - mass[:, None] * means), axis=1)
