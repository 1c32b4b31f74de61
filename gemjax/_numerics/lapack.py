"""Cholesky factors, inverses of these and eigenvectors, of many small matrices at once.

On CPUs jaxlib 0.10 shares the matrices of a LAPACK call among the threads that run operations, and
waits for them: as many such calls at a time as there are threads wait for ever (two independent
factorizations of 112 matrices, 30 x 30, on two cores). A call of few enough matrices is not shared,
so here a batch is split, after `vmap` has put it together: hence primitives of our own. Elsewhere
they are JAX's. jaxlib 0.11.2 no longer shares.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching, mlir

_SHARED = 200_000  # operations, as jaxlib counts them, from which on it shares a call

times = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def factor(matrices: jax.Array) -> jax.Array:
    """(…, d, d) L with L Lᵀ = Σ, lower triangular; NaN where Σ is not positive definite."""
    return _cholesky().bind(0.5 * (matrices + matrices.swapaxes(-1, -2)))


def inverse_triangular(factors: jax.Array) -> jax.Array:
    """(…, d, d) L⁻¹ of lower triangular L."""
    return _inverse_triangular().bind(factors)


def eigh(matrices: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(…, d) λ, ascending, and (…, d, d) V with V λ Vᵀ = Σ, which carry no derivatives."""
    both = _eigh().bind(jax.lax.stop_gradient(matrices))
    return both[..., -1, :], both[..., :-1, :]


def _cholesky_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """dL = L Φ(L⁻¹ dΣ L⁻ᵀ), Φ the lower triangle with half the diagonal (Murray 2016)."""
    (matrices,), (change,) = primals, tangents
    L = _cholesky().bind(matrices)
    inverse = inverse_triangular(L)
    white = times(times(inverse, ad.instantiate_zeros(change)), inverse.swapaxes(-1, -2))
    half = jnp.tril(jnp.full(white.shape[-2:], 0.5, white.dtype))
    mask = half + jnp.tril(half, -1)
    return L, times(L, white * jnp.broadcast_to(mask, white.shape))


def _inverse_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (factors,), (change,) = primals, tangents
    inverse = _inverse_triangular().bind(factors)
    lower = jnp.tril(ad.instantiate_zeros(change))
    return inverse, -times(times(inverse, lower), inverse)


def _solved(factors: jax.Array) -> jax.Array:
    eye = jnp.broadcast_to(jnp.eye(factors.shape[-1], dtype=factors.dtype), factors.shape)
    return jax.scipy.linalg.solve_triangular(factors, eye, lower=True)


def _values_and_vectors(matrices: jax.Array) -> jax.Array:
    """(…, d + 1, d) vectors, and the values as one more row."""
    values, vectors = jnp.linalg.eigh(matrices)
    return jnp.concatenate([vectors, values[..., None, :]], axis=-2)


def _primitive(
    name: str,
    compute: Callable[[jax.Array], jax.Array],
    operations: Callable[[int], int],
    num_rows: Callable[[int], int] = lambda d: d,
    jvp: Callable[[Any, Any], tuple[jax.Array, jax.Array]] | None = None,
) -> Any:
    """`compute` as a primitive, of matrices (…, d, d) to (…, num_rows(d), d)."""
    import jax.extend.core  # with Pallas, a tenth of what importing JAX takes

    primitive = jax.extend.core.Primitive(name)

    def split(matrices: jax.Array) -> jax.Array:
        *batch, d, _ = matrices.shape
        most = max(1, (_SHARED - 1) // max(1, operations(d)))
        flat = matrices.reshape(-1, d, d)
        if len(flat) <= most:
            return compute(matrices)
        return jax.lax.map(compute, flat, batch_size=most).reshape(*batch, -1, d)

    def batched(arguments: Any, axes: Any) -> tuple[jax.Array, int]:
        return primitive.bind(jnp.moveaxis(arguments[0], axes[0], 0)), 0

    def shape(aval: Any) -> Any:
        *batch, d, _ = aval.shape
        return aval.update(shape=(*batch, num_rows(d), d), weak_type=False)

    primitive.def_abstract_eval(shape)
    primitive.def_impl(jax.jit(primitive.bind))
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(split, multiple_results=False), "cpu")
    if jvp:
        ad.primitive_jvps[primitive] = jvp
    return primitive


@functools.cache
def _cholesky() -> Any:
    compute = functools.partial(jnp.linalg.cholesky, symmetrize_input=False)
    return _primitive("cholesky_in_parts", compute, lambda d: d**3 // 3, jvp=_cholesky_jvp)


@functools.cache
def _inverse_triangular() -> Any:
    name = "inverse_triangular_in_parts"
    return _primitive(name, _solved, lambda d: d**3, jvp=_inverse_jvp)


@functools.cache
def _eigh() -> Any:
    rest = (lambda d: 5 * d**3, lambda d: d + 1)
    return _primitive("eigh_in_parts", _values_and_vectors, *rest)
