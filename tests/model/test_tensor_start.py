"""The start by tensor decomposition: means found, whatever their weights and place, and finite."""

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from problems import Static

import gemjax as gj

KEY = jax.random.key(0)
TRUTH = gj.truth.simplex(3, 10, 6.0)
SAMPLE = gj.empirical(gj.sample(jax.random.key(1), TRUTH, 20_000))


def error(start, truth):
    """Largest distance from a true mean to its own nearest one of the first m."""
    m = len(truth.means)
    apart = np.linalg.norm(np.asarray(start.means)[:m, None] - np.asarray(truth.means), axis=2)
    assert sorted(apart.argmin(axis=0)) == list(range(m))
    return apart.min(axis=0).max()


def test_means_from_a_sample():
    start = gj.initialize.tensor(KEY, SAMPLE, 3, rank=3)
    assert error(start, TRUTH) < 0.15
    np.testing.assert_allclose(start.weights, 1 / 3)


@pytest.mark.parametrize(
    ("m", "d", "weights"),
    [
        pytest.param(3, 10, None, marks=pytest.mark.slow),
        (3, 10, [0.1, 0.3, 0.6]),
        (2, 1, [0.2, 0.8]),
    ],
)
def test_means_in_the_population_limit_are_exact(m, d, weights):
    truth = gj.truth.simplex(m, d, 4.0, weights)
    start = gj.initialize.tensor(KEY, gj.population(truth, num_nodes=32), m, rank=m)
    assert error(start, truth) < 1e-9


def test_means_that_are_no_simplex():
    """As many dimensions less one as means, and unlike weights: the factors' values differ."""
    means = np.random.default_rng(3).normal(size=(5, 4)) * 4
    truth = gj.make_mixture(means, [0.1, 0.15, 0.2, 0.25, 0.3])
    target = gj.empirical(gj.sample(KEY, truth, 100_000))
    assert error(gj.initialize.tensor(KEY, target, 5, rank=5), truth) < 0.4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_depends_on_the_origin(dtype):
    points = np.asarray(SAMPLE.points).astype(dtype)
    here = gj.initialize.tensor(KEY, gj.empirical(points), 5, rank=3).means
    there = gj.initialize.tensor(KEY, gj.empirical(points + dtype(1e3)), 5, rank=3).means
    assert here.dtype == there.dtype == dtype
    if (
        dtype == np.float32
    ):  # where rounding has no say in which points are drawn, and in what order
        here, there = here[:3], there[:3]
        gap = np.linalg.norm(here[:, None] - (there - 1e3)[None], axis=2).min(axis=1).max()
        assert gap < 1e-3
    else:
        np.testing.assert_allclose(here, there - 1e3, atol=1e-6)


def test_float32_finds_the_same_means():
    target = gj.empirical(np.asarray(SAMPLE.points, np.float32))
    start = gj.initialize.tensor(KEY, target, 3, rank=3)
    assert start.means.dtype == jnp.float32
    double = np.asarray(gj.initialize.tensor(KEY, SAMPLE, 3, rank=3).means)
    apart = np.linalg.norm(np.asarray(start.means)[:, None] - double, axis=2)
    assert apart.min(axis=1).max() < 1e-3


def test_more_components_are_draws_around_the_means_by_weight():
    truth = gj.truth.simplex(2, 3, 30.0, [0.8, 0.2])
    target = gj.empirical(gj.sample(KEY, truth, 5000))
    start = gj.initialize.tensor(KEY, target, 2002, rank=2)
    more = start.means[2:]
    apart = jnp.linalg.norm(more[:, None] - truth.means[None], axis=2)
    share = jnp.mean(apart[:, 0] < apart[:, 1])
    assert share == pytest.approx(0.8, abs=0.04)
    noise = more - truth.means[jnp.argmin(apart, axis=1)]
    np.testing.assert_allclose(noise.T @ noise / 2000, np.eye(3), atol=0.15)


def test_fewer_clusters_than_asked_for():
    """The factors that are there, and points."""
    start = gj.initialize.tensor(KEY, SAMPLE, 6, rank=6)
    apart = jnp.linalg.norm(start.means[:, None] - TRUTH.means[None], axis=2)
    assert (jnp.sort(apart.min(axis=0)) < 0.2).all()
    points = (start.means[:, None] == SAMPLE.points[None]).all(axis=2).any(axis=1)
    assert int(points.sum()) == 3


def test_keys():
    a, b = (gj.initialize.tensor(KEY, SAMPLE, 5, rank=3).means for _ in range(2))
    np.testing.assert_array_equal(a, b)
    keys = jax.random.split(KEY, 3)
    many = jax.vmap(lambda key: gj.initialize.tensor(key, SAMPLE, 5, rank=3).means)(keys)
    for key, means in zip(keys, many, strict=True):
        alone = gj.initialize.tensor(key, SAMPLE, 5, rank=3)
        np.testing.assert_allclose(means, alone.means, atol=1e-8)
        assert error(alone, TRUTH) < 0.15


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("far", [False, True])
def test_whatever_comes_the_start_is_finite(dtype, far):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        static = Static("fit", N=9, d=3, n=6, dtype=dtype, far=far)
        points, weights = problems.points_of(static, rng), problems.point_weights_of(static, rng)
        start = gj.initialize.tensor(KEY, gj.empirical(points, weights), 6, rank=4)
        assert np.isfinite(start.means).all(), seed


def test_points_that_are_all_one_point():
    start = gj.initialize.tensor(KEY, gj.empirical(np.full((5, 2), 7.0)), 6, rank=3)
    np.testing.assert_allclose(start.means[:3], 7.0)
    assert np.isfinite(start.means).all()


def test_what_is_refused():
    target = gj.empirical(np.zeros((4, 2)))
    for n, rank, message in (
        (5, 4, r"rank must be at most d \+ 1 = 3, got 4"),
        (2, 3, "rank must be at most the number of components n = 2, got 3"),
        (2, 0, "rank must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            gj.initialize.tensor(KEY, target, n, rank=rank)
