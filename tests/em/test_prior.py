"""MAP-EM: priors against SciPy, an independent loop, finite differences and perturbations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

import gemjax as gj

NAMES = ["EII", "VII", "EEI", "VVI", "EEE", "VVV"]
N, D, K = 60, 2, 3
RNG = np.random.default_rng(0)
POINTS = np.concatenate([RNG.normal(size=(20, D)) * [1.0, 0.5] + [3 * k, -k] for k in range(K)])
WEIGHTS, MEANS = np.array([0.2, 0.3, 0.5]), POINTS[[0, 25, 50]] + 0.3
COVARIANCES = np.stack([v * (np.eye(D) + 0.2) for v in (1.0, 1.5, 2.0)])
TARGET = gj.empirical(POINTS)


def start(name, floor=0.0, dtype=np.float64):
    if name == "identity":
        return gj.make_mixture(MEANS.astype(dtype), WEIGHTS)
    matrices, weights = jnp.asarray(COVARIANCES, dtype), jnp.asarray(WEIGHTS, dtype)
    covariance = gj.covariance.family(name).nearest(matrices, weights, dtype(floor))
    return gj.make_mixture(MEANS.astype(dtype), WEIGHTS.astype(dtype), covariance=covariance)


def scatter_for(name):
    """A scatter in the form of the family's covariance."""
    if name == "identity":
        return {}
    full = np.array([[2.0, 0.4], [0.4, 1.0]])
    psi = {"I": np.diag(full), "E": full, "V": full}[name[2]] if name[1:] != "II" else 1.7
    dof = 4.5
    if name[0] == "V":
        psi, dof = np.stack([psi, 1.5 * psi, 0.5 * psi]), np.array([4.5, 3.0, 6.0])
    return {"scatter": jnp.asarray(psi), "dof": jnp.asarray(dof)}


def prior_for(name):
    means = jnp.asarray(MEANS + 0.5)
    strengths, alpha = jnp.array([0.0, 2.0, 7.0]), jnp.array([1.0, 2.5, 4.0])
    return gj.Prior(alpha, means, strengths, **scatter_for(name))


def parts_of(weights, means, covariances):
    triples = zip(weights, means, covariances, strict=True)
    return np.stack([p * scipy.stats.multivariate_normal(m, s).pdf(POINTS) for p, m, s in triples])


def map_step(name, prior):
    """Fraley and Raftery's M-step after one E-step, a component at a time."""
    covariances = start(name).covariance.matrices(K, D)
    psi = parts_of(WEIGHTS, MEANS, covariances)
    psi = psi / psi.sum(0)
    counts, eye = psi.sum(1), np.eye(D)
    alpha, kappa, m = (
        np.asarray(x) for x in (prior.concentration, prior.mean_strength, prior.mean)
    )
    weights = (counts + alpha - 1) / (N + alpha.sum() - K)
    bars = psi @ POINTS / counts[:, None]
    means = (counts[:, None] * bars + kappa[:, None] * m) / (counts + kappa)[:, None]
    scatters = []
    for i in range(K):
        apart, off = POINTS - bars[i], bars[i] - m[i]
        share = counts[i] * kappa[i] / (counts[i] + kappa[i])
        scatters.append((psi[i] * apart.T) @ apart + share * np.outer(off, off))
    known = (kappa > 0).astype(float)
    if name == "identity":
        return weights, means, np.stack([eye] * K)
    own, nu, S = np.asarray(prior.scatter), np.asarray(prior.dof), np.stack(scatters)
    if name == "VVV":
        return weights, means, (S + own) / (counts + known + nu + D + 1)[:, None, None]
    if name == "EEE":
        return weights, means, np.stack([(S.sum(0) + own) / (N + known.sum() + nu + D + 1)] * K)
    axes = np.diagonal(S, axis1=1, axis2=2)
    if name == "VVI":
        variances = (axes + own) / (counts + known + nu + 2)[:, None]
    elif name == "EEI":
        variances = np.stack([(axes.sum(0) + own) / (N + known.sum() + nu + 2)] * K)
    elif name == "VII":
        variances = (axes.sum(1) + own) / ((counts + known) * D + nu + 2)
        variances = variances[:, None] * np.ones(D)
    else:
        variances = np.full((K, D), (axes.sum() + own) / ((N + known.sum()) * D + nu + 2))
    return weights, means, variances[:, :, None] * eye


def log_prior(name, prior, mixture):
    """By SciPy's densities, which are normalised."""
    covariances = np.asarray(mixture.covariance.matrices(K, D))
    total = scipy.stats.dirichlet(np.asarray(prior.concentration)).logpdf(mixture.weights)
    for i in range(K):
        if prior.mean_strength[i] > 0:
            normal = scipy.stats.multivariate_normal(
                prior.mean[i], covariances[i] / prior.mean_strength[i]
            )
            total += normal.logpdf(mixture.means[i])
    if name == "identity":
        return total
    k = K if name[0] == "V" else 1
    psi = np.broadcast_to(prior.scatter, (k, *prior.scatter.shape[name[0] == "V" :]))
    nu = np.broadcast_to(prior.dof, (k,))
    for i in range(k):
        if name[1:] in ("EE", "VV"):
            total += scipy.stats.invwishart(nu[i], psi[i]).logpdf(covariances[i])
        else:
            variances = np.diag(covariances[i]) if name[1:] != "II" else covariances[i, 0, 0]
            gamma = scipy.stats.invgamma(nu[i] / 2, scale=psi[i] / 2)
            total += gamma.logpdf(variances).sum()
    return total


@pytest.mark.parametrize("name", ["identity", *NAMES])
@pytest.mark.parametrize("way", ["blocks", "chunks"])
def test_one_step_and_the_density(name, way):
    prior = prior_for(name)
    blocking = gj.Blocking(block_size=16, copied_bytes=2000) if way == "chunks" else gj.Blocking()
    fit = gj.fit(
        gj.classical_em(prior=prior, blocking=blocking), TARGET, start(name), num_iterations=1
    )
    weights, means, covariances = map_step(name, prior)
    np.testing.assert_allclose(fit.mixture.weights, weights, rtol=1e-11)
    np.testing.assert_allclose(fit.mixture.means, means, rtol=1e-11, atol=1e-12)
    found = fit.mixture.covariance.matrices(K, D)
    np.testing.assert_allclose(found, covariances, rtol=1e-11, atol=1e-12)
    density = prior.log_density(fit.mixture)
    np.testing.assert_allclose(density, log_prior(name, prior, fit.mixture), rtol=1e-11)
    # From differences x − μ, with an origin per component.
    apart = dataclasses.replace(TARGET, far_apart=True)
    again = jax.jit(
        lambda t: gj.fit(gj.classical_em(prior=prior), t, start(name), num_iterations=1)
    )
    np.testing.assert_allclose(
        again(apart).mixture.covariance.matrices(K, D), covariances, rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("name", ["identity", *NAMES])
def test_the_objective_falls_and_a_step_maximises(name):
    prior, mixture = prior_for(name), start(name)
    solver = gj.classical_em(prior=prior)
    prepared, data = solver.prepare(TARGET, mixture)

    @jax.jit
    def objectives(mixture):
        def one(state, _):
            state, info = prepared.step(state, data)
            return state, info.loss - prior.log_density(state.mixture) / N

        def value(state, _):
            value = gj.loss(state.mixture, TARGET) - prior.log_density(state.mixture) / N
            return prepared.step(state, data)[0], value

        return jax.lax.scan(value, prepared.init(mixture), length=25)

    state, values = objectives(mixture)
    assert (np.diff(values) <= 1e-13).all()
    assert values[-1] < values[0] - 1e-3

    psi = gj.responsibilities(mixture, POINTS)
    after = prepared.step(prepared.init(mixture), data)[0].mixture

    def penalised(change):
        """Expected complete log-likelihood per point and log prior, at parameters moved freely."""
        moved = dataclasses.replace(
            after,
            means=after.means + change["means"],
            log_weights=jax.nn.log_softmax(after.log_weights + change["weights"]),
            covariance=after.covariance.from_free(
                jax.tree.map(jnp.add, after.covariance.to_free(), change["covariance"])
            ),
        )
        alone = [
            gj.log_density(gj.Mixture(moved.means[i : i + 1], jnp.zeros(1), one), POINTS)
            for i in range(K)
            for one in [moved.covariance.take(jnp.array([i]))]
        ]
        joint = jnp.stack(alone, axis=1) + moved.log_weights[None]
        own = gj.Prior(None, prior.mean, prior.mean_strength, prior.scatter, prior.dof)
        dirichlet = jnp.sum((prior.concentration - 1) * moved.log_weights)
        return (jnp.sum(psi * joint) + own.log_density(moved) + dirichlet) / N

    free = {
        "means": jnp.zeros_like(after.means),
        "weights": jnp.zeros(K),
        "covariance": jax.tree.map(jnp.zeros_like, after.covariance.to_free()),
    }
    rng = np.random.default_rng(3)
    moves = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=(24, *x.shape))), free)
    sizes = jnp.asarray(10.0 ** rng.uniform(-3, -0.5, 24))
    moves = jax.tree.map(lambda x: x * sizes.reshape(-1, *(1,) * (x.ndim - 1)), moves)
    best, others = jax.jit(lambda: (penalised(free), jax.lax.map(penalised, moves)))()
    assert (others < best).all()


@pytest.mark.parametrize("name", ["identity", *NAMES])
def test_limits(name):
    """A vanishing prior is none; a strong one decides; without points there is only the prior."""
    mixture = start(name)
    flat = gj.Prior(concentration=1.0, mean=[0.0, 0.0], mean_strength=0.0)
    fit = lambda solver, mixture=mixture: gj.fit(solver, TARGET, mixture, num_iterations=4).mixture  # noqa: E731
    for solver in (
        gj.classical_em(prior=gj.Prior()),
        gj.classical_em(prior=flat),
        gj.classical_em(prior=prior_for(name), num_points=1e18),
    ):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
            fit(solver),
            fit(gj.classical_em()),
        )
    prior = prior_for(name)
    big = 1e10
    strong = gj.Prior(
        1 + big * jnp.array([1.0, 2.0, 1.0]),
        prior.mean,
        jnp.full(K, big),
        **{key: big * value for key, value in scatter_for(name).items()},
    )
    found = fit(gj.classical_em(prior=strong))
    np.testing.assert_allclose(found.weights, [0.25, 0.5, 0.25], rtol=1e-7)
    np.testing.assert_allclose(found.means, prior.mean, rtol=1e-7)
    if name != "identity":
        ratio = (
            prior.scatter / prior.dof.reshape(-1, *(1,) * (prior.scatter.ndim - 1))[...]
            if name[0] == "V"
            else prior.scatter / prior.dof
        )
        leaf = jax.tree.leaves(found.covariance)[0]
        np.testing.assert_allclose(leaf, ratio, rtol=1e-6)
    far = gj.Prior(2.0, jnp.asarray(MEANS + 0.5), 2.0, **scatter_for(name))
    lost = dataclasses.replace(mixture, means=mixture.means.at[1].set(1e4))
    found = fit(gj.classical_em(prior=far), lost)
    one = gj.fit(gj.classical_em(prior=far), TARGET, lost, num_iterations=1).mixture
    np.testing.assert_allclose(one.means[1], MEANS[1] + 0.5, rtol=1e-12)
    np.testing.assert_allclose(one.weights[1], 1 / (N + K), rtol=1e-12)
    if name == "VVV":
        mode = far.scatter[1] / (far.dof[1] + D + 2)
        np.testing.assert_allclose(one.covariance.covariances[1], mode, rtol=1e-7)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("name", ["identity", "EII", "EEI", "VVI", "EEE", "VVV"])
def test_derivatives_with_respect_to_every_array(name):
    prior, mixture = prior_for(name), start(name)
    # A strength of zero is a jump, and a concentration of one the end of what is allowed.
    strengths = jnp.array([0.5, 2.0, 7.0])
    prior = dataclasses.replace(
        prior, concentration=prior.concentration + 0.5, mean_strength=strengths
    )

    def both(prior, num_points):
        solver = gj.classical_em(prior=prior, num_points=num_points)
        fit = gj.fit(solver, TARGET, mixture, num_iterations=3)
        return fit.loss, prior.log_density(fit.mixture) / N

    check_grads(jax.jit(both), (prior, jnp.asarray(40.0)), order=1, rtol=1e-5, atol=1e-7)
    gradient = jax.grad(lambda p: both(p, None)[0])(prior)
    assert all((np.asarray(leaf) != 0).all() for leaf in jax.tree.leaves(gradient))


def test_a_layer_over_a_batch_of_sets():
    """(B, N, d) with masks and priors of each: what one set alone gives, and how it is trained."""
    sizes = (20, 33, 60)
    mask = jnp.arange(N)[None] < jnp.array(sizes)[:, None]
    batch = jnp.where(
        mask[..., None], jnp.asarray(np.stack([POINTS, POINTS[::-1], POINTS + 1])), 9.0
    )
    priors = gj.Prior(
        concentration=jnp.array([[1.0, 2.0, 3.0]] * 3) + jnp.arange(3.0)[:, None],
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

    found = jax.jit(jax.vmap(layer))(priors, batch, mask)
    for b, size in enumerate(sizes):
        alone = layer(
            jax.tree.map(lambda leaf, b=b: leaf[b], priors), batch[b, :size], jnp.ones(size)
        )
        for one, many in zip(alone, found, strict=True):
            np.testing.assert_allclose(many[b], one, rtol=1e-10)
    total = lambda priors, batch: jnp.sum(jax.vmap(layer)(priors, batch, mask)[3])  # noqa: E731
    check_grads(jax.jit(total), (priors, batch), order=1, rtol=1e-5, atol=1e-7)
    padded = jax.grad(total, argnums=1)(priors, batch)
    assert (np.asarray(padded)[~np.asarray(mask)] == 0).all()


def test_numbers_of_points():
    prior, mixture = prior_for("VVV"), start("VVV")
    fit = lambda target, **more: (
        gj.fit(  # noqa: E731
            gj.classical_em(prior=prior, **more), target, mixture, num_iterations=2
        ).mixture.covariance.covariances
    )
    weighted = gj.empirical(POINTS, np.arange(N) % 3)
    kish = 1 / float(jnp.sum(weighted.weights**2))
    np.testing.assert_allclose(fit(weighted), fit(weighted, num_points=kish), rtol=1e-12)
    mesh = jax.make_mesh((2,), ("data",))
    spread = gj.fit(gj.classical_em(prior=prior), weighted, mixture, num_iterations=2, mesh=mesh)
    np.testing.assert_allclose(spread.mixture.covariance.covariances, fit(weighted), rtol=1e-10)
    for target, kind in (
        (gj.population(mixture, num_nodes=8), "population target"),
        (gj.stream(jax.random.key(0), mixture, 32), "Stream"),
    ):
        with pytest.raises(ValueError, match=f"num_points must be given with a prior for a {kind}"):
            fit(target)
        assert np.isfinite(fit(target, num_points=50)).all()


@pytest.mark.parametrize("name", NAMES)
def test_float32(name):
    results = []
    for dtype in (np.float32, np.float64):
        prior = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), prior_for(name))
        # Far from the origin, with a prior of the mean as strong as a million points.
        points, mixture = (POINTS + 1000).astype(dtype), start(name, dtype=dtype)
        mixture = dataclasses.replace(mixture, means=mixture.means + dtype(1000))
        strengths = jnp.array([0.0, 2.0, 1e6], dtype)
        prior = dataclasses.replace(prior, mean=prior.mean + dtype(1000), mean_strength=strengths)
        solver = gj.classical_em(prior=prior)
        fit = gj.fit(solver, gj.empirical(points), mixture, num_iterations=3)
        assert fit.mixture.means.dtype == prior.log_density(fit.mixture).dtype == dtype
        assert fit.status == gj.Status.OK
        results.append(fit.mixture)
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
        ("VVV", {"scatter": 1.0, "dof": 1.0}, r"dof must be greater than 1, got 1\.0"),
        ("VVI", {"scatter": 1.0, "dof": 0.0}, r"dof must be greater than 0, got 0\.0"),
        ("VVI", {"scatter": [1.0, -1.0], "dof": 1.0}, r"scatter must be greater than 0, got -1\.0"),
        (
            "VVI",
            {"scatter": np.eye(2), "dof": 1.0},
            r"scatter must have shape \(2,\) or \(3, 2\), got",
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
            r"scatter must have shape \(2, 2\) or",
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
        gj.fit(gj.classical_em(prior=3), TARGET, start("VVV"), num_iterations=1)
    with pytest.raises(ValueError, match=r"num_points must be positive and finite, got 0"):
        gj.fit(gj.classical_em(num_points=0.0), TARGET, start("VVV"), num_iterations=1)

    def status(values):
        prior = gj.Prior(1.0, [0.0, 0.0], values[0], values[1] * jnp.eye(D), values[2])
        return gj.fit(gj.classical_em(prior=prior), TARGET, start("VVV"), num_iterations=2).status

    good = jnp.array([[1.0, 1.0, 3.0]])
    values = jnp.concatenate(
        [good, good.at[0, 0].set(-1), good.at[0, 1].set(-1), good.at[0, 2].set(1)]
    )
    found = jax.vmap(status)(values)
    assert found.tolist() == [gj.Status.OK] + [gj.Status.DIVERGED] * 3
