"""Means by decomposing the third moment tensor, as a start."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from gemjax._base import checks
from gemjax._base.records import Mixture
from gemjax._model.mixture import equally_weighted
from gemjax._numerics.finite import safe_divide, safe_norm
from gemjax._numerics.subspace import mean_and_covariance, principal
from gemjax._points.target import Target, in_memory
from gemjax._points.walk import sum_points

_RESTARTS = 16  # random starts of the power method per factor
_ROUNDS = 30  # of all of them, and as many more of the best: each squares the error
_NUMBERS = 2**22  # most numbers in a block of points


def tensor(key: jax.Array, target: Target, n: int, rank: int) -> Mixture:
    """`rank` means from the third moments of the target, and n − `rank` draws around them.

    The method of moments for identity covariance: with He_k Hermite tensors, E[He_2] = Σ π μμᵀ and
    E[He_3] = Σ π μ⊗μ⊗μ. In coordinates that make the first the identity the second has orthogonal
    factors, found one after the other by the power method (Hsu and Kakade 2013; Anandkumar, Ge,
    Hsu, Kakade and Telgarsky 2014, sections 3.2, 4.3 and 5). No local optima, and in many
    dimensions no clusters at √d from every point: what it needs is enough points, whose number
    grows with powers of `rank` and of the inverse of the least weight.

    That asks for independent μ. Here they are (μ − E[x], 1), a coordinate without noise added: so
    the means need only be affinely independent, as in a simplex, and nothing depends on where the
    origin is. Third moments are taken of points projected on the `rank` − 1 principal directions:
    no tensor has d³ entries. The noise must have variance one.

    Directions whose variance is not above that of noise alone are left out. Where that leaves fewer
    than `rank` factors, points drawn from the target stand for the missing ones. Derivatives
    in the points are those of the rounds as run, so of the factors once these have settled; first
    and second ones are right, the choice of the best restart is held fixed.

    Time O(N d² + N `rank`³ + d³ + `rank`⁴), memory O(N d + `rank`³).

    Args:
      key: a JAX random key.
      target: the weighted points, (N, d), in standard deviations of the noise.
      n: static, number of components, at least `rank`.
      rank: static, number of factors, the m of the truth, from 1 to d + 1.

    Returns:
      n components of equal weight, the means of the factors first.

    Raises:
      ValueError: a rank beyond d + 1, or beyond n.
      TypeError: a target that is not in memory.

    >>> import gemjax as gj
    >>> truth = gj.truth.simplex(3, 4, separation=6.0)
    >>> target = gj.empirical(gj.sample(jax.random.key(1), truth, 5000))
    >>> start = gj.initialize.tensor(jax.random.key(0), target, 3, rank=3)
    >>> bool(gj.recovery(start, truth, tolerance=0.5).recovered)
    True
    """
    checks.key("key", key)
    target, n = in_memory("target", target), checks.count("n", n)
    rank, d = checks.count("rank", rank), target.points.shape[1]
    if rank > d + 1:
        raise ValueError(f"rank must be at most d + 1 = {d + 1}, got {rank}")
    if rank > n:
        raise ValueError(f"rank must be at most the number of components n = {n}, got {rank}")
    return equally_weighted(_decomposed(key, target, n, rank))


@functools.partial(jax.jit, static_argnums=(2, 3), inline=True)
def _decomposed(key: jax.Array, target: Target, n: int, rank: int) -> jax.Array:
    """(n, d) means of the factors, then draws around them."""
    key_points, key_power, key_factor, key_noise = jax.random.split(key, 4)
    centre, covariance = mean_and_covariance(target.points, target.weights)
    whiten, colour, found = _whitening(covariance, target.weights, rank)
    values, vectors = _factors(key_power, _third_moments(target, centre, whiten), rank)
    # A factor √π (v, 1), v the whitened mean, has the value 1/√π.
    means = centre[None] + _times(values[:, None] * vectors[:, 1:], colour)
    there = (jnp.arange(rank, dtype=jnp.int32) < found) & (values > 0)
    means = jnp.where(there[:, None], means, target.draw(key_points, rank))
    # π = 1/λ² of each; none of them where all points are one.
    log_weights = jnp.where(there, -2 * jnp.log(jnp.where(there, values, 1)), -jnp.inf)
    log_weights = jnp.where(jnp.any(there), log_weights, 0)
    factor = jax.random.categorical(key_factor, log_weights, shape=(n - rank,))
    noise = jax.random.normal(key_noise, (n - rank, means.shape[1]), means.dtype)
    return jnp.concatenate([means, means[factor] + noise])


def _whitening(
    covariance: jax.Array, weights: jax.Array, rank: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(d, rank − 1) to coordinates in which the means have variance one, (rank − 1, d) back, and
    the number () of factors that the directions with more variance than noise can tell apart.

    The other directions are zero both ways.
    """
    d = covariance.shape[0]
    directions = principal(covariance, rank - 1)
    means = _times(
        directions.T, _times(covariance - jnp.eye(d, dtype=covariance.dtype), directions)
    )
    # The largest eigenvalue of noise alone is about (1 + √(d/N))² (Marchenko and Pastur 1967);
    # twice its d leaves a margin. N is Kish's for weighted points.
    share = jnp.sqrt(2 * d * jnp.sum(weights * weights))
    signal = jnp.diagonal(means) > share * (2 + share)
    means = jnp.where(signal[:, None] & signal[None], means, jnp.eye(rank - 1, dtype=means.dtype))
    # Not the inverse square root: that has no derivative where eigenvalues tie.
    root, eye = jnp.linalg.cholesky(means), jnp.eye(rank - 1, dtype=means.dtype)
    inverse = jax.scipy.linalg.solve_triangular(root, eye, lower=True)
    whiten = _times(directions, jnp.where(signal[None], inverse.T, 0))
    colour = _times(directions, jnp.where(signal[None], root, 0)).T
    return whiten, colour, 1 + jnp.sum(signal, dtype=jnp.int32)


def _third_moments(target: Target, centre: jax.Array, whiten: jax.Array) -> jax.Array:
    """(rank, rank, rank) E[He_3] of the whitened points, a one before their coordinates."""
    rank = whiten.shape[1] + 1

    def moments(points: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        inside = _times(points - centre[None], whiten)
        x = jnp.concatenate([jnp.ones_like(points[:, :1]), inside], axis=1)
        pairs = (x[:, :, None] * x[:, None]).reshape(-1, rank * rank)
        return _times(weights, x), _times((weights[:, None] * x).T, pairs)

    first, third = sum_points(moments, target, max(1, _NUMBERS // rank**2))
    # The covariance of the noise in these coordinates; the one has none.
    noise = jnp.pad(_times(whiten.T, whiten), ((1, 0), (1, 0)))
    part = first[:, None, None] * noise[None]
    part = part + jnp.moveaxis(part, 0, 1) + jnp.moveaxis(part, 0, 2)
    return third.reshape(rank, rank, rank) - part


def _factors(key: jax.Array, moments: jax.Array, rank: int) -> tuple[jax.Array, jax.Array]:
    """Values (rank,) and unit vectors (rank, rank) of Σ λ v⊗v⊗v, the v orthogonal.

    Each is the best of some restarts of the power method, and is taken off the tensor.
    """

    def power(rest: jax.Array, vectors: jax.Array) -> jax.Array:
        pairs = (vectors[:, :, None] * vectors[:, None]).reshape(-1, rank * rank)
        return _times(pairs, rest.reshape(rank * rank, rank))

    def rounds(rest: jax.Array, vectors: jax.Array) -> jax.Array:
        def one(vectors: jax.Array, _: None) -> tuple[jax.Array, None]:
            moved = power(rest, vectors)
            return safe_divide(moved, safe_norm(moved, axis=1)[:, None]), None

        return jax.lax.scan(one, vectors, None, _ROUNDS)[0]

    def extract(rest: jax.Array, start: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        vectors = rounds(rest, start)
        best = jnp.argmax(jnp.sum(vectors * power(rest, vectors), axis=1))
        vector = rounds(rest, vectors[best][None])
        value = jnp.sum(vector * power(rest, vector))
        vector = vector[0]
        pair = vector[:, None] * vector[None]
        return rest - value * (pair[:, :, None] * vector[None, None]), (value, vector)

    starts = jax.random.normal(key, (rank, _RESTARTS, rank), moments.dtype)
    return jax.lax.scan(extract, moments, starts)[1]


_times = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
