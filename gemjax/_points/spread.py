"""How far points are apart, in standard deviations of the noise, and what that costs in digits.

A product x·μ − |μ|²/2 is wrong by eps R², R the spread of the points, and what is left of it after
|x|²/2 was taken off may be of the size of one: float32 has lost 1e-3 nats at R = 100 and everything
at 1e4. Differences x − μ lose nothing between a point and a mean that are near, and those that are
far do not matter. They cost several times as much, so they are taken where they are needed and that
is known: a target knows it of itself, once it was made of values, and takes it along into `jit`.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._numerics.pytree import vary_alike

_EXTENT_ROWS = 2**16
# eps R² of products, in nats: above the first differences are taken where it is known, above the
# second the digits that are left are no longer to be trusted.
_TAKE_DIFFERENCES = 5e-4
_LOST_PRODUCTS = 1e-2
# Half an ulp of a coordinate, in standard deviations, above which its own digits are too few.
_LOST_PLACES = 0.02


def is_far_apart(radius: Any, dtype: Any) -> bool:
    """Whether points within this distance () of their mean want differences."""
    return float(radius) ** 2 * float(jnp.finfo(dtype).eps) > _TAKE_DIFFERENCES


def radius_about(points: np.ndarray, centre: np.ndarray) -> float:
    """Largest distance of points (N, d) from a place (d,); on the host, so nothing is compiled."""
    rows = range(0, len(points), _EXTENT_ROWS)
    apart = (points[first : first + _EXTENT_ROWS] - centre for first in rows)
    with np.errstate(over="ignore"):
        return float(np.sqrt(max(np.einsum("ij,ij->i", part, part).max() for part in apart)))


def is_imprecise(centre: jax.Array, radius: jax.Array, reach: jax.Array | None) -> jax.Array:
    """() bool, whether the precision cannot do what is asked of it.

    `reach` () is the most by which log densities differ, where they come from products.
    """
    eps = float(jnp.finfo(radius.dtype).eps)
    lost = eps / 2 * (radius + jnp.sqrt(jnp.sum(centre * centre))) > _LOST_PLACES
    return lost if reach is None else lost | (2 * eps * reach > _LOST_PRODUCTS)


@functools.partial(jax.jit, static_argnums=1)
def extent(target: Any, axis: str | None) -> tuple[jax.Array, jax.Array]:
    """The mean (d,) and the largest distance () from it, without a copy of the points."""
    target = jax.lax.stop_gradient(target)
    N = target.points.shape[0]
    size = min(N, _EXTENT_ROWS)
    numbers = jnp.arange(-(-N // size), dtype=jnp.int32)

    def add(total: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
        points, weights = target.rows(index, size)
        return total + jnp.sum(weights[:, None] * points, axis=0), None

    def farthest(most: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
        points, _ = target.rows(index, size)
        return jnp.maximum(most, jnp.max(jnp.sum((points - centre[None]) ** 2, axis=1))), None

    zero = vary_alike(jnp.zeros_like(target.points[0]), target)
    centre, _ = jax.lax.scan(add, zero, numbers)
    centre = centre if axis is None else jax.lax.psum(centre, axis)
    square, _ = jax.lax.scan(farthest, zero[0], numbers)
    square = square if axis is None else jax.lax.pmax(square, axis)
    return centre, jnp.sqrt(square)
