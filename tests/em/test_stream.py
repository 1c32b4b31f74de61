"""A target that draws new samples at every iteration: the same step, the same loop."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.test_util import check_grads

import gemjax as gj

KEY = jax.random.key(3)
TRUTH = gj.make_mixture([[-2.0, 0.0], [2.0, 0.0], [0.0, 3.0]], weights=[0.2, 0.3, 0.5])
STREAM = gj.stream(KEY, TRUTH, 64)
START = gj.initialize.from_target(jax.random.key(1), STREAM, 5)
CUT = gj.Blocking(block_size=16)
CHUNKS = gj.Blocking(block_size=8, copied_bytes=4000)
SOLVERS = {
    "classical": gj.classical_em(),
    "monotone": gj.GradientEM(mean_rule="overrelaxed", monotone=True),
    "blocks": gj.GradientEM(blocking=CUT),
    "chunks": gj.GradientEM(blocking=CHUNKS),
    **{rule: gj.GradientEM(weight_rule=rule) for rule in gj.rules.WEIGHT_RULES},
    **{rule: gj.GradientEM(mean_rule=rule, optimal_loss=3.0) for rule in gj.rules.MEAN_RULES},
}


def same(a, b, rtol=1e-12):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-13)


def own_loop(solver, stream, start, T):
    """Steps on batches that were made one by one: the mixture, and the losses (T,)."""
    state, losses = solver.init(start), []
    for t in range(T):
        key = jax.random.fold_in(stream.key, t)
        points = gj.sample(key, stream.mixture, stream.batch_size)
        np.testing.assert_array_equal(stream.batch(t).points, points)
        state, info = solver.step(state, gj.empirical(points))
        losses.append(info.loss)
    return state.mixture, np.array(losses)


# The rules see a layout as of any target: an ordinary run takes one of each kind of solver.
ORDINARY = ("classical", "mirror", "chunks")


@pytest.mark.parametrize(
    "name", [n if n in ORDINARY else pytest.param(n, marks=pytest.mark.slow) for n in SOLVERS]
)
def test_a_fit_is_a_loop_over_its_batches(name):
    solver = SOLVERS[name]
    mixture, losses = own_loop(solver, STREAM, START, 6)
    fit = gj.fit(solver, STREAM, START, num_iterations=6)
    np.testing.assert_allclose(fit.history.loss, losses, rtol=1e-12)
    same(fit.mixture, mixture)
    assert len(set(losses.tolist())) == 6
    gj.raise_for_status(fit)


@pytest.mark.parametrize("tolerance", [None, 0.05])
def test_ten_and_ten_are_twenty(tolerance):
    solver = gj.GradientEM()
    whole = gj.fit(solver, STREAM, START, num_iterations=20)
    half = gj.fit(solver, STREAM, START, num_iterations=10, tolerance=tolerance)
    again = gj.fit(solver, STREAM, half, num_iterations=10)
    if tolerance is None:
        same(again, whole)
    else:  # the iterations that it did not take are not made up for
        stopped = int(half.num_iterations)
        assert (half.status, stopped < 10) == (gj.Status.CONVERGED, True)
        assert np.abs(np.diff(whole.history.loss))[stopped - 2] < tolerance
        _, info = solver.step(half.state, STREAM.batch(10))
        assert again.history.loss[10] == pytest.approx(float(info.loss), rel=1e-12)


def test_batches_are_all_different_and_the_stream_is_known_by_its_key():
    points = np.concatenate([STREAM.batch(t).points for t in range(20)])
    assert len(np.unique(points, axis=0)) == 20 * 64
    other = gj.stream(jax.random.key(4), TRUTH, 64)
    assert not (STREAM.batch(0).points == other.batch(0).points).any()
    np.testing.assert_array_equal(gj.stream(KEY, TRUTH, 64).batch(7).points, STREAM.batch(7).points)
    assert STREAM.shape == (64, 2)
    assert STREAM.dtype == jnp.float64


def test_batches_have_the_distribution():
    stream = gj.stream(KEY, TRUTH, 500)
    losses = jax.lax.map(lambda t: gj.loss(START, stream.batch(t)), jnp.arange(400))
    error = np.std(losses) / np.sqrt(400)
    assert abs(np.mean(losses) - gj.loss(START, gj.population(TRUTH))) < 3 * error
    assert error < 5e-3


def sweep(stream=STREAM, solver=SOLVERS["mirror"], **changes):
    settings = {"num_seeds": 4, "num_components": 5, "num_iterations": 6} | changes
    return gj.sweep(jax.random.key(2), solver, stream, **settings)


@pytest.mark.parametrize("solver", [SOLVERS["mirror"], gj.classical_em()])
def test_every_seed_of_a_sweep_has_batches_of_its_own(solver):
    whole = sweep(solver=solver)
    for s in range(4):
        key = jax.random.fold_in(jax.random.key(2), s)
        own = gj.stream(jax.random.fold_in(KEY, s), TRUTH, 64)
        np.testing.assert_array_equal(own.batch(1).points, STREAM.of_seed(s).batch(1).points)
        start = gj.initialize.from_target(key, STREAM, 5)
        alone = gj.fit(solver, own, start, num_iterations=6)
        same(jax.tree.map(lambda leaf, s=s: leaf[s], whole), alone, rtol=1e-10)
    tail = sweep(solver=solver, num_seeds=2, first_seed=2)
    same(jax.tree.map(lambda leaf: leaf[2:], whole), tail)
    assert (whole.status == gj.Status.OK).all()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"batch_size": 3}, marks=pytest.mark.slow),
        {"batch_size": 4, "tolerance": 1e-12},
    ],
)
@pytest.mark.slow
def test_a_seed_depends_neither_on_the_batch_of_seeds_nor_on_devices(changes):
    whole, devices = sweep(), np.array(jax.devices()[:2])
    same(sweep(**changes), whole, rtol=1e-9)
    same(sweep(mesh=Mesh(devices, ("seed",)), **changes), whole, rtol=1e-9)
    assert sweep(num_seeds=3, mesh=Mesh(devices, ("seed",))).loss.shape == (3,)


def test_a_stream_is_not_spread_over_devices():
    devices = np.array(jax.devices()[:2])
    words = 'a Stream cannot be spread over the axis "data"'
    with pytest.raises(TypeError, match=words):
        gj.fit(gj.GradientEM(), STREAM, START, num_iterations=1, mesh=Mesh(devices, ("data",)))
    with pytest.raises(TypeError, match=words):
        sweep(mesh=Mesh(devices.reshape(1, 2), ("seed", "data")))


@pytest.mark.slow
def test_small_steps_find_the_truth():
    truth = gj.truth.simplex(2, 10, separation=6.0, weights=[0.3, 0.7])
    stream = gj.stream(KEY, truth, 512)
    errors = []
    for step in (0.5, 0.1):
        fits = gj.sweep(jax.random.key(5), gj.GradientEM(step, weight_step_size=step), stream,
                        num_seeds=2, num_components=10, num_iterations=400)  # fmt: skip
        found = jax.vmap(lambda mixture: gj.recovery(mixture, truth))(fits.mixture)
        assert found.recovered.all()
        errors.append(float(jnp.mean(found.mean_error)))
    assert errors[1] < errors[0]


@dataclasses.dataclass(frozen=True)
class Bare:
    """A solver that prepares nothing."""

    def init(self, mixture):
        return gj.State(mixture, ())

    def step(self, state, target):
        assert isinstance(target, gj.Target)
        return gj.classical_em().step(state, target)


jax.tree_util.register_static(Bare)


def test_a_solver_of_ones_own():
    fit = gj.fit(Bare(), STREAM, START, num_iterations=3)
    same(fit.mixture, gj.fit(gj.classical_em(), STREAM, START, num_iterations=3).mixture)


@pytest.mark.slow
@pytest.mark.parametrize("mean_rule", ["gradient", pytest.param("em", marks=pytest.mark.slow)])
def test_derivatives(mean_rule):
    def final(truth_means, means, step):
        mixture = gj.Mixture(truth_means, TRUTH.log_weights)
        solver = gj.GradientEM(step, 0.3, mean_rule=mean_rule, weight_steps=2)
        start = gj.Mixture(means, START.log_weights)
        fit = gj.fit(solver, gj.stream(KEY, mixture, 12), start, num_iterations=3)
        return jnp.sum(fit.mixture.means**2) + fit.loss

    arguments = (TRUTH.means, START.means, jnp.asarray(0.6))
    check_grads(jax.jit(final), arguments, order=1, modes=("rev",), atol=1e-6, rtol=1e-6)
    # The forward mode is compared with the reverse one.
    backward = jax.jit(jax.grad(final, argnums=(0, 1, 2)))(*arguments)
    forward = jax.jit(jax.jacfwd(final, argnums=(0, 1, 2)))(*arguments)
    same(backward, forward, rtol=1e-10)
    assert all(jnp.any(leaf != 0) for leaf in backward)


@pytest.mark.slow
def test_vmap_over_keys_and_truths():
    keys = jax.random.split(KEY, 3)
    shifts = jnp.arange(3.0)

    def fit(key, shift):
        truth = gj.Mixture(TRUTH.means + shift, TRUTH.log_weights)
        return gj.fit(gj.GradientEM(), gj.stream(key, truth, 64), START, num_iterations=4)

    together = jax.jit(jax.vmap(fit))(keys, shifts)
    for i in range(3):
        alone = fit(keys[i], shifts[i])
        same(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone, rtol=1e-9)


def test_new_keys_and_truths_do_not_trace_again():
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def fit(stream):
        return gj.fit(gj.GradientEM(), stream, START, num_iterations=3)

    from gemjax._em.fit import _run

    for seed in range(3):
        fit(gj.stream(jax.random.key(seed), TRUTH, 64))
    before = _run._cache_size()
    for seed in range(3):
        truth = gj.Mixture(TRUTH.means + seed, TRUTH.log_weights)
        gj.fit(gj.GradientEM(), gj.stream(jax.random.key(seed), truth, 64), START, num_iterations=7)
    assert _run._cache_size() == before + 1


def test_it_is_exported():
    def fit(stream, start):
        return gj.fit(gj.GradientEM(), stream, start, num_iterations=3)

    exported = jax.export.export(jax.jit(fit))(STREAM, START)
    again = jax.export.deserialize(exported.serialize())
    same(again.call(STREAM, START), fit(STREAM, START))


def single(means, weights):
    return gj.make_mixture(jnp.float32(means), jnp.float32(weights))


@pytest.mark.parametrize("rare", [0.3, 1e-9])  # also of a component that no batch has
def test_spread_in_float32(rare):
    truth = single([[0.0, 0.0], [1000.0, 0.0]], [1 - rare, rare])
    stream, start = gj.stream(KEY, truth, 64), single([[0.1, 0.0], [999.0, 0.0]], [0.5, 0.5])
    assert stream.far_apart
    assert stream.batch(0).far_apart
    fit = gj.fit(gj.GradientEM(), stream, start, num_iterations=3)
    assert fit.loss.dtype == jnp.float32
    assert fit.status == gj.Status.OK

    @jax.jit
    def unseen(truth):
        return gj.fit(gj.GradientEM(), gj.stream(KEY, truth, 64), start, num_iterations=3).status

    assert unseen(truth) == gj.Status.IMPRECISE
    near = gj.stream(KEY, single([[0.0, 0.0], [1000.0, 0.0]], [1.0, 0.0]), 64)
    assert near.far_apart is False  # what has no weight is not sampled
    double = gj.stream(KEY, gj.make_mixture([[0.0], [1000.0]]), 64)
    assert double.far_apart is False


@pytest.mark.parametrize(
    "call",
    [
        lambda: gj.loss(START, STREAM),
        lambda: gj.certificate(START, STREAM, KEY),
        lambda: gj.fit(gj.GradientEM(), STREAM, START, num_iterations=60, escape=gj.Escape(KEY)),
        lambda: sweep(num_iterations=60, escape=gj.Escape(KEY)),
        lambda: gj.initialize.plus_plus(KEY, STREAM, 3),
        lambda: gj.initialize.spectral(KEY, STREAM, 3, rank=1),
        lambda: sweep(init=gj.initialize.plus_plus),
        lambda: gj.GradientEM().step(gj.GradientEM().init(START), STREAM),
        lambda: gj.classical_em().step(gj.classical_em().init(START), STREAM),
    ],
)
def test_what_wants_points_that_stay_says_so(call):
    words = r"target.* must have points that stay, got a Stream, .* take gj.empirical\(gj.sample"
    with pytest.raises(TypeError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gj.stream(0, TRUTH, 8), "stream.key must be a JAX random key"),
        (lambda: gj.stream(KEY, START.means, 8), "stream.mixture must be a Mixture"),
        (lambda: gj.stream(KEY, TRUTH, 0), "stream.batch_size must be at least 1, got 0"),
        (lambda: gj.stream(KEY, TRUTH, 8.0), "stream.batch_size must be an integer, got 8.0"),
        (lambda: STREAM.batch(-1), "t must be from 0 to"),
        (lambda: gj.fit(gj.GradientEM(), gj.stream(KEY, gj.make_mixture([0.0]), 8), START,
                        num_iterations=1), "dimension 2 and target has dimension 1"),
        (lambda: gj.fit(gj.GradientEM(), gj.stream(KEY, single([[0.0, 0.0]], [1.0]), 8), START,
                        num_iterations=1), "mixture is float64 and target is float32"),
    ],
)  # fmt: skip
def test_what_is_refused(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_a_loop_of_ones_own_over_prepared_batches():
    solver, data = gj.GradientEM().prepare(STREAM, START)
    state = solver.init(START)
    for t in range(3):
        state, info = solver.step(state, data.batch(t))
    fit = gj.fit(gj.GradientEM(), STREAM, START, num_iterations=3)
    assert info.loss == pytest.approx(float(fit.loss), rel=1e-12)
    same(state, fit.state)
