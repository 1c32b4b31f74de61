"""Points spread over many noise standard deviations: the digits of float32, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import gemjax as gj

KEY = jax.random.key(0)
SPREADS = [1e3, pytest.param(1e4, marks=pytest.mark.slow), 1e5]


def pairs(R, d=1, N=400, seed=0):
    """Points, float32, in four clusters: two near -R and two near R, and the clusters' means."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((4, d))
    centres[:, 0] = [-R - 2, -R + 2, R - 2, R + 2]
    points = centres[rng.integers(0, 4, N)] + rng.normal(size=(N, d))
    return points.astype(np.float32), centres.astype(np.float32)


def exact(points, means):
    """Responsibilities (N, n) and log densities (N,), from differences in float64."""
    apart = points[:, None].astype(np.float64) - means[None].astype(np.float64)
    joint = -0.5 * (apart**2).sum(axis=2)
    top = joint.max(axis=1)
    share = np.exp(joint - top[:, None])
    d = points.shape[1]
    log_density = np.log(share.mean(axis=1)) + top - 0.5 * d * np.log(2 * np.pi)
    return share / share.sum(axis=1, keepdims=True), log_density


@pytest.mark.parametrize("R", SPREADS)
@pytest.mark.parametrize("d", [1, 6])
def test_densities_and_losses(R, d, tmp_path):
    points, means = pairs(R, d, N=400 if d > 1 else 5000)
    shares, log_density = exact(points, means)
    mixture, target = gj.make_mixture(means), gj.empirical(points)
    np.testing.assert_allclose(gj.responsibilities(mixture, points), shares, atol=1e-3)
    np.testing.assert_allclose(gj.log_density(mixture, points), log_density, atol=1e-3)
    np.save(tmp_path / "points.npy", points)
    for loss in (
        gj.loss(mixture, target),
        gj.loss(mixture, gj.from_npy(tmp_path / "points.npy")),
    ):
        assert loss == pytest.approx(-log_density.mean(), abs=1e-4)


@pytest.mark.parametrize("R", SPREADS)
def test_fits(R):
    points, means = pairs(R)
    start = gj.make_mixture(means + 1)
    precise = gj.make_mixture(means.astype(np.float64) + 1)
    for solver in (
        gj.GradientEM(1.0, mean_rule="em", weight_steps=2),
        gj.GradientEM(1.0, mean_rule="em", weight_rule="newton"),
        gj.classical_em(blocking=gj.Blocking(block_size=64)),
    ):
        fit = gj.fit(solver, gj.empirical(points), start, num_iterations=15)
        truth = gj.fit(solver, gj.empirical(points.astype(np.float64)), precise, num_iterations=15)
        ulp = np.spacing(np.float32(R))
        np.testing.assert_allclose(fit.history.loss, truth.history.loss, atol=1e-4 + 8 * ulp**2)
        np.testing.assert_allclose(fit.mixture.means, truth.mixture.means, atol=8 * ulp + 1e-4)
        np.testing.assert_allclose(fit.mixture.weights, truth.mixture.weights, atol=1e-4)
        assert (jnp.diff(fit.history.loss) <= 1e-5).all()


@pytest.mark.parametrize("R", [1e4])
def test_certificates(R):
    points, means = pairs(R)
    found, truth = (
        gj.certificate(
            gj.make_mixture(means.astype(dtype)), gj.empirical(points.astype(dtype)), KEY
        )
        for dtype in (np.float32, np.float64)
    )
    for name in ("loss", "npmle_gap", "birth_gain", "birth_price"):
        assert getattr(found, name) == pytest.approx(float(getattr(truth, name)), abs=1e-4)


def test_what_a_target_knows_it_takes_along():
    """Under `jit`, `vmap` and on a mesh the numbers are those outside."""
    points, means = pairs(1e4)
    start, solver = gj.make_mixture(means + 1), gj.GradientEM(1.0, mean_rule="em")
    target = gj.empirical(points)
    run = lambda target, start: gj.fit(solver, target, start, num_iterations=5)  # noqa: E731
    expected = run(target, start)
    assert target.far_apart
    assert not gj.empirical(points / 1e4).far_apart
    batch = jax.tree.map(lambda leaf: leaf[None], start)
    mesh = jax.make_mesh((2,), ("data",))
    for found in (
        jax.jit(run)(target, start),
        jax.tree.map(lambda leaf: leaf[0], jax.vmap(run, in_axes=(None, 0))(target, batch)),
        gj.fit(solver, target, start, num_iterations=5, mesh=mesh),
        run(gj.Target(target.points, target.weights), start),
    ):
        assert found.status == gj.Status.OK
        np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=1e-5)


@pytest.mark.parametrize(("R", "name"), [(30, "OK"), (1e3, "IMPRECISE")])
def test_points_that_are_never_seen_end_in_a_status(R, name):
    points, means = pairs(R)
    start, solver = gj.make_mixture(means), gj.GradientEM()

    @jax.jit
    def run(points, start):
        return gj.fit(solver, gj.empirical(points), start, num_iterations=3)

    fit = run(points, start)
    assert gj.Status(int(fit.status)).name == name
    more = gj.fit(solver, gj.empirical(points), fit, num_iterations=2)  # and they may go on
    assert (gj.Status(int(more.status)).name, int(more.num_iterations)) == ("OK", 5)
    if name == "IMPRECISE":
        with pytest.raises(gj.DivergedError, match="take float64"):
            gj.raise_for_status(fit)


def test_digits_that_a_precision_does_not_have():
    """At 1e7 numbers are one apart in float32."""
    for dtype, name in ((np.float32, "IMPRECISE"), (np.float64, "OK")):
        points, means = (x.astype(dtype) for x in pairs(1e7))
        for data in (points, points - points.min() + 1e7):
            start = gj.make_mixture(means)
            fit = gj.fit(gj.GradientEM(), gj.empirical(data), start, num_iterations=2)
            assert gj.Status(int(fit.status)).name == name


@pytest.mark.parametrize("R", [1e2, 1e4])
def test_population_limits(R):
    truth = gj.make_mixture(np.array([[-R], [0.0], [R]], np.float32))
    target = gj.population(truth)
    exact = np.log(3) + 0.5 * np.log(2 * np.pi) + 0.5
    assert target.quadrature_error < 1e-4
    assert gj.loss(truth, target) == pytest.approx(exact, abs=float(target.quadrature_error))


def test_derivatives_from_differences():
    """In float64 the spread at which they are taken is some 1e6."""
    points, means = (x.astype(np.float64) for x in pairs(3e6, d=5, N=30))

    def final(points, means):
        solver = gj.GradientEM(0.5, weight_steps=2)
        return gj.fit(solver, gj.empirical(points), gj.make_mixture(means), num_iterations=2).loss

    near = final(points - points[:1] + 1.0, means - points[:1] + 1.0)  # only moved
    assert final(points, means) == pytest.approx(float(near), abs=1e-9)

    target = gj.empirical(points)  # known, so that its spread is
    solver = gj.GradientEM(0.5, weight_steps=2)
    run = lambda means: gj.fit(solver, target, gj.make_mixture(means), num_iterations=2).loss  # noqa: E731
    check_grads(run, (means,), order=1, rtol=1e-4, eps=1e-2)


@pytest.mark.parametrize("weight_rule", ["fixed", "mirror", "euclidean", "newton"])
def test_a_component_of_no_weight_near_points_that_no_other_is_near(weight_rule):
    """Its density exceeds the floats, its moments must not; and where it gets weight, it counts."""
    points = np.array([[0.0], [1e5]], np.float32)
    start = gj.make_mixture(np.array([[-2e5], [0.0], [1e5 + 1]], np.float32), [1.0, 0.0, 0.0])
    solver = gj.GradientEM(1.0, mean_rule="em", weight_rule=weight_rule, weight_steps=5)
    fit = gj.fit(solver, gj.empirical(points), start, num_iterations=1)
    assert fit.status == gj.Status.OK
    with np.errstate(divide="ignore"):
        joint = -0.5 * (points - np.asarray(start.means[:, 0], np.float64)) ** 2
        joint = joint + np.log(np.asarray(fit.mixture.weights, np.float64))
    loss = 0.5 * np.log(2 * np.pi) - np.logaddexp.reduce(joint, axis=1).mean()
    assert fit.loss == pytest.approx(loss, rel=1e-5)
    if weight_rule in ("euclidean", "newton"):
        assert loss < 3
        assert fit.info.duality_gap < 1
