"""A fit that stops when nothing changes, one that goes on, and the best of several."""

import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest
from jax.sharding import AxisType, Mesh
from marks import mostly_slow

import gemjax as gj

KEY = jax.random.key(0)
MEANS, WEIGHTS, POINTS, POINT_WEIGHTS = oracle.problem(5, N=80, n=4, d=2)
TARGET, START = gj.empirical(POINTS, POINT_WEIGHTS), gj.make_mixture(MEANS, WEIGHTS)
EM = gj.GradientEM(1.0, mean_rule="em", weight_steps=2)


def same(a, b, rtol=1e-12):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-13)


ADAM = optax.adam(0.05)
SOLVERS = {
    "classical": gj.classical_em(),
    "adam": gj.GradientEM(mean_rule=ADAM),
    "monotone": gj.GradientEM(mean_rule="overrelaxed", monotone=True),
    **{rule: gj.GradientEM(weight_rule=rule) for rule in gj.rules.WEIGHT_RULES},
    **{
        rule: gj.GradientEM(mean_rule=rule, optimal_loss=3.0, weight_steps=1)
        for rule in gj.rules.MEAN_RULES
    },
}


@pytest.mark.parametrize("name", mostly_slow(SOLVERS, 3))
def test_ten_and_ten_are_twenty(name):
    with jax.numpy_dtype_promotion("standard"):  # for Adam
        whole = gj.fit(SOLVERS[name], TARGET, START, num_iterations=20)
        half = gj.fit(SOLVERS[name], TARGET, START, num_iterations=10)
        again = gj.fit(SOLVERS[name], TARGET, half, num_iterations=10)
    same(again, whole)
    assert again.num_iterations == 20
    assert again.history.loss.shape == (20,)


@pytest.mark.slow
def test_going_on_with_an_escape():
    start = gj.make_mixture([[0.0], [12.0], [12.0]])
    target = gj.population(gj.make_mixture([[-3.0], [3.0], [12.0]]), num_nodes=64)
    whole = gj.fit(EM, target, start, num_iterations=60, escape=gj.Escape(KEY, every=12))
    parts, part = start, gj.Escape(KEY, last=48, every=12)
    for _ in range(3):
        parts = gj.fit(EM, target, parts, num_iterations=20, escape=part)
    assert whole.num_insertions >= 1
    same(parts, whole, rtol=1e-9)


def test_going_on_with_a_sweep_and_after_it_was_stored():
    settings = {"num_seeds": 3, "num_components": 3}
    whole = gj.sweep(KEY, EM, TARGET, num_iterations=9, **settings)
    half = gj.sweep(KEY, EM, TARGET, num_iterations=4, **settings)
    stored = io.BytesIO()
    leaves, structure = jax.tree.flatten(half)
    np.savez(stored, *leaves)
    stored.seek(0)
    read = jax.tree.unflatten(structure, [jnp.asarray(a) for a in np.load(stored).values()])
    again = jax.vmap(lambda fit: gj.fit(EM, TARGET, fit, num_iterations=5))(read)
    same(again, whole)


def test_exported_programs_take_and_return_the_records():
    def go_on(solver_step, target, fit):
        solver = gj.GradientEM(solver_step)
        return gj.fit(solver, target, fit, num_iterations=3, tolerance=1e-9)

    fit = gj.fit(gj.GradientEM(), TARGET, START, num_iterations=2)
    arguments = (jnp.asarray(0.5), TARGET, fit)
    exported = jax.export.export(jax.jit(go_on))(*arguments)
    again = jax.export.deserialize(exported.serialize())
    same(again.call(*arguments), go_on(*arguments))


@pytest.mark.parametrize("solver", [EM, gj.classical_em()])
def test_it_stops_when_the_loss_hardly_changes(solver):
    whole = gj.fit(solver, TARGET, START, num_iterations=400)
    changes = np.abs(np.diff(whole.history.loss))
    tolerance = 1e-6
    expected = int(np.argmax(changes < tolerance)) + 2  # the first iteration has no change
    fit = gj.fit(solver, TARGET, START, num_iterations=400, tolerance=tolerance)
    assert fit.status == gj.Status.CONVERGED
    assert fit.num_iterations == expected < 400
    short = gj.fit(solver, TARGET, START, num_iterations=expected)
    same(fit.mixture, short.mixture)
    np.testing.assert_allclose(fit.history.loss[:expected], short.history.loss)
    assert (fit.history.loss[expected:] == fit.loss).all()
    gj.raise_for_status(fit)
    # It looks once more at the same tolerance, and goes on at a smaller one, or without.
    again = gj.fit(solver, TARGET, fit, num_iterations=9, tolerance=1e-6)
    assert (again.num_iterations, again.status) == (expected + 1, gj.Status.CONVERGED)
    more = gj.fit(solver, TARGET, fit, num_iterations=400 - expected)
    same(more.mixture, whole.mixture)
    assert more.status == gj.Status.OK
    assert gj.fit(solver, TARGET, fit, num_iterations=9, tolerance=0.0).status == gj.Status.OK


def test_every_run_of_a_batch_stops_by_itself():
    settings = {"num_components": 3, "num_iterations": 300, "tolerance": 1e-5}
    fits = gj.sweep(KEY, EM, TARGET, num_seeds=4, batch_size=4, **settings)
    assert len(set(fits.num_iterations.tolist())) > 1
    assert (fits.status == gj.Status.CONVERGED).all()
    for s in range(4):
        start = gj.initialize.from_target(jax.random.fold_in(KEY, s), TARGET, 3)
        alone = gj.fit(EM, TARGET, start, num_iterations=300, tolerance=1e-5)
        assert alone.num_iterations == fits.num_iterations[s]
        same(alone.mixture, jax.tree.map(lambda leaf, s=s: leaf[s], fits.mixture), rtol=1e-9)
    several = jax.vmap(
        lambda tolerance: gj.fit(EM, TARGET, START, num_iterations=300, tolerance=tolerance)
    )(jnp.array([1e-3, 1e-6]))
    assert several.num_iterations[0] < several.num_iterations[1]


@pytest.mark.slow
def test_derivatives_are_those_of_the_iterations_that_ran():
    def final(step, T, tolerance):
        solver = gj.GradientEM(step, weight_steps=2)
        fit = gj.fit(solver, TARGET, START, num_iterations=T, tolerance=tolerance)
        return jnp.sum(fit.mixture.means**2), fit.num_iterations

    step = jnp.asarray(0.7)
    stopped, ran = jax.grad(final, has_aux=True)(step, 200, 1e-4)
    assert 3 < ran < 200
    short, _ = jax.grad(final, has_aux=True)(step, int(ran), None)
    assert stopped == pytest.approx(float(short), rel=1e-10)
    forward = jax.jvp(lambda s: final(s, 200, 1e-4)[0], (step,), (jnp.ones_like(step),))[1]
    assert forward == pytest.approx(float(short), rel=1e-10)
    batch = jax.vmap(jax.grad(lambda s: final(s, 200, 1e-4)[0]))(jnp.stack([step, 0.5 * step]))
    assert batch[0] == pytest.approx(float(short), rel=1e-10)


@pytest.mark.slow
def test_second_derivatives_are_those_of_the_iterations_that_ran():
    def final(step, T, tolerance):
        solver = gj.GradientEM(step, weight_steps=2)
        fit = gj.fit(solver, TARGET, START, num_iterations=T, tolerance=tolerance)
        return jnp.sum(fit.mixture.means**2)

    ran = gj.fit(gj.GradientEM(0.7, weight_steps=2), TARGET, START, num_iterations=200,
                 tolerance=1e-4).num_iterations  # fmt: skip
    second = jax.grad(jax.grad(lambda s: final(s, 200, 1e-4)))(0.7)
    expected = jax.grad(jax.grad(lambda s: final(s, int(ran), None)))(0.7)
    assert second == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.slow
def test_a_fit_with_an_escape_does_not_stop_before_the_search():
    # The plateau: two components share a cluster, one stands between two others.
    target = gj.population(gj.make_mixture([[-3.0], [3.0], [12.0]]), num_nodes=64)
    start = gj.make_mixture([[0.0], [12.0], [12.0]])
    settings = {"num_iterations": 300, "tolerance": 1e-4}
    stuck = gj.fit(EM, target, start, **settings)
    free = gj.fit(EM, target, start, escape=gj.Escape(KEY), **settings)
    assert stuck.status == free.status == gj.Status.CONVERGED
    assert free.num_insertions == 1
    assert free.loss < stuck.loss - 0.5
    assert free.num_iterations < 300


@pytest.mark.parametrize("tolerance", [None, 1e-3])
def test_in_a_batch_too_the_search_is_a_branch(tolerance):
    settings = {"num_components": 3, "num_iterations": 60, "tolerance": tolerance}
    sweep = lambda key: gj.sweep(  # noqa: E731
        key, EM, TARGET, num_seeds=3, batch_size=3, escape=gj.Escape(KEY), **settings
    )
    assert " cond[" in str(jax.make_jaxpr(sweep)(KEY))


def test_going_on_with_something_else():
    target = gj.population(gj.make_mixture([[-3.0], [3.0], [12.0]]), num_nodes=64)
    start = gj.make_mixture([[0.0], [12.0], [12.0]])
    settings = {"num_iterations": 200, "tolerance": 1e-4}
    stuck = gj.fit(EM, target, start, **settings)
    free = gj.fit(EM, target, stuck, escape=gj.Escape(KEY), **settings)
    assert (free.num_insertions, free.status) == (1, gj.Status.CONVERGED)
    assert free.loss < stuck.loss - 0.5
    moved = gj.Target(target.points + 1.0, target.weights)
    again = gj.fit(EM, moved, free, **settings)
    np.testing.assert_allclose(again.mixture.means, free.mixture.means + 1.0, atol=0.05)
    for solver, fit in (
        (gj.GradientEM(mean_rule="overrelaxed"), stuck),
        (gj.GradientEM(mean_rule=optax.sgd(0.1)), stuck),
        (EM, dataclasses.replace(stuck, monitor=None)),
        (EM, dataclasses.replace(stuck, status=jnp.zeros(2, jnp.int32))),
    ):
        with pytest.raises(TypeError, match="mixture, a Fit to go on from with this solver, must"):
            gj.fit(solver, target, fit, num_iterations=1)
    with jax.numpy_dtype_promotion("standard"):
        adam = gj.fit(gj.GradientEM(mean_rule=ADAM), TARGET, START, num_iterations=1)
    with pytest.raises(TypeError, match="a Fit to go on from with this solver"):
        gj.fit(gj.GradientEM(mean_rule=optax.sgd(0.1)), TARGET, adam, num_iterations=1)


def test_a_bad_tolerance_under_jit_ends_in_the_status():
    run = jax.jit(lambda t: gj.fit(EM, TARGET, START, num_iterations=2, tolerance=t).status)
    assert [run(t) for t in (1e-9, jnp.nan, -1.0)] == [0, 1, 1]


def test_a_fit_that_diverged_is_frozen():
    solver = gj.GradientEM(mean_rule=optax.sgd(1e200))
    fit = gj.fit(solver, TARGET, START, num_iterations=5, tolerance=1e-9)
    assert fit.status == gj.Status.DIVERGED
    assert fit.num_iterations == 1
    again = gj.fit(solver, TARGET, fit, num_iterations=5)
    same(again.mixture, fit.mixture)
    assert again.status == gj.Status.DIVERGED


def test_the_best_seed():
    fits = gj.sweep(KEY, EM, TARGET, num_seeds=5, num_components=3, num_iterations=30)
    best = gj.best(fits)
    index = int(np.argmin(fits.history.loss[:, -1]))
    same(best.mixture, jax.tree.map(lambda leaf: leaf[index], fits.mixture))
    assert best.loss == fits.loss.min()
    lost = dataclasses.replace(fits, status=fits.status.at[index].set(gj.Status.DIVERGED))
    rest = np.delete(np.asarray(fits.loss), index)
    assert jax.jit(gj.best)(lost).loss == rest.min()
    with pytest.raises(TypeError, match="leading axis of seeds"):
        gj.best(best)


@pytest.mark.slow
def test_points_spread_over_devices():
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",), axis_types=(AxisType.Auto,))
    for escape in (None, gj.Escape(KEY, every=4)):
        settings = {"num_iterations": 12, "tolerance": 1e-5, "escape": escape}
        alone = gj.fit(EM, TARGET, START, **settings)
        spread = gj.fit(EM, TARGET, START, mesh=mesh, **settings)
        assert spread.num_iterations == alone.num_iterations
        same(spread.mixture, alone.mixture, rtol=1e-8)
        again = gj.fit(EM, TARGET, spread, mesh=mesh, num_iterations=2)
        more = gj.fit(EM, TARGET, alone, num_iterations=2)
        same(again.mixture, more.mixture, rtol=1e-8)
    wrong = Mesh(np.array(jax.devices()[:2]), ("seed",))
    with pytest.raises(ValueError, match='mesh must have the axis "data" alone'):
        gj.fit(EM, TARGET, START, num_iterations=1, mesh=wrong)


@pytest.mark.parametrize("tolerance", [-1.0, np.nan])
def test_bad_tolerances(tolerance):
    with pytest.raises(ValueError, match="tolerance must be non-negative"):
        gj.fit(EM, TARGET, START, num_iterations=1, tolerance=tolerance)
