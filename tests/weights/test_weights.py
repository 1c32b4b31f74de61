import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import mostly_slow

import gemjax as gj


def cvxpy_optimum(means, points, point_weights):
    """Minimum of the loss over the weights, by a conic solver."""
    import cvxpy

    log_phi = oracle.log_joint(means, np.ones(len(means)), points)
    shift = log_phi.max(axis=1)
    pi = cvxpy.Variable(len(means), nonneg=True)
    scaled = np.exp(log_phi - shift[:, None])
    objective = -point_weights @ cvxpy.log(scaled @ pi) - point_weights @ shift
    problem = cvxpy.Problem(cvxpy.Minimize(objective), [cvxpy.sum(pi) == 1])
    problem.solve(cvxpy.CLARABEL)
    return float(problem.value)


def weights_only(means, weights, points, point_weights, **settings):
    solver = gj.GradientEM(1e-30, **settings)
    target = gj.empirical(points, point_weights)
    state, info = solver.step(solver.init(gj.make_mixture(means, weights)), target)
    return state.mixture, info


@pytest.mark.parametrize("rule", ["mirror", "multiplicative"])
@pytest.mark.parametrize("K", [0, 1, 5, 50])
def test_gap_bounds_suboptimality(rule, K):
    for seed in range(5):
        problem = oracle.problem(seed, N=30, n=6, d=2)
        best = cvxpy_optimum(problem[0], *problem[2:])
        _, info = weights_only(*problem, weight_steps=K, weight_rule=rule)
        assert -1e-8 <= info.loss - best <= info.duality_gap + 1e-8


def test_mirror_reaches_the_optimum():
    problem = oracle.problem(1, N=60, n=5, d=2)
    best = cvxpy_optimum(problem[0], *problem[2:])
    mixture, info = weights_only(*problem, weight_steps=3000, weight_tolerance=0.0)
    assert info.duality_gap < 1e-8
    assert info.loss == pytest.approx(best, abs=1e-8)
    assert mixture.weights.sum() == pytest.approx(1, abs=1e-14)


def test_stops_below_the_tolerance():
    problem = oracle.problem(1, N=60, n=5, d=2)
    _, loose = weights_only(*problem, weight_steps=3000, weight_tolerance=1e-3)
    _, tight = weights_only(*problem, weight_steps=3000, weight_tolerance=1e-6)
    assert 1e-6 < loose.duality_gap < 1e-3
    assert tight.duality_gap < 1e-6


@given(st.integers(0, 10_000), st.floats(1e-3, 1e12))
@settings(max_examples=30, deadline=None)
def test_no_step_size_diverges_or_raises_the_loss(seed, step):
    means, weights, points, point_weights = oracle.problem(seed, N=20, n=4, d=2)
    before = oracle.loss(means, weights, points, point_weights)
    for _ in range(5):
        r = oracle.ratios(means, weights, points, point_weights)
        new = gj.rules.Mirror(step).step(jnp.log(weights), jnp.asarray(r))
        weights = np.exp(np.asarray(new))
        assert abs(weights.sum() - 1) < 1e-12
        after = oracle.loss(means, weights, points, point_weights)
        assert after <= before + 1e-13
        before = after


@given(st.integers(0, 10_000), st.floats(1e-3, 1e12))
@settings(max_examples=4, deadline=None)
def test_a_euclidean_step_never_raises_the_loss(seed, step):
    problem = oracle.problem(seed, N=20, n=4, d=2)
    losses = [oracle.loss(*problem)]
    for _ in range(5):
        mixture, info = weights_only(
            *problem, weight_rule="euclidean", weight_steps=1, weight_step_size=step
        )
        losses.append(float(info.loss))
        assert np.isfinite(info.gradient_norm)
        problem = (problem[0], np.asarray(mixture.weights), *problem[2:])
    assert (np.diff(losses) <= 1e-13).all()


@pytest.mark.parametrize("dtype", mostly_slow([jnp.float32, jnp.float64], 1))
def test_euclidean_zeros_leave_no_point_without_density(dtype):
    """As many components as points, near and far apart, some without weight at the start."""

    def fits(monotone):
        def one(seed):
            key, spread = jax.random.key(seed), jnp.array([1, 10, 100], dtype)[seed % 3]
            target = gj.empirical(spread * jax.random.normal(key, (7, 2), dtype))
            start = gj.initialize.from_target(key, target, 7)
            weights = jnp.where(jnp.arange(7) < 4, 0.25, 0.0).astype(dtype)
            start = gj.make_mixture(start.means, weights)
            solver = gj.GradientEM(0.5, mean_rule="em", weight_rule="euclidean", monotone=monotone)
            radius = jnp.max(jnp.linalg.norm(target.points, axis=1))
            return gj.fit(solver, target, start, num_iterations=20), radius

        return jax.jit(jax.vmap(one))(jnp.arange(12))

    for monotone in (False, True):
        found, radius = fits(monotone)
        assert (found.status != gj.Status.DIVERGED).all()
        for leaf in (found.history.loss, found.history.duality_gap, found.history.gradient_norm):
            assert np.isfinite(leaf).all()
        # Under `jit` the spread R is not known, and each of two losses is wrong by eps R².
        slack = jnp.finfo(dtype).eps * (32 + 2 * radius[:, None] ** 2)
        assert (jnp.diff(found.history.loss) <= slack).all()


@pytest.mark.parametrize("rule", ["mirror", "euclidean", "multiplicative"])
def test_zero_weights_are_finite_in_value_and_gradient(rule):
    points = oracle.problem(2)[2]
    target = gj.empirical(points)
    start = gj.make_mixture(points[:3], [0.5, 0.5, 0.0])

    def final_loss(means):
        solver = gj.GradientEM(weight_rule=rule)
        fit = gj.fit(solver, target, gj.Mixture(means, start.log_weights), num_iterations=4)
        return fit.history.loss[-1]

    value, gradient = jax.value_and_grad(final_loss)(start.means)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    if rule == "mirror":
        fit = gj.fit(gj.GradientEM(), target, start, num_iterations=4)
        assert fit.mixture.weights[2] == 0.0


def test_underflowing_components_survive():
    # 60 standard deviations apart: every density ratio under- or overflows somewhere.
    target = gj.empirical(jnp.array([-60.0, 0.0, 60.0]))
    start = gj.make_mixture(jnp.array([-60.0, 0.0, 60.0]), [1e-300, 1.0, 1e-300])
    fit = gj.fit(gj.GradientEM(), target, start, num_iterations=80)
    assert fit.status == gj.Status.OK
    # A mirror step raises a weight by a factor e at most: 1e-300 needs 691 of the 800.
    np.testing.assert_allclose(fit.mixture.weights, 1 / 3, atol=1e-5)
