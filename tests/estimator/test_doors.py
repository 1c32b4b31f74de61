"""What goes into the estimator: frames, unusual data, settings and weights that cannot be."""

import subprocess
import sys

import numpy as np
import pytest
from estimators import LABELS, MATRICES, MEANS, TYPES, X
from sklearn.metrics import adjusted_rand_score

import gemjax as gj
from gemjax.sklearn import GaussianMixture


def test_frames():
    pd = pytest.importorskip("pandas")
    plain = GaussianMixture(1).fit(X)
    nullable = pd.DataFrame(X, columns=["a", "b"]).convert_dtypes()
    np.testing.assert_array_equal(GaussianMixture(1).fit(nullable).means_, plain.means_)
    nullable.loc[4, "b"] = pd.NA
    message = "Input X contains NaN in 1 of 96 rows, first in row 4, column 'b'; drop or fill"
    with pytest.raises(ValueError, match=message):
        GaussianMixture(1).fit(nullable)


def test_polars_frames():
    pl = pytest.importorskip("polars")
    model = GaussianMixture(1).fit(pl.DataFrame(X, schema=["a", "b"]))
    assert model.feature_names_in_.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "points",
    [
        X.tolist(),
        np.asfortranarray(X),
        X.astype(int),
        np.column_stack([X, np.full(96, 7.0)]),
        np.repeat(X[:1], 9, axis=0),
        X[:, :1],
        X[:2],
    ],
    ids=["list", "F", "integers", "constant column", "one place", "one column", "two rows"],
)
def test_data_that_is_unusual(points):
    points = np.asarray(points)
    points.setflags(write=False)
    for kind in TYPES:
        model = GaussianMixture(1, covariance_type=kind).fit(points)
        assert np.isfinite(model.score(points))
        assert np.isfinite(model.precisions_).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": 0}, "n_components must be at least 1, got 0"),
        ({"n_components": 2.5}, "n_components must be an integer, got 2.5"),
        ({"covariance_type": "round"}, "covariance_type must be None or one of full, .*'round'"),
        ({"tol": -1.0}, "tol must be a finite number that is not negative, got -1.0"),
        ({"reg_covar": "x"}, "reg_covar must be a finite number .* got 'x'"),
        ({"max_iter": -1}, "max_iter must be at least 0"),
        ({"n_init": 0}, "n_init must be at least 1"),
        ({"n_components": 97}, "Expected n_samples >= n_components but got n_components = 97"),
        ({"means_init": MEANS}, "need an integer n_components and a covariance_type by name"),
        ({"n_components": 3, "means_init": MEANS[:2]}, "'means' should have the shape of"),
        (
            {"n_components": 3, "means_init": MEANS, "precisions_init": -MATRICES},
            "'full precision' should be symmetric, positive-definite",
        ),
        ({"n_components": 60, "covariance_type": "auto"}, "at most half of the 96 rows"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        GaussianMixture(**settings).fit(X)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), r"sample_weight must have shape \(96,\), got \(5,\)"),
        (-np.ones(96), "sample_weight must be finite and non-negative, got -1.0 in row 0"),
        (np.zeros(96), "sample_weight must not be zero for all rows"),
    ],
)
def test_weights_that_cannot_be(weights, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(1).fit(X, sample_weight=weights)


def test_points_that_cannot_be():
    sparse = pytest.importorskip("scipy.sparse").csr_array(X)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        GaussianMixture(1).fit(sparse)
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        GaussianMixture(1).fit(X[:1])
    with pytest.raises(ValueError, match=r"infinity \(inf\) in 1 of 96 rows, first in row 3"):
        GaussianMixture(1).fit(np.where(np.arange(96)[:, None] == 3, np.inf, X))


def test_collapse_is_an_error_and_reg_covar_mends_it():
    points = np.repeat(MEANS, 5, axis=0)
    model = GaussianMixture(3, means_init=MEANS, reg_covar=0.0)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        model.fit(points)
    model.set_params(reg_covar=1e-2).fit(points)
    np.testing.assert_allclose(model.covariances_, 1e-2 * np.stack([np.eye(2)] * 3), atol=1e-12)


def test_what_is_printed(capsys):
    GaussianMixture(1, verbose=2, verbose_interval=1).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["start", "iteration 1", "end"]


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_library_does_without_scikit_learn():
    code = "import sys, gemjax; assert 'sklearn' not in sys.modules"
    assert run(code).returncode == 0
    done = run("import sys; sys.modules['sklearn'] = None; import gemjax.sklearn")
    last = done.stderr.splitlines()[-1]
    assert last == "ImportError: gemjax.sklearn needs scikit-learn: pip install 'gemjax[sklearn]'"


def test_what_a_fit_needs_is_imported_by_it():
    code = "import sys, gemjax.sklearn; print({'sklearn.mixture', 'sklearn.cluster', 'chex'}"
    assert run(code + " & set(sys.modules))").stdout == "set()\n"


@pytest.mark.slow
def test_the_unit_covariance():
    rng = np.random.default_rng(1)
    points = MEANS[LABELS] + rng.normal(size=(96, 2))
    for number in (3, "auto"):
        model = GaussianMixture(number, covariance_type="identity", random_state=0).fit(points)
        assert (model.family_, model.n_components_) == ("identity", 3)
        np.testing.assert_array_equal(model.covariances_, np.ones(3))
        assert model._n_parameters() == 3 * 2 + 2
        assert isinstance(model.path_, gj.Path)
        assert adjusted_rand_score(model.predict(points), LABELS) > 0.99


@pytest.mark.slow
def test_a_handful_of_rows():
    for N in (2, 5):
        with pytest.raises(ValueError, match=f"at least 6 points .* got {N}"):
            GaussianMixture(random_state=0).fit(X[:N])
    model = GaussianMixture(random_state=0).fit(X[:9])
    assert np.isfinite(model.score(X[:9]))


@pytest.mark.slow
def test_nearly_as_many_components_as_rows():
    model = GaussianMixture(8, random_state=0).fit(X[:10])
    assert model.means_.shape == (8, 2)
    same = GaussianMixture(4, random_state=0).fit(np.repeat(X[:2], 6, axis=0))
    assert np.isfinite(same.score(X[:2]))
