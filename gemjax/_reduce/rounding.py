"""Coordinates that are rounded: how widely, and points spread over what was rounded away.

Ties have a density without bound, whatever the criterion: a component on each line of a grid. So
rounded values are spread by noise of the width of their steps, as where densities of whole numbers
are fitted by continuous ones (Uria, Murray and Larochelle 2013; Theis, van den Oord and Bethge
2016, section 3.1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays
from gemjax._points.target import Target
from gemjax._points.walk import map_points

_WIDEST = 2  # of the typical step, for values far from others
_ULPS = 16  # by which equal values may differ


class Rounding(NamedTuple):
    """Of each coordinate its values (K, d), in order; how far each is from the nearest other one,
    if it repeats, else zero (K, d); the step (d,) of most points, zero if these do not; and the
    interquartile range (d,)."""

    values: jax.Array
    steps: jax.Array
    step: jax.Array
    middle: jax.Array


def unrounded(target: Target, points: jax.Array, weights: jax.Array) -> tuple[Target, Rounding]:
    """A target whose points are spread over what was rounded away, and what that is; `target`
    itself where nothing was, as far as a sample shows: points (n, d) of weights (n,)."""
    found = rounding(points, weights)
    if target.quadrature_error is not None:  # its points lie on a grid of ours
        return target, found._replace(step=jnp.zeros_like(found.step))
    if arrays.is_concrete(found.steps) and not np.any(np.asarray(found.steps)):
        return target, found
    return Target(spread(target.points, found), target.weights), found


@jax.jit
def rounding(points: jax.Array, weights: jax.Array) -> Rounding:
    """How points (N, d) of weights (N,) are rounded; those without weight do not count."""
    return Rounding(*jax.vmap(_of_one, (1, None), (1, 1, 0, 0))(points, weights > 0))


def _of_one(x: jax.Array, some: jax.Array) -> tuple[jax.Array, ...]:
    N, num = len(x), jnp.sum(some)
    alike = _ULPS * jnp.finfo(x.dtype).eps * jnp.max(jnp.where(some, jnp.abs(x), 0))
    x = jnp.sort(jnp.where(some, x, jnp.inf))
    gap = jnp.concatenate([jnp.full(1, jnp.inf, x.dtype), x[1:] - x[:-1]])
    begins = ~(gap <= alike)
    number = jnp.cumsum(begins) - 1  # of each different value
    before = jax.ops.segment_max(jnp.where(begins, gap, -jnp.inf), number, N)
    after = jnp.concatenate([before[1:], before[:1]])
    apart = jnp.minimum(before, jnp.where(after < 0, jnp.inf, after))
    repeats = jax.ops.segment_sum(jnp.ones_like(number), number, N) > 1
    apart = jnp.where(repeats & jnp.isfinite(apart), apart, 0)[number]
    ordered, once = jnp.sort(apart), jnp.sum(apart == 0)
    widest = _WIDEST * ordered[(once + N) // 2]
    step = jnp.minimum(ordered[N - num // 2 - 1], widest)
    return x, jnp.minimum(apart, widest), step, x[3 * num // 4] - x[num // 4]


@jax.jit
def spread(points: jax.Array, found: Rounding) -> jax.Array:
    """Points (N, d), each coordinate of which that is rounded is spread over a triangle as wide as
    two steps, so that neighbours overlap and their sum has no steps; always in the same way."""

    def steps_of(x: jax.Array) -> jax.Array:
        one = lambda values, steps, x: steps[_nearest(values, x)]  # noqa: E731
        return jax.vmap(one, (1, 1, 1), 1)(found.values, found.steps, x)

    share = _scattered(jnp.arange(points.size, dtype=jnp.uint32), points.dtype)
    low = jnp.sqrt(2 * jnp.minimum(share, 1 - share))  # of the triangle's distribution function
    noise = jnp.where(share < 0.5, low - 1, 1 - low).reshape(points.shape)
    return points + map_points(steps_of, points) * noise


def _scattered(number: jax.Array, dtype: Any) -> jax.Array:
    """Numbers 0, 1, … as if drawn from [0, 1] (Wellons 2018, the hash lowbias32): what is compiled
    in a tenth of the time that JAX's generators take."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        number = (number ^ (number >> shift)) * jnp.uint32(factor)
    return number.astype(dtype) / 2**32


def _nearest(values: jax.Array, x: jax.Array) -> jax.Array:
    right = jnp.clip(jnp.searchsorted(values, x), 1, len(values) - 1)
    return jnp.where(x - values[right - 1] <= values[right] - x, right - 1, right)
