"""All fitted families as one, chosen by a traced number: one compilation serves them all.

`Constrained` serves all six; `ConstrainedAxes` the four along the axes, without a number per pair
of coordinates; `ConstrainedShared` the three of one covariance, without one per pair and component.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from gemjax._families.covariance import shares
from gemjax._families.diagonal import Diagonal, scatter_about
from gemjax._families.full import Full
from gemjax._families.kind import AXES, SHARED, Kind
from gemjax._families.packed import outer, symmetric
from gemjax._families.parameters import at_least
from gemjax._families.spectrum import identity_like, is_floored, log_determinants, raised
from gemjax._families.tied import Tied, within
from gemjax._numerics.pytree import exported


class Matrices(Kind):
    """Parameters that are matrices (…, d, d)."""

    units: Any

    def shaped(self, spread: jax.Array) -> jax.Array:
        eye = identity_like(spread)
        axes = jnp.diagonal(spread, axis1=-2, axis2=-1)
        units = jnp.broadcast_to(self.units, axes.shape)
        round_ = jnp.mean(axes * units, axis=-1, keepdims=True) / units
        along = jnp.where(self.form < 2, spread * eye, spread)
        return jnp.where(self.form < 1, round_[..., None] * eye, along)

    def at_floor(self, spread: jax.Array) -> jax.Array:
        spread = 0.5 * (spread + spread.swapaxes(-1, -2))
        return raised(spread / self._square, 1.0) * self._square

    def floored(self, n: int) -> jax.Array:
        return jnp.broadcast_to(is_floored(self.spread / self._square, 1.0), (n,))

    @property
    def _square(self) -> jax.Array:
        """(1, d, d) products of the least deviations."""
        least = jnp.sqrt(self.least)
        return (least[:, None] * least[None])[None]

    def product(self, apart: jax.Array) -> jax.Array:
        return outer(apart, apart)

    def log_determinants(self, spread: jax.Array) -> jax.Array:
        return log_determinants(spread)


@exported
@dataclasses.dataclass(frozen=True, eq=False)
class Constrained(Matrices, Full):
    """Covariances (n, d, d) held in one of the families; the features and densities are `Full`'s.

    Attributes:
      covariances: as in `Full`.
      floor: (d,) what no variance of a coordinate falls below, traced; in other directions as if
        these were of one unit.
      kind: () int32, traced, the number of the family in `NUMBERS`.
      units: (d,) squares of the units of the coordinates: what is round is so in coordinates times
        their roots.
    """

    kind: Any = 5
    units: Any = 1.0

    @classmethod
    def equal(cls, variances: jax.Array, n: int, kind: jax.Array, floor: Any, units: Any) -> Self:
        matrix = jnp.diag(variances)
        return cls(jnp.broadcast_to(matrix[None], (n, *matrix.shape)), floor, kind, units)

    def scatter(self, means: jax.Array, mass: jax.Array, moments: jax.Array) -> jax.Array:
        d = means.shape[1]
        half = means[:, :, None] * (moments[:, :d] - 0.5 * mass[:, None] * means)[:, None, :]
        return symmetric(moments[:, d:-1], d) - (half + half.swapaxes(1, 2))

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        none = jnp.zeros_like(mass[0])
        return self.guarded(means, mass, moments, total, none, jnp.zeros_like(self.spread[0]))


@exported
@dataclasses.dataclass(frozen=True, eq=False)
class ConstrainedShared(Matrices, Tied):
    """One covariance (d, d) of all, held in one of the families; the features are `Tied`'s.

    Attributes:
      covariance: as in `Tied`.
      floor, kind, units: as in `Constrained`.
    """

    kind: Any = 4
    units: Any = 1.0

    @classmethod
    def equal(cls, variances: jax.Array, n: int, kind: jax.Array, floor: Any, units: Any) -> Self:
        return cls(jnp.diag(variances), floor, kind, units)

    @property
    def spread(self) -> jax.Array:
        return jnp.asarray(self.covariance)[None]

    def with_spread(self, spread: jax.Array) -> Self:
        return dataclasses.replace(self, covariance=spread[0])

    def put_spread(self, slot: jax.Array, spread: jax.Array) -> jax.Array:
        return self.spread

    def own_spreads(self, n: int) -> Constrained:
        spread = jnp.broadcast_to(self.spread, (n, *self.spread.shape[1:]))
        return Constrained(spread, self.floor, self.kind, self.units)

    def guarded(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None,
        share: jax.Array, guard: jax.Array,
    ) -> Self:  # fmt: skip
        return self.maximise(means, mass, moments, total)

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        return self.held(within(means, mass, moments, total)[None], mass)

    def merge(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        share = shares(weights)[kept, freed]
        merged = self.spread + share * self.product(means[kept] - means[freed])[None]
        return self.with_spread(self.shaped(merged))

    def merge_costs(self, means: jax.Array, weights: jax.Array) -> jax.Array:
        """log det(Σ + s a aᵀ) − log det Σ, held in the family, without a determinant per pair."""
        share, apart = shares(weights), means[:, None] - means[None]
        axes = jnp.diagonal(self.covariance)[None, None]
        units = jnp.broadcast_to(self.units, axes.shape)
        d, square = means.shape[1], apart * apart
        round_ = jnp.sum(square * units, axis=-1) / jnp.sum(axes * units)
        along = jnp.sum(jnp.log1p(share[..., None] * square / axes), axis=-1)
        any_ = jnp.log1p(share * self.squared_distances(means))
        return 0.5 * jnp.stack([d * jnp.log1p(share * round_), along, any_])[self.form]


@exported
@dataclasses.dataclass(frozen=True, eq=False)
class ConstrainedAxes(Kind, Diagonal):
    """Variances (n, d) held in one of the families along the axes, as `Constrained`.

    Attributes:
      variances: as in `Diagonal`.
      floor, kind, units: as in `Constrained`.
    """

    kind: Any = 3
    units: Any = 1.0

    def shaped(self, spread: jax.Array) -> jax.Array:
        units = jnp.broadcast_to(self.units, spread.shape)
        round_ = jnp.mean(spread * units, axis=-1, keepdims=True) / units
        return jnp.where(self.form < 1, round_, spread)

    @classmethod
    def equal(cls, variances: jax.Array, n: int, kind: jax.Array, floor: Any, units: Any) -> Self:
        spread = jnp.broadcast_to(variances[None], (n, *variances.shape))
        return cls(spread, floor, kind, units)

    def scatter(self, means: jax.Array, mass: jax.Array, moments: jax.Array) -> jax.Array:
        d = means.shape[1]
        return scatter_about(means, mass, moments[:, :d], moments[:, d : 2 * d])

    def at_floor(self, spread: jax.Array) -> jax.Array:
        return at_least(spread, self.least[None])

    def floored(self, n: int) -> jax.Array:
        return jnp.any(self.variances <= self.least[None], axis=1)

    def product(self, apart: jax.Array) -> jax.Array:
        return apart * apart

    def log_determinants(self, spread: jax.Array) -> jax.Array:
        return jnp.sum(jnp.log(spread), axis=-1)

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        none = jnp.zeros_like(mass[0])
        return self.guarded(means, mass, moments, total, none, jnp.zeros_like(self.spread[0]))


def serving(names: tuple[str, ...]) -> type[Kind]:
    """The cheapest that serves all of the families."""
    if set(names) <= set(AXES):
        return ConstrainedAxes
    return ConstrainedShared if set(names) <= set(SHARED) else Constrained
