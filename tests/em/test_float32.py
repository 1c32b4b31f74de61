"""The essentials in float32 against float64 oracles, at an offset that ruins plain formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import gemjax as gj


def single(seed, offset):
    """Arrays that float32 holds exactly, in both precisions."""
    means, weights, points, point_weights = oracle.problem(seed, offset=offset)
    exact = [np.asarray(a, np.float32).astype(np.float64) for a in (means, points)]
    return exact[0], weights, exact[1], point_weights


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_densities_and_steps(offset):
    means, weights, points, point_weights = single(0, offset)
    mixture = gj.make_mixture(jnp.float32(means), jnp.float32(weights))
    target = gj.empirical(jnp.float32(points), jnp.float32(point_weights))
    density = gj.log_density(mixture, target.points)
    assert density.dtype == jnp.float32
    np.testing.assert_allclose(density, oracle.log_density(means, weights, points), rtol=1e-5)
    psi = oracle.responsibilities(means, weights, points)
    np.testing.assert_allclose(gj.responsibilities(mixture, target.points), psi, atol=1e-5)
    solver = gj.GradientEM(0.5, 0.4, 0.0, weight_steps=3)
    state, info = solver.step(solver.init(mixture), target)
    new_means, new_weights, loss = oracle.gradient_em(
        means, weights, points, point_weights,
        rule="mirror", K=3, step=0.5, weight_step_size=0.4, em=False,
    )  # fmt: skip
    np.testing.assert_allclose(state.mixture.means, new_means, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(state.mixture.weights, new_weights, rtol=2e-5)
    assert info.loss == pytest.approx(loss, rel=1e-5)


def test_every_result_is_float32():
    truth = gj.truth.ring(3, 2, jnp.float32(5.0))
    target = gj.empirical(gj.sample(jax.random.key(0), truth, 500))
    fits = gj.sweep(
        jax.random.key(1), gj.GradientEM(), target, num_seeds=2, num_components=5, num_iterations=50
    )
    leaves = [fits.mixture, fits.history.loss, gj.population(truth), gj.loss(truth, target)]
    assert {leaf.dtype for leaf in jax.tree.leaves(leaves)} == {jnp.dtype("float32")}


def test_sums_over_many_points_keep_six_digits():
    points = np.random.default_rng(0).normal(size=400_000).astype(np.float32)
    exact = 0.5 * np.log(2 * np.pi) + 0.5 * np.mean(points.astype(np.float64) ** 2)
    mixture = gj.make_mixture(jnp.zeros(1, jnp.float32))
    assert gj.loss(mixture, gj.empirical(points)) == pytest.approx(exact, rel=1e-6)
