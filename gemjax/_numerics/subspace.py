"""Means, covariances and their principal subspaces."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from gemjax._numerics.finite import tiny


def mean_and_covariance(points: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(d,) and (d, d) of points (N, d) with weights (N,), by differences from the mean.

    The mean is that of differences too: far from the origin a sum over many points loses digits.
    """
    times = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    near = times(weights, points)
    mean = near + times(weights, points - near[None])
    centred = points - mean[None]
    return mean, times((weights[:, None] * centred).T, centred)


def principal(covariance: jax.Array, rank: int) -> jax.Array:
    """(d, rank) orthonormal directions of the largest variance, differentiable as a subspace.

    The derivative of `eigh` asks for distinct eigenvalues; that of the subspace needs only the gap
    between those kept and those dropped. With V kept and W dropped, both fixed, and a change E of
    the covariance, V + WX spans the new subspace if
    XΛ_V − Λ_W X = W'EV + W'EW X − X V'EV − X V'EW X (Stewart and Sun 1990, V.2.1). Of the change,
    which is zero, X has the first and second derivatives after two rounds of fixed-point iteration
    from 0; the last term is of third order.
    Directions without any variance, kept or dropped, are alike: nothing moves between them. Where
    another tie runs through the cut the derivative does not exist, and is not finite.
    """
    d = covariance.shape[0]
    values, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(covariance))
    dropped, kept = vectors[:, : d - rank], vectors[:, d - rank :]
    times = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    change = covariance - jax.lax.stop_gradient(covariance)
    a, b = times(kept.T, times(change, kept)), times(dropped.T, times(change, kept))
    c = times(dropped.T, times(change, dropped))
    null = values <= 8 * d * jnp.finfo(values.dtype).eps * values[-1]
    gap = jnp.maximum(values[None, d - rank :] - values[: d - rank, None], tiny(values.dtype))
    gap = jnp.where(null[None, d - rank :] & null[: d - rank, None], jnp.inf, gap)
    x = b / gap
    x = (b + times(c, x) - times(x, a)) / gap
    basis = kept + times(dropped, x)
    # Orthonormal again, by the inverse square root of I + X'X to second order.
    return basis - 0.5 * times(basis, times(x.T, x))
