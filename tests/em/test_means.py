"""Mean rules against NumPy loops, the monotone safeguard, and what carries their state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest
from jax.sharding import AxisType, Mesh
from jax.test_util import check_grads

import gemjax as gj
from gemjax._em.fit import _run

KEY = jax.random.key(0)
SETTINGS = {"weight_rule": "fixed", "weight_steps": 0}
WILD = optax.sgd(1e3)


def reference(rule, means, weights, points, point_weights, T, optimal_loss, monotone):
    """T iterations at fixed weights: means, losses, and the kinds of steps that were taken."""
    factor, previous, last, losses, kinds = 1.0, np.inf, np.inf, [], []
    for _ in range(T):
        loss = oracle.loss(means, weights, points, point_weights)
        mass = weights * oracle.ratios(means, weights, points, point_weights)
        gradient = oracle.gradient(means, weights, points, point_weights)
        em_step, length, kind = -gradient / mass[:, None], 1.0, "em"
        if rule == "overrelaxed":
            kind = "grown" if loss <= previous else "reset"
            factor = factor if loss <= previous else 1.0
            length, factor, previous = factor, 1.1 * factor, loss
        else:
            square = sum(np.sum(g**2) / s for g, s in zip(gradient, mass, strict=True))
            if square >= 0.8 * last:
                polyak = (loss - optimal_loss) / square
                cap = 1 / np.sqrt((em_step**2).sum(axis=1).max())
                length = max(1.0, min(polyak, cap))
                kind = "none" if length == 1 else "polyak" if length == polyak else "capped"
                square = np.inf
            last = square
        new = means + length * em_step
        if monotone and not oracle.loss(new, weights, points, point_weights) <= loss:
            new, factor, kind = means + em_step, 1.0, "refused"
        means = new
        losses.append(loss)
        kinds.append(kind)
    return means, losses, set(kinds)


@pytest.mark.parametrize(
    ("rule", "T", "below", "monotone", "kinds"),
    [
        ("overrelaxed", 45, 0.0, False, {"grown", "reset"}),
        ("overrelaxed", 45, 0.0, True, {"grown", "refused"}),
        ("polyak", 15, 1e-3, False, {"em", "polyak", "capped"}),
        ("polyak", 15, 0.5, False, {"em", "capped"}),
        ("polyak", 15, -0.5, False, {"em", "none"}),
    ],
)
def test_rules_match_a_loop_in_numpy(rule, T, below, monotone, kinds):
    problem = oracle.problem(22, N=25, n=3, d=2)
    means, weights, points, point_weights = problem
    target, start = gj.empirical(points, point_weights), gj.make_mixture(means, weights)
    optimal_loss = reference("polyak", *problem, 150, 99.0, False)[1][-1] - below  # EM's
    solver = gj.GradientEM(
        123.0, mean_rule=rule, optimal_loss=optimal_loss, monotone=monotone, **SETTINGS
    )
    fit = gj.fit(solver, target, start, num_iterations=T)
    new_means, losses, taken = reference(rule, *problem, T, optimal_loss, monotone)
    assert taken == kinds  # the problem is one where they occur
    np.testing.assert_allclose(fit.history.loss, losses, rtol=1e-11)
    np.testing.assert_allclose(fit.mixture.means, new_means, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("rule", "step_size"),
    [("gradient", 1e200), ("polyak", 1.0), (optax.sgd(1e3), 1.0)],
    ids=["gradient", "polyak", "optax"],
)
def test_monotone_never_raises_the_loss(rule, step_size):
    """At any step size, from random starts, up to the mixture that is returned."""
    # An optimum that cannot be reached makes every long step of "polyak" as long as allowed.
    solver = gj.GradientEM(
        step_size, mean_rule=rule, optimal_loss=0.1, weight_steps=2, monotone=True
    )
    target = gj.empirical(oracle.problem(12, N=60, d=2)[2])

    @jax.jit
    @jax.vmap
    def losses(seed):
        start = gj.initialize.from_target(jax.random.fold_in(KEY, seed), target, 5)
        fit = gj.fit(solver, target, start, num_iterations=60)
        return jnp.append(fit.history.loss, gj.loss(fit.mixture, target)), fit.status

    found, status = losses(jnp.arange(6))
    assert (status == gj.Status.OK).all()
    assert (jnp.diff(found) <= 1e-13).all()


@pytest.mark.slow
def test_polyak_is_fast_where_components_are_redundant():
    truth = gj.truth.ring(3, 2, separation=4.0)
    target = gj.population(truth, num_nodes=24)
    start, floor = gj.initialize.from_mixture(KEY, truth, 8), float(gj.loss(truth, target))

    def iterations(solver):
        fit = gj.fit(solver, target, start, num_iterations=200)
        return np.argmax(np.asarray(fit.history.loss) - floor <= 1e-6) or 200

    polyak = gj.GradientEM(mean_rule="polyak", optimal_loss=floor)
    assert 4 * iterations(polyak) < iterations(gj.GradientEM(1.0, mean_rule="em"))


@pytest.mark.slow
def test_polyak_in_float32_stays_at_the_optimum():
    """There L − L* is rounding, and so is the gradient: their quotient may be anything."""
    truth = gj.truth.ring(3, 2, separation=jnp.float32(4.0))
    target = gj.population(truth, num_nodes=32)
    # One unit in the last place too low.
    optimal_loss = np.nextafter(np.asarray(gj.loss(truth, target)), np.float32(0))
    solver = gj.GradientEM(mean_rule="polyak", optimal_loss=optimal_loss)
    start = gj.Mixture(truth.means + jnp.float32(0.3), truth.log_weights)
    fit = gj.fit(solver, target, start, num_iterations=60)
    assert fit.mixture.means.dtype == fit.history.loss.dtype == jnp.float32
    np.testing.assert_allclose(fit.history.loss[20:], optimal_loss, atol=2e-6)


def test_transformations():
    """Derivatives in both modes; a batch of optimal losses; none of them compiles anew."""
    means, weights, points, _ = oracle.problem(14, N=20, n=3, d=2)
    start = gj.make_mixture(means, weights)

    def run(means, points, optimal_loss):
        # A long step, and after it an iteration that sees it.
        solver = gj.GradientEM(
            mean_rule="polyak", optimal_loss=optimal_loss, monotone=True, **SETTINGS
        )
        target = gj.empirical(points)
        return gj.fit(solver, target, gj.Mixture(means, start.log_weights), num_iterations=7)

    arguments = (jnp.asarray(means), jnp.asarray(points), jnp.asarray(3.0))
    final = lambda *xs: jnp.sum(run(*xs).mixture.means ** 2)  # noqa: E731
    check_grads(final, arguments, order=1, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5)
    optima = jnp.array([3.0, 3.9])
    batch = jax.vmap(lambda value: run(*arguments[:2], value))(optima)
    run(*arguments[:2], 3.0)
    compiled = _run._cache_size()
    for value in (3.9, np.float32(3.5), jnp.float64(3.9)):
        alone = run(*arguments[:2], value)
    assert _run._cache_size() == compiled
    np.testing.assert_allclose(batch.mixture.means[1], alone.mixture.means, rtol=1e-10)


def test_points_spread_over_devices():
    target = gj.empirical(oracle.problem(15, N=41, d=2)[2])
    mesh = Mesh(
        np.array(jax.devices()[:2])[None], ("seed", "data"), axis_types=(AxisType.Auto,) * 2
    )
    solver = gj.GradientEM(mean_rule="overrelaxed", monotone=True, **SETTINGS)
    alone, spread = (
        gj.sweep(KEY, solver, target, num_seeds=2, num_components=3, num_iterations=8, mesh=m)
        for m in (None, mesh)
    )
    np.testing.assert_allclose(spread.mixture.means, alone.mixture.means, rtol=1e-9)


def test_optax_rules_get_the_loss():
    means, weights, points, point_weights = oracle.problem(16)
    target, start = gj.empirical(points, point_weights), gj.make_mixture(means, weights)
    with jax.numpy_dtype_promotion("standard"):
        solver = gj.GradientEM(mean_rule=optax.polyak_sgd(100.0, f_min=5.0), **SETTINGS)
        state, _ = solver.step(solver.init(start), target)
    gradient = oracle.gradient(means, weights, points, point_weights)
    length = (oracle.loss(means, weights, points, point_weights) - 5.0) / np.sum(gradient**2)
    np.testing.assert_allclose(state.mixture.means, means - length * gradient, rtol=1e-10)
