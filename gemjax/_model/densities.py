"""Densities of components at blocks of points: recomputed where they are needed, or kept.

With log φ_i(x) = x·μ_i − |μ_i|²/2 (the −|x|²/2 cancels in every ratio and is added to the loss per
point) everything is "features times natural parameters, exponential": one product and one
exponential per block. Kept densities save both, for weights that change at fixed means.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from gemjax._base.numerics import capped, vary_alike
from gemjax._points.blocks import Blocks, Chunks

# Densities up to this size are kept between the weight steps of an iteration; above, recomputed.
_STORED_BYTES = 40 * 2**20
_ACCELERATOR_STORED_BYTES = 2**30

# Kept densities of up to this many points are one block: short enough for sums in float32.
_JOINED_POINTS = 2**15


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Densities:
    """Densities of every component at every point, for weights that change at fixed means.

    Attributes:
      blocks: the points.
      means: (n, d), centred.
      reference: (n,) log-weights that choose the shift, all finite.
      scaled: (B, n, C), φ_i(x_j) exp(−shift_j), or None where they are recomputed block by block.
      shift: (B, C), or None likewise.
      fresh: where `scaled` is kept, the same to be recomputed; derivatives go that way. None where
        there is nothing to recompute, or all is.
    """

    blocks: Blocks | Chunks
    means: jax.Array
    reference: jax.Array
    scaled: jax.Array | None = None
    shift: jax.Array | None = None
    fresh: Densities | None = None


def densities(
    means: jax.Array, log_weights: jax.Array, blocks: Blocks | Chunks, *, keep: bool = True
) -> Densities:
    """Component densities at the blocks' points, kept if asked for and small enough.

    `log_weights` (n,) only choose the shift: any later weights that do not differ from them by
    hundreds of orders of magnitude give the same ratios.
    """
    means = means - blocks.centre[None]
    fresh = Densities(blocks, means, _reference(means, log_weights, blocks.radius))
    if isinstance(blocks, Chunks) or not keep:
        return fresh
    most = blocks.blocking.stored_bytes
    if most is None:
        most = _STORED_BYTES if jax.default_backend() == "cpu" else _ACCELERATOR_STORED_BYTES
    if blocks.num_entries * means.shape[0] * means.dtype.itemsize > most:
        return fresh
    if blocks.weights.shape[0] == 1:
        scaled, shift = scale(fresh, blocks.points[0])
        return dataclasses.replace(fresh, scaled=scaled[None], shift=shift[None], fresh=fresh)
    parallel = min(blocks.parallel, blocks.weights.shape[0])
    if parallel == 1 and blocks.num_entries <= _JOINED_POINTS:
        return _join(fresh, blocks)
    scaled, shift = jax.lax.map(
        lambda x: scale(fresh, x), blocks.points, batch_size=None if parallel == 1 else parallel
    )
    return dataclasses.replace(fresh, scaled=scaled, shift=shift, fresh=fresh)


def _join(fresh: Densities, blocks: Blocks) -> Densities:
    """Densities computed block by block, then kept as one block of all points, [1, n, B·C].

    A loop over blocks copies each before a product can read it; one block is read where it is.
    """
    B, features, C = blocks.points.shape
    n, dtype = fresh.means.shape[0], fresh.means.dtype

    def put(scaled: jax.Array, x: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first, points = x
        more, shift = scale(fresh, points)
        return jax.lax.dynamic_update_slice_in_dim(scaled, more, first, axis=1), shift

    empty = vary_alike(jnp.zeros((n, B * C), dtype), fresh)
    firsts = C * jnp.arange(B, dtype=jnp.int32)
    scaled, shift = jax.lax.scan(put, empty, (firsts, blocks.points))
    joined = dataclasses.replace(
        blocks,
        points=blocks.points.transpose(1, 0, 2).reshape(1, features, B * C),
        weights=blocks.weights.reshape(1, B * C),
        half_squares=blocks.half_squares.reshape(1, B * C),
    )
    return Densities(
        joined, fresh.means, fresh.reference, scaled[None], shift.reshape(1, B * C), fresh
    )


def apart(kept: Densities, index: jax.Array, blocks: Blocks) -> tuple[jax.Array, jax.Array]:
    """What is kept of one of `blocks`, by its number: densities (n, C) and shift (C,)."""
    assert kept.scaled is not None
    assert kept.shift is not None
    B, C = blocks.weights.shape
    if kept.scaled.shape[0] == B:
        return kept.scaled[index], kept.shift[index]
    scaled = jax.lax.dynamic_slice_in_dim(kept.scaled[0], C * index, C, axis=1)
    return scaled, jax.lax.dynamic_slice_in_dim(kept.shift[0], C * index, C, axis=0)


def _reference(means: jax.Array, log_weights: jax.Array, radius: jax.Array) -> jax.Array:
    """(n,) log-weights, cut off where a component is too light to set the shift of any point.

    At a distance of at most R from every mean, log φ_i − log φ_k <= R²/2, so that a component
    lighter than exp(−R²/2)/n is below another everywhere. The cut keeps zero weights finite.
    Constant under differentiation: like the shift it cancels.
    """
    means, log_weights = jax.lax.stop_gradient((means, log_weights))
    reach = radius + jnp.sqrt(jnp.max(jnp.sum(means * means, axis=1)))
    return jnp.maximum(log_weights, -(0.5 * reach * reach + math.log(means.shape[0])))


def scale(fresh: Densities, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """φ_i(x_j) e^{−m_j} (n, C) and m_j = max_i log π_i φ_i(x_j) (C,) for x (d + 1, C).

    The reference weights ride on the product's last feature, so that the maximum is a plain
    reduction, and come off again inside the exponential: both are markedly faster on a CPU than
    adding them. The shift is constant under differentiation: it cancels wherever it is used. A
    component of (nearly) no weight may exceed the range of the floats, so its exponent is capped.
    """
    log_joint = _log_joint(fresh, x)
    shift = jax.lax.stop_gradient(jnp.max(log_joint, axis=0))
    return jnp.exp(capped(log_joint - shift[None] - fresh.reference[:, None])), shift


def rescale(fresh: Densities, x: jax.Array, scaled: jax.Array, shift: jax.Array) -> jax.Array:
    """`scale` again, from its own results: a derivative without an exponential."""
    return _exponential(scaled, _log_joint(fresh, x) - shift[None] - fresh.reference[:, None])


def _log_joint(fresh: Densities, x: jax.Array) -> jax.Array:
    means = fresh.means
    bias = fresh.reference - 0.5 * jnp.sum(means * means, axis=1)
    natural = jnp.concatenate([means, bias[:, None]], axis=1)
    return jnp.matmul(natural, x, precision=fresh.blocks.blocking.precision)


@jax.custom_jvp
def _exponential(known: jax.Array, exponent: jax.Array) -> jax.Array:
    """exp(capped(exponent)), which is known already.

    As of any exponential, d exp(e) = exp(e) de below the cap. The exponent's value is not needed.
    """
    return known


@_exponential.defjvp
def _exponential_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    known = _exponential(*primals)
    most = 0.999 * jnp.exp(capped(jnp.asarray(jnp.inf, known.dtype)))  # exp need not round alike
    return known, jnp.where(known < most, known * tangents[1], 0)
