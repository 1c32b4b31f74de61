"""As a part of other programs: batches of data sets, optimizers and loops of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest
from jax.test_util import check_grads

import gemjax as gj

KEY = jax.random.key(0)
MEANS, WEIGHTS, POINTS, POINT_WEIGHTS = oracle.problem(5, N=60, n=3, d=2)
TARGET, START = gj.empirical(POINTS, POINT_WEIGHTS), gj.make_mixture(MEANS, WEIGHTS)


@pytest.mark.slow
def test_a_batch_of_data_sets_of_different_sizes():
    sizes, solver = (20, 33, 60), gj.GradientEM(1.0, mean_rule="em")
    sets = [POINTS[:size] for size in sizes]
    padded = jnp.stack([jnp.pad(x, ((0, 60 - len(x)), (0, 0)), constant_values=7.0) for x in sets])
    mask = jnp.stack([jnp.arange(60) < size for size in sizes])

    def fit(points, mask, start):
        target = gj.empirical(points, mask)
        return gj.fit(solver, target, start, num_iterations=20, tolerance=1e-5)

    keys = jax.random.split(KEY, 3)
    draw = lambda key, x, m: gj.initialize.from_target(key, gj.empirical(x, m), 4)  # noqa: E731
    starts = jax.vmap(draw)(keys, padded, mask)
    fits = jax.jit(jax.vmap(fit))(padded, mask, starts)
    for b, points in enumerate(sets):
        start = jax.tree.map(lambda leaf, b=b: leaf[b], starts)
        assert not (np.asarray(start.means) == 7.0).any()
        alone = gj.fit(solver, gj.empirical(points), start, num_iterations=20, tolerance=1e-5)
        assert fits.num_iterations[b] == alone.num_iterations
        np.testing.assert_allclose(fits.mixture.means[b], alone.mixture.means, rtol=1e-9)
        np.testing.assert_allclose(fits.loss[b], alone.loss, rtol=1e-12)
    gradient = jax.grad(lambda x: jnp.sum(jax.vmap(fit)(x, mask, starts).loss))(padded)
    assert (gradient[0, 20:] == 0).all()
    assert (gradient[0, :20] != 0).all()


def test_batches_are_named_in_errors():
    batch = np.zeros((2, 3, 4))
    for call in (
        lambda: gj.empirical(batch),
        lambda: gj.log_density(START, batch),
        lambda: gj.loss(START, gj.Target(jnp.zeros((2, 3, 2)), jnp.ones((2, 3)))),
        lambda: gj.loss(gj.Mixture(jnp.zeros((2, 3, 2)), jnp.zeros((2, 3))), TARGET),
    ):
        with pytest.raises(ValueError, match=r"jax\.vmap"):
            call()


def test_weights_from_logits():
    logits = jnp.array([800.0, 801.0, -jnp.inf])
    mixture = gj.make_mixture(MEANS, logits=logits)
    expected = np.array([1, np.e, 0]) / (1 + np.e)
    np.testing.assert_allclose(mixture.weights, expected, rtol=1e-12)

    def loss(means, logits):
        return gj.loss(gj.make_mixture(means, logits=logits), TARGET)

    check_grads(loss, (MEANS, np.array([0.3, -1.0, 2.0])), order=1, rtol=1e-4)
    for bad, words in (
        ({"logits": [0.0]}, r"logits must have shape \(3,\), got \(1,\)"),
        ({"logits": [0.0, np.nan, 0.0]}, "logits must be finite or -inf, got nan at index 1"),
        ({"logits": [-np.inf] * 3}, "logits must not all be -inf"),
        ({"logits": [0.0] * 3, "weights": [1.0] * 3}, "must not both be given"),
    ):
        with pytest.raises(ValueError, match=words):
            gj.make_mixture(MEANS, **bad)


def test_an_optimizer_of_ones_own():
    """Means and logits by Adam on the loss: no constraint is left to the user."""
    optimizer = optax.adam(0.05)
    parameters = {"means": START.means, "logits": jnp.zeros(3)}
    loss = lambda p: gj.loss(gj.make_mixture(p["means"], logits=p["logits"]), TARGET)  # noqa: E731

    @jax.jit
    def update(parameters, state):
        value, gradient = jax.value_and_grad(loss)(parameters)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(parameters, updates), state, value

    with jax.numpy_dtype_promotion("standard"):
        state, values = optimizer.init(parameters), []
        for _ in range(150):
            parameters, state, value = update(parameters, state)
            values.append(float(value))
    best = gj.fit(gj.GradientEM(1.0, mean_rule="em"), TARGET, START, num_iterations=150)
    assert values[-1] == pytest.approx(float(best.loss), abs=1e-3)


def test_settings_as_arrays_are_leaves_to_train():
    solver = gj.GradientEM(weight_rule=gj.rules.Mirror(0.1), weight_steps=2).as_arrays("float64")
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(solver))

    def final(solver):
        return gj.fit(solver, TARGET, START, num_iterations=3).loss

    gradient = jax.grad(final)(solver)
    assert gradient.step_size < 0  # longer steps would do better
    assert gradient.weight_rule.step_size != 0
    assert gradient.weight_step_size == 0  # a rule that is an object has its own
    named = jax.grad(final)(gj.GradientEM(weight_step_size=0.1, weight_steps=2).as_arrays())
    assert named.weight_step_size == pytest.approx(float(gradient.weight_rule.step_size))


def test_step_outside_jit_compiles_once():
    from gemjax._em.gradient_em import _iterate

    solver = gj.GradientEM(0.3, weight_steps=3)
    state, before = solver.init(START), _iterate._cache_size()
    prepared, data = solver.prepare(TARGET, START)
    for _ in range(3):
        state, _ = solver.step(state, TARGET)
        state, info = prepared.step(state, data)
    assert _iterate._cache_size() == before + 1
    fit = gj.fit(solver, TARGET, START, num_iterations=6)
    assert info.loss == pytest.approx(float(fit.loss), rel=1e-13)
    np.testing.assert_allclose(state.mixture.means, fit.mixture.means, rtol=1e-12)
