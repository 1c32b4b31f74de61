"""What the families that `constrained.py` serves have in common: a traced number says which."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from gemjax._families.covariance import Covariance
from gemjax._families.parameters import pooled
from gemjax._families.registry import FAMILIES
from gemjax._numerics.finite import safe_divide

# Of each family in the registry's order: is it shared; 0 round, 1 along the axes, 2 of any form.
_SHARED = (True, False, True, False, True, False)
_FORM = (0, 0, 1, 1, 2, 2)
NUMBERS = {name: number for number, name in enumerate(FAMILIES)}
AXES = tuple(name for name, number in NUMBERS.items() if _FORM[number] < 2)
SHARED = tuple(name for name, number in NUMBERS.items() if _SHARED[number])


def traits(name: str) -> tuple[bool, int]:
    """Whether all components of a family have one covariance, and its form, as `Kind.form`."""
    number = NUMBERS[name]
    return _SHARED[number], _FORM[number]


class Kind(Covariance):
    """What both have in common. `spread` is what a component's parameters are: a matrix (d, d) or
    variances (d,); of all, with a leading axis n."""

    kind: Any
    floor: Any
    units: Any

    @property
    def is_shared(self) -> jax.Array:
        """() bool, whether all components have one covariance."""
        return jnp.asarray(_SHARED)[self.kind]

    @property
    def form(self) -> jax.Array:
        """() int32, 0 round, 1 along the axes, 2 of any form."""
        return jnp.asarray(_FORM, jnp.int32)[self.kind]

    @property
    def least(self) -> jax.Array:
        """(d,) the floors of variances; what is round is nowhere narrower than the widest asks."""
        floor, units = jnp.asarray(self.floor), jnp.asarray(self.units)
        return jnp.where(self.form < 1, jnp.max(floor * units) / units, floor)

    @property
    def spread(self) -> jax.Array:
        """(n, …) the parameters."""
        return jnp.asarray(getattr(self, self.per_component[0]))

    def with_spread(self, spread: jax.Array) -> Self:
        """The same with other parameters."""
        return dataclasses.replace(self, **{self.per_component[0]: spread})  # type: ignore[type-var]

    def put_spread(self, slot: jax.Array, spread: jax.Array) -> jax.Array:
        """(n, …) the parameters, with those of one component (…) in a slot ()."""
        return self.spread.at[slot].set(spread)

    @classmethod
    def equal(cls, variances: jax.Array, n: int, kind: jax.Array, floor: Any, units: Any) -> Self:
        """n components of variances (d,) along the axes each."""
        raise NotImplementedError

    def own_spreads(self, n: int) -> Kind:
        """The family with parameters for each of n components."""
        return self

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
        return self.with_spread(self.at_floor(self.nearest_to(spread, weights)))

    def nearest_to(self, spread: jax.Array, weights: jax.Array) -> jax.Array:
        """(n, …) the parameters of the family nearest to others, whatever the floor."""
        share = _each(weights / jnp.sum(weights), spread)
        mean = jnp.sum(share * spread, axis=0)[None]
        return self.shaped(jnp.where(self.is_shared, mean, spread))

    def guarded(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None,
        share: jax.Array, guard: jax.Array,
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
        # Sums of what is above the floor are above it.
        return self.with_spread(self.nearest_to(S.at[kept].set(merged), weights))

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
