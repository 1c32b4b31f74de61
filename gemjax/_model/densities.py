"""Densities of components at blocks of points: recomputed where they are needed, or kept.

With log φ_i(x) = η_i · f(x) + b(x) (b cancels in every ratio and is added to the loss per point)
everything is "natural parameters times features, exponential": one product and one exponential per
block. Kept densities save both, for weights that change at fixed means.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._families.covariance import Covariance
from gemjax._numerics.pytree import vary_alike
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
      covariance: of the components.
      natural: (n, F) natural parameters, the last column with the reference.
      reference: (n,) log-weights that choose the shift, all finite.
      scaled: (B, n, C), φ_i(x_j) exp(−shift_j), or None where they are recomputed block by block.
      shift: (B, C), or None likewise.
      fresh: where `scaled` is kept, the same to be recomputed; derivatives go that way. None where
        there is nothing to recompute, or all is.
    """

    blocks: Blocks | Chunks
    means: jax.Array
    covariance: Covariance
    natural: jax.Array
    reference: jax.Array
    scaled: jax.Array | None = None
    shift: jax.Array | None = None
    fresh: Densities | None = None


def component_densities(
    mixture: Mixture, blocks: Blocks | Chunks, *, keep: bool = True
) -> Densities:
    """Densities of a mixture's components at the points, kept if asked for and small enough.

    The weights only choose the shift: any later weights that do not differ from them by
    hundreds of orders of magnitude give the same ratios.
    """
    if blocks.family is not type(mixture.covariance):
        raise TypeError(
            f"target was prepared for covariances {blocks.family.__name__}, "
            f"and the mixture's are {type(mixture.covariance).__name__}"
        )
    means = mixture.means - blocks.centre[None]
    reference = _reference(dataclasses.replace(mixture, means=means), blocks.radius)
    natural = mixture.covariance.natural(means)
    last = natural[:, -1:] + reference[:, None]
    natural = jnp.concatenate([natural[:, :-1], last], axis=1)
    fresh = Densities(blocks, means, mixture.covariance, natural, reference)
    if isinstance(blocks, Chunks) or not keep:
        return fresh
    most = blocks.blocking.stored_bytes
    if most is None:
        most = _STORED_BYTES if jax.default_backend() == "cpu" else _ACCELERATOR_STORED_BYTES
    if blocks.num_entries * means.shape[0] * means.dtype.itemsize > most:
        return fresh
    if blocks.weights.shape[0] == 1:
        scaled, shift = scale(fresh, blocks.features[0])
        return dataclasses.replace(fresh, scaled=scaled[None], shift=shift[None], fresh=fresh)
    parallel = blocks.parallel
    if parallel == 1 and blocks.num_entries <= _JOINED_POINTS:
        return _join(fresh, blocks)
    scaled, shift = jax.lax.map(
        lambda x: scale(fresh, x), blocks.features, batch_size=None if parallel == 1 else parallel
    )
    return dataclasses.replace(fresh, scaled=scaled, shift=shift, fresh=fresh)


def _join(fresh: Densities, blocks: Blocks) -> Densities:
    """Densities computed block by block, then kept as one block of all points, [1, n, B·C].

    A loop over blocks copies each before a product can read it; one block is read where it is.
    """
    B, F, C = blocks.features.shape
    n, dtype = fresh.means.shape[0], fresh.means.dtype

    def put(scaled: jax.Array, x: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first, features = x
        more, shift = scale(fresh, features)
        return jax.lax.dynamic_update_slice_in_dim(scaled, more, first, axis=1), shift

    empty = vary_alike(jnp.zeros((n, B * C), dtype), fresh)
    firsts = C * jnp.arange(B, dtype=jnp.int32)
    scaled, shift = jax.lax.scan(put, empty, (firsts, blocks.features))
    joined = dataclasses.replace(
        blocks,
        features=blocks.features.transpose(1, 0, 2).reshape(1, F, B * C),
        weights=blocks.weights.reshape(1, B * C),
        base=blocks.base.reshape(1, B * C),
        total=None if blocks.total is None else jnp.sum(blocks.total, axis=0)[None],
    )
    return dataclasses.replace(
        fresh, blocks=joined, scaled=scaled[None], shift=shift.reshape(1, B * C), fresh=fresh
    )


def apart(kept: Densities, index: jax.Array, blocks: Any) -> tuple[jax.Array, jax.Array]:
    """What is kept of one of the `Blocks`, by its number: densities (n, C) and shift (C,)."""
    assert kept.scaled is not None
    assert kept.shift is not None
    B, C = blocks.weights.shape
    if kept.scaled.shape[0] == B:
        return kept.scaled[index], kept.shift[index]
    scaled = jax.lax.dynamic_slice_in_dim(kept.scaled[0], C * index, C, axis=1)
    return scaled, jax.lax.dynamic_slice_in_dim(kept.shift[0], C * index, C, axis=0)


def _reference(mixture: Mixture, radius: jax.Array) -> jax.Array:
    """(n,) log-weights, cut off where a component is too light to set the shift of any point.

    Where log φ_i − log φ_k <= b at all points, a component lighter than exp(−b)/n is below another
    everywhere. The cut keeps zero weights finite. Constant under differentiation: like the shift
    it cancels.
    """
    mixture = jax.lax.stop_gradient(mixture)
    bound = mixture.covariance.reach(mixture.means, radius)
    return jnp.maximum(mixture.log_weights, -(bound + math.log(mixture.means.shape[0])))


def scale(fresh: Densities, features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """φ_i(x_j) e^{−m_j} (n, C) and m_j = max_i log π_i φ_i(x_j) (C,) for features (F, C).

    The reference weights ride on the product's last feature, so that the maximum is a plain
    reduction, and come off again inside the exponential: both are markedly faster on a CPU than
    adding them. The shift is constant under differentiation: it cancels wherever it is used. A
    component of (nearly) no weight may exceed the range of the floats, so its exponent is capped.
    """
    shift = jax.lax.stop_gradient(jnp.max(_log_joint(fresh, features), axis=0))
    return jnp.exp(exponents(fresh, features, shift)), shift


def exponents(fresh: Densities, features: jax.Array, shift: jax.Array) -> jax.Array:
    """(n, C) log φ_i(x_j) − m_j, as `scale` has it."""
    exponent, cap = _exponent(fresh, features, shift), _cap(fresh)
    return jnp.where(exponent > cap, cap, exponent)


def rescale(
    fresh: Densities, features: jax.Array, scaled: jax.Array, shift: jax.Array
) -> jax.Array:
    """`scale` again, from its own results: a derivative without an exponential."""
    return _exponential(scaled, _exponent(fresh, features, shift), _cap(fresh))


def _exponent(fresh: Densities, features: jax.Array, shift: jax.Array) -> jax.Array:
    return _log_joint(fresh, features) - shift[None] - fresh.reference[:, None]


def _cap(fresh: Densities) -> jax.Array:
    """() the largest exponent, which leaves the densities' products with features room.

    Otherwise a moment overflows where points are far away, and no weight makes it zero again.
    """
    means, dtype = fresh.means, fresh.means.dtype
    corner = jnp.broadcast_to(fresh.blocks.radius, (means.shape[1], 1))
    most = jnp.max(jnp.abs(fresh.covariance.features(corner))) + jnp.max(jnp.abs(means))
    cap = 0.9 * math.log(jnp.finfo(dtype).max) - jnp.log(jax.lax.stop_gradient(most))
    return jnp.where(cap < 0, 0, cap)


def _log_joint(fresh: Densities, features: jax.Array) -> jax.Array:
    blocks = fresh.blocks
    if blocks.apart:
        return fresh.covariance.differences(fresh.means, features) + fresh.reference[:, None]
    return jnp.matmul(fresh.natural, features, precision=blocks.blocking.precision)


@jax.custom_jvp
def _exponential(known: jax.Array, exponent: jax.Array, cap: jax.Array) -> jax.Array:
    """exp(exponent), or exp(cap) if that is less, which is known already.

    As of any exponential, d exp(e) = exp(e) de below the cap. The exponent's value is not needed.
    """
    return known


@_exponential.defjvp
def _exponential_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    known = _exponential(*primals)
    most = 0.999 * jnp.exp(primals[2])  # exp need not round alike
    return known, jnp.where(known < most, known * tangents[1], 0)
