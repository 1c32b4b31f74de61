"""Cholesky factors, determinants and floors of covariance matrices (…, d, d)."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

_ELIMINATED = 12  # most dimensions

times = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def identity_like(matrices: jax.Array) -> jax.Array:
    """(…, d, d) identity matrices, as many as there are matrices."""
    return jnp.broadcast_to(jnp.eye(matrices.shape[-1], dtype=matrices.dtype), matrices.shape)


def factor(matrices: jax.Array) -> jax.Array:
    """(…, d, d) L with L Lᵀ = Σ, lower triangular; NaN where Σ is not positive definite."""
    return jnp.linalg.cholesky(matrices)


def inverse_factor(matrices: jax.Array) -> jax.Array:
    """(…, d, d) L⁻¹, so that |L⁻¹ v|² = vᵀ Σ⁻¹ v."""
    eye = identity_like(matrices)
    return jax.scipy.linalg.solve_triangular(factor(matrices), eye, lower=True)


def log_determinant(factors: jax.Array) -> jax.Array:
    """(…) log det Σ from L, or −log det Σ from L⁻¹; from the diagonal alone, so that derivatives
    are finite."""
    return 2 * jnp.sum(jnp.log(jnp.diagonal(factors, axis1=-2, axis2=-1)), axis=-1)


def log_determinants(matrices: jax.Array) -> jax.Array:
    """(…) log det Σ of many small matrices at once, by elimination along whole arrays: factors of
    LAPACK's, one after the other, take several times as long. Others go there."""
    d = matrices.shape[-1]
    if d > _ELIMINATED:
        return log_determinant(factor(matrices))
    rows = jnp.moveaxis(matrices, (-2, -1), (0, 1))
    total = jnp.zeros_like(rows[0, 0])
    for k in range(d):
        total = total + jnp.log(rows[0, 0])
        if k < d - 1:
            rows = rows[1:, 1:] - (rows[1:, :1] * rows[:1, 1:]) / rows[:1, :1]
    return total


def least_eigenvalue(matrices: jax.Array) -> jax.Array:
    """(…) a lower bound of the smallest eigenvalue: 1 / trace of the inverse."""
    inverse = inverse_factor(matrices)
    return 1 / jnp.sum(inverse * inverse, axis=(-2, -1))


def is_floored(matrices: jax.Array, floor: Any) -> jax.Array:
    """(…) bool, whether an eigenvalue is the floor, or below, up to rounding."""
    eye = identity_like(matrices)
    eps = float(jnp.finfo(matrices.dtype).eps)
    size = jnp.trace(matrices, axis1=-2, axis2=-1)
    slack = jnp.asarray(floor, matrices.dtype) + 8 * eps * size
    low = jnp.any(jnp.isnan(factor(matrices - slack[..., None, None] * eye)), axis=(-2, -1))
    return low & (jnp.asarray(floor) > 0)


def raised(matrices: jax.Array, floor: Any) -> jax.Array:
    """Σ with eigenvalues below the floor set to it, and untouched where there are none."""
    floor = jnp.asarray(floor, matrices.dtype)
    eye = identity_like(matrices)
    low = jnp.any(jnp.isnan(factor(matrices - floor * eye)), axis=(-2, -1)) & (floor > 0)
    some = low[..., None, None]
    # Others do not enter the spectral function, so that equal eigenvalues do not matter there.
    return jax.lax.cond(
        jnp.any(low),
        lambda: jnp.where(some, _clipped(jnp.where(some, matrices, eye), floor), matrices),
        lambda: matrices,
    )


@jax.custom_jvp
def _clipped(matrices: jax.Array, floor: jax.Array) -> jax.Array:
    """V max(λ, floor) Vᵀ of Σ = V λ Vᵀ."""
    values, vectors = jnp.linalg.eigh(matrices)
    return times(vectors * jnp.maximum(values, floor)[..., None, :], vectors.swapaxes(-1, -2))


@_clipped.defjvp
def _clipped_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """Of a function f of the eigenvalues, V (F ∘ Vᵀ dΣ V) Vᵀ with F_ab = (f(λ_a) − f(λ_b)) /
    (λ_a − λ_b), or f'(λ_a) where they are equal (Daleckii and Krein 1965).

    Here F is 1 above the floor, 0 below, and in between has no cancellation.
    """
    (matrices, floor), (change, dfloor) = primals, tangents
    values, vectors = jnp.linalg.eigh(matrices)
    inverse = vectors.swapaxes(-1, -2)
    a, b = values[..., :, None], values[..., None, :]
    high, low = jnp.maximum(a, b), jnp.minimum(a, b)
    mixed = (high > floor) & (low <= floor)
    between = (high - floor) / jnp.where(mixed, high - low, 1)
    F = jnp.where(mixed, between, jnp.where(low > floor, 1, 0))
    moved = times(times(vectors, F * times(times(inverse, change), vectors)), inverse)
    below = jnp.where(values > floor, 0, 1)
    moved = moved + times(vectors * (below * dfloor)[..., None, :], inverse)
    return _clipped(matrices, floor), moved
