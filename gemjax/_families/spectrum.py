"""Cholesky factors, determinants and floors of covariance matrices (…, d, d)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gemjax._numerics.lapack import eigh, factor, inverse_triangular, times

_ELIMINATED = 12  # most dimensions


def identity_like(matrices: jax.Array) -> jax.Array:
    """(…, d, d) identity matrices, as many as there are matrices."""
    return jnp.broadcast_to(jnp.eye(matrices.shape[-1], dtype=matrices.dtype), matrices.shape)


def inverse_factor(matrices: jax.Array) -> jax.Array:
    """(…, d, d) L⁻¹, so that |L⁻¹ v|² = vᵀ Σ⁻¹ v."""
    return inverse_triangular(factor(matrices))


def solved(matrices: jax.Array, vectors: jax.Array) -> jax.Array:
    """(…, d) Σ⁻¹ v for vectors (…, d)."""
    inverse = inverse_factor(matrices)
    return times(times(inverse, vectors[..., None]).swapaxes(-1, -2), inverse)[..., 0, :]


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


def least_deviation(matrices: jax.Array) -> jax.Array:
    """() the smallest standard deviation of covariances in any direction."""
    least = jnp.min(eigh(matrices)[0])
    return jnp.sqrt(jnp.maximum(least, jnp.finfo(least.dtype).tiny))


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
    return jax.lax.cond(
        jnp.any(low),
        lambda: jnp.where(some, floor * eye + _positive(matrices - floor * eye), matrices),
        lambda: matrices,
    )


def _positive(matrices: jax.Array) -> jax.Array:
    """V max(λ, 0) Vᵀ of V λ Vᵀ, with derivatives right to second order.

    Those of V have factors 1/(λ_a − λ_b), which cancel, but not where eigenvalues are equal, as of
    a component on one point, for which there is a floor. So V and λ are held fixed, and a change δ,
    zero in value, is added as the first two terms of its series (Daleckii and Krein 1965), with the
    divided differences of max(λ, 0) as factors: sums of |λ|, no differences. A rule for the first
    derivative would be lost where JAX drops rules (see `sequential.py`).
    """
    fixed = jax.lax.stop_gradient(matrices)
    values, vectors = eigh(fixed)
    inverse = vectors.swapaxes(-1, -2)
    change = times(times(inverse, matrices - fixed), vectors)
    up, size = values > 0, jnp.abs(values)
    a, b = up[..., :, None], up[..., None, :]
    apart = size[..., :, None] + size[..., None, :]
    across = jnp.where(a != b, 1 / jnp.where(a != b, apart, 1), 0)
    left, right = across * size[..., :, None], across * size[..., None, :]
    first = jnp.where(a & b, 1, jnp.where(a, left, 0) + jnp.where(b, right, 0)) * change
    # Σ_b f[λ_a, λ_b, λ_c] δ_ab δ_bc, where f[·] is |λ| of the one whose sign is not the others',
    # over its sums with these.
    mixed, alike = across * change, jnp.where(a == b, change, 0)
    second = times(mixed * size[..., None, :], mixed)
    second = second + left * times(mixed, alike) + right * times(alike, mixed)
    inner = jnp.maximum(values, 0)[..., None] * identity_like(matrices) + first + second
    return times(times(vectors, inner), inverse)
