"""gj.convert: densities and draws are the other package's; forms stay where it has them."""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

import gemjax as gj

KEY = jax.random.key(0)
MEANS = np.array([[0.1, 0.2], [3.0, 4.0], [-5.0, 1.0]])
WEIGHTS = np.array([0.2, 0.3, 0.5])
SQUARE = np.array([[2.0, 0.3], [0.3, 1.0]])
AXES = np.array([[0.5, 2.0], [1.0, 1.0], [3.0, 0.1]])
POINTS = np.random.default_rng(0).normal(size=(40, 2)) * 5
C = gj.covariance
FAMILIES = {
    C.Identity: C.Identity(),
    C.SharedSpherical: C.SharedSpherical(0.7, 0.1),
    C.Spherical: C.Spherical(AXES[:, 0]),
    C.SharedDiagonal: C.SharedDiagonal(AXES[0]),
    C.Diagonal: C.Diagonal(AXES),
    C.Tied: C.Tied(SQUARE),
    C.Full: C.Full(np.array([SQUARE, 3 * SQUARE, np.eye(2)])),
}
SCIKIT = [C.Spherical, C.Spherical, C.Spherical, C.Diagonal, C.Diagonal, C.Tied, C.Full]
OTHERS = [C.Diagonal] * 5 + [C.Full] * 2


def mixture_of(family, dtype=np.float64):
    means = MEANS.astype(dtype)
    return gj.make_mixture(means, WEIGHTS, covariance=FAMILIES[family])


def every(classes):
    return pytest.mark.parametrize(
        ("family", "there"), list(zip(FAMILIES, classes, strict=True)), ids=lambda c: c.__name__
    )


def agree(mixture, log_density, atol=1e-10):
    ours = gj.log_density(mixture, jnp.asarray(POINTS, mixture.means.dtype))
    np.testing.assert_allclose(np.asarray(log_density).reshape(-1), ours, rtol=atol, atol=atol)


def returned(mixture, back, there, atol=1e-10):
    """What came back is the same density, in the family that it had there."""
    assert type(back.covariance) is there
    np.testing.assert_allclose(back.means, mixture.means, rtol=1e-6)
    agree(mixture, gj.log_density(back, jnp.asarray(POINTS, back.means.dtype)), atol)


def drawn(samples):
    """Many draws of the mixtures here: means and shares of the components are far apart."""
    assert samples.shape == (4000, 2)
    nearest = ((samples[:, None] - MEANS[None]) ** 2).sum(-1).argmin(1)
    np.testing.assert_allclose(np.bincount(nearest) / 4000, WEIGHTS, atol=0.1)
    np.testing.assert_allclose(samples.mean(0), WEIGHTS @ MEANS, atol=0.3)


@pytest.fixture
def lax():
    """Other packages mix dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@every(SCIKIT)
def test_plain_arrays(family, there):
    mixture = mixture_of(family)
    plain = gj.convert.to_arrays(mixture)
    assert {type(plain[name]) for name in ("weights", "means", "covariances")} == {np.ndarray}
    returned(mixture, gj.convert.from_arrays(**plain), there, 1e-13)
    single = gj.convert.to_arrays(mixture_of(family, np.float32))
    assert {single[name].dtype for name in ("weights", "means", "covariances")} == {np.dtype("f4")}


@every(SCIKIT)
def test_scikit_learn(family, there):
    mixture = mixture_of(family)
    model = gj.convert.to_sklearn(mixture, random_state=0)
    agree(mixture, model.score_samples(POINTS))
    psi = np.asarray(gj.responsibilities(mixture, POINTS))
    np.testing.assert_allclose(model.predict_proba(POINTS), psi, atol=1e-10)
    assert np.array_equal(model.predict(POINTS), psi.argmax(1))
    drawn(model.sample(4000)[0])
    returned(mixture, gj.convert.from_sklearn(model), there)
    # All that a fit leaves behind is there, of the same shapes, and goes together.
    fitted = GaussianMixture(3, covariance_type=model.covariance_type).fit(POINTS)
    assert vars(model).keys() >= vars(fitted).keys()
    shapes = {name: np.shape(x) for name, x in vars(fitted).items() if name != "lower_bounds_"}
    assert shapes == {name: np.shape(getattr(model, name)) for name in shapes}
    again = gj.convert.to_sklearn(gj.convert.from_sklearn(fitted))
    for name in ("precisions_", "precisions_cholesky_", "covariances_", "means_", "weights_"):
        np.testing.assert_allclose(getattr(again, name), getattr(fitted, name), rtol=1e-9)
    agree(gj.convert.from_sklearn(fitted), fitted.score_samples(POINTS))


def test_scikit_learn_goes_on_from_a_mixture():
    target = gj.empirical(POINTS)
    mixture = mixture_of(C.Spherical)
    settings = {"warm_start": True, "max_iter": 1, "tol": 0.0, "reg_covar": 0.0}
    model = gj.convert.to_sklearn(mixture, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one iteration is no convergence
        model.fit(POINTS)
    fit = gj.fit(gj.classical_em(), target, mixture, num_iterations=1)
    np.testing.assert_allclose(model.means_, fit.mixture.means, rtol=1e-10)
    assert model.lower_bound_ == pytest.approx(-float(fit.loss), rel=1e-10)


def test_float32_and_weights_of_zero_in_scikit_learn():
    mixture = gj.make_mixture(MEANS.astype(np.float32), [1.0, 0.0, 3.0])
    model = gj.convert.to_sklearn(mixture, random_state=0)
    with np.errstate(divide="ignore"):
        agree(mixture, model.score_samples(POINTS), 1e-5)
        assert set(model.sample(100)[1]) == {0, 2}
    assert gj.convert.from_sklearn(model).weights.tolist() == [0.25, 0.0, 0.75]


@every(OTHERS)
def test_gmmx(family, there, lax):
    pytest.importorskip("gmmx")
    mixture = mixture_of(family)
    model = gj.convert.to_gmmx(mixture)
    agree(mixture, model.score_samples(jnp.asarray(POINTS, jnp.float32)), 1e-4)
    drawn(np.asarray(model.sample(KEY, 4000)))
    back = gj.convert.from_gmmx(model)
    assert back.means.dtype == jnp.float32
    returned(mixture_of(family, np.float32), back, there, 1e-5)


@every(OTHERS)
def test_numpyro(family, there, lax):
    dist = pytest.importorskip("numpyro.distributions")
    mixture = mixture_of(family)
    model = gj.convert.to_numpyro(mixture)
    assert isinstance(model, dist.MixtureSameFamily)
    agree(mixture, model.log_prob(POINTS))
    drawn(np.asarray(model.sample(KEY, (4000,))))
    returned(mixture, gj.convert.from_numpyro(model), there)
    inside = jax.jit(lambda m: gj.convert.from_numpyro(gj.convert.to_numpyro(m)))(mixture)
    returned(mixture, inside, there)


def test_other_distributions_of_numpyro(lax):
    dist = pytest.importorskip("numpyro.distributions")
    mix = dist.Categorical(probs=jnp.asarray(WEIGHTS))
    line = dist.MixtureSameFamily(mix, dist.Normal(MEANS[:, 0], AXES[:, 0]))
    x = POINTS[:, 0]
    np.testing.assert_allclose(
        gj.log_density(gj.convert.from_numpyro(line), x), line.log_prob(x), rtol=1e-10
    )
    tied = dist.MixtureSameFamily(mix, dist.MultivariateNormal(MEANS, SQUARE))
    agree(gj.convert.from_numpyro(tied), tied.log_prob(POINTS))
    wide = dist.Normal(jnp.asarray(MEANS[0]), 2.0).expand((3, 2)).to_event(1)
    wide = dist.MixtureSameFamily(mix, wide)
    agree(gj.convert.from_numpyro(wide), wide.log_prob(POINTS))
    heavy = dist.MixtureSameFamily(mix, dist.StudentT(3.0, MEANS, AXES).to_event(1))
    with pytest.raises(TypeError, match=r"component_distribution must be .* got StudentT"):
        gj.convert.from_numpyro(heavy)
    with pytest.raises(TypeError, match="model must be a MixtureSameFamily of numpyro, got Normal"):
        gj.convert.from_numpyro(dist.Normal(0.0, 1.0))
    batch = dist.MixtureSameFamily(mix, dist.Normal(MEANS.T, 1.0))
    with pytest.raises(ValueError, match=r"model must be one mixture .* got batch_shape \(2,\)"):
        gj.convert.from_numpyro(batch)


@every(OTHERS)
def test_tfp(family, there, lax):
    tfd = tensorflow_probability()
    mixture = mixture_of(family)
    model = gj.convert.to_tfp(mixture)
    assert isinstance(model, tfd.MixtureSameFamily)
    agree(mixture, model.log_prob(POINTS))
    drawn(np.asarray(model.sample(4000, seed=KEY)))
    returned(mixture, gj.convert.from_tfp(model), there)
    inside = jax.jit(lambda m: gj.convert.from_tfp(gj.convert.to_tfp(m)))(mixture)
    returned(mixture, inside, there)


def test_other_distributions_of_tfp(lax):
    tfd = tensorflow_probability()
    mix = tfd.Categorical(probs=jnp.asarray(WEIGHTS))
    line = tfd.MixtureSameFamily(mix, tfd.Normal(MEANS[:, 0], AXES[:, 0]))
    x = POINTS[:, 0]
    np.testing.assert_allclose(
        gj.log_density(gj.convert.from_tfp(line), x), line.log_prob(x), rtol=1e-10
    )
    for components in (
        tfd.MultivariateNormalFullCovariance(MEANS, SQUARE),
        tfd.Independent(tfd.Normal(MEANS, jnp.asarray(2.0)), 1),
        tfd.MultivariateNormalDiag(MEANS, AXES[:1]),
    ):
        model = tfd.MixtureSameFamily(mix, components)
        agree(gj.convert.from_tfp(model), model.log_prob(POINTS))
    heavy = tfd.MixtureSameFamily(mix, tfd.Independent(tfd.StudentT(3.0, MEANS, AXES), 1))
    with pytest.raises(TypeError, match=r"components_distribution must be .* got StudentT"):
        gj.convert.from_tfp(heavy)
    with pytest.raises(ValueError, match=r"model must be one mixture .* got batch_shape \(2,\)"):
        gj.convert.from_tfp(tfd.MixtureSameFamily(mix, tfd.Normal(MEANS.T, 1.0)))


def tensorflow_probability():
    try:  # its releases follow JAX's late
        return pytest.importorskip("tensorflow_probability.substrates.jax.distributions")
    except AttributeError as error:
        pytest.skip(f"made for another JAX: {error}")


@every([C.Full] * 7)
def test_ott(family, there, lax):
    pytest.importorskip("ott.tools.gaussian_mixture.gaussian_mixture")
    mixture = mixture_of(family)
    model = gj.convert.to_ott(mixture)
    agree(mixture, model.log_prob(POINTS))
    drawn(np.asarray(model.sample(KEY, 4000)))
    returned(mixture, gj.convert.from_ott(model), there)
    inside = jax.jit(lambda m: gj.convert.from_ott(gj.convert.to_ott(m)))(mixture)
    returned(mixture, inside, there)
    with pytest.raises(ValueError, match="mixture must have no weights of zero, as OTT"):
        gj.convert.to_ott(gj.make_mixture(MEANS, [1.0, 1.0, 0.0]))


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("sklearn", "scikit-learn"),
        ("gmmx", "gmmx"),
        ("numpyro", "numpyro"),
        ("tfp", "tensorflow-probability"),
        ("ott", "ott-jax"),
    ],
)
def test_a_package_that_is_not_there(name, package, monkeypatch):
    root = "tensorflow_probability" if name == "tfp" else name
    for module in [m for m in sys.modules if m.split(".")[0] == root] + [root]:
        monkeypatch.setitem(sys.modules, module, None)
    for convert in ("to", "from"):
        function = getattr(gj.convert, f"{convert}_{name}")
        with pytest.raises(ImportError, match=rf"cannot be imported .*: pip install {package}"):
            function(mixture_of(C.Identity))


def test_errors():
    from_arrays, from_sklearn = gj.convert.from_arrays, gj.convert.from_sklearn
    with pytest.raises(ValueError, match="covariance_type must be one of spherical, diag, tied,"):
        from_arrays(WEIGHTS, MEANS, AXES, "round")
    with pytest.raises(ValueError, match=r"covariance\.covariances must have shape \(3, 2, 2\)"):
        from_arrays(WEIGHTS, MEANS, AXES)
    with pytest.raises(ValueError, match=r"variances must be positive, got -1\.0 at index \(1,\)"):
        from_arrays(WEIGHTS, MEANS, [1.0, -1.0, 1.0], "spherical")
    with pytest.raises(ValueError, match="model must be fitted"):
        from_sklearn(GaussianMixture(2))
    with pytest.raises(TypeError, match="must be a GaussianMixture of scikit-learn, got Bayes"):
        from_sklearn(BayesianGaussianMixture())
    with pytest.raises(TypeError, match="mixture must be a Mixture"):
        gj.convert.to_sklearn({"means": MEANS})
    with pytest.raises(ValueError, match="covariance_type must be 'diag', the mixture's"):
        gj.convert.to_sklearn(mixture_of(C.Diagonal), covariance_type="full")
