import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gemjax as gj


def distances(means):
    means = np.asarray(means)
    return np.linalg.norm(means[:, None] - means[None], axis=-1)[np.triu_indices(len(means), 1)]


@pytest.mark.parametrize("m", [2, 3, 5])
def test_simplex_ring_and_grid_distances(m):
    np.testing.assert_allclose(distances(gj.truth.simplex(m, 4, 3.0).means), 3.0, rtol=1e-12)
    assert distances(gj.truth.ring(m, 3, 3.0).means).min() == pytest.approx(3.0)
    assert distances(gj.truth.grid(m, 2, 3.0).means).min() == pytest.approx(3.0)


@pytest.mark.parametrize("d", [1, 2, 10])
def test_random_honours_its_separation(d):
    for seed in range(10):
        found = distances(gj.truth.random(jax.random.key(seed), 8, d, 4.0).means)
        assert 4.0 <= found.min() <= 4.0 + 1e-9
    single = gj.truth.random(jax.random.key(0), 8, d, jnp.float32(4.0)).means
    assert single.dtype == jnp.float32
    assert distances(single.astype(np.float64)).min() >= 4.0 * (1 - 1e-6)


def test_from_target_draws_distinct_points_by_weight():
    target = gj.empirical(np.arange(6.0), [0, 1, 1, 1, 1, 0])
    for seed in range(20):
        start = gj.initialize.from_target(jax.random.key(seed), target, 4)
        assert sorted(start.means[:, 0].tolist()) == [1, 2, 3, 4]
    more = gj.initialize.from_target(jax.random.key(0), target, 9)
    assert set(more.means[:, 0].tolist()) == {1, 2, 3, 4}
    firsts = jax.vmap(
        lambda key: gj.initialize.from_target(key, gj.empirical(np.arange(2.0), [1, 3]), 1).means[
            0, 0
        ]
    )(jax.random.split(jax.random.key(1), 4000))
    assert firsts.mean() == pytest.approx(0.75, abs=0.03)  # four standard errors


def test_plus_plus_reaches_every_far_cluster():
    truth = gj.truth.grid(9, 2, separation=500.0)
    target = gj.empirical(gj.sample(jax.random.key(0), truth, 900))
    for seed in range(5):
        start = gj.initialize.plus_plus(jax.random.key(seed), target, 9)
        assert distances(start.means).min() > 200
    same = gj.empirical(np.zeros(4))
    assert gj.initialize.plus_plus(jax.random.key(0), same, 3).means.tolist() == [[0]] * 3


def test_spectral_matches_numpy_svd():
    points = np.random.default_rng(0).normal(size=(50, 6)) * np.arange(1.0, 7.0)
    weights = np.random.default_rng(1).dirichlet(np.ones(50))
    start = gj.initialize.spectral(jax.random.key(0), gj.empirical(points, weights), 5, rank=2)
    mean = weights @ points
    basis = np.linalg.svd(np.sqrt(weights)[:, None] * (points - mean))[2][:2]
    projected = mean + (points - mean) @ basis.T @ basis
    nearest = np.abs(np.asarray(start.means)[:, None] - projected[None]).max(axis=-1).min(axis=1)
    assert nearest.max() < 1e-10


def test_recovery_says_which_failure():
    truth = gj.make_mixture([[-6.0], [0.0], [6.0]])
    same = gj.recovery(truth, truth)
    assert bool(same.recovered)
    assert float(same.stray_mass) == 0
    missed = gj.recovery(gj.make_mixture([[-6.0], [0.0]]), truth)
    assert not bool(missed.recovered)
    assert np.isinf(missed.mean_error)
    assert float(missed.weight_error) == pytest.approx(1 / 3)
    between = gj.recovery(gj.make_mixture([[-6.0], [0.0], [6.0], [3.2]], [1, 1, 1, 0.3]), truth)
    assert float(between.stray_mass) == pytest.approx(0.3 / 3.3)
    assert int(between.num_active) == 4
    # The barycentre, not the components: ±0.5 around the mean is no error.
    spread = gj.make_mixture([[-6.5], [-5.5], [0.0], [6.0]], [0.5, 0.5, 1, 1])
    assert float(gj.recovery(spread, truth).mean_error) < 1e-12
