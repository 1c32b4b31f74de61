"""Coordinates that are rounded: how widely, and points spread over what was rounded away.

Ties have a density without bound, whatever the criterion: a component on each line of a grid. So
rounded values are spread by noise of the width of their steps, as where densities of whole numbers
are fitted by continuous ones (Uria, Murray and Larochelle 2013; Theis, van den Oord and Bethge
2016, section 3.1).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays
from gemjax._points.target import Target
from gemjax._points.walk import map_points

_WIDEST = 2  # times the step of the nearest value
_FEW = 100  # one of so many points may be tied, and is no rounding
_LOOKED_AT = 1024  # rows, of which each is compared to all
_NEAR = 1.5  # steps to a neighbour, at most
_MORE = 0.03  # of the rows have a twin than have a neighbour, where rows are repeated
_FEWEST = 5  # different rows per dimension, and as many again, where they are
_ULPS = 16  # by which equal values may differ


class Rounding(NamedTuple):
    """Of each coordinate its values (K, d), in order; how far each is from the nearest other one,
    if it repeats, else zero (K, d); the step (d,) of most points, zero if these do not; and the
    interquartile range (d,)."""

    values: jax.Array
    steps: jax.Array
    step: jax.Array
    middle: jax.Array


def unrounded(
    target: Target, points: jax.Array, weights: jax.Array
) -> tuple[Target, jax.Array, Rounding]:
    """A target whose points are spread over what was rounded away, the weights of a sample, where
    rows that repeat count once, and how that was found: of points (n, d) of weights (n,). What is
    neither rounded nor repeated stays the same."""
    found = rounding(points, weights)
    if target.quadrature_error is not None:  # its points lie on a grid of ours
        return target, weights, found._replace(step=jnp.zeros_like(found.step))
    if arrays.is_concrete(found.steps) and not np.any(np.asarray(found.steps)):
        return target, weights, found
    weights = once(points, weights, found)
    return Target(spread(target.points, found), target.weights), weights, found


@jax.jit
def rounding(points: jax.Array, weights: jax.Array) -> Rounding:
    """How points (N, d) of weights (N,) are rounded; those without weight do not count, nor do
    ties that are few, or by chance, as in float32: as rare as distances a little longer."""
    some = weights > 0
    num = jnp.sum(some, dtype=jnp.int32)
    size = jnp.max(jnp.where(some[:, None], jnp.abs(points), 0), axis=0)
    alike = _ULPS * jnp.finfo(points.dtype).eps * size
    x = _in_order(jnp.where(some[:, None], points, jnp.inf))
    gap = jnp.concatenate([jnp.full_like(x[:1], jnp.inf), x[1:] - x[:-1]])
    begins = ~(gap <= alike[None])
    each = jax.vmap(functools.partial(_steps, num), (1, 1), (1, 0))
    none = (jnp.zeros_like(x), jnp.zeros_like(size))
    tied = jnp.sum(~begins, axis=0, dtype=jnp.int32)
    near = jnp.sum(gap <= 3 * alike[None], axis=0, dtype=jnp.int32)  # thrice as many, by chance
    no_ties = (_FEW * tied <= num) | (near > 2 * tied)
    begins = begins | no_ties[None]
    all_differ = jnp.all(no_ties)
    steps, step = jax.lax.cond(all_differ, lambda: none, lambda: each(gap, begins))
    return Rounding(x, steps, step, x[3 * num // 4] - x[num // 4])


def _in_order(x: jax.Array) -> jax.Array:
    """The columns of x (N, d) in order, as integers, which XLA's sort for CPUs compares five times
    as fast: those of positive floats have their order, those of negative ones the reverse."""
    kind = jnp.int32 if x.dtype == jnp.float32 else jnp.int64
    turned = lambda i: jnp.where(i < 0, i ^ jnp.iinfo(kind).max, i)  # noqa: E731
    order = jnp.sort(turned(jax.lax.bitcast_convert_type(x, kind)), axis=0)
    return jax.lax.bitcast_convert_type(turned(order), x.dtype)


def _steps(num: jax.Array, gap: jax.Array, begins: jax.Array) -> tuple[jax.Array, ...]:
    """`steps` and `step` of one coordinate of so many points (), from the distances (N,) between
    values in order and where another value begins (N,)."""
    N = len(gap)
    number = jnp.cumsum(begins, dtype=jnp.int32) - 1  # of each different value
    before = jax.ops.segment_max(jnp.where(begins, gap, -jnp.inf), number, N)
    after = jnp.concatenate([before[1:], before[:1]])
    after = jnp.where(after < 0, jnp.inf, after)
    apart = jnp.minimum(before, after)
    nearest = jnp.arange(N, dtype=jnp.int32) + jnp.where(
        before <= after, jnp.int32(-1), jnp.int32(1)
    )
    apart = jnp.minimum(apart, _WIDEST * apart[nearest])  # of values far from all others
    repeats = jax.ops.segment_sum(jnp.ones_like(number), number, N) > 1
    steps = jnp.where(repeats & jnp.isfinite(apart), apart, 0)[number]
    return steps, jnp.sort(steps)[N - num // 2 - 1]


@jax.jit
def once(points: jax.Array, weights: jax.Array, found: Rounding) -> jax.Array:
    """The weights (N,) of points of which each row counts once, the first of equal ones with the
    weight of all, where rows as a whole are repeated, as in resamples: more of them have a twin
    than have a neighbour. Else the weights as they are: where rows are only rounded, cells of
    their grid beside a full one are as full."""
    x, some = points - points[:1], weights > 0
    axis = jnp.cos(jnp.arange(1.0, x.shape[1] + 1, dtype=x.dtype))
    along = jnp.sum(x / jnp.where(found.middle > 0, found.middle, 1)[None] * axis[None], axis=1)
    order = jnp.argsort(jnp.where(some, along, jnp.inf))
    x, own = points[order], weights[order]
    begins = jnp.concatenate([jnp.ones(1, bool), jnp.any(x[1:] != x[:-1], axis=1)])
    number = jnp.cumsum(begins) - 1
    total = jax.ops.segment_sum(own, number, len(own))[number]
    first = jnp.zeros_like(weights).at[order].set(jnp.where(begins, total, 0))
    twins, neighbours = _accompanied(points, some, found)
    several = jnp.sum(first > 0) >= _FEWEST * (x.shape[1] + 1)
    are_repeated = (x.shape[1] > 1) & several & (twins > neighbours + _MORE)
    return jnp.where(are_repeated, first, weights)


def _accompanied(
    points: jax.Array, some: jax.Array, found: Rounding
) -> tuple[jax.Array, jax.Array]:
    """The shares () of the rows, where there are `some` (N,), that have an equal one, and that have
    one which differs by no more than a step in each coordinate; of 1024 rows at most."""
    draw = jnp.where(some, _scattered(jnp.arange(len(points), dtype=jnp.uint32), points.dtype), 2)
    rows = jnp.argsort(draw)[:_LOOKED_AT]
    x, some = points[rows], some[rows]
    near = _NEAR * _steps_of(x, found)

    def one(row: jax.Array) -> tuple[jax.Array, jax.Array]:
        apart = jnp.abs(x - x[row][None])
        is_equal = jnp.all(apart == 0, axis=1)
        is_near = jnp.all(apart <= jnp.maximum(near, near[row][None]), axis=1) & ~is_equal
        return jnp.sum(is_equal & some) > 1, jnp.any(is_near & some)

    shares = jax.lax.map(one, jnp.arange(len(x), dtype=jnp.int32))
    twins, neighbours = (jnp.sum(share & some) / jnp.sum(some) for share in shares)
    return twins, neighbours


@jax.jit
def spread(points: jax.Array, found: Rounding) -> jax.Array:
    """Points (N, d), each coordinate of which that is rounded is spread over a triangle as wide as
    two steps, so that neighbours overlap and their sum has no steps; always in the same way."""

    share = _scattered(jnp.arange(points.size, dtype=jnp.uint32), points.dtype)
    low = jnp.sqrt(2 * jnp.minimum(share, 1 - share))  # of the triangle's distribution function
    noise = jnp.where(share < 0.5, low - 1, 1 - low).reshape(points.shape)
    return points + map_points(lambda x: _steps_of(x, found), points) * noise


def _steps_of(x: jax.Array, found: Rounding) -> jax.Array:
    one = lambda values, steps, x: steps[_nearest(values, x)]  # noqa: E731
    return jax.vmap(one, (1, 1, 1), 1)(found.values, found.steps, x)


def _scattered(number: jax.Array, dtype: Any) -> jax.Array:
    """Numbers 0, 1, … as if drawn from [0, 1] (Wellons 2018, the hash lowbias32): what is compiled
    in a tenth of the time that JAX's generators take."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        number = (number ^ (number >> shift)) * jnp.uint32(factor)
    return number.astype(dtype) / 2.0**32


def _nearest(values: jax.Array, x: jax.Array) -> jax.Array:
    right = jnp.clip(jnp.searchsorted(values, x), 1, len(values) - 1)
    return jnp.where(x - values[right - 1] <= values[right] - x, right - 1, right)
