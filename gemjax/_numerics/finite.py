"""The few operations that must stay finite, in value and in gradient, where the plain ones do not.

Most mask their input first, so that no infinite derivative is ever formed, and their output second.

A weight of zero is −inf as a logarithm, and the derivative of the logarithm is infinite there. So
that it is not lost on the way from weights to weights, `safe_log` has the derivative 1/u there and
`safe_exp` the derivative u, for one number u. Whatever moves logarithms in between must move those
of zeros as it moves weights: `log_shift` does.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp


def tiny(dtype: jnp.dtype) -> jax.Array:
    """() smallest positive normal number of the dtype."""
    return jnp.asarray(jnp.finfo(dtype).tiny, dtype)


def unit(dtype: jnp.dtype) -> float:
    """u = √tiny: products of it and of 1/u with ordinary numbers neither vanish nor overflow."""
    return float(jnp.finfo(dtype).tiny) ** 0.5


@functools.partial(jax.jit, inline=True)
def safe_log(x: jax.Array) -> jax.Array:
    """log x where x > 0; elsewhere −inf, with derivative 1/u. NaN stays NaN."""
    zero = x <= 0
    return jnp.where(zero, x / unit(x.dtype) - jnp.inf, jnp.log(jnp.where(zero, 1, x)))


@jax.custom_jvp
def safe_exp(x: jax.Array) -> jax.Array:
    """exp x, with derivative u at −inf: `safe_exp(safe_log(w))` is w, also in all derivatives.

    At w = 0 they are u/u = 1 and, both being linear there, zeros; elsewhere the plain ones.
    """
    return jnp.exp(x)


@safe_exp.defjvp
def _safe_exp_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    y = safe_exp(x)
    return y, jnp.where(jnp.isneginf(x), unit(x.dtype), y) * dx


def safe_divide(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """numerator / denominator where the denominator is not zero, 0 with zero gradient elsewhere."""
    zero = denominator == 0
    return jnp.where(zero, 0, numerator / jnp.where(zero, 1, denominator))


def safe_sqrt(x: jax.Array) -> jax.Array:
    """√x for x >= 0, with gradient 0 at 0."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def safe_norm(x: jax.Array, axis: int | None = None) -> jax.Array:
    """Euclidean norm of all entries () or along an axis, with gradient 0 at 0."""
    return safe_sqrt(jnp.sum(x * x, axis=axis))


def capped(x: jax.Array, share: float = 0.9) -> jax.Array:
    """x up to a share of the largest exponent of the floats, beyond that a constant."""
    cap = share * math.log(jnp.finfo(x.dtype).max)
    return jnp.where(x > cap, cap, x)


def log_shift(log_weights: jax.Array, change: jax.Array) -> jax.Array:
    """(n,) log-weights plus finite `change` (n,), shifted so that the weights sum to one.

    Entries of −inf stay −inf; their derivatives are those of the weights w exp(change), as said
    above.
    """
    zero = jnp.isneginf(log_weights)
    moved = jnp.where(zero, 0, log_weights) + change
    # Constant under differentiation: it cancels.
    peak = jax.lax.stop_gradient(jnp.max(jnp.where(zero, -jnp.inf, moved)))
    part = jnp.exp(capped(moved - peak))
    part = jnp.where(zero, safe_exp(log_weights) * part, part)
    total = jnp.sum(part)
    share = safe_divide(part, total)
    return jnp.where(zero, safe_log(share), moved - (peak + jnp.log(total)))


def log_normalise(log_weights: jax.Array) -> jax.Array:
    """(n,) log-weights shifted so that the weights sum to one. Entries of −inf stay −inf."""
    return log_shift(log_weights, jnp.zeros_like(log_weights))


def largest(x: jax.Array) -> jax.Array:
    """() the largest entry of x (n,); its derivative is that of one entry, also where two tie."""
    return x[jnp.argmax(x)]
