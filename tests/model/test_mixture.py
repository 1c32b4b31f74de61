import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import gemjax as gj


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_density_and_responsibilities_match_double_loop(offset):
    means, weights, points, _ = oracle.problem(0, offset=offset)
    mixture = gj.make_mixture(means, weights)
    expected = oracle.log_density(means, weights, points)
    # Rounding of the coordinates themselves, at the offset, is all that may be lost.
    np.testing.assert_allclose(gj.log_density(mixture, points), expected, rtol=1e-12)
    psi = gj.responsibilities(mixture, points)
    expected = oracle.responsibilities(means, weights, points)
    np.testing.assert_allclose(psi, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(psi.sum(axis=1), 1, rtol=1e-14)


def test_blocks_join_seamlessly():
    means, weights, points, _ = oracle.problem(1, N=9001, n=2, d=1)
    mixture = gj.make_mixture(means, weights)
    whole = gj.log_density(mixture, points)
    np.testing.assert_allclose(whole[np.array([0, 4095, 4096, 9000])],
                               oracle.log_density(means, weights, points[[0, 4095, 4096, 9000]]),
                               rtol=1e-12)  # fmt: skip
    assert gj.responsibilities(mixture, points).shape == (9001, 2)


def test_density_integrates_to_one():
    x = np.linspace(-20, 20, 4001)
    mixture = gj.make_mixture([-3.0, 0.5, 4.0], [0.2, 0.5, 0.3])
    assert np.exp(gj.log_density(mixture, x)).sum() * 0.01 == pytest.approx(1, abs=1e-12)


def test_zero_weight_component_changes_nothing():
    points = oracle.problem(2)[2]
    with_zero = gj.make_mixture(np.array([[0.0] * 3, [5.0] * 3]), [1.0, 0.0])
    alone = gj.make_mixture(np.zeros((1, 3)))
    both, one = gj.log_density(with_zero, points), gj.log_density(alone, points)
    np.testing.assert_allclose(both, one, rtol=1e-15)
    gradient = jax.grad(lambda m: gj.log_density(m, points).sum())(with_zero)
    assert np.isfinite(gradient.means).all()


def test_sample_moments():
    mixture = gj.make_mixture([[-3.0, 0.0], [3.0, 1.0]], [0.25, 0.75])
    x = gj.sample(jax.random.key(0), mixture, 200_000)
    # Standard errors: sqrt((1 + 27/4) / 2e5) = 0.0062 for the first mean.
    np.testing.assert_allclose(x.mean(axis=0), [1.5, 0.75], atol=0.03)
    np.testing.assert_allclose(np.cov(x.T, bias=True), [[7.75, 1.125], [1.125, 1.1875]], atol=0.1)


def test_points_of_one_dimension():
    mixture = gj.make_mixture(jnp.array([0.0, 1.0]))
    assert mixture.means.shape == (2, 1)
    assert gj.log_density(mixture, jnp.zeros(5)).shape == (5,)
