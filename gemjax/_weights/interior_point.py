"""The quadratic program inside a Newton step: min ½ x'Hx − c'x over x >= 0, for small dense H.

Mehrotra's predictor-corrector interior point (Mehrotra 1992; Nocedal and Wright, Numerical
Optimization, 2nd ed., algorithm 16.4): about ten n x n factorisations whatever the start, also
where H is singular because components coincide.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from gemjax._numerics.pytree import vary_alike

_MOST_STEPS = 50
_TO_BOUNDARY = 0.9995  # share of the way to the boundary that a step may go
_LEAST_START = 1e-2


def solve(hessian: jax.Array, linear: jax.Array, start: jax.Array) -> jax.Array:
    """x (n,) >= 0 with exact zeros, from `start` (n,) >= 0, H (n, n) >= 0 and c (n,).

    Everything is scaled by 1/√max(H_ii, 1). A proximal term of the size of H's rounding errors,
    about `start`, makes the solution unique; at the fixed point of Newton's iteration it is zero.
    May hold NaN where H does. Not differentiable in reverse mode.
    """
    n, dtype = hessian.shape[0], hessian.dtype
    eps = float(jnp.finfo(dtype).eps)
    ridge = 4 * n * eps
    scale = 1 / jnp.sqrt(jnp.maximum(jnp.diagonal(hessian), 1))
    H = hessian * scale[:, None] * scale[None] + ridge * jnp.eye(n, dtype=dtype)
    c = linear * scale + ridge * start / scale
    y = jnp.maximum(start / scale, _LEAST_START)
    z = jnp.maximum(times(H, y) - c, _LEAST_START)

    def going(carry: tuple[jax.Array, ...]) -> jax.Array:
        return ~carry[3] & (carry[2] < _MOST_STEPS)

    def step(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        y, z, count, _ = carry
        residual = times(H, y) - c - z
        matrix = H + jnp.diag(z / y)
        norm = 1 / jnp.sqrt(jnp.diagonal(matrix))
        factor = jnp.linalg.cholesky(matrix * norm[:, None] * norm[None])

        def direction(complementarity: jax.Array) -> tuple[jax.Array, jax.Array]:
            right = complementarity / y - z - residual
            dy = norm * jax.scipy.linalg.cho_solve((factor, True), norm * right)
            return dy, complementarity / y - z - z / y * dy

        mean = jnp.mean(y * z)
        dy, dz = direction(jnp.zeros_like(y))
        length = jnp.minimum(_reach(y, dy), _reach(z, dz))
        predicted = jnp.mean((y + length * dy) * (z + length * dz))
        dy, dz = direction((predicted / mean) ** 3 * mean - dy * dz)
        length = jnp.minimum(1, _TO_BOUNDARY * jnp.minimum(_reach(y, dy), _reach(z, dz)))
        new_y, new_z = y + length * dy, z + length * dz
        good = jnp.all(jnp.isfinite(new_y) & jnp.isfinite(new_z))
        y, z = jnp.where(good, new_y, y), jnp.where(good, new_z, z)
        residual = jnp.max(jnp.abs(times(H, y) - c - z))
        # y and z of one component may both be √(mean) large, and one of them should be zero.
        done = (jnp.mean(y * z) < eps**1.5) & (residual < 8 * n * eps)
        return y, z, count + 1, done | ~good

    begin = vary_alike((y, z, jnp.int32(0), jnp.zeros((), bool)), (H, c))
    y, z, _, _ = jax.lax.while_loop(going, step, begin)
    return jnp.where(y > z, y, 0) * scale


def solve_on_support(hessian: jax.Array, right: jax.Array, support: jax.Array) -> jax.Array:
    """The shortest least-squares solution x (n,) of Hx = b on a support, zero elsewhere.

    Differentiable in H and b: the solver is fixed, the product with H is not.
    """
    scale = _scale(hessian, support)
    matrix = _scaled(hessian, support, scale)
    inverse = _inverse(jax.lax.stop_gradient(matrix))
    solution = jax.lax.custom_linear_solve(
        functools.partial(times, matrix),
        scale * right,
        lambda _, b: times(inverse, b),
        symmetric=True,
    )
    return scale * solution


def inverse_on_support(hessian: jax.Array, support: jax.Array) -> jax.Array:
    """The (n, n) matrix that `solve_on_support` multiplies by."""
    scale = _scale(hessian, support)
    return scale[:, None] * _inverse(_scaled(hessian, support, scale)) * scale[None]


def _scale(hessian: jax.Array, support: jax.Array) -> jax.Array:
    return jnp.where(support, 1 / jnp.sqrt(jnp.where(support, jnp.diagonal(hessian), 1)), 0)


def _scaled(hessian: jax.Array, support: jax.Array, scale: jax.Array) -> jax.Array:
    matrix = hessian * scale[:, None] * scale[None]
    return matrix + jnp.diag(jnp.where(support, 0, 1).astype(matrix.dtype))


def _inverse(matrix: jax.Array) -> jax.Array:
    """The (n, n) pseudo-inverse of a symmetric matrix >= 0.

    Directions whose eigenvalue is rounding are left out: those along which components coincide.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    large = values > 8 * matrix.shape[0] * jnp.finfo(matrix.dtype).eps * values[-1]
    inverse = jnp.where(large, 1 / jnp.where(large, values, 1), 0)
    return times(vectors * inverse[None], vectors.T)


def times(matrix: jax.Array, x: jax.Array) -> jax.Array:
    """The product in full precision."""
    return jnp.matmul(matrix, x, precision=jax.lax.Precision.HIGHEST)


def _reach(x: jax.Array, dx: jax.Array) -> jax.Array:
    """() longest step, at most 1, that keeps x + step dx >= 0."""
    moving = dx < 0
    return jnp.min(jnp.where(moving, -x / jnp.where(moving, dx, -1), 1), initial=1.0)
