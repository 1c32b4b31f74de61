"""The walk over points: blocks one after the other or side by side, chunks, devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._numerics.pytree import vary_alike
from gemjax._numerics.sums import SUM, Addition
from gemjax._points.blocks import Block, Blocks, Chunks

_ROWS = 4096  # points per block of `map_points`


def fold(
    function: Callable[[Block, Any], Any],
    layout: Blocks | Chunks,
    extra: Callable[[Blocks], Any] = lambda blocks: None,
    *,
    inputs: Any = None,
    addition: Addition = SUM,
    recompute: bool = True,
    parallel: int | None = None,
) -> Any:
    """What `function` gives for each block of a target, added up over all of its points.

    Args:
      function: from a `Block`, and what `extra` has of it, to a tree of arrays.
      layout: the points.
      extra: more about each block, from `Blocks` to a tree with a leading axis of blocks.
      inputs: what else the result depends on; see `vary_alike`.
      addition: how trees are added up.
      recompute: reverse mode computes blocks again instead of keeping what is inside all of them.
      parallel: most blocks side by side, a divisor of the layout's; that by default.
    """

    def blocks_of(blocks: Blocks) -> Any:
        return _fold_blocks(function, blocks, extra(blocks), inputs, addition, recompute, parallel)

    if isinstance(layout, Blocks):
        total = blocks_of(layout)
    elif layout.num_chunks == 1:
        total = blocks_of(layout.chunk(jnp.int32(0)))
    else:
        # Reverse mode lays a chunk out again instead of keeping them all.
        one = jax.checkpoint(lambda i: blocks_of(layout.chunk(i)), prevent_cse=False)
        numbers = jnp.arange(layout.num_chunks, dtype=jnp.int32)
        total = _add_up(one, numbers, (inputs, layout), addition)
    return total if layout.axis is None else addition.over_devices(total, layout.axis)


def _fold_blocks(
    function: Callable[[Block, Any], Any],
    blocks: Blocks,
    extra: Any,
    inputs: Any,
    addition: Addition,
    recompute: bool,
    parallel: int | None,
) -> Any:
    one = lambda x: function(*x)  # noqa: E731
    if recompute:
        one = jax.checkpoint(one, prevent_cse=False)
    B, parallel = blocks.weights.shape[0], parallel or blocks.parallel
    xs = (blocks.block, extra)
    if B == 1:
        return one(jax.tree.map(lambda x: x[0], xs))
    inputs = (inputs, blocks, extra)
    if parallel == 1:
        return _add_up(one, xs, inputs, addition)
    side_by_side = lambda x: addition.join(jax.vmap(one)(x))  # noqa: E731
    if parallel >= B:
        return side_by_side(xs)
    groups = jax.tree.map(lambda x: x.reshape(-1, parallel, *x.shape[1:]), xs)
    return _add_up(side_by_side, groups, inputs, addition)


def _add_up(function: Callable[[Any], Any], xs: Any, inputs: Any, addition: Addition) -> Any:
    """`function` over the leading axis of `xs`, added up."""
    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], xs))
    start = vary_alike(addition.start(shapes), inputs)
    add = lambda carry, x: (addition.add(carry, function(x)), None)  # noqa: E731
    carry, _ = jax.lax.scan(add, start, xs)
    return addition.total(carry)


def sum_points(function: Callable[[Any, Any], Any], target: Any, size: int) -> Any:
    """Sum over blocks of what `function` gives for points (C, d) and weights (C,), C <= size."""
    N = target.points.shape[0]
    if size >= N:
        return function(target.points, target.weights)
    one = jax.checkpoint(lambda index: function(*target.rows(index, size)), prevent_cse=False)
    return _add_up(one, jnp.arange(-(-N // size), dtype=jnp.int32), target, SUM)


def map_points(function: Callable[[jax.Array], Any], x: jax.Array) -> Any:
    """`function` of (C, d) blocks of x (N, d), with the results joined to (N, …)."""
    if x.shape[0] <= _ROWS:
        return function(x)
    full = x.shape[0] // _ROWS * _ROWS
    head = jax.lax.map(function, x[:full].reshape(-1, _ROWS, x.shape[1]))
    head = head.reshape(full, *head.shape[2:])
    return head if full == x.shape[0] else jnp.concatenate([head, function(x[full:])])
