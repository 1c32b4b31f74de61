"""All six fitted families as one, chosen by a traced number: one compilation serves them all."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from gemjax._families.full import Full
from gemjax._families.packed import outer
from gemjax._families.parameters import pooled
from gemjax._families.registry import FAMILIES
from gemjax._families.spectrum import identity_like, is_floored, log_determinants, raised
from gemjax._numerics.finite import safe_divide
from gemjax._numerics.pytree import exported

# Of each family in the registry's order: is it shared; 0 round, 1 along the axes, 2 of any form.
_SHARED = (True, False, True, False, True, False)
_FORM = (0, 0, 1, 1, 2, 2)
NUMBERS = {name: number for number, name in enumerate(FAMILIES)}


@exported
@dataclasses.dataclass(frozen=True, eq=False)
class Constrained(Full):
    """Covariances (n, d, d) held in one of the families; the features and densities are `Full`'s.

    Attributes:
      covariances, floor: as in `Full`.
      kind: () int32, traced, the number of the family in `NUMBERS`.
      units: (d,) squares of the units of the coordinates: what is round is so in coordinates times
        their roots.
    """

    kind: Any = 5
    units: Any = 1.0

    @property
    def is_shared(self) -> jax.Array:
        """() bool, whether all components have one covariance."""
        return jnp.asarray(_SHARED)[self.kind]

    @property
    def form(self) -> jax.Array:
        """() int32, 0 round, 1 along the axes, 2 of any form."""
        return jnp.asarray(_FORM, jnp.int32)[self.kind]

    def shaped(self, matrices: jax.Array) -> jax.Array:
        """(…, d, d) the nearest ones of the form: off the axes nothing, one variance if round."""
        eye = identity_like(matrices)
        axes = jnp.diagonal(matrices, axis1=-2, axis2=-1)
        units = jnp.broadcast_to(self.units, axes.shape)
        round_ = jnp.mean(axes * units, axis=-1, keepdims=True) / units
        along = jnp.where(self.form < 2, matrices * eye, matrices)
        return jnp.where(self.form < 1, round_[..., None] * eye, along)

    def held(self, matrices: jax.Array, weights: jax.Array) -> Self:
        """The family that fits covariances (n, d, d) of components with weights (n,) best."""
        total = jnp.sum(weights)
        mean = jnp.sum(weights[:, None, None] * matrices, axis=0)[None] / total
        matrices = self.shaped(jnp.where(self.is_shared, mean, matrices))
        matrices = 0.5 * (matrices + matrices.swapaxes(1, 2))
        return dataclasses.replace(self, covariances=raised(matrices, self.floor))

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        free = dataclasses.replace(self, floor=jnp.zeros_like(self.floor))
        return self.held(Full.maximise(free, means, mass, moments).covariances, mass)

    def merge(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        p, q = pooled(weights, kept, freed)
        apart, S = means[kept] - means[freed], self.covariances
        merged = p * S[kept] + q * S[freed] + p * q * outer(apart, apart)
        weights = weights.at[kept].add(weights[freed]).at[freed].set(0)
        return self.held(S.at[kept].set(merged), weights)

    def merge_costs(self, means: jax.Array, weights: jax.Array) -> jax.Array:
        S = self.covariances
        total = weights[:, None] + weights[None]
        p, q = (
            safe_divide(jnp.broadcast_to(w, total.shape), total)
            for w in (weights[:, None], weights[None])
        )
        apart = means[:, None] - means[None]
        outward = outer(apart, apart)
        p, q, scale = (x[..., None, None] for x in (p, q, p * q * total))
        own = p * S[:, None] + q * S[None] + p * q * outward
        merged = self.shaped(jnp.where(self.is_shared, S[:1, None] + scale * outward, own))
        logs = log_determinants(S)
        none = (total == 0)[..., None, None]
        both = log_determinants(jnp.where(none, S[:1, None], merged))
        rise = jnp.where(
            self.is_shared,
            both - logs[0],
            total * both - weights[:, None] * logs[:, None] - weights[None] * logs[None],
        )
        return jnp.where(total == 0, 0, 0.5 * rise)

    def floored(self, n: int) -> jax.Array:
        return is_floored(self.covariances, self.floor)

    def num_free(self, n: jax.Array, d: int) -> jax.Array:
        """() free parameters of n components, traced."""
        own = jnp.asarray((1, d, d * (d + 1) // 2), jnp.int32)[self.form]
        return jnp.where(self.is_shared, 1, n) * own
