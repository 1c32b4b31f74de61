"""Shapes that are no Gaussians: a square, a crescent, a ring are tiled by components.

Pieces of one shape meet without a valley between them in the points, though there is one in the
density of the mixture, since each piece is a bump; and between shapes there is nothing.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._families.kind import Kind
from gemjax._families.spectrum import solved
from gemjax._model.densities import component_densities, scale
from gemjax._numerics.finite import safe_exp
from gemjax._points.blocks import Block, Blocks, Chunks
from gemjax._points.walk import fold

_NEIGHBOURS = 6  # that a component is compared with: those that most points are taken for
_PLACES = 21  # between two means
_WIDTH = 0.4  # of the kernel, in standard deviations of the narrower
# The points' density between pieces of one shape falls to no less than the first, and between
# shapes to no more than the second, as a share of the lower peak. Measured on squares, discs,
# cubes, crescents and rings: 0.36 to 1 within, below 0.05 between; Gaussians that overlap have
# all values, from 0 to 1.
_WITHIN, _BETWEEN = 0.35, 0.15
_LEAST_JOINS = 2  # of one pair alone, who could tell two Gaussians that overlap?


def join_shapes(
    mixture: Mixture,
    blocks: Blocks | Chunks,
    linked: jax.Array,
    confused: jax.Array,
    allowed: jax.Array,
) -> jax.Array:
    """(n, n) bool, which components reach each other, once pieces of shapes are linked.

    Args:
      mixture: n components.
      blocks: the points.
      linked: (n, n) bool, symmetric, the components that belong together anyway.
      confused: (n, n) the share of one's points that are taken for the other's, both ways.
      allowed: (n, n) bool, symmetric, the pairs that may be linked.

    Returns:
      `linked`'s own components' reach where links would not be clear: where others are neither
      nearly as strong nor absent, where they are fewer than 2, or where all become one.
    """
    n = len(confused)
    k = min(_NEIGHBOURS, n - 1)
    before = reach(linked)
    if k == 0:
        return before
    number = jax.lax.top_k(jnp.where(allowed, confused, -1), k)[1]
    least = (
        jnp.zeros_like(confused)
        .at[jnp.arange(n)[:, None], number]
        .set(dips(mixture, blocks, number))
    )
    least = jnp.where(allowed, jnp.maximum(least, least.T), 0)
    strong, all_ = reach(linked | (least >= _WITHIN)), reach(linked | (least >= _BETWEEN))
    alive = mixture.weights > 0
    clear = jnp.all((strong == all_) | ~(alive[:, None] & alive[None]))
    left = num_clusters(strong, alive)
    enough = num_clusters(before, alive) - left >= _LEAST_JOINS
    return jnp.where(clear & enough & (left > 1), strong, before)


def reach(linked: jax.Array) -> jax.Array:
    """(n, n) bool, which components are joined by a chain of links (n, n); each by itself."""
    n = len(linked)
    reached = (linked | jnp.eye(n, dtype=bool)).astype(jnp.float32)
    farther = lambda _, reached: jnp.minimum(reached @ reached, 1)  # noqa: E731
    return jax.lax.fori_loop(0, n.bit_length(), farther, reached) > 0


def num_clusters(reached: jax.Array, alive: jax.Array) -> jax.Array:
    """() int32, how many sets of components, of which some are alive (n,), there are."""
    first = jnp.argmax(reached & alive[None], axis=1)
    own = (first == jnp.arange(len(alive), dtype=first.dtype)) & alive
    return jnp.sum(own, dtype=jnp.int32)


def dips(mixture: Mixture, blocks: Blocks | Chunks, number: jax.Array) -> jax.Array:
    """(n, k) how low the points' density falls between a component and others, by their numbers
    (n, k), as a share of the lower peak.

    The points of the two, by their responsibilities, are looked at along the direction that tells
    them apart best (Fisher 1936), through a Gaussian kernel.
    """
    densities = component_densities(mixture, blocks, keep=False)
    means, weights = densities.means, safe_exp(mixture.log_weights)
    direction, width = _directions(mixture, number)
    places = jnp.linspace(0, 1, _PLACES, dtype=means.dtype)
    d = means.shape[1]

    def block(x: Block, _: Any) -> jax.Array:
        scaled, _ = scale(densities, x.features)
        joint = weights[:, None] * scaled
        psi = joint / jnp.sum(joint, axis=0)[None] * x.weights[None]
        share = psi[:, None] + psi[number]
        along = jnp.einsum(
            "nkd,dc->nkc", direction, x.features[:d], precision=jax.lax.Precision.HIGHEST
        )
        along = (along - jnp.sum(direction * means[:, None], axis=-1)[..., None]) / width[..., None]

        def at(place: jax.Array) -> jax.Array:
            apart = along - (place / width)[..., None]
            return jnp.sum(share * jnp.exp(-0.5 * apart * apart), axis=-1)

        return jax.lax.map(at, places)

    height = fold(block, blocks, inputs=(mixture, densities), recompute=False)
    lower = lower_peak(height)
    return jnp.min(jnp.where(lower > 0, height / jnp.where(lower > 0, lower, 1), 0), axis=0)


def lower_peak(height: jax.Array) -> jax.Array:
    """At each place of a way (places, …) the lower of the highest points before and behind it."""
    places = jnp.arange(len(height))
    before = (places[None] <= places[:, None]).reshape(
        *(len(height),) * 2, *(1,) * (height.ndim - 1)
    )

    def highest(where: jax.Array) -> jax.Array:
        return jnp.max(jnp.where(where, height[None], -jnp.inf), axis=1)

    return jnp.minimum(highest(before), highest(before.swapaxes(0, 1)))


def _directions(mixture: Mixture, number: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Directions (n, k, d) along which one mean is at 0 and the other at 1, and the widths (n, k)
    of the kernel there."""
    family, means, w = mixture.covariance, mixture.means, mixture.weights
    assert isinstance(family, Kind)
    spread = family.spread
    p = w[:, None] / jnp.maximum(w[:, None] + w[number], jnp.finfo(w.dtype).tiny)
    p = p.reshape(*p.shape, *(1,) * (spread.ndim - 1))
    pooled = p * spread[:, None] + (1 - p) * spread[number]
    apart = means[number] - means[:, None]
    direction = apart / pooled if spread.ndim == 2 else solved(pooled, apart)
    length = jnp.sum(direction * apart, axis=-1)
    direction = direction / jnp.where(length > 0, length, 1)[..., None]

    def deviation(spread: jax.Array) -> jax.Array:
        if spread.ndim == 3:
            return jnp.sqrt(jnp.sum(direction**2 * spread, axis=-1))
        return jnp.sqrt(jnp.einsum("nka,nkab,nkb->nk", direction, spread, direction))

    one = jnp.broadcast_to(spread[:, None], pooled.shape)
    narrower = jnp.minimum(deviation(one), deviation(spread[number]))
    return direction, _WIDTH * jnp.maximum(narrower, jnp.finfo(w.dtype).tiny)
