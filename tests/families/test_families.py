"""The covariance families against SciPy, scikit-learn and an independent loop, in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads
from sklearn.mixture import GaussianMixture
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky

import gemjax as gj

NAMES = ["EII", "VII", "EEI", "VVI", "EEE", "VVV"]
# Of what takes long: a shared and an own covariance always, the others among the slow tests.
LONG = [
    name if name in ("EEE", "VVI") else pytest.param(name, marks=pytest.mark.slow) for name in NAMES
]
SKLEARN = {"VII": "spherical", "VVI": "diag", "EEE": "tied", "VVV": "full"}
KEY = jax.random.key(0)
N, D, K = 321, 3, 4


def data(offset=0.0):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(80, D)) @ rng.normal(size=(D, D)) + 3 * k for k in range(K)]
    return np.concatenate([*parts, np.zeros((1, D))]) + offset


POINTS = data()
WEIGHTS, MEANS = np.array([0.1, 0.2, 0.3, 0.4]), POINTS[[0, 90, 170, 250]]
START = np.stack([v * (np.eye(D) + 0.1) for v in (1.0, 2.0, 3.0, 4.0)])


def shaped(name, matrices, weights):
    """What the family has in the place of covariances (n, d, d)."""
    S = np.asarray(matrices)
    if name[0] == "E":
        S = np.broadcast_to(np.tensordot(weights / weights.sum(), S, 1), S.shape)
    if name[1:] in ("II", "EI", "VI"):
        S = S * np.eye(S.shape[-1])
    if name[1:] == "II":
        S = np.trace(S, axis1=1, axis2=2)[:, None, None] / S.shape[-1] * np.eye(S.shape[-1])
    return S


def start(name, floor=0.0, means=MEANS):
    family = gj.covariance.family(name)
    covariance = family.nearest(jnp.asarray(START), jnp.asarray(WEIGHTS), floor)
    return gj.make_mixture(means, WEIGHTS, covariance=covariance)


def parts_of(weights, means, covariances, points):
    """(n, N) π_i φ_i(x_j)."""
    triples = zip(weights, means, covariances, strict=True)
    return np.stack([p * scipy.stats.multivariate_normal(m, s).pdf(points) for p, m, s in triples])


def em_loop(name, points, num_iterations):
    """EM with covariances held in the family: weights, means, covariances, losses."""
    w, mu, S = WEIGHTS, MEANS - POINTS[0] + points[0], shaped(name, START, WEIGHTS)
    losses = []
    for _ in range(num_iterations):
        joint = parts_of(w, mu, S, points)
        losses.append(-np.log(joint.sum(0)).mean())
        psi = joint / joint.sum(0)
        w = psi.mean(1)
        mu = psi @ points / psi.sum(1)[:, None]
        apart = points[None] - mu[:, None]
        S = np.einsum("ij,ija,ijb->iab", psi, apart, apart) / psi.sum(1)[:, None, None]
        S = shaped(name, S, w)
    return w, mu, S, losses


@pytest.mark.parametrize("name", NAMES)
def test_density_responsibilities_and_samples(name):
    mixture, S = start(name), shaped(name, START, WEIGHTS)
    np.testing.assert_allclose(mixture.covariance.matrices(K, D), S, rtol=1e-12)
    parts = parts_of(WEIGHTS, MEANS, S, POINTS)
    np.testing.assert_allclose(gj.log_density(mixture, POINTS), np.log(parts.sum(0)), rtol=1e-10)
    psi = gj.responsibilities(mixture, POINTS)
    np.testing.assert_allclose(psi.T, parts / parts.sum(0), atol=1e-12)
    assert gj.loss(mixture, gj.empirical(POINTS)) == pytest.approx(-np.log(parts.sum(0)).mean())
    one = gj.make_mixture(MEANS[:1], covariance=mixture.covariance.take(jnp.array([0])))
    draws = gj.sample(KEY, one, 40_000)
    np.testing.assert_allclose(jnp.cov(draws.T), S[0], atol=0.05 * S[0].max())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["blocks", "chunks", "differences"])
def test_em_is_the_loops(name, way):
    points = data(50.0)
    if way == "differences":  # one point so far away that products would lose their digits
        points[-1] = 1e6
    blocking = gj.Blocking(block_size=16, copied_bytes=2000) if way == "chunks" else gj.Blocking()
    w = np.full(N, 1.0)
    w[-1] = 0.0 if way == "differences" else 1.0
    target, T = gj.empirical(points, w), 4
    mixture = start(name, means=MEANS - POINTS[0] + points[0])
    fit = gj.fit(gj.classical_em(blocking=blocking), target, mixture, num_iterations=T)
    weights, means, S, losses = em_loop(name, points[w > 0], T)
    rtol = 1e-5 if way == "differences" else 1e-8
    np.testing.assert_allclose(fit.history.loss, losses, rtol=1e-9)
    np.testing.assert_allclose(fit.mixture.weights, weights, rtol=rtol)
    np.testing.assert_allclose(fit.mixture.means, means, rtol=rtol, atol=1e-8)
    np.testing.assert_allclose(fit.mixture.covariance.matrices(K, D), S, rtol=rtol, atol=1e-7)


@pytest.mark.parametrize("name", SKLEARN)
def test_em_is_scikit_learns(name):
    kind = SKLEARN[name]
    model = GaussianMixture(K, covariance_type=kind, reg_covar=0)
    S = shaped(name, START, WEIGHTS)
    packed = {
        "spherical": lambda: S[:, 0, 0],
        "diag": lambda: np.diagonal(S, axis1=1, axis2=2),
        "tied": lambda: S[0],
        "full": lambda: S,
    }[kind]()
    model.weights_, model.means_, model.covariances_ = WEIGHTS, MEANS, packed
    model.precisions_cholesky_ = _compute_precision_cholesky(packed, kind)
    solver, target, fit = gj.classical_em(), gj.empirical(POINTS), None
    for _ in range(6):
        fit = gj.fit(solver, target, fit or start(name), num_iterations=1)
        _, log_psi = model._e_step(POINTS)
        model._m_step(POINTS, log_psi)
        np.testing.assert_allclose(fit.mixture.means, model.means_, rtol=1e-8)
        np.testing.assert_allclose(fit.mixture.weights, model.weights_, rtol=1e-8)
        leaf = jax.tree.leaves(fit.mixture.covariance)[0]
        np.testing.assert_allclose(leaf, model.covariances_, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", LONG)
def test_losses_fall_and_gradient_steps_are_in_the_metric(name):
    target = gj.empirical(POINTS)
    for solver in (
        gj.classical_em(),
        gj.GradientEM(1.0, mean_rule="em"),
        gj.GradientEM(1.0),
    ):
        fit = gj.fit(solver, target, start(name), num_iterations=15)
        assert (jnp.diff(fit.history.loss) <= 1e-12).all()


@pytest.mark.parametrize("name", NAMES)
def test_merge_costs_bound_the_rise_of_the_loss(name):
    target = gj.empirical(POINTS)
    mixture = gj.fit(gj.classical_em(), target, start(name), num_iterations=5).mixture
    costs = mixture.covariance.merge_costs(mixture.means, mixture.weights)
    before = gj.loss(mixture, target)
    w, mu, S = mixture.weights, mixture.means, mixture.covariance.matrices(K, D)
    for i in range(K):
        for j in range(i):
            total = w[i] + w[j]
            mean = (w[i] * mu[i] + w[j] * mu[j]) / total
            apart = (mu[i] - mu[j])[:, None] * (mu[i] - mu[j])[None]
            pair = (w[i] * S[i] + w[j] * S[j]) / total + w[i] * w[j] / total**2 * apart
            weights = w.at[i].set(total).at[j].set(0)
            expected = shaped(name, S.at[i].set(pair), np.asarray(weights))
            merged = mixture.covariance.merge(mu, w, i, j)
            np.testing.assert_allclose(merged.matrices(K, D)[i], expected[i], rtol=1e-9)
            new = gj.Mixture(mu.at[i].set(mean), jnp.log(weights), merged)
            assert -1e-12 <= gj.loss(new, target) - before <= costs[i, j] + 1e-9
    same = dataclasses.replace(mixture, means=jnp.repeat(mu[:1], K, 0))
    covariance = same.covariance.take(jnp.zeros(K, jnp.int32))
    assert jnp.abs(covariance.merge_costs(same.means, w)).max() < 1e-12


@pytest.mark.parametrize(("name", "count"), list(zip(NAMES, (1, 5, 3, 15, 6, 30), strict=True)))
def test_numbers_of_parameters_and_free_ones(name, count):
    assert gj.covariance.family(name)(None).num_parameters(5, 3) == count
    covariance = start(name).covariance
    back = covariance.from_free(covariance.to_free())
    np.testing.assert_allclose(back.matrices(K, D), covariance.matrices(K, D), rtol=1e-12)
    one = covariance.candidates(1).matrices(1, D)
    np.testing.assert_allclose(one[0], covariance.matrices(K, D).mean(0), rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_floors_bind_and_say_so(name):
    points = POINTS.copy()
    points[:, 1] = 0.5  # on a plane
    mixture = start(name, floor=0.01, means=points[[0, 90, 170, 250]])
    fit = gj.fit(gj.classical_em(), gj.empirical(points), mixture, num_iterations=30)
    lowest = jnp.linalg.eigvalsh(fit.mixture.covariance.matrices(K, D))[:, 0]
    if name[1:] == "II":
        assert (lowest > 0.01).all()
        assert fit.status == gj.Status.OK
        return
    np.testing.assert_allclose(lowest, 0.01, rtol=1e-6)
    assert gj.Status(int(fit.status)) == gj.Status.FLOORED
    assert fit.info.num_floored == K
    assert (jnp.diff(fit.history.loss) <= 1e-12).all()
    free = gj.fit(gj.classical_em(), gj.empirical(points), start(name), num_iterations=30)
    assert free.status == gj.Status.DIVERGED


@pytest.mark.parametrize("name", LONG)
def test_derivatives(name):
    target, mixture = gj.empirical(POINTS[::4]), start(name, floor=0.01)

    def final(means, free, points):
        covariance = mixture.covariance.from_free(free)
        begun = dataclasses.replace(mixture, means=means, covariance=covariance)
        data = dataclasses.replace(target, points=points)
        return gj.fit(gj.classical_em(), data, begun, num_iterations=2).loss

    arguments = (mixture.means, mixture.covariance.to_free(), target.points)
    check_grads(jax.jit(final), arguments, order=1, rtol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives(name):
    target, mixture = gj.empirical(POINTS[::8]), start(name)

    def final(scale):
        covariance = jax.tree.map(lambda leaf: leaf * scale, mixture.covariance)
        begun = dataclasses.replace(mixture, covariance=covariance)
        return gj.fit(gj.classical_em(), target, begun, num_iterations=2).loss

    check_grads(jax.jit(final), (1.3,), order=2, rtol=2e-3)


@pytest.mark.parametrize("name", ["VVV", pytest.param("EEE", marks=pytest.mark.slow)])
def test_derivatives_where_eigenvalues_are_equal_and_a_floor_binds(name):
    points = np.random.default_rng(1).normal(size=(60, 2))
    points[:, 1] *= 1e-3
    family = gj.covariance.family(name)

    def final(points, floor):
        covariance = family.nearest(jnp.broadcast_to(jnp.eye(2), (2, 2, 2)), jnp.ones(2) / 2, floor)
        begun = gj.make_mixture(points[:2], covariance=covariance)
        return gj.fit(gj.classical_em(), gj.empirical(points), begun, num_iterations=3).loss

    check_grads(jax.jit(final), (jnp.asarray(points), 0.01), order=1, rtol=1e-3)


@pytest.mark.parametrize("name", ["VVI", "EEE", "VVV"])
def test_float32_keeps_its_digits(name):
    """Condition number 1e4, offset 1e4: 1e-4 nats per point."""
    rng = np.random.default_rng(2)
    turn = np.linalg.qr(rng.normal(size=(D, D)))[0] if name != "VVI" else np.eye(D)
    S = turn @ np.diag([1.0, 1e-2, 1e-4]) @ turn.T
    points = (rng.multivariate_normal(np.zeros(D), S, 500) * 30 + 1e4).astype(np.float32)
    means = points[:2]
    matrices = np.broadcast_to(900 * S, (2, D, D))
    family = gj.covariance.family(name)
    losses = []
    for dtype in (np.float32, np.float64):
        covariance = family.nearest(jnp.asarray(matrices, dtype), jnp.ones(2, dtype) / 2, dtype(0))
        mixture = gj.make_mixture(means.astype(dtype), covariance=covariance)
        losses.append(gj.loss(mixture, gj.empirical(points.astype(dtype))))
        density = gj.log_density(mixture, points.astype(dtype))
        assert density.mean() == pytest.approx(-float(losses[-1]), abs=1e-4)
    assert losses[0] == pytest.approx(float(losses[1]), abs=1e-4)


def test_sweeps_and_several_data_sets():
    covariance = gj.covariance.Full(jnp.broadcast_to(jnp.eye(D), (K, D, D)), 1e-3)

    def init(key, target, n):
        begun = gj.initialize.from_target(key, target, n)
        return dataclasses.replace(begun, covariance=covariance)

    target, solver = gj.empirical(POINTS), gj.GradientEM(1.0, mean_rule="em")
    rest = {"num_components": K, "num_iterations": 10, "init": init}
    fits = gj.sweep(KEY, solver, target, num_seeds=3, **rest)
    again = gj.sweep(KEY, solver, target, num_seeds=3, batch_size=1, **rest)
    assert fits.mixture.covariance.covariances.shape == (3, K, D, D)
    np.testing.assert_allclose(fits.loss, again.loss, rtol=1e-10)
    stream = gj.stream(KEY, gj.best(fits).mixture, batch_size=64)
    streamed = gj.fit(solver, stream, gj.best(fits).mixture, num_iterations=3)
    assert streamed.status == gj.Status.OK


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (
            gj.covariance.Spherical([1.0]),
            r"covariance.variances must have shape \(2,\), got \(1,\)",
        ),
        (gj.covariance.Diagonal([[1.0, 0.0]] * 2), r"must be positive, got 0.0 at index \(0, 1\)"),
        (gj.covariance.Tied([[1.0, 2.0], [2.0, 1.0]]), r"positive definite, its smallest .* is -1"),
        (gj.covariance.Full([[[1.0, 2.0], [0.0, 1.0]]] * 2), "number 0, must be symmetric"),
        (gj.covariance.SharedSpherical(1.0, -1.0), "floor must be non-negative, got -1.0"),
        (gj.covariance.SharedDiagonal([1.0]), r"must have shape \(2,\)"),
    ],
)
def test_errors(covariance, message):
    with pytest.raises(ValueError, match=message):
        gj.make_mixture([[0.0, 0.0], [1.0, 1.0]], covariance=covariance)
    with pytest.raises(ValueError, match=r"family must be one of EII, .*; got 'round'"):
        gj.covariance.family("round")
