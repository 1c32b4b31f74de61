"""The E-step: expectations of responsibilities under a target, block of points by block of points.

With log φ_i(x) = x·μ_i − |μ_i|²/2 (the −|x|²/2 cancels in every ratio and is added to the loss per
point) everything is "features times natural parameters, exponential, weighted moments". Points are
centred once, so that data far from the origin lose no digits, and laid out [blocks, d, C], so that
a block's densities [n, C] stay in cache. Sums run within a block, then over blocks, which also
keeps float32 sums over many points accurate. Nothing of shape (N, n) exists unless it is small.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gemjax.numerics import safe_exp, tiny
from gemjax.types import Mixture, Target

# Entries of one block of densities, n·C: 2^15 float32 numbers are 128 KiB, within a core's cache.
_BLOCK_ENTRIES = 2**15
# Densities up to this size are kept between the weight steps of an iteration; above, recomputed.
_STORED_BYTES = 2**24

_Tree = TypeVar("_Tree")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """A target laid out for the E-step: B blocks of C points, padded with points of weight zero.

    Attributes:
      points: (B, d, C), relative to `centre`.
      weights: (B, C).
      half_squares: (B, C), |x|²/2 of the centred points.
      centre: (d,), the target's mean. Results do not depend on it, only their rounding does.
    """

    points: jax.Array
    weights: jax.Array
    half_squares: jax.Array
    centre: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Densities:
    """Densities of every component at every point, for weights that change at fixed means.

    `scaled` is (B, n, C), φ_i(x_j) exp(−shift_j), and `shift` (B, C); both None where they are
    recomputed block by block. `means` (n, d) are centred.
    """

    blocks: Blocks
    means: jax.Array
    scaled: jax.Array | None
    shift: jax.Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Statistics:
    """What the E-step returns.

    Attributes:
      loss: () −E[log p], nats per point.
      ratios: (n,) r_i = E[φ_i / p] = −∂L/∂π_i.
      mass: (n,) s_i = E[ψ_i] = π_i r_i.
      gradient: (n, d) ∂L/∂μ_i = s_i μ_i − E[ψ_i x].
    """

    loss: jax.Array
    ratios: jax.Array
    mass: jax.Array
    gradient: jax.Array


def as_blocks(target: Target | Blocks, num_components: int) -> Blocks:
    """Lays a target out for mixtures of `num_components`; returns `Blocks` as they are."""
    if isinstance(target, Blocks):
        return target
    N, d = target.points.shape
    most = int(np.clip(_BLOCK_ENTRIES // num_components, 128, 4096))
    B = -(-N // most)
    C = -(-N // B)
    if B > 1:
        C = -(-C // 8) * 8
    centre = jax.lax.stop_gradient(
        jnp.matmul(target.weights, target.points, precision=jax.lax.Precision.HIGHEST)
    )
    pad = B * C - N
    points = jnp.pad(target.points - centre[None], ((0, pad), (0, 0)))
    weights = jnp.pad(target.weights, (0, pad))
    points = points.reshape(B, C, d).transpose(0, 2, 1)
    half_squares = 0.5 * jnp.sum(points * points, axis=1)
    return Blocks(points, weights.reshape(B, C), half_squares, centre)


def densities(means: jax.Array, log_weights: jax.Array, blocks: Blocks) -> Densities:
    """Component densities at the blocks' points, stored if they are small enough.

    `log_weights` (n,) only choose the shift: any later weights that do not differ from them by
    hundreds of orders of magnitude give the same ratios.
    """
    means = means - blocks.centre[None]
    B, C = blocks.weights.shape
    if B * C * means.shape[0] * means.dtype.itemsize > _STORED_BYTES:
        return Densities(blocks, means, None, None)
    if B == 1:
        scaled, shift = _scale(means, log_weights, blocks.points[0])
        return Densities(blocks, means, scaled[None], shift[None])
    scaled, shift = jax.lax.map(lambda x: _scale(means, log_weights, x), blocks.points)
    return Densities(blocks, means, scaled, shift)


def ratios(stored: Densities, log_weights: jax.Array) -> jax.Array:
    """(n,) r_i = E[φ_i / p] at the given weights: all that a weight step needs."""
    weights = safe_exp(log_weights)

    def block(scaled: jax.Array, shift: jax.Array, x: Blocks) -> jax.Array:
        density = jnp.maximum(_dot(weights, scaled), tiny(scaled.dtype))
        return _dot(scaled, x.weights / density)

    return _sum_over_blocks(block, stored, log_weights)


def statistics(stored: Densities, log_weights: jax.Array) -> Statistics:
    """Loss, ratios, mass and mean gradient at the given weights, in one pass."""
    weights = safe_exp(log_weights)

    def block(scaled: jax.Array, shift: jax.Array, x: Blocks) -> tuple[jax.Array, ...]:
        density = jnp.maximum(_dot(weights, scaled), tiny(scaled.dtype))
        per_density = x.weights / density
        log_density = jnp.log(density) + (shift - x.half_squares)
        moments = _dot(scaled, (per_density[None] * x.points).T)
        return -_dot(x.weights, log_density), _dot(scaled, per_density), moments

    loss, r, moments = _sum_over_blocks(block, stored, log_weights)
    d = stored.means.shape[1]
    gradient = weights[:, None] * (r[:, None] * stored.means - moments)
    return Statistics(loss + 0.5 * d * math.log(2 * math.pi), r, weights * r, gradient)


def expect(mixture: Mixture, blocks: Blocks) -> Statistics:
    """The E-step of one mixture."""
    stored = densities(mixture.means, mixture.log_weights, blocks)
    return statistics(stored, mixture.log_weights)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _scale(means: jax.Array, log_weights: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """φ_i(x_j) e^{−m_j} (n, C) and m_j = max_i log π_i φ_i(x_j) (C,) for x (d, C).

    The shift is constant under differentiation: it cancels wherever it is used. A component of
    (nearly) no weight may exceed the range of the floats, so its exponent is capped there.
    """
    log_phi = _dot(means, x) - 0.5 * jnp.sum(means * means, axis=1)[:, None]
    shift = jax.lax.stop_gradient(jnp.max(log_phi + log_weights[:, None], axis=0))
    cap = 0.9 * float(np.log(jnp.finfo(x.dtype).max))
    return jnp.exp(jnp.minimum(log_phi - shift[None], cap)), shift


def _sum_over_blocks(
    function: Callable[[jax.Array, jax.Array, Blocks], _Tree],
    stored: Densities,
    log_weights: jax.Array,
) -> _Tree:
    """Sum over blocks of `function(scaled (n, C), shift (C,), block)`."""
    blocks = stored.blocks

    def one(scaled: Any, shift: Any, points: Any, weights: Any, half_squares: Any) -> _Tree:
        if scaled is None:
            scaled, shift = _scale(stored.means, log_weights, points)
        return function(scaled, shift, Blocks(points, weights, half_squares, blocks.centre))

    if stored.scaled is None:
        # Reverse mode recomputes a block's densities instead of keeping them all.
        one = jax.checkpoint(one, prevent_cse=False)
    xs = (stored.scaled, stored.shift, blocks.points, blocks.weights, blocks.half_squares)
    first = one(*jax.tree.map(lambda x: x[0], xs))
    if blocks.weights.shape[0] == 1:
        return first

    def add(total: _Tree, x: Any) -> tuple[_Tree, None]:
        return jax.tree.map(jnp.add, total, one(*x)), None

    total, _ = jax.lax.scan(add, first, jax.tree.map(lambda x: x[1:], xs))
    return total
