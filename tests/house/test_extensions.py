"""A weight rule, a mean rule and a covariance family from outside of the package."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import scipy.stats
from jax.test_util import check_grads
from sklearn.mixture import GaussianMixture

import gemjax as gj

KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class Damped(gj.rules.WeightRule):
    """A share of EM's update, in logarithms: π_i r_i^share."""

    share_of_em: float = 0.5

    def step(self, log_weights, r):
        return jax.nn.log_softmax(log_weights + self.share_of_em * jnp.log(r))


@dataclasses.dataclass(frozen=True)
class HeavyBall(gj.rules.MeanRule):
    """The gradient with momentum."""

    step_size: float
    momentum: float = 0.5

    def init(self, means):
        return jnp.zeros_like(means)

    def step(self, state, means, statistics):
        state = self.momentum * state - self.step_size * statistics.gradient
        return means + state, state


@dataclasses.dataclass(frozen=True)
class Round(gj.covariance.Covariance):
    """One variance per component, fitted: features x, |x|², 1."""

    variances: jax.Array

    @staticmethod
    def features(points):
        square, one = jnp.sum(points**2, axis=-2, keepdims=True), jnp.ones_like(points[..., :1, :])
        return jnp.concatenate([points, square, one], axis=-2)

    @staticmethod
    def base(points):
        return jnp.zeros_like(points[..., 0, :])

    def natural(self, means):
        v = self.variances[:, None]
        constant = -0.5 * (jnp.sum(means**2, axis=1, keepdims=True) / v)
        constant = constant - 0.5 * means.shape[1] * jnp.log(v)
        return jnp.concatenate([means / v, -0.5 / v, constant], axis=1)

    def whiten(self, vectors):
        return vectors / self.variances[:, None]

    def colour(self, noise, component):
        return jnp.sqrt(self.variances)[component][..., None] * noise

    def maximise(self, means, mass, moments):
        d = means.shape[1]
        cross = jnp.sum(means * moments[:, :d], axis=1)
        square = moments[:, d] - 2 * cross + mass * jnp.sum(means**2, axis=1)
        return Round(jnp.where(mass > 0, square / (d * jnp.maximum(mass, 1e-300)), self.variances))

    def merge_and_insert(self, means, weights, kept, freed):
        pair = weights[kept] * self.variances[kept] + weights[freed] * self.variances[freed]
        total = weights[kept] + weights[freed]
        merged = jnp.where(total > 0, pair / jnp.where(total > 0, total, 1), self.variances[kept])
        return Round(self.variances.at[kept].set(merged).at[freed].set(jnp.min(self.variances)))

    def candidates(self, n):
        return Round(jnp.full((n,), jnp.min(self.variances)))

    def num_parameters(self, n, d):
        return n


def test_a_weight_rule():
    means, weights, points, point_weights = oracle.problem(1)
    target, start = gj.empirical(points, point_weights), gj.make_mixture(means, weights)
    solver = gj.GradientEM(weight_rule=Damped(0.3), weight_steps=2, weight_tolerance=0.0)
    fit = gj.fit(solver, target, start, num_iterations=1)
    for _ in range(2):
        weights = weights * oracle.ratios(means, weights, points, point_weights) ** 0.3
        weights = weights / weights.sum()
    np.testing.assert_allclose(fit.mixture.weights, weights, rtol=1e-12)

    def final(share):
        solver = gj.GradientEM(weight_rule=Damped(share), weight_steps=2)
        return gj.fit(solver, target, start, num_iterations=3).loss

    check_grads(final, (0.3,), order=1, rtol=1e-4)


def test_a_mean_rule():
    means, weights, points, point_weights = oracle.problem(2)
    target, start = gj.empirical(points, point_weights), gj.make_mixture(means, weights)
    solver = gj.GradientEM(mean_rule=HeavyBall(0.4), weight_rule="fixed")
    fit = gj.fit(solver, target, start, num_iterations=3)
    velocity = 0.0
    for _ in range(3):
        gradient = oracle.gradient(means, weights, points, point_weights)
        velocity = 0.5 * velocity - 0.4 * gradient
        means = means + velocity
    np.testing.assert_allclose(fit.mixture.means, means, rtol=1e-11)
    swept = gj.sweep(KEY, solver, target, num_seeds=2, num_components=3, num_iterations=5)
    assert (swept.status == gj.Status.OK).all()


def round_mixture():
    means = np.array([[-3.0, 0.0], [3.0, 1.0], [0.0, 4.0]])
    weights, variances = np.array([0.5, 0.3, 0.2]), np.array([0.5, 1.0, 2.0])
    return gj.make_mixture(means, weights, covariance=Round(jnp.asarray(variances)))


def test_a_family_as_a_distribution():
    mixture = round_mixture()
    x = np.random.default_rng(0).normal(size=(50, 2)) * 3 + 100.0
    mixture = dataclasses.replace(mixture, means=mixture.means + 100.0)
    parts = [
        w * scipy.stats.multivariate_normal(m, v).pdf(x)
        for m, v, w in zip(mixture.means, [0.5, 1.0, 2.0], [0.5, 0.3, 0.2], strict=True)
    ]
    density = np.sum(parts, axis=0)
    np.testing.assert_allclose(gj.log_density(mixture, x), np.log(density), rtol=1e-9)
    np.testing.assert_allclose(gj.responsibilities(mixture, x).T, parts / density, atol=1e-10)
    target = gj.empirical(x)
    assert gj.loss(mixture, target) == pytest.approx(-np.log(density).mean(), rel=1e-9)
    draws = gj.sample(KEY, round_mixture(), 20_000)
    assert jnp.cov(draws.T)[0, 0] == pytest.approx(
        0.5 * 0.5 + 0.3 + 0.2 * 2 + 0.8 * 9 - 0.36, rel=0.05
    )
    whole = gj.population(round_mixture(), num_nodes=80)
    entropy = gj.loss(round_mixture(), whole)
    assert entropy == pytest.approx(float(gj.loss(round_mixture(), gj.empirical(draws))), abs=0.03)

    def loss(variances):
        return gj.loss(dataclasses.replace(mixture, covariance=Round(variances)), target)

    check_grads(loss, (mixture.covariance.variances,), order=1, rtol=1e-3)


@pytest.mark.parametrize("blocking", [gj.Blocking(), gj.Blocking(block_size=16, copied_bytes=2000)])
def test_em_of_a_family_is_scikit_learns(blocking):
    points = np.asarray(gj.sample(KEY, round_mixture(), 301)) + 50.0
    start = gj.initialize.from_target(KEY, gj.empirical(points), 3)
    model = GaussianMixture(3, covariance_type="spherical", max_iter=1, tol=0, reg_covar=0)
    model.weights_, model.means_ = np.full(3, 1 / 3), np.asarray(start.means)
    model.covariances_, model.precisions_cholesky_ = np.ones(3), np.ones(3)
    for _ in range(6):
        _, log_resp = model._e_step(points)
        model._m_step(points, log_resp)
    start = dataclasses.replace(start, covariance=Round(jnp.ones(3)))
    em = gj.classical_em(blocking=blocking)
    fit = gj.fit(em, gj.empirical(points), start, num_iterations=6)
    np.testing.assert_allclose(fit.mixture.means, model.means_, rtol=1e-10)
    np.testing.assert_allclose(fit.mixture.weights, model.weights_, rtol=1e-10)
    np.testing.assert_allclose(fit.mixture.covariance.variances, model.covariances_, rtol=1e-8)


def test_fits_searches_and_insertions_of_a_family():
    target = gj.empirical(gj.sample(KEY, round_mixture(), 500))
    start = gj.make_mixture([[-3.0, 0.0], [3.0, 1.0], [3.0, 1.0]], covariance=Round(jnp.ones(3)))
    solver = gj.GradientEM(1.0, mean_rule="em")
    stuck = gj.fit(solver, target, start, num_iterations=60)
    free = gj.fit(solver, target, start, num_iterations=60, escape=gj.Escape(KEY, every=15))
    assert (jnp.diff(stuck.history.loss) <= 1e-12).all()
    assert free.num_insertions >= 1
    assert free.loss < stuck.loss - 0.02
    nearest = jnp.min(jnp.linalg.norm(free.mixture.means - jnp.array([[0.0, 4.0]]), axis=1))
    assert nearest < 0.5
    found = gj.certificate(stuck.mixture, target, KEY)
    assert not found.birth_optimal
    # A component has two coordinates, a weight and a variance.
    assert found.birth_price == pytest.approx(2 * np.log(500) / 500)
    assert gj.recovery(free.mixture, round_mixture(), tolerance=0.5).recovered


def test_classes_with_the_same_fields_are_not_mixed_up():
    """JAX would take one for the other, and with that its compiled code."""

    @dataclasses.dataclass(frozen=True)
    class Twin(gj.rules.WeightRule):
        share_of_em: float = 0.5

        def step(self, log_weights, r):
            return jax.nn.log_softmax(log_weights - self.share_of_em * jnp.log(r))

    @dataclasses.dataclass(frozen=True)
    class Wide(Round):
        variances: jax.Array

        def natural(self, means):
            return Round(4 * self.variances).natural(means)

    structure = jax.tree.structure
    start = gj.make_mixture([[0.0, 0.0], [1.0, 1.0]])
    for one, other in (
        (Damped(), Twin()),
        (gj.GradientEM(weight_rule=Damped()), gj.GradientEM(weight_rule=Twin())),
        (gj.GradientEM(mean_rule=gj.rules.EM()), gj.GradientEM(mean_rule=gj.rules.Gradient())),
        (gj.rules.Mirror(), gj.rules.Euclidean()),
        (
            dataclasses.replace(start, covariance=Round(jnp.ones(2))),
            dataclasses.replace(start, covariance=Wide(jnp.ones(2))),
        ),
    ):
        assert structure(one) != structure(other)
    target = gj.empirical(gj.sample(KEY, round_mixture(), 50))
    fits = [
        gj.fit(gj.GradientEM(weight_rule=rule), target, start, num_iterations=2).mixture.weights
        for rule in (Damped(), Twin())
    ]
    assert not np.allclose(*fits)


@dataclasses.dataclass(frozen=True)
class Counting:
    """A solver with `init` and `step` alone, whose state begins with a plain number."""

    factor: float = 1.0

    def init(self, mixture):
        return CountingState(mixture, 0)

    def step(self, state, target):
        mixture = dataclasses.replace(state.mixture, means=self.factor * state.mixture.means)
        value = gj.loss(state.mixture, target)
        return CountingState(mixture, state.count + 1), gj.Info(
            value, 0 * value, value, jnp.int32(1)
        )


class Shrinking(Counting):
    def step(self, state, target):
        state, info = super().step(state, target)
        mixture = dataclasses.replace(state.mixture, means=0.5 * state.mixture.means)
        return dataclasses.replace(state, mixture=mixture), info


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CountingState:
    mixture: gj.Mixture
    count: jax.Array


for solver in (Counting, Shrinking):
    jax.tree_util.register_dataclass(solver, data_fields=["factor"], meta_fields=[])


def test_a_solver():
    target, start = gj.empirical([[0.0], [1.0]]), gj.make_mixture([[8.0], [4.0]])
    fit = gj.fit(Counting(0.5), target, start, num_iterations=2)
    fit = gj.fit(Counting(0.5), target, fit, num_iterations=1)
    assert (fit.state.count, fit.mixture.means.tolist()) == (3, [[1.0], [0.5]])
    # Of the same structure to JAX, and not the same solver.
    assert gj.fit(Shrinking(0.5), target, start, num_iterations=3).mixture.means[0] == 0.125
    fits = [
        gj.sweep(KEY, solver, target, num_seeds=2, num_components=2, num_iterations=3).mixture
        for solver in (Counting(1.0), Shrinking(1.0))
    ]
    np.testing.assert_allclose(fits[1].means, fits[0].means / 8)


def test_errors():
    target, start = gj.empirical([[0.0], [1.0]]), gj.make_mixture([[0.0]])
    run = lambda solver, mixture=start: gj.fit(solver, target, mixture, num_iterations=1)  # noqa: E731
    with pytest.raises(TypeError, match=r"weight_rule must be one of mirror, .* or a rule"):
        run(gj.GradientEM(weight_rule=HeavyBall(0.1)))
    with pytest.raises(TypeError, match=r"mean_rule must be one of gradient, .* or a rule"):
        run(gj.GradientEM(mean_rule=3))
    with pytest.raises(ValueError, match=r"weight_rule\.step_size must be positive .* got -1"):
        run(gj.GradientEM(weight_rule=gj.rules.Mirror(-1.0)))
    with pytest.raises(
        TypeError, match=r"mixture\.covariance must be a gj\.covariance\.Covariance"
    ):
        run(gj.GradientEM(), gj.Mixture(start.means, start.log_weights, "full"))
    prepared, data = gj.GradientEM().prepare(target, start)
    with pytest.raises(TypeError, match="prepared for covariances Identity"):
        prepared.step(
            prepared.init(dataclasses.replace(start, covariance=Round(jnp.ones(1)))), data
        )

    class Shrinks(gj.rules.MeanRule):
        def step(self, state, means, statistics):
            return means[:, :1], state

    two = gj.empirical([[0.0, 1.0], [1.0, 2.0]])
    with pytest.raises(TypeError, match="must keep structure, shapes and dtypes"):
        gj.fit(
            gj.GradientEM(mean_rule=Shrinks()), two, gj.make_mixture([[0.0, 0.0]]), num_iterations=1
        )
