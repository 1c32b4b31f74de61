"""Symmetric matrices as the products of coordinates that go with their entries."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._families.spectrum import factor, identity_like, times


@functools.cache
def pairs(d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows a and columns b of the pairs a <= b, and (d, d) the number of each pair."""
    # Of 32 bits, whichever way JAX has 64 enabled when this is first asked.
    a, b = (i.astype(np.int32) for i in np.triu_indices(d))
    numbers = np.zeros((d, d), np.int32)
    numbers[a, b] = numbers[b, a] = np.arange(len(a))
    return a, b, numbers


def products(points: jax.Array) -> jax.Array:
    """(…, d(d + 1)/2, C) x_a x_b, a <= b, of points (…, d, C)."""
    a, b, _ = pairs(points.shape[-2])
    return points[..., a, :] * points[..., b, :]


def symmetric(packed: jax.Array, d: int) -> jax.Array:
    """(…, d, d) from its entries a <= b."""
    return packed[..., pairs(d)[2]]


def packed(matrices: jax.Array) -> jax.Array:
    """(…, d(d + 1)/2) the entries a <= b of symmetric matrices."""
    a, b, _ = pairs(matrices.shape[-1])
    return matrices[..., a, b]


def outer(a: jax.Array, b: jax.Array) -> jax.Array:
    return a[..., :, None] * b[..., None, :]


def about_means(means: jax.Array, mass: jax.Array, first: jax.Array) -> jax.Array:
    """(n, d, d) E[ψ (x − μ)(x − μ)ᵀ] − E[ψ x xᵀ] from E[ψ x] (n, d)."""
    half = outer(means, first - 0.5 * mass[:, None] * means)
    return -(half + half.swapaxes(1, 2))


def free_of(matrices: jax.Array) -> Any:
    """Entries of Cholesky factors below the diagonal, and logarithms of those on it."""
    L = factor(matrices)
    return jnp.tril(L, -1), jnp.log(jnp.diagonal(L, axis1=-2, axis2=-1))


def from_free(free: Any) -> jax.Array:
    below, logs = free
    L = jnp.tril(below, -1) + jnp.exp(logs)[..., None] * identity_like(below)
    return times(L, L.swapaxes(-1, -2))
