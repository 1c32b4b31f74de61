"""Clusters as unions of components: what a Gaussian cannot be alone, several are together.

Two components belong to one cluster where there is no valley of the density between them, and
points of one are taken for the other's; or where they are pieces of one shape.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._families.kind import Kind
from gemjax._families.spectrum import inverse_factor, solved, times
from gemjax._model.densities import component_densities, scale
from gemjax._model.mixture import log_components
from gemjax._numerics.finite import safe_divide, safe_exp
from gemjax._points.blocks import Block, Blocks, Chunks
from gemjax._points.walk import fold
from gemjax._reduce.shapes import join_shapes, lower_peak, reach

_PLACES = 15  # along the ridge between two components
# The density on the way falls to no less than this share of the lower peak, and this share of a
# component's points is taken for the other's. Chosen on labelled data and generators of our own:
# overlapping Gaussians stay apart, pieces of one skewed or heavy-tailed cluster come together.
_VALLEY = 0.95
_CONFUSED = 0.02
_MUCH_LOWER = 0.1
_LOWER = 0.2  # of a component that is wide enough to lie under others:
_WITHIN = 2.0  # standard deviations of it in which they lie,
_APART = 0.5  # and between which there is a valley at least so deep


@functools.partial(jax.jit, static_argnums=3)
def clusters(
    mixture: Mixture, blocks: Blocks | Chunks, agree: jax.Array, known: bool | None = None
) -> jax.Array:
    """(n,) int32, the number of the cluster that each component is in, from 0, heaviest first; −1
    of one that is a background.

    A component with a much lower peak than another is a tail: it joins one such component, the one
    that takes most of its points, and links no others. A wide one under several clusters is the
    tails of them all, a background, and joins none; but one that is heavier than each of them is a
    cluster. Where the heights of mergings do not `agree` () that components are clusters, they may
    be pieces of shapes, too; `known` is the same, static, where it can be: then half as much is
    compiled. A component without weight is in cluster 0.
    """
    height, peak = valleys(mixture)
    n, alive = len(peak), mixture.weights > 0
    confused = confusion(mixture, blocks)
    confused = confused + confused.T
    touch = (confused >= _CONFUSED) & alive[:, None] & alive[None]
    joins = (height >= _VALLEY) & touch
    lower = peak[:, None] < peak[None] + math.log(_MUCH_LOWER)
    alike, below = ~lower & ~lower.T, joins & lower
    logs = log_components(mixture, mixture.means)
    near = logs - jnp.diagonal(logs)[:, None] >= -0.5 * _WITHIN**2
    under = joins & near & (peak[:, None] < peak[None] + math.log(_LOWER))
    background, alone = _under_several(under, height < _APART, joins & alike, mixture.weights)
    free = ~(background | alone)
    both = free[:, None] & free[None]
    score = jnp.where(below & both, confused, -1)
    one = jax.nn.one_hot(jnp.argmax(score, axis=1), n, dtype=bool) & below & both
    solid = free & ~jnp.any(below & both, axis=1)  # tails join one, and link nothing
    may = alike & solid[:, None] & solid[None]
    linked = (joins & may) | one | one.T
    ways = (
        lambda: reach(linked),
        lambda: join_shapes(mixture, blocks, linked, confused, touch & may),
    )
    reached = jax.lax.cond(agree, *ways) if known is None else ways[0 if known else 1]()
    first = jnp.argmax(reached, axis=1)
    weight = jax.ops.segment_sum(jnp.where(background, 0, mixture.weights), first, n)
    number = jnp.arange(n)
    earlier = (weight[None] == weight[:, None]) & (number[None] < number[:, None])
    rank = jnp.sum((weight[None] > weight[:, None]) | earlier, axis=1, dtype=jnp.int32)
    return jnp.where(background, -1, jnp.where(alive, rank[first], 0))


def _under_several(
    under: jax.Array, apart: jax.Array, linked: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Which components (n,) lie `under` others (n, n) that are `apart` (n, n): those no heavier
    than the heaviest cluster over them, and the heavier ones. Clusters are what is `linked` of the
    components that lie under none."""
    under, apart = under.astype(weights.dtype), apart.astype(weights.dtype)
    n, high = len(weights), jnp.sum(under, axis=1) == 0
    several = jnp.sum((under @ apart) * under, axis=1) > 0
    group = jnp.argmax(reach(linked & high[:, None] & high[None]), axis=1)
    weight = jax.ops.segment_sum(jnp.where(high, weights, 0), group, n)
    member = jnp.where(high[:, None], jax.nn.one_hot(group, n, dtype=weights.dtype), 0)
    over = under @ member > 0
    heavy = weights > jnp.max(jnp.where(over, weight[None], 0), axis=1)
    return several & ~heavy, several & heavy


def valleys(mixture: Mixture) -> tuple[jax.Array, jax.Array]:
    """(n, n) how low the density falls between two components, as a share of the lower peak, and
    (n,) the logarithm of the density at each.

    The way from one to the other is the ridge on which their sum has all its modes (Ray and
    Lindsay 2005), x(t) = [(1 − t) Σ_i⁻¹ + t Σ_k⁻¹]⁻¹ [(1 − t) Σ_i⁻¹ μ_i + t Σ_k⁻¹ μ_k]; the
    density is that of the whole mixture.
    """
    n, d = mixture.means.shape
    t = jnp.linspace(0, 1, _PLACES, dtype=mixture.means.dtype)
    family = mixture.covariance
    assert isinstance(family, Kind)
    if family.spread.ndim == 2:
        precision = 1 / family.spread
        pull = precision * mixture.means
    else:
        inverse = inverse_factor(family.spread)
        precision = times(inverse.swapaxes(1, 2), inverse)
        pull = times(precision, mixture.means[:, :, None])[:, :, 0]

    def between(a: jax.Array, b: jax.Array) -> jax.Array:
        s = t.reshape(1, -1, *(1,) * (b.ndim - 1))
        return (1 - s) * a[None, None] + s * b[:, None]

    def from_one(i: jax.Array) -> jax.Array:
        matrix, vector = between(precision[i], precision), between(pull[i], pull)
        ridge = vector / matrix if matrix.ndim == 3 else solved(matrix, vector)
        logs = _log_density(mixture, ridge.reshape(-1, d)).reshape(n, _PLACES)
        return jnp.min(logs - lower_peak(logs.T).T, axis=1)

    depth = jax.lax.map(from_one, jnp.arange(n, dtype=jnp.int32))
    return jnp.exp(depth), _log_density(mixture, mixture.means)


def _log_density(mixture: Mixture, x: jax.Array) -> jax.Array:
    joint = log_components(mixture, x) + mixture.log_weights[:, None]
    return jax.scipy.special.logsumexp(joint, axis=0)


def confusion(mixture: Mixture, blocks: Blocks | Chunks) -> jax.Array:
    """(n, n) the share of component i's points that are most likely component k's (Hennig 2010,
    directly estimated misclassification probabilities); the diagonal is zero."""
    densities = component_densities(mixture, blocks, keep=False)
    weights = safe_exp(mixture.log_weights)
    n = len(weights)

    def block(x: Block, _: Any) -> jax.Array:
        scaled, _ = scale(densities, x.features)
        joint = weights[:, None] * scaled
        psi = joint / jnp.sum(joint, axis=0)[None] * x.weights[None]
        label = jax.nn.one_hot(jnp.argmax(joint, axis=0), n, dtype=psi.dtype)
        return times(psi, label)

    total: jax.Array = fold(block, blocks, inputs=(mixture, densities), recompute=False)
    shares = safe_divide(total, jnp.sum(total, axis=1)[:, None])
    return jnp.where(jnp.eye(n, dtype=bool), 0, shares)
