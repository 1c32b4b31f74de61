"""Keyed starting points for a fit. All have equal weights, and their means are not differentiated
through the choice of points, only through the points themselves."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from gemjax._base import checks
from gemjax._base.records import Mixture
from gemjax._model.mixture import equally_weighted, sample
from gemjax._model.stream import Stream
from gemjax._model.tensor_start import tensor
from gemjax._numerics.finite import safe_log
from gemjax._numerics.subspace import mean_and_covariance, principal
from gemjax._points.file_target import FileTarget
from gemjax._points.target import Target, checked_target, in_memory


def from_mixture(key: jax.Array, truth: Mixture, n: int) -> Mixture:
    """n independent draws from a known mixture, the start that the paper analyses.

    Args:
      key: a JAX random key.
      truth: the mixture to draw from.
      n: static, number of components, at least 1.

    >>> import gemjax as gj
    >>> truth = gj.make_mixture([[0.0, 0.0], [6.0, 0.0]])
    >>> gj.initialize.from_mixture(jax.random.key(0), truth, 5).means.shape
    (5, 2)
    """
    checks.key("key", key)
    n = checks.count("n", n)
    start = equally_weighted(sample(key, truth, n))
    return dataclasses.replace(start, covariance=truth.covariance.candidates(n))


def from_target(key: jax.Array, target: Target | FileTarget | Stream, n: int) -> Mixture:
    """n of the target's points, drawn by weight.

    The points are distinct (weighted sampling without replacement) as long as there are n points
    of positive weight, so that no two components start, and stay, the same; further ones repeat.

    Args:
      key: a JAX random key.
      target: the weighted points to draw from, a `Target` or a `FileTarget`; of a `Stream` the
        points are n new samples.
      n: static, number of components, at least 1.

    >>> import gemjax as gj
    >>> target = gj.empirical([[0.0], [1.0], [2.0]])
    >>> sorted(gj.initialize.from_target(jax.random.key(0), target, 3).means[:, 0].tolist())
    [0.0, 1.0, 2.0]
    """
    checks.key("key", key)
    target = checked_target("target", target, streams=True)
    n = checks.count("n", n)
    return equally_weighted(target.draw(key, n))


def plus_plus(key: jax.Array, target: Target, n: int) -> Mixture:
    """D² seeding (k-means++, Arthur and Vassilvitskii 2007): n points, each drawn by weight times
    the squared distance to the nearest point drawn before. Time O(N n d), memory O(N).

    Args:
      key: a JAX random key.
      target: the weighted points to draw from.
      n: static, number of components, at least 1.

    >>> import gemjax as gj
    >>> target = gj.empirical([[0.0], [0.0], [0.0], [9.0]])
    >>> sorted(gj.initialize.plus_plus(jax.random.key(0), target, 2).means[:, 0].tolist())
    [0.0, 9.0]
    """
    checks.key("key", key)
    target, n = in_memory("target", target), checks.count("n", n)
    return equally_weighted(spread_out(key, target.points, target.weights, n))


@functools.partial(jax.jit, static_argnums=3, inline=True)
def spread_out(key: jax.Array, points: jax.Array, weights: jax.Array, n: int) -> jax.Array:
    """(n, d) of points (N, d) by D² seeding."""
    log_weights = safe_log(weights)

    def square_distance(i: jax.Array) -> jax.Array:
        return jnp.sum((points - points[i][None]) ** 2, axis=1)

    def draw(nearest: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        score = log_weights + safe_log(nearest)
        # Every point is taken already: repeat some.
        score = jnp.where(jnp.max(score) > -jnp.inf, score, log_weights)
        i = jax.random.categorical(key, score)
        return jnp.minimum(nearest, square_distance(i)), i

    keys = jax.random.split(key, n)
    first = jax.random.categorical(keys[0], log_weights)
    _, rest = jax.lax.scan(draw, square_distance(first), keys[1:])
    return points[jnp.concatenate([first[None], rest])]


def spectral(key: jax.Array, target: Target, n: int, rank: int) -> Mixture:
    """n of the target's points, projected on its top `rank` principal directions about its mean.

    In high dimension a start at raw points is hopeless: all are about √d from every cluster centre,
    and the fit collapses to one component at the grand mean. The top directions contain the
    differences of the true means (Vempala and Wang 2004); `rank` = m − 1, or a few more, keeps
    those and drops the noise. Time O(N d² + d³).

    Args:
      key: a JAX random key.
      target: the weighted points to draw from.
      n: static, number of components, at least 1.
      rank: static, from 1 to d.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-3.0, 0.1], [3.0, -0.1], [-3.0, -0.1], [3.0, 0.1]])
    >>> start = gj.initialize.spectral(jax.random.key(0), target, 4, rank=1)
    >>> bool(jnp.abs(start.means[:, 1]).max() < 0.02)
    True
    """
    checks.key("key", key)
    target, n = in_memory("target", target), checks.count("n", n)
    rank, d = checks.count("rank", rank), target.points.shape[1]
    if rank > d:
        raise ValueError(f"rank must be at most the dimension d = {d}, got {rank}")
    return equally_weighted(_projected(target.draw(key, n), target.points, target.weights, rank))


@functools.partial(jax.jit, static_argnums=3, inline=True)
def _projected(chosen: jax.Array, points: jax.Array, weights: jax.Array, rank: int) -> jax.Array:
    """Points `chosen` (n, d), projected on the top principal directions of all (N, d)."""
    times = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    centre, covariance = mean_and_covariance(points, weights)
    directions = principal(covariance, rank)
    inside = times(chosen - centre[None], directions)
    return centre[None] + times(inside, directions.T)


# Random starts by name; those after key, target and n are settings of their own. `from_mixture`
# takes a truth in place of the target.
STARTS = {
    "from_mixture": from_mixture,
    "from_target": from_target,
    "plus_plus": plus_plus,
    "spectral": spectral,
    "tensor": tensor,
}
