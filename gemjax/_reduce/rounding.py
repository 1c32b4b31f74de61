"""Coordinates that are rounded: how widely, and points spread over what was rounded away.

Ties have a density without bound, whatever the criterion: a component on each line of a grid. So
rounded values are spread by noise of the width of their steps, as where densities of whole numbers
are fitted by continuous ones (Uria, Murray and Larochelle 2013; Theis, van den Oord and Bethge
2016, section 3.1).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays
from gemjax._points.target import Target
from gemjax._points.walk import map_points

_WIDEST = 2  # of the typical step, for values far from others
_STREAM = 4  # of the key's: others split it
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
    key: jax.Array, target: Target, points: jax.Array, weights: jax.Array
) -> tuple[Target, Rounding]:
    """A target whose points are spread over what was rounded away, and what that is; `target`
    itself where nothing was, as far as a sample shows: points (n, d) of weights (n,)."""
    found = rounding(points, weights)
    if target.quadrature_error is not None:  # its points lie on a grid of ours
        return target, found._replace(step=jnp.zeros_like(found.step))
    if arrays.is_concrete(found.steps) and not np.any(np.asarray(found.steps)):
        return target, found
    return Target(spread(key, target.points, found), target.weights), found


@jax.jit
def rounding(points: jax.Array, weights: jax.Array) -> Rounding:
    """How points (N, d) of weights (N,) are rounded."""
    return Rounding(*jax.vmap(_of_one, (1, None), (1, 1, 0, 0))(points, weights))


def _of_one(x: jax.Array, weights: jax.Array) -> tuple[jax.Array, ...]:
    some = weights > 0
    size = jnp.max(jnp.where(some, jnp.abs(x), 0))
    order = jnp.argsort(jnp.where(some, x, jnp.inf))
    x, weights = jnp.where(some, x, jnp.inf)[order], weights[order]
    number = jnp.arange(len(x))
    gap = jnp.concatenate([jnp.full(1, jnp.inf, x.dtype), x[1:] - x[:-1]])
    begins = ~(gap <= _ULPS * jnp.finfo(x.dtype).eps * size)
    first = jax.lax.cummax(jnp.where(begins, number, 0))
    ends = jnp.concatenate([begins[1:], jnp.ones(1, bool)])
    last = jax.lax.cummin(jnp.where(ends, number, len(x) - 1), reverse=True)
    beyond = jnp.concatenate([gap[1:], jnp.full(1, jnp.inf, x.dtype)])
    apart = jnp.minimum(gap[first], beyond[last])
    repeats = (last > first) & jnp.isfinite(apart)
    apart = jnp.where(repeats, apart, 0)
    typical = _quantile(apart, jnp.where(repeats, weights, 0))
    steps = jnp.minimum(apart, _WIDEST * typical)
    middle = _quantile(x, weights, 0.75) - _quantile(x, weights, 0.25)
    return x, steps, _quantile(steps, weights), middle


def _quantile(values: jax.Array, weights: jax.Array, share: float = 0.5) -> jax.Array:
    order = jnp.argsort(values)
    total = jnp.cumsum(weights[order])
    return values[order][jnp.argmax(total >= share * total[-1])]


@jax.jit
def spread(key: jax.Array, points: jax.Array, found: Rounding) -> jax.Array:
    """Points (N, d), each coordinate of which that is rounded is spread over a triangle as wide as
    two steps, so that neighbours overlap and their sum has no steps."""

    def steps_of(x: jax.Array) -> jax.Array:
        one = lambda values, steps, x: steps[_nearest(values, x)]  # noqa: E731
        return jax.vmap(one, (1, 1, 1), 1)(found.values, found.steps, x)

    key = jax.random.fold_in(key, _STREAM)
    both = jax.random.uniform(key, (2, *points.shape), points.dtype)
    return points + map_points(steps_of, points) * (both[0] - both[1])


def _nearest(values: jax.Array, x: jax.Array) -> jax.Array:
    right = jnp.clip(jnp.searchsorted(values, x), 1, len(values) - 1)
    return jnp.where(x - values[right - 1] <= values[right] - x, right - 1, right)
