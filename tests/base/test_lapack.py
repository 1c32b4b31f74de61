"""Factors of many matrices at once, against JAX's, and that several at a time come to an end."""

import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gemjax._numerics import lapack

SEVERAL = """
import jax, jax.numpy as jnp
from gemjax._numerics.lapack import factor
draws = jax.random.normal(jax.random.key(0), (336, 40, 30))
a = jnp.einsum("kni,knj->kij", draws, draws)
chain = lambda a: factor(a + factor(a + factor(a)))
several = jax.jit(lambda a: [chain(a + i * jnp.eye(30)) for i in range(4)])
for _ in range(20):
    jax.block_until_ready(several(a))
"""


def matrices(*shape):
    draws = jax.random.normal(jax.random.key(0), (*shape[:-1], shape[-1] + 3))
    return draws @ draws.swapaxes(-1, -2)


def test_independent_factors_of_many_matrices_do_not_wait_for_each_other():
    # With jaxlib 0.10.2's own Cholesky factors this never ends, on two cores.
    subprocess.run([sys.executable, "-c", SEVERAL], check=True, timeout=120)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5, 4, 4), (700, 10, 10), (9, 40, 40)])
def test_all_parts_of_a_batch(shape):
    a = matrices(*shape)
    L, (values, vectors) = lapack.factor(a), lapack.eigh(a)
    np.testing.assert_allclose(L, np.linalg.cholesky(a), rtol=1e-10, atol=1e-10)
    inverse = np.linalg.inv(np.linalg.cholesky(a))
    np.testing.assert_allclose(lapack.inverse_triangular(L), inverse, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(a), rtol=1e-9, atol=1e-11)
    again = (vectors * values[..., None, :]) @ vectors.swapaxes(-1, -2)
    np.testing.assert_allclose(again, a, rtol=1e-10, atol=1e-10)


def test_what_is_not_positive_definite_has_no_factor():
    a = matrices(700, 10, 10).at[650, 0, 0].set(-1)
    bad = np.isnan(lapack.factor(a)).any(axis=(1, 2))
    assert np.flatnonzero(bad).tolist() == [650]


@pytest.mark.parametrize("function", [lapack.factor, lapack.inverse_triangular])
def test_derivatives_in_both_modes_to_second_order(function):
    a = matrices(2, 3, 3)
    if function is lapack.inverse_triangular:
        a = jnp.linalg.cholesky(a)
    check_grads(function, (a,), order=2, modes=("fwd", "rev"), rtol=1e-5)


def test_transformations():
    a = matrices(6, 3, 3)
    each = jnp.stack([lapack.factor(one) for one in a])
    for mapped in (jax.vmap(lapack.factor), jax.jit(jax.vmap(lapack.factor))):
        np.testing.assert_allclose(mapped(a), each, rtol=1e-12)
    last = jax.vmap(lapack.factor, in_axes=2, out_axes=2)(jnp.moveaxis(a, 0, 2))
    np.testing.assert_allclose(jnp.moveaxis(last, 2, 0), each, rtol=1e-12)
    assert lapack.factor(a.astype(jnp.float32)).dtype == jnp.float32
    exported = jax.export.export(jax.jit(lapack.factor))(a)
    np.testing.assert_allclose(exported.call(a), each, rtol=1e-12)
