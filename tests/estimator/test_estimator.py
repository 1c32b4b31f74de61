"""GaussianMixture as an estimator: against scikit-learn's, and what is its own."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.mixture
from estimators import INIT, LABELS, MATRICES, MEANS, PRECISIONS, RNG, TYPES, X
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import gemjax as gj
from gemjax.sklearn import GaussianMixture


@parametrize_with_checks([GaussianMixture(1)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([GaussianMixture(n_init=1), GaussianMixture(2, n_init=1)])
def test_scikit_learns_checks_of_searches(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def found():
    return GaussianMixture(3, n_init=1, random_state=0).fit(X)


@pytest.fixture(scope="module")
def chosen():
    return GaussianMixture(n_init=1, random_state=0).fit(X)


@pytest.mark.parametrize("kind", TYPES)
def test_densities_are_scikit_learns(kind):
    start = {**INIT, "precisions_init": PRECISIONS[kind], "covariance_type": kind}
    ours = GaussianMixture(3, max_iter=0, **start).fit(X)
    theirs = sklearn.mixture.GaussianMixture(3, covariance_type=kind)
    theirs.weights_, theirs.means_ = ours.weights_, ours.means_
    theirs.covariances_, theirs.precisions_cholesky_ = ours.covariances_, ours.precisions_cholesky_
    for method in ("score_samples", "predict_proba", "score", "predict", "aic", "bic"):
        expected = getattr(theirs, method)(X)
        np.testing.assert_allclose(getattr(ours, method)(X), expected, rtol=1e-10, atol=1e-10)
    covariances = np.broadcast_to(
        np.linalg.inv(MATRICES[1] if kind == "tied" else MATRICES), (3, 2, 2)
    )
    if kind == "diag":
        covariances = [np.diag(1 / p) for p in PRECISIONS[kind]]
    if kind == "spherical":
        covariances = [np.eye(2) / p for p in PRECISIONS[kind]]
    parts = [
        w * multivariate_normal.pdf(X, m, c)
        for w, m, c in zip(INIT["weights_init"], MEANS + 1, covariances, strict=True)
    ]
    np.testing.assert_allclose(ours.score_samples(X), np.log(np.sum(parts, axis=0)), rtol=1e-10)
    np.testing.assert_allclose(
        ours.responsibilities(X), (parts / np.sum(parts, axis=0)).T, atol=1e-12
    )


@pytest.mark.parametrize("kind", TYPES)
def test_em_from_a_given_start_is_scikit_learns(kind):
    start = {**INIT, "precisions_init": PRECISIONS[kind], "covariance_type": kind}
    settings = {"max_iter": 5, "tol": 0.0, "reg_covar": 0.0}
    models = [
        cls(3, **start, **settings) for cls in (GaussianMixture, sklearn.mixture.GaussianMixture)
    ]
    for model in models:
        with pytest.warns(ConvergenceWarning):
            model.fit(X)
    ours, theirs = models
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-8)
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=1e-10)
    assert (ours.n_iter_, ours.converged_) == (5, False)
    assert ours.lower_bound_ == ours.lower_bounds_[-1]
    assert ours.certificate_ is ours.path_ is None
    ours.set_params(warm_start=True)
    with pytest.warns(ConvergenceWarning):
        ours.fit(X)
    more = clone(theirs).set_params(max_iter=10)
    with pytest.warns(ConvergenceWarning):
        more.fit(X)
    np.testing.assert_allclose(ours.covariances_, more.covariances_, rtol=1e-7)


@pytest.mark.parametrize("kind", TYPES)
def test_one_component_has_its_optimum_at_once(kind):
    ours = GaussianMixture(1, covariance_type=kind).fit(X + 1e4, sample_weight=1 + LABELS)
    repeated = np.repeat(X, 1 + LABELS, axis=0) + 1e4
    theirs = sklearn.mixture.GaussianMixture(1, covariance_type=kind, reg_covar=0).fit(repeated)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-12)
    np.testing.assert_allclose(ours.covariances_, theirs.covariances_, rtol=1e-6)
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, rel=1e-9)
    assert ours.converged_


@pytest.mark.slow
def test_a_search_is_no_worse_than_ten_starts(found):
    theirs = sklearn.mixture.GaussianMixture(3, n_init=10, random_state=0, tol=1e-6).fit(X)
    assert found.score(X) > theirs.score(X) - 1e-4
    assert found.converged_
    assert found.n_iter_ == len(found.lower_bounds_) >= 2
    assert found.family_ == "VVV"
    assert (np.diff(found.weights_) < 0).all()
    assert adjusted_rand_score(found.predict(X), LABELS) > 0.9
    assert isinstance(found.certificate_, gj.Certificate)
    assert isinstance(found.path_, gj.Selection)
    np.testing.assert_array_equal(found.cluster_, [0, 1, 2])
    assert found.n_samples_seen_ == 96
    again = clone(found)
    np.testing.assert_array_equal(again.fit_predict(X), found.predict(X))
    np.testing.assert_array_equal(again.means_, found.means_)


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_em_begins_at_the_floor_after_a_search(kind):
    settings = {"covariance_type": kind, "n_init": 1, "random_state": 0, "reg_covar": 2.0}
    begun = GaussianMixture(3, max_iter=0, **settings).fit(X)
    values = begun.covariances_
    if kind in ("full", "tied"):
        values = np.linalg.eigvalsh(values)
    assert values.min() >= 2 - 1e-9
    bounds = GaussianMixture(3, **settings).fit(X).lower_bounds_
    assert np.all(np.diff(bounds) > -1e-9)


def test_a_number_is_chosen(chosen):
    assert chosen.n_components_ == chosen.n_clusters_ == 3
    assert chosen.family_ == chosen.path_.family_name
    assert adjusted_rand_score(chosen.predict(X), LABELS) > 0.9
    p = chosen._n_parameters()
    assert chosen.bic(X) == pytest.approx(-2 * 96 * chosen.score(X) + p * np.log(96))


def test_a_fitted_estimator_holds_numpy_alone(found):
    leaves = jax.tree.leaves(vars(found))
    assert not any(isinstance(leaf, jax.Array) for leaf in leaves)
    copy = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(copy.predict_proba(X), found.predict_proba(X))
    assert copy.certificate_.birth_gain == found.certificate_.birth_gain


def test_clusters_are_unions_of_components():
    model = GaussianMixture(3, covariance_type="spherical", max_iter=0, **INIT).fit(X)
    resp = model.responsibilities(X)
    model.cluster_, model.n_clusters_ = np.array([1, 0, 1]), 2
    proba = model.predict_proba(X)
    np.testing.assert_allclose(
        proba, np.stack([resp[:, 1], resp[:, 0] + resp[:, 2]], 1), atol=1e-12
    )
    np.testing.assert_array_equal(model.predict(X), proba.argmax(1))
    model.cluster_ = np.array([1, 0, -1])  # a background
    two = resp[:, [1, 0]] / resp[:, :2].sum(1, keepdims=True)
    some = resp[:, :2].sum(1) > 1e-6
    np.testing.assert_allclose(model.predict_proba(X)[some], two[some], rtol=1e-6, atol=1e-12)
    points, label = model.sample(500)
    assert points.shape == (500, 2)
    assert set(label) == {-1, 0, 1}


def test_float32_stays_and_configuration_too():
    start = {**INIT, "covariance_type": "diag"}
    with jax.enable_x64(False):
        wide = GaussianMixture(3, **start).fit(X)
        narrow = GaussianMixture(3, **start).fit(X.astype(np.float32))
        assert jnp.zeros(()).dtype == jnp.float32
    for model, dtype in ((wide, np.float64), (narrow, np.float32)):
        for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
            assert getattr(model, name).dtype == dtype
        assert model.score_samples(X.astype(dtype)).dtype == dtype
    np.testing.assert_allclose(narrow.means_, wide.means_, rtol=1e-4)
    theirs = sklearn.mixture.GaussianMixture(3, tol=1e-3, **start, reg_covar=0)
    theirs.precisions_init = 1 / GaussianMixture(3, max_iter=0, **start).fit(X).covariances_
    np.testing.assert_allclose(wide.means_, theirs.fit(X).means_, rtol=1e-8)


def test_weights_are_counts():
    count = RNG.integers(0, 3, size=96)
    count[-1] += 96 - count.sum() if count.sum() < 96 else 0
    start = {**INIT, "covariance_type": "diag"}
    weighted = GaussianMixture(3, **start).fit(X, sample_weight=count)
    repeated = GaussianMixture(3, **start).fit(np.repeat(X, count, axis=0))
    np.testing.assert_allclose(weighted.means_, repeated.means_, rtol=1e-9)
    np.testing.assert_allclose(weighted.covariances_, repeated.covariances_, rtol=1e-9)
    assert weighted.n_samples_seen_ == count.sum()


@pytest.mark.parametrize("kind", [*TYPES, "identity"])
def test_batches_move_running_statistics(kind):
    model = GaussianMixture(3, covariance_type=kind, max_iter=0, reg_covar=0, **INIT).fit(X[::2])
    batch, weights = X[1::2], 1.0 + LABELS[1::2]
    covariances = model.covariances_
    if kind == "tied":
        covariances = np.repeat(covariances[None], 3, axis=0)
    elif kind != "full":
        covariances = np.stack([np.eye(2) * c for c in covariances])
    # Sums of 1, x and xxᵀ, as they are in the paper.
    mass = model.weights_
    first = mass[:, None] * model.means_
    outer = model.means_[:, :, None] * model.means_[:, None]
    second = mass[:, None, None] * (covariances + outer)
    resp = model.responsibilities(batch) * (weights / weights.sum())[:, None]
    gamma = (weights.sum() / (48 + weights.sum())) ** 0.6
    mass = (1 - gamma) * mass + gamma * resp.sum(0)
    first = (1 - gamma) * first + gamma * resp.T @ batch
    second = (1 - gamma) * second + gamma * np.einsum("nk,ni,nj->kij", resp, batch, batch)
    means = first / mass[:, None]
    scatter = second / mass[:, None, None] - means[:, :, None] * means[:, None]
    expected = {
        "full": scatter,
        "tied": np.tensordot(mass, scatter, 1),
        "diag": np.diagonal(scatter, axis1=1, axis2=2),
        "spherical": np.trace(scatter, axis1=1, axis2=2) / 2,
        "identity": np.ones(3),
    }[kind]
    score = np.average(model.score_samples(batch), weights=weights)
    model.partial_fit(batch, sample_weight=weights)
    np.testing.assert_allclose(model.weights_, mass, rtol=1e-10)
    np.testing.assert_allclose(model.means_, means, rtol=1e-10)
    np.testing.assert_allclose(model.covariances_, expected, rtol=1e-8)
    assert model.n_samples_seen_ == 48 + weights.sum()
    assert model.lower_bound_ == pytest.approx(score)


def test_one_row_at_a_time_and_from_nothing():
    model = GaussianMixture(1).partial_fit(X[:50])
    for row in X[50:]:
        model.partial_fit([row])
    assert model.n_samples_seen_ == 96
    assert np.isfinite(model.score(X))
    with pytest.raises(ValueError, match="X has 1 features, but GaussianMixture is expecting 2"):
        model.partial_fit(X[:, :1])


def test_in_a_pipeline_and_a_grid():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["length", "width"])
    kinds = {"gaussianmixture__covariance_type": list(TYPES)}
    grids = []
    for model in (GaussianMixture(1), sklearn.mixture.GaussianMixture()):
        pipeline = make_pipeline(StandardScaler(), model).set_output(transform="pandas")
        grids.append(GridSearchCV(pipeline, kinds, cv=3).fit(frame))
    ours, theirs = (grid.cv_results_["mean_test_score"] for grid in grids)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    # Of equal variances, as after scaling, "diag" and "spherical" are the same up to rounding.
    assert theirs[grids[0].best_index_] == pytest.approx(theirs.max(), rel=1e-9)
    assert grids[0].best_estimator_[-1].feature_names_in_.tolist() == ["length", "width"]


def test_what_makes_the_answer_doubtful_is_warned_of():
    rng = np.random.default_rng(0)
    X = np.repeat([0.0, 9.0], 100)[:, None] + rng.normal(size=(200, 2))
    with pytest.warns(UserWarning, match=r"reg_covar = 1e-06 is large beside .* of column 1"):
        GaussianMixture(2, random_state=0).fit(X * [1, 1e-4])
    X[:100, 1] = X[:100, 0]
    with pytest.warns(UserWarning, match="no width left"):
        GaussianMixture(random_state=0).fit(X)


@pytest.mark.parametrize(
    ("dtype", "offset"), [("float32", 3e4), ("float32", 101_325.0), ("float64", 1.7e9)]
)
def test_clusters_far_from_the_origin(dtype, offset):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 150)
    X = np.c_[6.0 * label, 0 * label] + rng.normal(size=(300, 2))
    far = (X + np.array([offset, 0])).astype(dtype)
    here, there = (GaussianMixture(random_state=0).fit(x) for x in (X.astype(dtype), far))
    assert adjusted_rand_score(label, there.predict(far)) > 0.98
    assert there.score(far) == pytest.approx(here.score(X.astype(dtype)), abs=1e-3)


def test_whole_numbers_are_no_more_clusters():
    rng = np.random.default_rng(5)
    X = np.r_[rng.normal([170, 70], 7, (500, 2)), rng.normal([226, 70], 7, (500, 2))]
    model = GaussianMixture(random_state=0).fit(np.round(X))
    assert (model.n_components_, model.n_clusters_) == (2, 2)


def test_draws_are_a_number_above_zero():
    model = GaussianMixture(1).fit(np.arange(12.0)[:, None])
    for number in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"'n_samples': {number}; .* above 0"):
            model.sample(number)
