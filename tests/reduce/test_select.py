"""select: numbers of components and families on made-up and real data, and its doors."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

import gemjax as gj

KEY = jax.random.key(0)
FAITHFUL = Path(__file__).parents[2] / "configs/data/faithful.csv"


def mixture_of(matrices, means, N, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(len(means), size=N)
    noise = rng.normal(size=(N, len(means[0]), 1))
    factors = np.linalg.cholesky(np.asarray(matrices))[label]
    return np.asarray(means)[label] + (factors @ noise)[..., 0], label


MEANS = [[0.0, 0.0], [7.0, 0.0], [0.0, 9.0], [9.0, 9.0]]
ROUND = np.stack([v * np.eye(2) for v in (0.3, 1.0, 2.0, 3.0)])
LONG = np.array([[[2.0, 1.6], [1.6, 2.0]]] * 4)
ANY = LONG * np.array([[1, 1], [1, 1]]) * np.array([1, -1, 1, -1])[:, None, None] ** (1 - np.eye(2))


@pytest.fixture(scope="module")
def found():
    points, labels = mixture_of(ROUND, MEANS, 400)
    return points, labels, gj.select(gj.empirical(points), KEY, num_starts=1)


def test_the_right_number_and_family(found):
    points, labels, selection = found
    assert (int(selection.num_components), selection.family_name) == (4, "VII")
    assert (int(selection.num_clusters), bool(selection.agree)) == (4, True)
    assert adjusted_rand_score(labels, selection.predict(points)) > 0.98
    assert gj.Status(int(selection.status)) == gj.Status.OK
    target = gj.empirical(points)
    assert gj.loss(selection.mixture, target) == pytest.approx(float(selection.loss), rel=1e-6)
    weights = selection.mixture.weights
    assert (jnp.diff(weights) <= 0).all()
    p = 4 * 3 - 1 + 4
    bicc = p * np.log(400) * 400 / (400 - p - 2)
    scale = np.log(points.std(0)).sum()
    best = 800 * (float(selection.loss) - scale) + bicc
    assert selection.best_criteria[1] == pytest.approx(best, rel=1e-4)
    assert selection.criterion == selection.best_criteria.min()
    total = selection.probabilities(points).sum(1)
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_it_predicts_the_same_after_saving(found, tmp_path):
    points, _, selection = found
    gj.save(tmp_path / "model.npz", selection)
    loaded = gj.load(tmp_path / "model.npz")
    assert jax.tree.structure(loaded) == jax.tree.structure(selection)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(selection), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(loaded.predict(points), selection.predict(points))


@pytest.mark.slow
@pytest.mark.parametrize(("matrices", "name"), [(LONG, "EEE"), (ANY, "VVV")])
def test_elongated_clusters(matrices, name, found):
    points, labels = mixture_of(matrices, MEANS, 400)
    selection = gj.select(gj.empirical(points), KEY, num_starts=1)
    assert (int(selection.num_components), selection.family_name) == (4, name)
    assert adjusted_rand_score(labels, selection.predict(points)) > 0.98


@pytest.mark.slow
def test_units_do_not_matter_but_for_what_is_round():
    points, _ = mixture_of(LONG, MEANS, 400)
    plain = gj.select(gj.empirical(points), KEY, num_starts=1, families=("tied", "full"))
    scaled = gj.empirical(points * np.array([1e3, 1e-3]) + np.array([1e4, 0.0]))
    other = gj.select(scaled, KEY, num_starts=1, families=("EEE", "VVV"))
    assert (other.families, other.num_components) == (plain.families, plain.num_components)
    np.testing.assert_allclose(other.criterion, plain.criterion, rtol=1e-6)
    np.testing.assert_allclose(other.loss, plain.loss, rtol=1e-5)  # 10^3 and 10^-3


def test_old_faithful_has_three_tied_components_in_two_clusters():
    points = np.genfromtxt(FAITHFUL, delimiter=",", skip_header=1)
    selection = gj.select(gj.empirical(points), KEY, num_starts=2)
    assert (selection.family_name, int(selection.num_components)) == ("EEE", 3)
    assert -272 * selection.loss == pytest.approx(-1126.31593, abs=0.05)
    assert selection.num_clusters == 2
    # The heights of 3 to 2 and 2 to 1 rise alike: how whole minutes are spread decides.
    assert selection.num_by_height == 3
    assert selection.agree


@pytest.mark.slow
def test_a_number_that_is_known_is_no_worse_than_scikit_learns(found):
    points, _, _ = found
    for m in (3, 5):
        target = gj.empirical(points)
        selection = gj.select(target, KEY, num_components=m, families=("full",), num_starts=3)
        model = GaussianMixture(m, n_init=10, random_state=0, reg_covar=1e-6, tol=1e-6)
        best = -model.fit(points).score(points)
        assert selection.num_components == m
        assert selection.loss <= best + 1e-4


@pytest.mark.slow
def test_heavy_tails_and_skewed_clusters_are_unions():
    rng = np.random.default_rng(3)
    label = rng.integers(2, size=600)
    tails = rng.standard_t(4, size=(600, 2)) + 14 * label[:, None]
    selection = gj.select(gj.empirical(tails), KEY, num_starts=1)
    assert selection.num_components > 2
    assert selection.num_clusters == 2
    assert adjusted_rand_score(label, selection.predict(tails)) > 0.98


@pytest.mark.slow
def test_large_samples_are_chosen_from_a_part():
    points, labels = mixture_of(ROUND, MEANS, 12_000)
    target = gj.empirical(points.astype(np.float32))
    selection = gj.select(target, KEY, families=("EII", "VII"))
    assert (int(selection.num_components), selection.family_name) == (4, "VII")
    assert gj.loss(selection.mixture, target) == pytest.approx(float(selection.loss), abs=1e-4)
    assert adjusted_rand_score(labels, selection.predict(target.points)) > 0.98


@pytest.mark.slow
def test_resamples_at_once():
    points, _ = mixture_of(ROUND, MEANS, 200)
    weights = np.random.default_rng(0).multinomial(200, np.full(200, 1 / 200), size=2)

    def one(w):
        target = gj.empirical(jnp.asarray(points), w)
        return gj.select(target, KEY, families=("VII",), num_starts=1)

    batch = jax.vmap(one)(jnp.asarray(weights, float))
    for b in range(2):
        alone = one(jnp.asarray(weights[b], float))
        assert batch.num_components[b] == alone.num_components
        assert batch.loss[b] == pytest.approx(float(alone.loss), abs=2e-3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"families": "EII"}, "families must be a tuple of names, got 'EII'"),
        ({"families": ("EII", "identity")}, "families must be of EII, .*; got 'identity'"),
        ({"families": ("tied", "EEE")}, "families must name each once"),
        ({"criterion": "aic"}, "criterion must be one of bicc, bic, icl, held_out; got 'aic'"),
        ({"num_components": 3}, "at most half of the 4 points"),
        ({"num_starts": 0}, "num_starts must be at least 1"),
        ({}, "target must have at least 6 points .* 1 component in 1 dimension; got 4"),
    ],
)
def test_errors(more, message):
    with pytest.raises(ValueError, match=message):
        gj.select(gj.empirical([[0.0], [1.0], [2.0], [3.0]]), KEY, **more)


def test_how_many_points_a_form_needs_is_said():
    target = gj.empirical(np.random.default_rng(0).normal(size=(8, 6)))
    with pytest.raises(ValueError, match=r"at least 10 .* of EEE .*, and 6 for EII; got 8"):
        gj.select(target, KEY, families=("VVV", "EEE"), num_components=1)
    assert gj.select(target, KEY, families=("EII", "VVV")).num_components == 1


@pytest.mark.slow
def test_in_one_dimension_there_are_two_forms():
    points = np.random.default_rng(0).normal(size=(60, 1))
    target = gj.empirical(np.concatenate([points, points + 9.0]))
    found = gj.select(target, KEY, families=("VVV", "EEE", "VII", "EII"), num_starts=1)
    assert found.families == ("VVV", "EEE")
    assert int(found.num_components) == 2
