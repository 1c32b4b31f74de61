"""All fitted families as one, chosen by a traced number: one compilation serves them all.

`Constrained` serves all six; `ConstrainedAxes` the four along the axes, without a number per pair
of coordinates.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from gemjax._families.covariance import Covariance
from gemjax._families.diagonal import Diagonal, scatter_about
from gemjax._families.full import Full
from gemjax._families.packed import outer, symmetric
from gemjax._families.parameters import pooled
from gemjax._families.registry import FAMILIES
from gemjax._families.spectrum import identity_like, is_floored, log_determinants, raised
from gemjax._numerics.finite import safe_divide
from gemjax._numerics.pytree import exported

# Of each family in the registry's order: is it shared; 0 round, 1 along the axes, 2 of any form.
_SHARED = (True, False, True, False, True, False)
_FORM = (0, 0, 1, 1, 2, 2)
NUMBERS = {name: number for number, name in enumerate(FAMILIES)}
AXES = tuple(name for name, number in NUMBERS.items() if _FORM[number] < 2)


class Kind(Covariance):
    """What both have in common. `spread` is what a component's parameters are: a matrix (d, d) or
    variances (d,); of all, with a leading axis n."""

    kind: Any
    floor: Any

    @property
    def is_shared(self) -> jax.Array:
        """() bool, whether all components have one covariance."""
        return jnp.asarray(_SHARED)[self.kind]

    @property
    def form(self) -> jax.Array:
        """() int32, 0 round, 1 along the axes, 2 of any form."""
        return jnp.asarray(_FORM, jnp.int32)[self.kind]

    @property
    def spread(self) -> jax.Array:
        """(n, …) the parameters."""
        return jnp.asarray(getattr(self, self.per_component[0]))

    def with_spread(self, spread: jax.Array) -> Self:
        """The same with other parameters."""
        return dataclasses.replace(self, **{self.per_component[0]: spread})  # type: ignore[type-var]

    def of_kind(self, kind: jax.Array, weights: jax.Array) -> Self:
        """The same parameters held in another family, for components with weights (n,)."""
        other = dataclasses.replace(self, kind=kind)  # type: ignore[type-var]
        return other.held(self.spread, weights)

    def shaped(self, spread: jax.Array) -> jax.Array:
        """(…) the nearest ones of the form: off the axes nothing, one variance if round."""
        raise NotImplementedError

    def scatter(self, means: jax.Array, mass: jax.Array, moments: jax.Array) -> jax.Array:
        """(n, …) E[ψ (x − μ)(x − μ)ᵀ] from the moments of the features."""
        raise NotImplementedError

    def held(self, spread: jax.Array, weights: jax.Array) -> Self:
        """The family that fits parameters (n, …) of components with weights (n,) best."""
        share = _each(weights / jnp.sum(weights), spread)
        mean = jnp.sum(share * spread, axis=0)[None]
        return self.with_spread(self.at_floor(self.shaped(jnp.where(self.is_shared, mean, spread))))

    def guarded(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, share: jax.Array,
        guard: jax.Array,
    ) -> Self:  # fmt: skip
        """EM's step as `maximise`, with a share () of points spread as `guard` (…) says added to
        each component; to none where all have one covariance."""
        own = self.scatter(means, mass, moments)
        share = jnp.where(self.is_shared, 0, share)
        fitted = safe_divide(own + share * guard[None], _each(mass + share, own))
        return self.held(jnp.where(_each(mass, own) > 0, fitted, self.spread), mass)

    def merge(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        p, q = pooled(weights, kept, freed)
        S = self.spread
        merged = p * S[kept] + q * S[freed] + p * q * self.product(means[kept] - means[freed])
        weights = weights.at[kept].add(weights[freed]).at[freed].set(0)
        return self.held(S.at[kept].set(merged), weights)

    def product(self, apart: jax.Array) -> jax.Array:
        """(…) what a distance between two means (…, d) adds to the parameters of the pair."""
        raise NotImplementedError

    def log_determinants(self, spread: jax.Array) -> jax.Array:
        """(…) log det Σ."""
        raise NotImplementedError

    def merge_costs(self, means: jax.Array, weights: jax.Array) -> jax.Array:
        S = self.spread
        total = weights[:, None] + weights[None]
        p, q = (
            safe_divide(jnp.broadcast_to(w, total.shape), total)
            for w in (weights[:, None], weights[None])
        )
        outward = self.product(means[:, None] - means[None])
        none = _each(total == 0, outward)
        p, q, scale = (_each(x, outward) for x in (p, q, p * q * total))
        own = p * S[:, None] + q * S[None] + p * q * outward
        merged = self.shaped(jnp.where(self.is_shared, S[:1, None] + scale * outward, own))
        logs = self.log_determinants(S)
        both = self.log_determinants(jnp.where(none, S[:1, None], merged))
        rise = jnp.where(
            self.is_shared,
            both - logs[0],
            total * both - weights[:, None] * logs[:, None] - weights[None] * logs[None],
        )
        return jnp.where(total == 0, 0, 0.5 * rise)

    def num_free(self, n: jax.Array, d: int) -> jax.Array:
        """() free parameters of n components, traced."""
        own = jnp.asarray((1, d, d * (d + 1) // 2), jnp.int32)[self.form]
        return jnp.where(self.is_shared, 1, n) * own


def _each(values: jax.Array, like: jax.Array) -> jax.Array:
    """Values, one per component or pair, against the axes of parameters."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


@exported
@dataclasses.dataclass(frozen=True, eq=False)
class Constrained(Kind, Full):
    """Covariances (n, d, d) held in one of the families; the features and densities are `Full`'s.

    Attributes:
      covariances, floor: as in `Full`.
      kind: () int32, traced, the number of the family in `NUMBERS`.
      units: (d,) squares of the units of the coordinates: what is round is so in coordinates times
        their roots.
    """

    kind: Any = 5
    units: Any = 1.0

    def shaped(self, spread: jax.Array) -> jax.Array:
        eye = identity_like(spread)
        axes = jnp.diagonal(spread, axis1=-2, axis2=-1)
        units = jnp.broadcast_to(self.units, axes.shape)
        round_ = jnp.mean(axes * units, axis=-1, keepdims=True) / units
        along = jnp.where(self.form < 2, spread * eye, spread)
        return jnp.where(self.form < 1, round_[..., None] * eye, along)

    def at_floor(self, spread: jax.Array) -> jax.Array:
        return raised(0.5 * (spread + spread.swapaxes(-1, -2)), self.floor)

    def scatter(self, means: jax.Array, mass: jax.Array, moments: jax.Array) -> jax.Array:
        d = means.shape[1]
        half = means[:, :, None] * (moments[:, :d] - 0.5 * mass[:, None] * means)[:, None, :]
        return symmetric(moments[:, d:-1], d) - (half + half.swapaxes(1, 2))

    def product(self, apart: jax.Array) -> jax.Array:
        return outer(apart, apart)

    def log_determinants(self, spread: jax.Array) -> jax.Array:
        return log_determinants(spread)

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        none = jnp.zeros_like(mass[0])
        return self.guarded(means, mass, moments, none, jnp.zeros_like(self.spread[0]))

    def floored(self, n: int) -> jax.Array:
        return is_floored(self.covariances, self.floor)


@exported
@dataclasses.dataclass(frozen=True, eq=False)
class ConstrainedAxes(Kind, Diagonal):
    """Variances (n, d) held in one of the families along the axes, as `Constrained`.

    Attributes:
      variances, floor: as in `Diagonal`.
      kind, units: as in `Constrained`.
    """

    kind: Any = 3
    units: Any = 1.0

    def shaped(self, spread: jax.Array) -> jax.Array:
        units = jnp.broadcast_to(self.units, spread.shape)
        round_ = jnp.mean(spread * units, axis=-1, keepdims=True) / units
        return jnp.where(self.form < 1, round_, spread)

    def scatter(self, means: jax.Array, mass: jax.Array, moments: jax.Array) -> jax.Array:
        d = means.shape[1]
        return scatter_about(means, mass, moments[:, :d], moments[:, d : 2 * d])

    def product(self, apart: jax.Array) -> jax.Array:
        return apart * apart

    def log_determinants(self, spread: jax.Array) -> jax.Array:
        return jnp.sum(jnp.log(spread), axis=-1)

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        none = jnp.zeros_like(mass[0])
        return self.guarded(means, mass, moments, none, jnp.zeros_like(self.spread[0]))
