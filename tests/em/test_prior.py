"""MAP-EM: priors against SciPy, an independent loop, finite differences and perturbations."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from differences import assert_derivatives
from priors import (
    MEANS,
    NAMES,
    POINTS,
    TARGET,
    WEIGHTS,
    D,
    K,
    N,
    log_prior,
    map_step,
    offset,
    parts_of,
    prior_for,
    responsibilities,
    scatter_for,
    start,
    step,
)

import gemjax as gj

ALL = pytest.mark.parametrize("name", ["identity", *NAMES])


@ALL
def test_one_step_and_the_density(name):
    prior = prior_for(name)
    mixture, _, density = step(prior, start(name))
    weights, means, covariances = map_step(name, prior)
    np.testing.assert_allclose(mixture.weights, weights, rtol=1e-11)
    np.testing.assert_allclose(mixture.means, means, rtol=1e-11, atol=1e-12)
    found = mixture.covariance.matrices(K, D)
    np.testing.assert_allclose(found, covariances, rtol=1e-11, atol=1e-12)
    first = start(name).covariance.matrices(K, D)
    np.testing.assert_allclose(density, log_prior(name, prior, WEIGHTS, MEANS, first), rtol=1e-11)


@pytest.mark.parametrize(("name", "way"), [("VVI", "differences"), ("EEE", "chunks")])
def test_one_step_however_points_are_laid_out(name, way):
    prior, chunks = prior_for(name), gj.Blocking(block_size=16, copied_bytes=2000)
    solver = gj.classical_em(prior=prior, blocking=chunks if way == "chunks" else gj.Blocking())

    @jax.jit
    def run(points, mixture):
        target = gj.Target(points, TARGET.weights, far_apart=way == "differences")
        return solver.step(solver.init(mixture), target)[0].mixture.covariance.matrices(K, D)

    *_, covariances = map_step(name, prior)
    found = run(TARGET.points, start(name))
    np.testing.assert_allclose(found, covariances, rtol=1e-11, atol=1e-12)


@ALL
def test_the_objective_falls(name):
    prior, mixture, values = prior_for(name), start(name), []
    for _ in range(25):
        moved, loss, density = step(prior, mixture)
        values.append(float(loss - density / N))
        mixture = moved
    assert (np.diff(values) <= 1e-13).all()
    assert values[-1] < values[0] - 1e-3


@ALL
def test_a_step_maximises(name):
    """No other parameters of the family have more of the expected log-likelihood and the prior."""
    prior = prior_for(name)
    mixture, *_ = step(prior, start(name))
    psi = responsibilities(name)
    w, mu, S = (
        np.asarray(x) for x in (mixture.weights, mixture.means, mixture.covariance.matrices(K, D))
    )

    def objective(w, mu, S):
        return np.sum(psi * np.log(parts_of(w, mu, S))) + log_prior(name, prior, w, mu, S)

    best, rng = objective(w, mu, S), np.random.default_rng(3)
    for size in 10.0 ** rng.uniform(-3, -0.5, 30):
        other = w * np.exp(size * rng.normal(size=K))
        turn = size * rng.normal(size=(1 if name[0] == "E" else K, D, D))
        turn = turn + turn.swapaxes(1, 2)
        if name[2] == "I":
            turn = turn * np.eye(D) if name[1] != "I" else turn[:, :1, :1] * np.eye(D)
        root = np.stack([scipy.linalg.sqrtm(s) for s in S])
        moved = root @ np.stack([scipy.linalg.expm(t) for t in turn]) @ root
        moved = S if name == "identity" else moved
        assert objective(other / other.sum(), mu + size * rng.normal(size=(K, D)), moved) < best


def close(found, expected, rtol):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-12)


@ALL
def test_limits(name):
    """A vanishing prior is none; a strong one decides; without points there is only the prior."""
    mixture, prior = start(name), prior_for(name)
    none = {
        "scatter": 0.0 * jnp.asarray(scatter_for(name).get("scatter", 0.0)),
        "dof": -offset(name),
    }
    flat = gj.Prior(jnp.ones(K), prior.mean, jnp.zeros(K), **none)
    found, *_ = step(prior, mixture, 1e18)
    weights, means, covariances = map_step(name, flat)
    close((found.weights, found.means), (weights, means), 1e-11)
    close(found.covariance.matrices(K, D), covariances, 1e-11)
    big = 1e10
    strong = jax.tree.map(lambda leaf: big * leaf, prior)
    strong = dataclasses.replace(
        strong, concentration=1 + big * jnp.array([1.0, 2.0, 1.0]), mean=prior.mean
    )
    strong = dataclasses.replace(strong, mean_strength=jnp.full(K, big))
    found, *_ = step(strong, mixture)
    np.testing.assert_allclose(found.weights, [0.25, 0.5, 0.25], rtol=1e-7)
    np.testing.assert_allclose(found.means, prior.mean, rtol=1e-7)
    if name != "identity":
        dof = (
            prior.dof.reshape(-1, *(1,) * (prior.scatter.ndim - 1)) if name[0] == "V" else prior.dof
        )
        leaf = jax.tree.leaves(found.covariance)[0]
        np.testing.assert_allclose(leaf, prior.scatter / dof, rtol=1e-6)
    lost = dataclasses.replace(mixture, means=mixture.means.at[1].set(1e4))
    found, *_ = step(prior, lost)
    np.testing.assert_allclose(found.means[1], prior.mean[1], rtol=1e-12)
    np.testing.assert_allclose(found.weights[1], 1.5 / (N + 4.5), rtol=1e-12)
    if name[0] == "V":
        mode = prior.scatter[1] / (prior.dof[1] + offset(name) + (D if name == "VII" else 1))
        np.testing.assert_allclose(jax.tree.leaves(found.covariance)[0][1], mode, rtol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_a_prior_that_says_nothing():
    nothing, flat = gj.Prior(), gj.Prior(1.0, [0.0, 0.0], 0.0)
    plain, *fits = (
        gj.fit(gj.classical_em(prior=prior), TARGET, start("VII"), num_iterations=4).mixture
        for prior in (None, nothing, flat)
    )
    for mixture in fits:
        close(mixture, plain, 1e-12)
    assert nothing.log_density(plain) == 0
    slope = jax.grad(lambda alpha: gj.Prior(alpha).log_density(plain))(1.0)
    assert slope == pytest.approx(3 * 1.5 + jnp.sum(plain.log_weights))  # 3 [ψ(3) − ψ(1)] = 3 · 3/2
    assert flat.log_density(plain) == pytest.approx(np.log(2))  # 1 over the simplex's area


OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name != "EEE"]


@pytest.mark.parametrize("name", ["EEE", *OTHERS])
def test_derivatives_with_respect_to_every_array(name):
    prior = prior_for(name)
    x = {field.name: getattr(prior, field.name) for field in dataclasses.fields(prior)}
    # A concentration of one is the end of what is allowed, a strength of zero a jump.
    x["concentration"], x["num_points"] = x["concentration"] + 0.5, jnp.asarray(40.0)
    x["mean_strength"], x["weights"] = jnp.array([0.5, 2.0, 7.0]), jnp.asarray(WEIGHTS)

    def function(x):
        settings = dict(x)
        number, weights = settings.pop("num_points"), settings.pop("weights")
        mixture = dataclasses.replace(start(name), log_weights=jnp.log(weights))
        prior = gj.Prior(**settings)
        solver = gj.classical_em(prior=prior, num_points=number)
        fit = gj.fit(solver, TARGET, mixture, num_iterations=2)
        leaf = jax.tree.leaves(fit.mixture.covariance)[0]
        density = prior.log_density(fit.mixture) / N
        return jnp.stack([fit.loss, density, jnp.sum(leaf**2), jnp.sum(fit.mixture.means**2)])

    derivatives = assert_derivatives(function, x, rounding=1e-8)
    assert all((found != 0).all() for found in derivatives.values())


def test_a_layer_over_a_batch_of_sets():
    """(B, N, d) with masks and priors of each: what one set alone gives, and how it is trained."""
    sizes = (20, 33, 60)
    mask = jnp.arange(N)[None] < jnp.array(sizes)[:, None]
    sets = jnp.asarray(np.stack([POINTS, POINTS[::-1], POINTS + 1]))
    batch = jnp.where(mask[..., None], sets, 9.0)
    priors = gj.Prior(
        concentration=jnp.array([[1.5, 2.0, 3.0]] * 3),
        mean=jnp.stack([jnp.asarray(MEANS)] * 3),
        mean_strength=jnp.array([0.1, 1.0, 2.0]),
        scatter=jnp.array([0.5, 1.0, 2.0])[:, None, None] * jnp.ones((3, K, D)),
        dof=jnp.array([1.0, 2.0, 3.0]),
    )

    def layer(prior, points, mask):
        target = gj.empirical(points, mask)
        fit = gj.fit(gj.classical_em(prior=prior), target, start("VVI"), num_iterations=3)
        mixture = fit.mixture
        return mixture.weights, mixture.means, mixture.covariance.variances, -fit.loss

    @jax.jit
    def outputs(priors, batch):
        return jax.vmap(layer)(priors, batch, mask)

    @jax.jit
    def gradient(priors, batch):
        total = lambda priors, batch: jnp.sum(jax.vmap(layer)(priors, batch, mask)[3])  # noqa: E731
        return jax.grad(total, argnums=(0, 1))(priors, batch)

    found = outputs(priors, batch)
    alone = layer(jax.tree.map(lambda leaf: leaf[0], priors), POINTS[:20], np.ones(20))
    for one, many in zip(alone, found, strict=True):
        np.testing.assert_allclose(many[0], one, rtol=1e-10)
    slopes = gradient(priors, batch)
    assert (np.asarray(slopes[1])[~np.asarray(mask)] == 0).all()
    rng, h = np.random.default_rng(5), 1e-5
    move = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), (priors, batch))
    up, down = (
        outputs(*jax.tree.map(lambda leaf, m, h=h: leaf + h * m, (priors, batch), move))[3].sum()
        for h in (h, -h)
    )
    along = sum(
        jnp.sum(a * b) for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(move), strict=True)
    )
    np.testing.assert_allclose(along, (up - down) / (2 * h), rtol=1e-6)


@pytest.mark.slow
def test_the_layer_of_the_documents():
    text = (Path(__file__).parents[2] / "docs" / "derivatives.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nan" not in done.stdout


def test_numbers_of_points():
    prior, mixture = prior_for("identity"), start("identity")

    def fit(target, num_points=None, **more):
        solver = gj.classical_em(prior=prior, num_points=num_points)
        return gj.fit(solver, target, mixture, num_iterations=1, **more).mixture.means

    w = np.arange(N) % 3 / (N - 0.0)
    psi = w * responsibilities("identity")
    share = np.sum(w**2) * np.asarray(prior.mean_strength)[:, None]
    expected = (psi @ POINTS + share * prior.mean) / (psi.sum(1)[:, None] + share)
    for mesh in (None, jax.make_mesh((2,), ("data",))):
        found = fit(gj.empirical(POINTS, w), mesh=mesh)
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    for target, kind in (
        (dataclasses.replace(TARGET, quadrature_error=jnp.zeros(())), "population target"),
        (gj.stream(jax.random.key(0), mixture, 32), "Stream"),
    ):
        with pytest.raises(ValueError, match=f"num_points must be given with a prior for a {kind}"):
            fit(target)
    assert np.isfinite(fit(gj.stream(jax.random.key(0), mixture, 32), 50)).all()


def test_float32():
    """Far from the origin, with a prior of the mean as strong as a million points."""
    results = []
    for dtype in (np.float32, np.float64):
        prior = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), prior_for("VVV"))
        points, mixture = (POINTS + 1000).astype(dtype), start("VVV", dtype=dtype)
        mixture = dataclasses.replace(mixture, means=mixture.means + dtype(1000))
        strengths = jnp.array([0.0, 2.0, 1e6], dtype)
        prior = dataclasses.replace(prior, mean=prior.mean + dtype(1000), mean_strength=strengths)
        found, _, density = step(prior, mixture, dtype(N), points)
        assert found.means.dtype == density.dtype == dtype
        results.append(found)
    np.testing.assert_allclose(results[0].weights, results[1].weights, rtol=2e-3)
    found = [np.asarray(mixture.covariance.matrices(K, D)) for mixture in results]
    np.testing.assert_allclose(*found, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "VVV",
            {"concentration": [1.0, 0.5, 2.0]},
            r"concentration must be at least 1, got 0\.5 at",
        ),
        (
            "VVV",
            {"concentration": [1.0, 2.0]},
            r"concentration must have shape \(\) or \(3,\), got",
        ),
        ("VVV", {"concentration": np.nan}, "concentration must be finite, got nan"),
        ("VVV", {"mean": [0.0, 0.0]}, r"mean_strength must be given with prior\.mean, got None"),
        ("VVV", {"mean_strength": 1.0}, r"mean must be given with prior\.mean_strength, got None"),
        (
            "VVV",
            {"mean": [0.0] * 3, "mean_strength": 1.0},
            r"mean must have shape \(2,\) or \(3, 2\)",
        ),
        ("VVV", {"mean": [0.0] * 2, "mean_strength": -2.0}, r"at least 0, got -2\.0"),
        ("VVV", {"scatter": 1.0}, r"dof must be given with prior\.scatter, got None"),
        ("VVV", {"scatter": 1.0, "dof": 1.0}, r"dof must be above 1, got 1\.0"),
        ("VVI", {"scatter": 1.0, "dof": 0.0}, r"dof must be above 0, got 0\.0"),
        ("VVI", {"scatter": [1.0, -1.0], "dof": 1.0}, r"scatter must be above 0, got -1\.0"),
        (
            "VVI",
            {"scatter": np.eye(2), "dof": 1.0},
            r"scatter must have shape \(\) or \(2,\) or \(3, 2\)",
        ),
        ("EEE", {"scatter": [[1.0, 1.0], [0.0, 1.0]], "dof": 3.0}, "scatter must be symmetric"),
        (
            "EEE",
            {"scatter": [[1.0, 2.0], [2.0, 1.0]], "dof": 3.0},
            "scatter must be positive definite",
        ),
        (
            "EEE",
            {"scatter": np.ones((3, 2, 2)), "dof": 3.0},
            r"scatter must have shape \(\) or \(2, 2\) or",
        ),
        ("identity", {"scatter": 1.0, "dof": 3.0}, "scatter must be None for Identity covariances"),
    ],
)
def test_bad_priors(name, settings, message):
    prior, mixture = gj.Prior(**settings), start(name)
    for call in (
        lambda: prior.log_density(mixture),
        lambda: gj.fit(gj.classical_em(prior=prior), TARGET, mixture, num_iterations=1),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_other_bad_input():
    with pytest.raises(TypeError, match=r"prior must be a gj\.Prior or None, got 3"):
        gj.fit(gj.classical_em(prior=3), TARGET, start("VII"), num_iterations=1)
    with pytest.raises(ValueError, match=r"num_points must be positive and finite, got 0"):
        gj.fit(gj.classical_em(num_points=0.0), TARGET, start("VII"), num_iterations=1)

    def status(values):
        prior = gj.Prior(1.0, [0.0, 0.0], values[0], values[1], values[2])
        return gj.fit(gj.classical_em(prior=prior), TARGET, start("VII"), num_iterations=2).status

    good = jnp.array([[1.0, 1.0, 3.0]])
    values = jnp.concatenate(
        [good, good.at[0, 0].set(-1), good.at[0, 1].set(-1), good.at[0, 2].set(0)]
    )
    found = jax.vmap(status)(values)
    assert found.tolist() == [gj.Status.OK] + [gj.Status.DIVERGED] * 3
