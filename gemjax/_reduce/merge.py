"""Fewer components: those of little weight left out, and the pair that costs least merged."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._base.settings import ACTIVE_WEIGHT
from gemjax._families.parameters import pooled
from gemjax._numerics.finite import log_normalise, safe_log
from gemjax._numerics.pytree import record


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Merged:
    """One merging; see `merge`.

    Attributes:
      mixture: n slots, as before; that of number `freed` has no weight.
      kept, freed: () int32, the two components: the heavier one's slot takes the pair.
      height: () what it costs, nats per point: the bound that `merge` tells. Infinite where there
        was no pair.

    >>> import gemjax as gj
    >>> gj.merge(gj.make_mixture([[0.0], [8.9], [9.1]])).kept.dtype.name
    'int32'
    """

    mixture: Mixture
    kept: jax.Array
    freed: jax.Array
    height: jax.Array


def prune(
    mixture: Mixture, *, least_weight: ArrayLike = ACTIVE_WEIGHT, num_components: int | None = None
) -> Mixture:
    """The heaviest components, heaviest first, without those of little weight.

    Args:
      mixture: n components in d dimensions.
      least_weight: () what a component must have, in [0, 1), traced; lighter ones get weight zero,
        and the others theirs in proportion. The heaviest always stays.
      num_components: static, how many slots are kept, at most n; all by default, so that shapes
        stay. To drop all empty ones, outside of `jit`:
        `int((mixture.weights >= least_weight).sum())`.

    Returns:
      a `Mixture` of `num_components` slots. Differentiable, but for the choice.

    Raises:
      ValueError: a weight out of range, more slots than there are.

    >>> import gemjax as gj
    >>> mixture = gj.make_mixture([[0.0], [1.0], [2.0]], weights=[0.2, 0.0, 0.8])
    >>> gj.prune(mixture, num_components=2).means.tolist()
    [[2.0], [0.0]]
    """
    mixture = checks.mixture("mixture", mixture)
    n = len(mixture.log_weights)
    least_weight = arrays.scalar("least_weight", least_weight, mixture.means.dtype, least=0)
    if arrays.is_concrete(least_weight) and not least_weight < 1:
        raise ValueError(f"least_weight must be less than 1, got {float(least_weight)}")
    size = checks.count("num_components", n if num_components is None else num_components)
    if size > n:
        raise ValueError(f"num_components must be at most the mixture's {n}, got {size}")
    return _prune(mixture, least_weight, size)


@functools.partial(jax.jit, static_argnums=2, inline=True)
def _prune(mixture: Mixture, least_weight: jax.Array, size: int) -> Mixture:
    order = jnp.argsort(-mixture.log_weights, stable=True)[:size]
    logs = mixture.log_weights[order]
    stays = (jnp.exp(logs) >= least_weight) | (jnp.arange(size) == 0)
    logs = log_normalise(jnp.where(stays, logs, -jnp.inf))
    return Mixture(mixture.means[order], logs, mixture.covariance.take(order))


def merge(mixture: Mixture) -> Merged:
    """Merges the pair of components that costs least, by their moments.

    The cost is the family's upper bound of how much the loss rises on the mixture's own population,
    and on any target where EM is at rest: for known covariances Ward's
    w_i w_j/(w_i + w_j) |μ_i − μ_j|²/2; for fitted ones
    ½[(w_i + w_j) log det Σ_ij − w_i log det Σ_i − w_j log det Σ_j] with Σ_ij the pair's covariance
    in the family (Runnalls 2007, "Kullback-Leibler approach to Gaussian mixture reduction"), and
    ½ log of the growth of det Σ where it is shared. So a component without weight costs nothing.

    Args:
      mixture: n components in d dimensions, n at least 2.

    Returns:
      a `Merged`. Differentiable, but for the choice of the pair.

    Raises:
      ValueError: one component only.

    >>> import gemjax as gj
    >>> merged = gj.merge(gj.make_mixture([[0.0], [8.9], [9.1]]))
    >>> merged.mixture.weights.round(3).tolist(), round(float(merged.height), 5)
    ([0.333, 0.667, 0.0], 0.00333)
    """
    mixture = checks.mixture("mixture", mixture)
    if len(mixture.log_weights) < 2:
        raise ValueError("mixture must have at least 2 components: merge makes one of a pair")
    return _merge(mixture)


@functools.partial(jax.jit, inline=True)
def _merge(mixture: Mixture) -> Merged:
    return cheapest(mixture, jnp.ones_like(mixture.log_weights, bool))


def cheapest(mixture: Mixture, alive: jax.Array) -> Merged:
    """`merge` among the components that are alive (n,)."""
    costs = pair_costs(mixture, alive)
    i, j = jnp.divmod(jnp.argmin(costs), len(alive))
    kept, freed = heavier_first(mixture.weights, i, j)
    return Merged(merge_pair(mixture, kept, freed), kept, freed, costs[i, j])


def pair_costs(mixture: Mixture, alive: jax.Array) -> jax.Array:
    """(n, n) what merging costs, of components that are alive (n,), above the diagonal; the others
    are infinite."""
    costs = mixture.covariance.merge_costs(mixture.means, mixture.weights)
    # Costs are symmetric and not negative but for rounding.
    pairs = alive[:, None] & alive[None] & ~jnp.tri(len(alive), dtype=bool)
    return jnp.where(pairs, jnp.where(costs > 0, costs, 0), jnp.inf)


def heavier_first(weights: jax.Array, i: Any, j: Any) -> tuple[jax.Array, jax.Array]:
    """The two numbers, int32, that of the heavier component first."""
    swap = weights[i] < weights[j]
    kept, freed = jnp.where(swap, j, i), jnp.where(swap, i, j)
    return kept.astype(jnp.int32), freed.astype(jnp.int32)


def merge_pair(mixture: Mixture, kept: jax.Array, freed: jax.Array) -> Mixture:
    """The mixture with two components as one in the slot of the first, and the other's empty."""
    means, weights = mixture.means, mixture.weights
    covariance = mixture.covariance.merge(means, weights, kept, freed)
    # From the heavier one, so that a component of no weight leaves it exactly where it is.
    _, share = pooled(weights, kept, freed)
    means = means.at[kept].add(share * (means[freed] - means[kept]))
    weights = weights.at[kept].add(weights[freed]).at[freed].set(0)
    return Mixture(means, safe_log(weights), covariance)
