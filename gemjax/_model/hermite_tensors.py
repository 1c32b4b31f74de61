"""Hermite polynomials and tensors of points.

He_k(x), symmetric of shape (d,)^k, is orthogonal to all polynomials of lower degree under N(0, I),
and its expectation under N(μ, I) is μ⊗…⊗μ.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base import arrays, checks

_MOST_ENTRIES = 2**20  # of a tensor


def polynomial(order: int, x: Any) -> jax.Array:
    """He_k(x), the probabilists' Hermite polynomial: He_0 = 1, He_1 = x, He_2 = x² − 1, …

    By He_{k+1} = x He_k − k He_{k−1}. Differentiable to every order. Time O(k) per entry.

    Args:
      order: static, k, at least 0.
      x: of any shape, float32 or float64, in standard deviations; traced.

    Returns:
      An array of the shape and dtype of x.

    Raises:
      ValueError: a negative order; values that are not finite.

    >>> import gemjax as gj
    >>> gj.hermite.polynomial(3, [1.0, 2.0, 3.0]).tolist()  # x³ − 3x
    [-2.0, 2.0, 18.0]
    """
    order, x = checks.count("order", order, least=0), arrays.floating("x", x)
    arrays.finite_rows("x", x)
    return _polynomial(order, x)


def tensor(order: int, x: Any) -> jax.Array:
    """He_k(x) of points: x⊗…⊗x less its traces, symmetric.

    By He_{k+1} = sym(x⊗He_k) − k sym(I⊗He_{k−1}). Time and memory O(N d^k), differentiable to every
    order. Where d^k is large take `along`, `inner` or `residuals`, which never make it.

    Args:
      order: static, k, at least 0, with max(d, 2)^k at most 2^20.
      x: (N, d) or (N,) for d = 1, float32 or float64, in standard deviations; traced.

    Returns:
      (N, d, …, d) with k axes of d.

    Raises:
      ValueError: an order that is negative or makes too large a tensor; values that are not finite.

    >>> import gemjax as gj
    >>> gj.hermite.tensor(2, [[1.0, 2.0]]).tolist()  # x xᵀ − I
    [[[0.0, 2.0], [2.0, 3.0]]]
    """
    x = arrays.points("x", x)
    return _tensor(tensor_order(order, x.shape[1]), x)


def tensor_order(order: Any, d: int) -> int:
    order = checks.count("order", order, least=0)
    if max(d, 2) ** min(order, 64) > _MOST_ENTRIES:
        raise ValueError(
            f"order = {order} in d = {d} dimensions makes a tensor of more than {_MOST_ENTRIES} "
            "entries; along, inner and residuals need none"
        )
    return order


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _polynomial(order: int, x: jax.Array) -> jax.Array:
    return scaled_polynomial(order, x, jnp.ones_like(x))


def scaled_polynomial(order: int, x: jax.Array, square: jax.Array) -> jax.Array:
    """s^k He_k(x / s) of x, with s² `square`, of shapes that broadcast."""
    before, now = jnp.zeros_like(x), jnp.ones_like(x)
    for k in range(order):
        before, now = now, x * now - k * (square * before)
    return now


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _tensor(order: int, x: jax.Array) -> jax.Array:
    return last_two(order, x)[0]


def last_two(order: int, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """He_k (N, d, …) and He_{k−1} of points x (N, d); of He_0 the latter is zero."""
    N, d = x.shape
    now, before = jnp.ones((N,), x.dtype), jnp.zeros((N,), x.dtype)
    for k in range(order):
        product = x.reshape(N, d, *[1] * k) * now[:, None]
        before, now = now, without_traces(product, before, k)
    return now, before


def without_traces(product: jax.Array, before: jax.Array, k: int) -> jax.Array:
    """He_{k+1} from x⊗He_k, its first axis that of x, and He_{k−1}; axes before these are a batch.

    The gradient of He_k is k sym(I⊗He_{k−1}): one term for each of its axes. With the symmetric
    product the recursion is the same: what is left is symmetric already.
    """
    d, batch = product.shape[-1], product.ndim - k - 1
    for axis in range(k):
        identity = jnp.eye(d, dtype=product.dtype).reshape(*[1] * before.ndim, d, d)
        trace = before[..., None, None] * identity
        product = product - jnp.moveaxis(trace, (-2, -1), (batch, batch + 1 + axis))
    return product
