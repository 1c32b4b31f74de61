"""Points of weight zero up to one of few sizes, so that a program serves targets of many."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from gemjax._points.target import Target


def size_for(N: int, bound: int) -> int:
    """The least of 8, 9, …, 15 times a power of two that is not below N; up to the bound, no more
    than that."""
    step = 1 << max(0, N.bit_length() - 4)
    size = -(-N // step) * step
    return min(size, bound) if bound >= N else size


def padded(target: Target, size: int) -> Target:
    """The same distribution as `size` points, of which the last have no weight."""
    if len(target.points) == size:
        return target
    points, weights = _padded(target.points, target.weights, size)
    return dataclasses.replace(target, points=points, weights=weights)


@functools.partial(jax.jit, static_argnums=2)
def _padded(points: jax.Array, weights: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    more = size - len(points)
    again = jnp.broadcast_to(points[:1], (more, points.shape[1]))
    return jnp.concatenate([points, again]), jnp.pad(weights, (0, more))
