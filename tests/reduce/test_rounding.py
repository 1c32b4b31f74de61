"""Rounded coordinates: how widely, and clusters that do not fall apart along their grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gemjax as gj
from gemjax._reduce.rounding import _accompanied, once, rounding, spread, unrounded

KEY = jax.random.key(0)


def two(deviation: float, apart: float, number: int = 500) -> np.ndarray:
    rng = np.random.default_rng(5)
    first = rng.normal([170, 70], deviation, (number, 2))
    return np.r_[first, rng.normal([170 + apart * deviation, 70], deviation, (number, 2))]


def steps_by_hand(x: np.ndarray) -> dict[float, float]:
    """Of each value that repeats, how far the nearest other one is, at most twice as far as that
    one is from its own."""
    values, counts = np.unique(x, return_counts=True)
    others = [np.delete(values, i) for i in range(len(values))]
    apart = {v: np.min(np.abs(o - v)) for v, o in zip(values, others, strict=True)}
    found = {}
    for v, o, k in zip(values, others, counts, strict=True):
        nearest = o[np.argmin(np.abs(o - v))]
        if k > 1:
            found[v] = min(apart[v], 2 * apart[nearest])
    return found


@pytest.mark.parametrize("transform", [lambda x: x, lambda x: np.log(x + 20), lambda x: x / 10])
def test_steps_are_those_by_hand(transform):
    rng = np.random.default_rng(0)
    x = transform(np.r_[np.round(rng.normal(0, 2, 300)), [40.0, 40.0, 50.25]])
    weights = rng.random(len(x))
    expected = steps_by_hand(x)
    found = rounding(jnp.asarray(x)[:, None], jnp.asarray(weights))
    np.testing.assert_array_equal(found.values[:, 0], np.sort(x))
    for value, step in zip(np.sort(x), found.steps[:, 0], strict=True):
        assert step == pytest.approx(expected.get(value, 0.0), rel=1e-12)


def test_points_without_weight_say_nothing_of_the_step():
    x = np.r_[np.repeat([0.0, 1.0, 2.0, 3.0], 5), 1.5, 1.5]
    weights = np.r_[np.full(20, 0.05), 0, 0]
    found = rounding(jnp.asarray(x)[:, None], jnp.asarray(weights))
    assert found.step.tolist() == [1.0]
    np.testing.assert_array_equal(found.steps[:20, 0], 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_differ_by_rounding_errors_are_one(dtype):
    rng = np.random.default_rng(1)
    x = (rng.integers(0, 20, 400) * dtype(0.1) + 1000).astype(dtype)
    x = (x + rng.integers(-1, 2, 400) * np.spacing(x)).astype(dtype)
    found = rounding(jnp.asarray(x)[:, None], jnp.full(400, 1 / 400, dtype))
    assert found.step[0] == pytest.approx(0.1, abs=4 * float(np.spacing(dtype(1000))))


def test_what_repeats_is_spread_over_a_triangle_and_nothing_else_moves():
    rng = np.random.default_rng(2)
    number = 20_000
    x = np.c_[rng.integers(0, 9, number), rng.normal(size=number), np.full(number, 3.0)]
    x[0, 0] = 2.5  # once
    points = jnp.asarray(x)
    found = rounding(points, jnp.full(number, 1 / number))
    moved = np.asarray(spread(points, found)) - x
    assert moved[0, 0] == 0
    np.testing.assert_array_equal(moved[:, 1:], 0)
    whole = np.sort(moved[(x[:, 0] != 2.5) & ~np.isin(x[:, 0], (2, 3)), 0])
    quantiles = (np.arange(len(whole)) + 0.5) / len(whole)
    low = quantiles < 0.5
    triangle = np.where(low, np.sqrt(2 * quantiles) - 1, 1 - np.sqrt(2 - 2 * quantiles))
    np.testing.assert_allclose(whole, triangle, atol=0.03)
    # Neighbours of the odd value are spread no farther than to it.
    assert np.abs(moved[np.isin(x[:, 0], (2, 3)), 0]).max() <= 0.5


def test_a_grid_of_our_own_is_not_rounded():
    target = gj.population(gj.truth.ring(3, 2, separation=6.0))
    same, weights, found = unrounded(target, target.points, target.weights)
    assert same is target
    assert weights is target.weights
    assert found.step.tolist() == [0.0, 0.0]


def counted(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    x, w = jnp.asarray(points), jnp.asarray(weights)
    return np.asarray(once(x, w, rounding(x, w)))


def test_twins_and_neighbours_by_brute_force():
    points = np.random.default_rng(2).integers(0, 12, (60, 2)) * np.array([1.0, 0.5])
    some = np.arange(60) % 9 > 0
    found = rounding(jnp.asarray(points), jnp.asarray(some / some.sum()))
    rows = points[some]
    twin = [sum((row == rows).all(axis=1)) > 1 for row in rows]
    apart = [np.abs(row - rows) / [1, 0.5] for row in rows]
    near = [any(a.max() == 1 for a in each) for each in apart]
    shares = _accompanied(jnp.asarray(points), jnp.asarray(some), found)
    np.testing.assert_allclose(shares, [np.mean(twin), np.mean(near)])


@pytest.mark.parametrize("repeat", ["thrice", "drawn"])
def test_rows_that_repeat_count_once_with_the_weight_of_all(repeat):
    rng = np.random.default_rng(4)
    rows = np.repeat(np.arange(80), 3) if repeat == "thrice" else rng.integers(0, 240, 240)
    points = np.c_[rng.normal(size=(240, 2)), rng.integers(0, 2, 240)][rng.permutation(rows)]
    weights = rng.random(240)
    weights[5] = 0
    found = counted(points, weights)
    for row in np.unique(points, axis=0):
        own = (points == row).all(axis=1)
        assert found[own].sum() == pytest.approx(weights[own].sum(), rel=1e-12)
        assert (found[own] > 0).sum() <= 1


@pytest.mark.parametrize(
    "points",
    [
        np.round(two(1.0, 8)),
        np.c_[np.round(two(7.0, 8)[:, :1]), np.arange(1000) % 2],
        np.repeat(np.random.default_rng(0).normal(size=(100, 1)), 3, axis=0),  # of one column
        np.log1p(np.random.default_rng(0).poisson(3.0, size=(500, 2))),
    ],
)
def test_rows_of_a_grid_stay_as_they_are(points):
    weights = np.full(len(points), 1 / len(points))
    np.testing.assert_array_equal(counted(points, weights), weights)


@pytest.mark.parametrize(("times", "digits"), [(3, None), (10, None), (5, 1)])
def test_a_table_that_is_repeated_has_no_more_clusters(times, digits):
    centres = np.repeat([[0.0, 0.0], [8.0, 0.0], [4.0, 7.0]], 200 // times, axis=0)
    rows = centres + np.random.default_rng(0).normal(size=centres.shape)
    rows = rows if digits is None else rows.round(digits)
    one = gj.select(gj.empirical(rows), KEY)
    many = gj.select(gj.empirical(np.repeat(rows, times, axis=0)), KEY)
    assert (int(many.num_components), int(many.num_clusters)) == (3, 3)
    assert many.family_name == one.family_name
    assert many.loss == pytest.approx(float(one.loss), abs=1e-4)


def test_logarithms_of_counts_are_no_more_clusters():
    rng = np.random.default_rng(100)
    label = rng.integers(0, 2, 600)
    first = rng.poisson(np.where(label == 0, 2.0, 40.0))
    points = np.log1p(np.c_[first, rng.poisson(np.where(label == 0, 30.0, 3.0))])
    found = gj.select(gj.empirical(points), KEY)
    assert found.num_clusters == 2
    said = np.asarray(found.predict(points))
    assert max((said == label).mean(), (said != label).mean()) == 1


@pytest.mark.parametrize("deviation", [7.0, 3.0, 1.5, 1.0])
def test_whole_numbers_are_as_many_clusters_as_their_fractions(deviation):
    points = two(deviation, 8)
    found = gj.select(gj.empirical(np.round(points)), KEY)
    assert (int(found.num_clusters), int(found.num_components)) == (2, 2)
    assert found.status == gj.Status.OK
    label = np.asarray(found.predict(np.round(points)))
    assert (label == np.repeat([label[0], 1 - label[0]], 500)).all()
    # The fit is that to the points as they are.
    loss = gj.loss(found.mixture, gj.empirical(np.round(points)))
    assert found.loss == pytest.approx(float(loss), abs=1e-9)
    again = gj.fit(
        gj.classical_em(), gj.empirical(np.round(points)), found.mixture, num_iterations=50
    )
    assert again.history.loss[-1] == pytest.approx(float(found.loss), abs=1e-5)


def test_columns_of_two_values_do_not_cut_clusters():
    rng = np.random.default_rng(3)
    clusters = np.repeat([0, 7], 300)[:, None] + rng.normal(size=(600, 2))
    points = np.c_[rng.random((600, 3)) < 0.5, clusters]
    found = gj.select(gj.empirical(points), KEY)
    assert found.num_clusters == 2
    assert found.status == gj.Status.OK


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["bic", "icl"])
@pytest.mark.parametrize("number", [5_000, 25_000])
def test_many_whole_numbers(criterion, number):
    found = gj.select(gj.empirical(np.round(two(1.0, 8, number))), KEY, criterion=criterion)
    assert (int(found.num_clusters), int(found.num_born)) == (2, 0)
