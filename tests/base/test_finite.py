"""Values and gradients where the plain operations give infinities or NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gemjax._numerics import finite as numerics

INF = float("inf")


def test_safe_log():
    assert numerics.safe_log(jnp.array([0.0, 1.0, 2.0])).tolist() == [-INF, 0.0, np.log(2.0)]
    assert jax.grad(numerics.safe_log)(jnp.asarray(2.0)) == 0.5
    assert jnp.isnan(numerics.safe_log(jnp.asarray(jnp.nan)))


def test_safe_exp():
    assert numerics.safe_exp(jnp.array([-INF, 0.0])).tolist() == [0.0, 1.0]
    assert jax.grad(numerics.safe_exp)(1.0) == pytest.approx(np.e)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_logarithms_keep_the_derivative_of_a_zero_weight(dtype):
    def there_and_back(w):
        return numerics.safe_exp(numerics.safe_log(w))

    zero = jnp.zeros((), dtype)
    assert jax.grad(there_and_back)(zero) == 1
    assert jax.jvp(there_and_back, (zero,), (zero + 1,))[1] == 1
    assert jax.grad(jax.grad(there_and_back))(zero) == 0


def test_log_shift_moves_zeros_as_weights():
    change = jnp.array([0.7, 40.0, -0.2])

    def through_logs(w):
        return numerics.safe_exp(numerics.log_shift(numerics.safe_log(w), change))

    def plain(w):
        moved = w * jnp.exp(change)
        return moved / moved.sum()

    w = jnp.array([0.3, 0.0, 0.7])
    np.testing.assert_allclose(through_logs(w), plain(w), rtol=1e-13)
    for derivative in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(derivative(through_logs)(w), derivative(plain)(w), rtol=1e-12)
    second = jax.jacfwd(jax.jacrev(through_logs))(w)
    np.testing.assert_allclose(second, jax.jacfwd(jax.jacrev(plain))(w), rtol=1e-11)


def test_safe_divide():
    assert numerics.safe_divide(jnp.array([1.0, 1.0]), jnp.array([0.0, 4.0])).tolist() == [0, 0.25]
    assert jax.grad(numerics.safe_divide, argnums=(0, 1))(1.0, 0.0) == (0, 0)
    assert jax.grad(numerics.safe_divide, argnums=(0, 1))(1.0, 2.0) == (0.5, -0.25)


def test_safe_norm():
    assert numerics.safe_norm(jnp.array([3.0, 4.0])) == 5
    assert jax.grad(numerics.safe_norm)(jnp.zeros(2)).tolist() == [0, 0]
    gradient = jax.grad(numerics.safe_norm)(jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(gradient, [0.6, 0.8], rtol=1e-15)
    rows = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    assert numerics.safe_norm(rows, axis=1).tolist() == [5, 0]
    gradient = jax.grad(lambda x: numerics.safe_norm(x, axis=1).sum())(rows)
    np.testing.assert_allclose(gradient, [[0.6, 0.8], [0, 0]], rtol=1e-15)


def test_largest():
    assert numerics.largest(jnp.array([1.0, 3.0, 2.0])) == 3
    assert jax.grad(numerics.largest)(jnp.array([2.0, 2.0, 1.0])).tolist() == [1, 0, 0]
    assert jnp.isnan(numerics.largest(jnp.array([1.0, jnp.nan, 2.0])))


@pytest.mark.parametrize("shift", [0.0, 800.0, -800.0])
def test_log_normalise(shift):
    logs = jnp.array([0.3, -1.0, 2.0]) + shift
    expected = np.exp([0.3, -1.0, 2.0]) / np.exp([0.3, -1.0, 2.0]).sum()
    np.testing.assert_allclose(jnp.exp(numerics.log_normalise(logs)), expected, rtol=1e-12)
    with_zero = numerics.log_normalise(jnp.append(logs, -INF))
    np.testing.assert_allclose(jnp.exp(with_zero), np.append(expected, 0.0), rtol=1e-12)


def test_log_normalise_gradient():
    check_grads(numerics.log_normalise, (jnp.array([0.3, -1.0, 2.0]),), order=2)
    gradient = jax.grad(lambda logs: numerics.log_normalise(logs)[0])(jnp.array([0.5, -INF, 0.1]))
    assert jnp.isfinite(gradient).all()
    assert abs(gradient[1]) < 1e-100
