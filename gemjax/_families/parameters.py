"""What families have in common: bounds, checks, and pairs of components."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._numerics.finite import safe_divide


def at_least(variances: jax.Array, floor: Any) -> jax.Array:
    """Variances, none below the floor; where they meet it, the floor's derivative."""
    return jnp.where(variances > floor, variances, floor)


def excess(v: jax.Array, w: jax.Array) -> jax.Array:
    """½(v/w + w/v) − 1 of variances."""
    return 0.5 * (v - w) ** 2 / (v * w)


def pooled(weights: jax.Array, i: jax.Array, j: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The shares of components i and j in their sum."""
    share = safe_divide(weights[j], weights[i] + weights[j])
    return 1 - share, share


def pair(
    weights: jax.Array,
    log_merged: Callable[[jax.Array, jax.Array], jax.Array],
    log_determinants: jax.Array,
) -> jax.Array:
    """(n, n) ½[(w_i + w_j) log det Σ_ij − w_i log det Σ_i − w_j log det Σ_j], with Σ_ij the
    covariance of the pair: how much the loss rises at most when it is merged (Runnalls 2007).

    `log_merged` gives log det Σ_ij from the shares (n, n) of i and of j in w_i + w_j. Summed as
    differences, so that two components that agree cost nothing but rounding.
    """
    total = weights[:, None] + weights[None]
    p = safe_divide(jnp.broadcast_to(weights[:, None], total.shape), total)
    q = safe_divide(jnp.broadcast_to(weights[None], total.shape), total)
    both = p * log_determinants[:, None] + q * log_determinants[None]
    none = total == 0
    merged = log_merged(jnp.where(none, 0.5, p), jnp.where(none, 0.5, q))
    return jnp.where(none, 0, 0.5 * total * (merged - both))


def check_array(name: str, value: Any, shape: tuple[int, ...], *, positive: bool = False) -> None:
    """Raises ValueError where an array has another shape, or a known value that is not allowed."""
    if np.shape(value) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {np.shape(value)}")
    if isinstance(value, jax.core.Tracer):
        return
    values = np.asarray(value)
    bad = ~(values > 0) if positive else ~(values >= 0)
    if bad.any():
        what = "positive" if positive else "non-negative"
        where = "" if not shape else f" at index {tuple(int(i) for i in np.argwhere(bad)[0])}"
        raise ValueError(f"{name} must be {what}, got {values[bad][0]}{where}")


def check_matrices(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError where covariances are not symmetric and positive definite."""
    if np.shape(value) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {np.shape(value)}")
    if isinstance(value, jax.core.Tracer):
        return
    matrices = np.asarray(value, np.float64).reshape(-1, *shape[-2:])
    for number, matrix in enumerate(matrices):
        which = "" if len(shape) == 2 else f", number {number},"
        if np.abs(matrix - matrix.T).max() > 1e-5 * np.abs(matrix).max():
            raise ValueError(f"{name}{which} must be symmetric")
        lowest = np.linalg.eigvalsh(matrix)[0]
        if not lowest > 0:
            raise ValueError(
                f"{name}{which} must be positive definite, its smallest eigenvalue is {lowest:.3g}"
            )
