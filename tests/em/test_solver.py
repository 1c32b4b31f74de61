import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest

import gemjax as gj


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("mean_rule", ["gradient", "em"])
@pytest.mark.parametrize("rule", ["mirror", "euclidean", "multiplicative", "fixed"])
def test_one_step_of_every_rule_matches_double_loop(rule, mean_rule, offset):
    means, weights, points, point_weights = oracle.problem(3, offset=offset)
    solver = gj.GradientEM(0.7, 0.4, 0.0, weight_steps=3, weight_rule=rule, mean_rule=mean_rule)
    target = gj.empirical(points, point_weights)
    state, info = solver.step(solver.init(gj.make_mixture(means, weights)), target)
    new_means, new_weights, loss = oracle.gradient_em(
        means, weights, points, point_weights,
        rule=rule, K=3, step=0.7, weight_step_size=0.4, em=mean_rule == "em",
    )  # fmt: skip
    # The coordinates carry an absolute rounding of 1e3 * 2e-16 at the offset.
    np.testing.assert_allclose(state.mixture.means, new_means, rtol=1e-12, atol=1e-12)
    tolerance = 1e-12 if offset == 0 else 1e-11
    np.testing.assert_allclose(state.mixture.weights, new_weights, rtol=tolerance, atol=1e-13)
    np.testing.assert_allclose(info.loss, loss, rtol=1e-12)
    gap = oracle.ratios(means, new_weights, points, point_weights).max() - 1
    np.testing.assert_allclose(info.duality_gap, gap, atol=1e-11)
    norm = np.linalg.norm(oracle.gradient(means, new_weights, points, point_weights))
    np.testing.assert_allclose(info.gradient_norm, norm, rtol=1e-10)
    assert int(info.num_active) == (new_weights >= 1e-3).sum()


def test_classical_em_is_textbook_em_step_for_step():
    means, weights, points, point_weights = oracle.problem(4)
    em, target = gj.classical_em(), gj.empirical(points, point_weights)
    state = em.init(gj.make_mixture(means, weights))
    for _ in range(10):
        state, info = em.step(state, target)
        loss = oracle.loss(means, weights, points, point_weights)
        np.testing.assert_allclose(info.loss, loss, rtol=1e-12)
        means, weights = oracle.classical_em(means, weights, points, point_weights)
        np.testing.assert_allclose(state.mixture.means, means, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(state.mixture.weights, weights, rtol=1e-10)


def test_classical_em_matches_scikit_learn():
    from sklearn.mixture import GaussianMixture

    # Many tight, equal clusters make "tied covariance" the identity only by luck, so compare one
    # E-step and the weights and means of one M-step, which do not depend on the covariance update.
    means, weights, points, _ = oracle.problem(5, N=200, n=3, d=2)
    model = GaussianMixture(3, covariance_type="spherical", max_iter=1, tol=0, reg_covar=0)
    model.weights_, model.means_ = weights, means
    model.covariances_ = model.precisions_cholesky_ = np.ones(3)
    target = gj.empirical(points)
    mixture = gj.make_mixture(means, weights)
    np.testing.assert_allclose(-gj.loss(mixture, target), model.score(points), rtol=1e-12)
    state, _ = gj.classical_em().step(gj.classical_em().init(mixture), target)
    psi = model.predict_proba(points)
    np.testing.assert_allclose(state.mixture.weights, psi.mean(axis=0), rtol=1e-10)
    barycentres = psi.T @ points / psi.sum(axis=0)[:, None]
    np.testing.assert_allclose(state.mixture.means, barycentres, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("solver", [gj.GradientEM(), gj.classical_em()])
def test_weighted_data_equal_repeated_data(solver):
    means, weights, points, _ = oracle.problem(6, N=12)
    counts = np.arange(12) % 4
    start = gj.make_mixture(means, weights)
    weighted = gj.fit(solver, gj.empirical(points, counts), start, num_iterations=20)
    repeated = gj.fit(
        solver, gj.empirical(np.repeat(points, counts, axis=0)), start, num_iterations=20
    )
    np.testing.assert_allclose(weighted.mixture.means, repeated.mixture.means, rtol=1e-9)
    np.testing.assert_allclose(weighted.history.loss, repeated.history.loss, rtol=1e-12)


def test_optax_rule_is_fed_gradient_and_mass():
    means, weights, points, point_weights = oracle.problem(7)
    seen = {}

    def update(updates, state, params=None, *, mass):
        seen["mass"], seen["gradient"] = mass, updates
        return jax.tree.map(lambda g: -0.5 * g / mass[:, None], updates), state

    rule = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    target, start = gj.empirical(points, point_weights), gj.make_mixture(means, weights)
    ours, named = gj.GradientEM(mean_rule=rule), gj.GradientEM(0.5, mean_rule="em")
    state, _ = ours.step(ours.init(start), target)
    expected, _ = named.step(named.init(start), target)
    np.testing.assert_allclose(state.mixture.means, expected.mixture.means, rtol=1e-14)
    assert seen["mass"].shape == (4,)
    assert seen["gradient"].shape == (4, 3)


def test_any_optax_transformation_runs():
    means, weights, points, _ = oracle.problem(8)
    target, start = gj.empirical(points), gj.make_mixture(means, weights)
    with jax.numpy_dtype_promotion("standard"):  # Adam mixes dtypes
        fit = gj.fit(gj.GradientEM(mean_rule=optax.adam(0.1)), target, start, num_iterations=200)
    sgd = gj.fit(gj.GradientEM(mean_rule=optax.sgd(0.5)), target, start, num_iterations=5)
    same = gj.fit(gj.GradientEM(0.5), target, start, num_iterations=5)
    assert fit.history.loss[-1] < fit.history.loss[0]
    np.testing.assert_allclose(sgd.mixture.means, same.mixture.means, rtol=1e-13)


def test_component_without_mass_stays():
    target = gj.empirical(jnp.array([0.0, 1.0]))
    start = gj.make_mixture(jnp.array([0.0, 1.0, 200.0]), [0.5, 0.5, 0.0])
    for solver in (gj.GradientEM(mean_rule="em"), gj.classical_em()):
        fit = gj.fit(solver, target, start, num_iterations=5)
        assert fit.mixture.means[2, 0] == 200.0
        assert fit.mixture.weights[2] == 0.0
        assert fit.status == gj.Status.OK


def test_loss_gradient_is_the_step():
    means, weights, points, point_weights = oracle.problem(9)
    target, start = gj.empirical(points, point_weights), gj.make_mixture(means, weights)
    gradient = jax.grad(gj.loss)(start, target)
    np.testing.assert_allclose(
        gradient.means, oracle.gradient(means, weights, points, point_weights), rtol=1e-10,
        atol=1e-14,
    )  # fmt: skip
