"""Ground-truth mixtures for studies: m means in d dimensions, nearest pairs `separation` apart."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._model.mixture import make_mixture

_CANDIDATES = 32


def simplex(m: int, d: int, separation: Any, weights: Any = None) -> Mixture:
    """Regular simplex: every pair of the m means is `separation` apart. Needs m <= d + 1.

    Args:
      m: static, number of components.
      d: static, dimension.
      separation: () distance, positive, traced.
      weights: (m,) normalised to sum to one; equal by default.

    >>> import gemjax as gj
    >>> means = gj.truth.simplex(3, 2, separation=6.0).means
    >>> round(float(jnp.linalg.norm(means[0] - means[2])), 5)
    6.0
    """
    m, d, separation = _arguments(m, d, separation)
    if m > d + 1:
        raise ValueError(f"m must be at most d + 1 = {d + 1} for a simplex, got {m}")
    # Helmert's rows turn the corners e_i / √2, at distance one, into m − 1 dimensions.
    unit = np.zeros((m, d))
    for k in range(1, m):
        unit[:k, k - 1] = 1 / math.sqrt(2 * k * (k + 1))
        unit[k, k - 1] = -k / math.sqrt(2 * k * (k + 1))
    return _scaled(unit, separation, weights)


def ring(m: int, d: int, separation: Any, weights: Any = None) -> Mixture:
    """m means evenly on a circle in the first two dimensions, neighbours `separation` apart.

    Args:
      m: static, number of components.
      d: static, dimension, at least 2.
      separation: () distance, positive, traced.
      weights: (m,) normalised to sum to one; equal by default.

    >>> import gemjax as gj
    >>> means = gj.truth.ring(4, 2, separation=2.0).means
    >>> round(float(jnp.linalg.norm(means[0] - means[1])), 5)
    2.0
    """
    m, d, separation = _arguments(m, d, separation)
    if d < 2:
        raise ValueError(f"d must be at least 2 for a ring, got {d}")
    radius = 0.0 if m == 1 else 0.5 / math.sin(math.pi / m)
    angle = 2 * math.pi * np.arange(m) / m
    unit = np.zeros((m, d))
    unit[:, 0], unit[:, 1] = radius * np.cos(angle), radius * np.sin(angle)
    return _scaled(unit, separation, weights)


def grid(m: int, d: int, separation: Any, weights: Any = None) -> Mixture:
    """The first m places of a cubic lattice with spacing `separation`, centred.

    The lattice has the smallest side k with k^d >= m, and fills its last dimension first.

    Args:
      m: static, number of components.
      d: static, dimension.
      separation: () distance, positive, traced.
      weights: (m,) normalised to sum to one; equal by default.

    >>> import gemjax as gj
    >>> gj.truth.grid(4, 2, separation=2.0).means.tolist()
    [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    """
    m, d, separation = _arguments(m, d, separation)
    side = 1
    while side**d < m:
        side += 1
    unit = np.zeros((m, d))
    rest = np.arange(m)
    for axis in range(d - 1, -1, -1):
        unit[:, axis] = rest % side
        rest = rest // side
    return _scaled(unit - unit.mean(axis=0), separation, weights)


def random(key: jax.Array, m: int, d: int, separation: Any, weights: Any = None) -> Mixture:
    """m means scattered at random, the nearest pair `separation` apart, the others farther.

    Each mean is the one of 32 normal draws that is farthest from those before it (Mitchell's best
    candidate), and the whole is then scaled: the separation holds for every key, under `jit` too.

    Args:
      key: a JAX random key.
      m: static, number of components.
      d: static, dimension.
      separation: () distance, positive, traced.
      weights: (m,) normalised to sum to one; equal by default.

    >>> import gemjax as gj
    >>> means = gj.truth.random(jax.random.key(0), 5, 3, separation=4.0).means
    >>> distances = jnp.linalg.norm(means[:, None] - means[None], axis=-1)[jnp.triu_indices(5, 1)]
    >>> bool(distances.min() >= 4.0)
    True
    """
    checks.key("key", key)
    m, d, separation = _arguments(m, d, separation)
    if m == 1:
        return _scaled(np.zeros((1, d)), separation, weights)
    draws = jax.random.normal(key, (m, _CANDIDATES, d), separation.dtype)

    def place(means: jax.Array, turn: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        k, candidates = turn
        distance = _distances(candidates, means)
        nearest = jnp.min(jnp.where(jnp.arange(m)[None] < k, distance, jnp.inf), axis=1)
        return means.at[k].set(candidates[jnp.argmax(nearest)]), None

    start = jnp.zeros((m, d), separation.dtype).at[0].set(draws[0, 0])
    means, _ = jax.lax.scan(place, start, (jnp.arange(1, m), draws[1:]))
    means = means - means.mean(axis=0, keepdims=True)
    distance = jnp.where(jnp.eye(m, dtype=bool), jnp.inf, _distances(means, means))
    # A few ulps more, so that rounding does not bring the pair below `separation`.
    slack = 1 + 16 * jnp.finfo(separation.dtype).eps
    return make_mixture(means * (slack * separation / jnp.min(distance)), weights)


def _arguments(m: Any, d: Any, separation: Any) -> tuple[int, int, jax.Array]:
    dtype = arrays.floating("separation", separation).dtype
    return (
        checks.count("m", m),
        checks.count("d", d),
        arrays.scalar("separation", separation, dtype, above=0),
    )


def _scaled(unit: np.ndarray, separation: jax.Array, weights: Any) -> Mixture:
    return make_mixture(jnp.asarray(unit, separation.dtype) * separation, weights)


def _distances(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum((a[:, None] - b[None]) ** 2, axis=-1))


# Truths by name; `random` takes a key first.
KINDS = {"simplex": simplex, "ring": ring, "grid": grid, "random": random}
