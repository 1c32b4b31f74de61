import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gemjax as gj


def small(seed=0, **shape):
    means, weights, points, point_weights = oracle.problem(seed, **shape)
    return gj.empirical(points, point_weights), gj.make_mixture(means, weights)


def test_fit_is_the_loop_over_steps():
    target, start = small()
    solver = gj.GradientEM()
    state = solver.init(start)
    losses = []
    for _ in range(7):
        state, info = solver.step(state, target)
        losses.append(info.loss)
    fit = gj.fit(solver, target, start, num_iterations=7)
    np.testing.assert_allclose(fit.history.loss, losses, rtol=1e-13)
    np.testing.assert_allclose(fit.mixture.means, state.mixture.means, rtol=1e-12)
    thin = gj.fit(solver, target, start, num_iterations=7, record_every=3)
    np.testing.assert_allclose(thin.history.loss, fit.history.loss[2::3], rtol=1e-13)
    np.testing.assert_allclose(thin.mixture.means, fit.mixture.means, rtol=1e-12)


@pytest.mark.parametrize(
    ("T", "record_every"),
    [pytest.param(37, 1, marks=pytest.mark.slow), pytest.param(37, 5, marks=pytest.mark.slow)],
)
def test_a_scan_of_scans_is_the_same_loop(monkeypatch, T, record_every):
    """Where the states of all iterations are large, in values, records and derivatives."""
    target, start = small()

    def run(step):
        return gj.fit(
            gj.GradientEM(step), target, start, num_iterations=T, record_every=record_every
        )

    def found():
        gradient = jax.grad(lambda step: run(step).history.loss.sum())(0.5)
        return run(0.5), gradient

    plain, gradient = found()
    module = sys.modules["gemjax._em.loop"]
    monkeypatch.setattr(module, "_KEPT_BYTES", 1000)
    jax.clear_caches()
    nested, again = found()
    jax.clear_caches()
    np.testing.assert_allclose(nested.history.loss, plain.history.loss, rtol=1e-13)
    np.testing.assert_allclose(nested.mixture.means, plain.mixture.means, rtol=1e-12)
    assert again == pytest.approx(float(gradient), rel=1e-10)


@given(st.integers(0, 10_000), st.floats(0.01, 1.0), st.sampled_from(["mirror", "multiplicative"]))
@settings(max_examples=25, deadline=None)
def test_loss_never_rises_for_step_sizes_up_to_one(seed, step_size, rule):
    target, start = small(seed)
    fit = gj.fit(gj.GradientEM(step_size, weight_rule=rule), target, start, num_iterations=15)
    assert (np.diff(fit.history.loss) <= 1e-12).all()


def test_divergence_is_a_status_and_freezes_the_run():
    target, start = small()
    fit = gj.fit(gj.GradientEM(1e200), target, start, num_iterations=10)
    assert fit.status == gj.Status.DIVERGED
    assert np.isfinite(fit.mixture.means).all()
    assert fit.history.loss.shape == (10,)
    assert not np.isnan(fit.history.loss).any()
    with pytest.raises(gj.DivergedError, match="try a smaller step_size"):
        gj.raise_for_status(fit)
    pair = gj.fit(gj.GradientEM(1e200), target, start, num_iterations=2)
    assert pair.history.loss[0] == fit.history.loss[0]


def test_what_was_observed_must_be_finite_too():
    target, start = small()

    @jax.tree_util.register_static
    class Blind:
        """Classical EM whose gradient norm is infinite."""

        def init(self, mixture):
            return gj.classical_em().init(mixture)

        def step(self, state, target):
            state, info = gj.classical_em().step(state, target)
            return state, dataclasses.replace(info, gradient_norm=info.gradient_norm / 0.0)

    fit = gj.fit(Blind(), target, start, num_iterations=2)
    assert fit.status == gj.Status.DIVERGED
    np.testing.assert_array_equal(fit.mixture.means, start.means)


def test_one_bad_seed_does_not_touch_the_others():
    target, start = small()
    steps = jnp.array([0.5, 1e300, 0.9])
    fits = jax.vmap(lambda step: gj.fit(gj.GradientEM(step), target, start, num_iterations=8))(
        steps
    )
    assert fits.status.tolist() == [0, 1, 0]
    alone = gj.fit(gj.GradientEM(0.9), target, start, num_iterations=8)
    np.testing.assert_allclose(fits.mixture.means[2], alone.mixture.means, rtol=1e-10)
    with pytest.raises(gj.DivergedError, match=r"1 of 3 seeds \(1\)"):
        gj.raise_for_status(fits)


def permuted(target, start):
    order = np.random.default_rng(0).permutation(len(target.points))
    swap = np.array([2, 0, 3, 1])
    return (
        gj.Target(target.points[order], target.weights[order]),
        gj.Mixture(start.means[swap], start.log_weights[swap]),
        lambda means: means[swap],
    )


def moved(target, start):
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    shift = np.array([[10.0, -20.0, 30.0]])
    return (
        gj.Target(target.points @ rotation + shift, target.weights),
        gj.Mixture(start.means @ rotation + shift, start.log_weights),
        lambda means: means @ rotation + shift,
    )


@pytest.mark.parametrize("change", [permuted, moved])
@pytest.mark.parametrize("solver", [gj.GradientEM(), gj.classical_em()])
def test_invariance(change, solver):
    target, start = small()
    other_target, other_start, expect = change(target, start)
    a = gj.fit(solver, target, start, num_iterations=10)
    b = gj.fit(solver, other_target, other_start, num_iterations=10)
    np.testing.assert_allclose(b.mixture.means, expect(a.mixture.means), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(b.history.loss, a.history.loss, rtol=1e-11)


def test_splitting_a_component_changes_nothing_for_em():
    target, start = small()
    weights = np.asarray(start.weights)
    split = gj.make_mixture(
        np.concatenate([start.means, start.means[:1]]),
        np.concatenate([[0.25 * weights[0]], weights[1:], [0.75 * weights[0]]]),
    )
    a = gj.fit(gj.classical_em(), target, start, num_iterations=10)
    b = gj.fit(gj.classical_em(), target, split, num_iterations=10)
    np.testing.assert_allclose(b.history.loss, a.history.loss, rtol=1e-12)
    np.testing.assert_allclose(b.mixture.means[:4], a.mixture.means, rtol=1e-10)
    np.testing.assert_allclose(b.mixture.means[4], a.mixture.means[0], rtol=1e-10)


def test_stored_and_recomputed_densities_agree(monkeypatch):
    from gemjax._model import densities

    target, start = small(N=3000, n=40, d=2)
    solver = gj.GradientEM()
    stored, info = solver.step(solver.init(start), target)
    monkeypatch.setattr(densities, "_STORED_BYTES", 0)
    jax.clear_caches()
    again, other = solver.step(solver.init(start), target)
    np.testing.assert_allclose(again.mixture.means, stored.mixture.means, rtol=1e-11)
    assert other.loss == pytest.approx(float(info.loss), rel=1e-13)
