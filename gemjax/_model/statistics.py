"""The E-step: expectations of responsibilities under a target, block of points by block of points.

A block is two products with its densities. Sums run within a block, then over blocks with their
rounding errors carried along, so that float32 sums over 1e7 points keep six digits. Nothing of
shape (N, n) exists unless it is small.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp

from gemjax._base.numerics import largest, safe_exp, safe_sqrt, tiny, vary_alike
from gemjax._base.records import Mixture
from gemjax._model.densities import Densities, apart, densities, rescale, scale
from gemjax._points.blocks import Blocks, Chunks

_Tree = TypeVar("_Tree")


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


def ratios(stored: Densities, log_weights: jax.Array) -> jax.Array:
    """(n,) r_i = E[φ_i / p] at the given weights: all that a weight step needs."""

    def block(scaled: jax.Array, shift: jax.Array, x: _Block, weights: jax.Array) -> jax.Array:
        return _dot(stored, scaled, x.weights / _density(stored, weights, scaled))

    return _expectation(block, stored, safe_exp(log_weights))


def duality_gap(r: jax.Array) -> jax.Array:
    """() max r − 1, from r (n,): what other weights could gain at most; see `weights.py`."""
    return largest(r) - 1


def curvature(stored: Densities, weights: jax.Array) -> jax.Array:
    """(n, n) H_ik = E[φ_i φ_k / p²], the Hessian of the loss in the weights (n,)."""

    def block(scaled: jax.Array, shift: jax.Array, x: _Block, weights: jax.Array) -> jax.Array:
        half = scaled * (safe_sqrt(x.weights) / _density(stored, weights, scaled))[None]
        return _dot(stored, half, half.T)

    return _expectation(block, stored, weights)


def curvature_times(stored: Densities, weights: jax.Array, change: jax.Array) -> jax.Array:
    """(n,) the same Hessian times `change` (n,), without the Hessian."""

    def block(
        scaled: jax.Array, shift: jax.Array, x: _Block, both: tuple[jax.Array, jax.Array]
    ) -> jax.Array:
        weights, change = both
        density = _density(stored, weights, scaled)
        return _dot(stored, scaled, x.weights * _dot(stored, change, scaled) / density**2)

    return _expectation(block, stored, (weights, change))


def gains(stored: Densities, weights: jax.Array, change: jax.Array, shares: jax.Array) -> jax.Array:
    """(k,) E[log p] at `weights + share · change` less that at `weights`, for each of the shares.

    The difference itself is summed, so it has digits where the two losses agree in all of theirs.
    Minus infinity where a point of positive weight is left without density.
    """

    def block(
        scaled: jax.Array, shift: jax.Array, x: _Block, all_: tuple[jax.Array, ...]
    ) -> jax.Array:
        weights, change, shares = all_
        relative = _dot(stored, change, scaled) / _density(stored, weights, scaled)
        more = jnp.log1p(jnp.maximum(shares[:, None] * relative[None], -1))
        return _dot(stored, jnp.where(x.weights[None] > 0, more, 0), x.weights)

    return _expectation(block, stored, (weights, change, shares))


def statistics(stored: Densities, log_weights: jax.Array) -> Statistics:
    """Loss, ratios, mass and mean gradient at the given weights, in one pass."""
    weights = safe_exp(log_weights)
    d = stored.means.shape[1]
    # r is the moment of the feature that is one. Products are done four columns at a time: where
    # it would be alone in a fifth, a product with a vector is cheaper.
    alone = d % 4 == 0

    def block(
        scaled: jax.Array, shift: jax.Array, x: _Block, weights: jax.Array
    ) -> tuple[jax.Array, ...]:
        density = _density(stored, weights, scaled)
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


# From densities (n, C), their shift (C,), the block, and weights of any kind. Closes over nothing
# that is differentiated.
_Function: TypeAlias = Callable[[jax.Array, jax.Array, _Block, Any], Any]


def _dot(stored: Densities, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=stored.blocks.blocking.precision)


def _density(stored: Densities, weights: jax.Array, scaled: jax.Array) -> jax.Array:
    """(C,) p(x_j) exp(−shift_j), kept above zero. A NaN stays one."""
    density = _dot(stored, weights, scaled)
    least = tiny(density.dtype)
    return jnp.where(density < least, least, density)


def _expectation(function: _Function, stored: Densities, weights: Any) -> Any:
    """Sum over all points of `function(scaled, shift, block, weights)`."""
    if stored.fresh is None:
        return _sum_over_points(function, stored, weights)
    return _from_kept(function, stored, weights)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _from_kept(function: _Function, stored: Densities, weights: Any) -> Any:
    """An expectation from densities that were kept to save their exponentials.

    Kept or recomputed, densities are one function of means and points, and the expectation is one
    function of them; so either way gives its derivative. It is taken block by block, where the
    tangents of a block's densities stay in cache; those of all together would not.
    """
    return _sum_over_points(function, stored, weights)


@_from_kept.defjvp
def _from_kept_jvp(function: _Function, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    (stored, weights), (dstored, dweights) = primals, tangents
    return jax.jvp(
        lambda fresh, weights: _sum_over_points(function, fresh, weights, stored),
        (stored.fresh, weights),
        (dstored.fresh, dweights),
    )


def _sum_over_points(
    function: _Function, stored: Densities, weights: Any, kept: Densities | None = None
) -> Any:
    blocks = stored.blocks
    if isinstance(blocks, Blocks):
        total = _sum_over_blocks(function, stored, blocks, weights, kept)
    elif blocks.num_chunks == 1:
        total = _sum_over_blocks(function, stored, blocks.chunk(jnp.int32(0)), weights)
    else:
        one = lambda i: _sum_over_blocks(function, stored, blocks.chunk(i), weights)  # noqa: E731
        # Reverse mode lays a chunk out again instead of keeping them all.
        one = jax.checkpoint(one, prevent_cse=False)
        total = _add_up(one, jnp.arange(blocks.num_chunks, dtype=jnp.int32), (stored, weights))
    return total if blocks.axis is None else jax.lax.psum(total, blocks.axis)


def _sum_over_blocks(
    function: _Function,
    stored: Densities,
    blocks: Blocks,
    weights: Any,
    kept: Densities | None = None,
) -> Any:
    """Densities come from `stored` if it has them; else they are computed, or known from `kept`."""

    def one(x: tuple[_Block, Any, Any]) -> Any:
        block, scaled, shift = x
        if kept is not None:
            scaled, shift = apart(kept, scaled, blocks)
            scaled = rescale(stored, block.points, scaled, shift)
        elif scaled is None:
            scaled, shift = scale(stored, block.points)
        return function(scaled, shift, block, weights)

    if stored.scaled is None:
        # Reverse mode recomputes a block's densities instead of keeping them all.
        one = jax.checkpoint(one, prevent_cse=False)
    B, parallel = blocks.weights.shape[0], blocks.parallel
    block = _Block(blocks.points, blocks.weights, blocks.half_squares)
    xs = (block, stored.scaled, stored.shift)
    if kept is not None:
        xs = (block, jnp.arange(B, dtype=jnp.int32), None)
    if B == 1:
        return one(jax.tree.map(lambda x: x[0], xs))
    inputs = (stored, weights, blocks, kept)
    if parallel == 1:
        return _add_up(one, xs, inputs)
    side_by_side = lambda x: jax.tree.map(lambda y: jnp.sum(y, axis=0), jax.vmap(one)(x))  # noqa: E731
    if parallel >= B:
        return side_by_side(xs)
    groups = jax.tree.map(lambda x: x.reshape(-1, parallel, *x.shape[1:]), xs)
    return _add_up(side_by_side, groups, inputs)


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
