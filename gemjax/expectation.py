"""The E-step: expectations of responsibilities under a target, block of points by block of points.

With log φ_i(x) = x·μ_i − |μ_i|²/2 (the −|x|²/2 cancels in every ratio and is added to the loss per
point) everything is "features times natural parameters, exponential, weighted moments": one
product, one exponential, one product per block. Sums run within a block, then over blocks with
their rounding errors carried along, so that float32 sums over 1e7 points keep six digits. Nothing
of shape (N, n) exists unless it is small.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gemjax.blocks import Blocks, Chunks, as_blocks
from gemjax.numerics import safe_exp, safe_sqrt, tiny, vary_alike
from gemjax.types import Mixture

__all__ = ["Densities", "Statistics", "as_blocks", "densities", "expect", "ratios", "statistics"]

# Densities up to this size are kept between the weight steps of an iteration; above, recomputed.
_STORED_BYTES = 40 * 2**20
_ACCELERATOR_STORED_BYTES = 2**30

# Stored densities of up to this many points are one block: short enough for sums in float32.
_JOINED_POINTS = 2**15

_Tree = TypeVar("_Tree")


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
    """

    blocks: Blocks | Chunks
    means: jax.Array
    reference: jax.Array
    scaled: jax.Array | None = None
    shift: jax.Array | None = None


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


def densities(
    means: jax.Array, log_weights: jax.Array, blocks: Blocks | Chunks, *, keep: bool = True
) -> Densities:
    """Component densities at the blocks' points, stored if asked for and small enough.

    `log_weights` (n,) only choose the shift: any later weights that do not differ from them by
    hundreds of orders of magnitude give the same ratios.
    """
    means = means - blocks.centre[None]
    result = Densities(blocks, means, _reference(means, log_weights, blocks.radius))
    if isinstance(blocks, Chunks) or not keep:
        return result
    most = blocks.blocking.stored_bytes
    if most is None:
        most = _STORED_BYTES if jax.default_backend() == "cpu" else _ACCELERATOR_STORED_BYTES
    if blocks.num_entries * means.shape[0] * means.dtype.itemsize > most:
        return result
    if blocks.weights.shape[0] == 1:
        scaled, shift = _scale(result, blocks.points[0])
        return dataclasses.replace(result, scaled=scaled[None], shift=shift[None])
    parallel = min(_parallel(blocks), blocks.weights.shape[0])
    if parallel == 1 and blocks.num_entries <= _JOINED_POINTS:
        return _join(result, blocks)
    scaled, shift = jax.lax.map(
        lambda x: _scale(result, x), blocks.points, batch_size=None if parallel == 1 else parallel
    )
    return dataclasses.replace(result, scaled=scaled, shift=shift)


def _join(stored: Densities, blocks: Blocks) -> Densities:
    """Densities computed block by block, then kept as one block of all points, [1, n, B·C].

    A loop over blocks copies each before a product can read it; one block is read where it is.
    """
    B, features, C = blocks.points.shape
    n, dtype = stored.means.shape[0], stored.means.dtype

    def put(scaled: jax.Array, x: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first, points = x
        more, shift = _scale(stored, points)
        return jax.lax.dynamic_update_slice_in_dim(scaled, more, first, axis=1), shift

    empty = vary_alike(jnp.zeros((n, B * C), dtype), stored)
    firsts = C * jnp.arange(B, dtype=jnp.int32)
    scaled, shift = jax.lax.scan(put, empty, (firsts, blocks.points))
    joined = dataclasses.replace(
        blocks,
        points=blocks.points.transpose(1, 0, 2).reshape(1, features, B * C),
        weights=blocks.weights.reshape(1, B * C),
        half_squares=blocks.half_squares.reshape(1, B * C),
    )
    return dataclasses.replace(
        stored, blocks=joined, scaled=scaled[None], shift=shift.reshape(1, B * C)
    )


def ratios(stored: Densities, log_weights: jax.Array) -> jax.Array:
    """(n,) r_i = E[φ_i / p] at the given weights: all that a weight step needs."""
    weights = safe_exp(log_weights)

    def block(scaled: jax.Array, shift: jax.Array, x: _Block) -> jax.Array:
        density = jnp.maximum(_dot(stored, weights, scaled), tiny(scaled.dtype))
        return _dot(stored, scaled, x.weights / density)

    return _expectation(block, stored, weights)


def duality_gap(r: jax.Array) -> jax.Array:
    """() max r − 1, from r (n,): what other weights could gain at most; see `weights.py`."""
    return jnp.max(r) - 1


def curvature(stored: Densities, weights: jax.Array) -> jax.Array:
    """(n, n) H_ik = E[φ_i φ_k / p²], the Hessian of the loss in the weights (n,)."""

    def block(scaled: jax.Array, shift: jax.Array, x: _Block) -> jax.Array:
        density = jnp.maximum(_dot(stored, weights, scaled), tiny(scaled.dtype))
        half = scaled * (safe_sqrt(x.weights) / density)[None]
        return _dot(stored, half, half.T)

    return _expectation(block, stored, weights)


def gains(stored: Densities, weights: jax.Array, change: jax.Array, shares: jax.Array) -> jax.Array:
    """(k,) E[log p] at `weights + share · change` less that at `weights`, for each of the shares.

    The difference itself is summed, so it has digits where the two losses agree in all of theirs.
    Minus infinity where a point of positive weight is left without density.
    """

    def block(scaled: jax.Array, shift: jax.Array, x: _Block) -> jax.Array:
        density = jnp.maximum(_dot(stored, weights, scaled), tiny(scaled.dtype))
        relative = _dot(stored, change, scaled) / density
        more = jnp.log1p(jnp.maximum(shares[:, None] * relative[None], -1))
        return _dot(stored, jnp.where(x.weights[None] > 0, more, 0), x.weights)

    return _expectation(block, stored, (weights, change))


def statistics(stored: Densities, log_weights: jax.Array) -> Statistics:
    """Loss, ratios, mass and mean gradient at the given weights, in one pass."""
    weights = safe_exp(log_weights)
    d = stored.means.shape[1]
    # r is the moment of the feature that is one. Products are done four columns at a time: where
    # it would be alone in a fifth, a product with a vector is cheaper.
    alone = d % 4 == 0

    def block(scaled: jax.Array, shift: jax.Array, x: _Block) -> tuple[jax.Array, ...]:
        density = jnp.maximum(_dot(stored, weights, scaled), tiny(scaled.dtype))
        log_density = jnp.log(density) + (shift - x.half_squares)
        per_density = x.weights / density
        points = x.points[:d] if alone else x.points
        moments = _dot(stored, scaled, (per_density[None] * points).T)
        r = _dot(stored, scaled, per_density) if alone else moments[:, d]
        return -_dot(stored, x.weights, log_density), r, moments[:, :d]

    loss, r, moments = _expectation(block, stored, weights)
    gradient = weights[:, None] * (r[:, None] * stored.means - moments)
    return Statistics(loss + 0.5 * d * math.log(2 * math.pi), r, weights * r, gradient)


def expect(mixture: Mixture, blocks: Blocks | Chunks) -> Statistics:
    """The E-step of one mixture. Its densities are needed once and not stored."""
    stored = densities(mixture.means, mixture.log_weights, blocks, keep=False)
    return statistics(stored, mixture.log_weights)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Block:
    """One block of `Blocks`: points (d + 1, C), weights (C,), half_squares (C,)."""

    points: jax.Array
    weights: jax.Array
    half_squares: jax.Array


def _parallel(blocks: Blocks) -> int:
    return blocks.blocking.num_parallel or 1


def _dot(stored: Densities, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=stored.blocks.blocking.precision)


def _reference(means: jax.Array, log_weights: jax.Array, radius: jax.Array) -> jax.Array:
    """(n,) log-weights, cut off where a component is too light to set the shift of any point.

    At a distance of at most R from every mean, log φ_i − log φ_k <= R²/2, so that a component
    lighter than exp(−R²/2)/n is below another everywhere. The cut keeps zero weights finite.
    """
    means, log_weights = jax.lax.stop_gradient((means, log_weights))
    reach = radius + jnp.sqrt(jnp.max(jnp.sum(means * means, axis=1)))
    return jnp.maximum(log_weights, -(0.5 * reach * reach + math.log(means.shape[0])))


def _scale(stored: Densities, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """φ_i(x_j) e^{−m_j} (n, C) and m_j = max_i log π_i φ_i(x_j) (C,) for x (d + 1, C).

    The reference weights ride on the product's last feature, so that the maximum is a plain
    reduction, and come off again inside the exponential: both are markedly faster on a CPU than
    adding them. The shift is constant under differentiation: it cancels wherever it is used. A
    component of (nearly) no weight may exceed the range of the floats, so its exponent is capped.
    """
    means, reference = stored.means, stored.reference
    bias = reference - 0.5 * jnp.sum(means * means, axis=1)
    log_joint = _dot(stored, jnp.concatenate([means, bias[:, None]], axis=1), x)
    shift = jax.lax.stop_gradient(jnp.max(log_joint, axis=0))
    cap = 0.9 * float(np.log(jnp.finfo(x.dtype).max))
    return jnp.exp(jnp.minimum(log_joint - shift[None] - reference[:, None], cap)), shift


def _expectation(
    function: Callable[[jax.Array, jax.Array, _Block], _Tree],
    stored: Densities,
    weights: Any,
) -> _Tree:
    """Sum over all points of `function(scaled (n, C), shift (C,), block)`."""
    blocks = stored.blocks
    if isinstance(blocks, Blocks):
        total = _sum_over_blocks(function, stored, blocks, weights)
    elif blocks.num_chunks == 1:
        total = _sum_over_blocks(function, stored, blocks.chunk(jnp.int32(0)), weights)
    else:
        one = lambda i: _sum_over_blocks(function, stored, blocks.chunk(i), weights)  # noqa: E731
        total = _add_up(one, jnp.arange(blocks.num_chunks, dtype=jnp.int32), (stored, weights))
    return total if blocks.axis is None else jax.lax.psum(total, blocks.axis)


def _sum_over_blocks(
    function: Callable[[jax.Array, jax.Array, _Block], _Tree],
    stored: Densities,
    blocks: Blocks,
    weights: Any,
) -> _Tree:
    def one(x: tuple[Any, Any, _Block]) -> _Tree:
        scaled, shift, block = x
        if scaled is None:
            scaled, shift = _scale(stored, block.points)
        return function(scaled, shift, block)

    if stored.scaled is None:
        # Reverse mode recomputes a block's densities instead of keeping them all.
        one = jax.checkpoint(one, prevent_cse=False)
    block = _Block(blocks.points, blocks.weights, blocks.half_squares)
    xs = (stored.scaled, stored.shift, block)
    B, parallel = blocks.weights.shape[0], _parallel(blocks)
    if B == 1:
        return one(jax.tree.map(lambda x: x[0], xs))
    if parallel == 1:
        return _add_up(one, xs, (stored, weights, blocks))
    side_by_side = lambda x: jax.tree.map(lambda y: jnp.sum(y, axis=0), jax.vmap(one)(x))  # noqa: E731
    if parallel >= B:
        return side_by_side(xs)
    groups = jax.tree.map(lambda x: x.reshape(-1, parallel, *x.shape[1:]), xs)
    return _add_up(side_by_side, groups, (stored, weights, blocks))


def _add_up(function: Callable[[Any], _Tree], xs: Any, inputs: Any) -> _Tree:
    """Sum of `function` over the leading axis of `xs`, with compensation (Kahan 1965).

    `inputs` are all that the result depends on; see `vary_alike`.
    """
    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], xs))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    zeros = vary_alike(zeros, inputs)

    def add(carry: tuple[_Tree, _Tree], x: Any) -> tuple[tuple[_Tree, _Tree], None]:
        total, lost = carry
        more = jax.tree.map(jnp.subtract, function(x), lost)
        new = jax.tree.map(jnp.add, total, more)
        lost = jax.tree.map(lambda new, total, more: (new - total) - more, new, total, more)
        return (new, lost), None

    (total, _), _ = jax.lax.scan(add, (zeros, zeros), xs)
    return total
