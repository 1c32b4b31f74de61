"""Derivatives of what stands around a fit: mixtures, targets, starts, weights, recovery."""

import differences
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.test_util import check_grads
from marks import mostly_slow

import gemjax as gj
from gemjax._numerics.subspace import principal

MEANS, WEIGHTS, POINTS, POINT_WEIGHTS = oracle.problem(5, N=30, n=3, d=2)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def both_modes(function, arguments, order=2):
    check_grads(
        jax.jit(function), arguments, order=order, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6
    )


def difference(function, t=0.0, h=1e-5):
    return (function(t + h) - function(t - h)) / (2 * h)


def one_sided(function, h=1e-6):
    return (-3 * function(0.0) + 4 * function(h) - function(2 * h)) / (2 * h)


VALUES = {
    "log_density": lambda mixture, x: gj.log_density(mixture, x).mean(),
    "responsibilities": lambda mixture, x: jnp.sum(gj.responsibilities(mixture, x)[:, 0] * x[:, 0]),
    "loss": lambda mixture, x: gj.loss(mixture, gj.empirical(x)),
    "weights": lambda mixture, x: mixture.weights @ jnp.arange(1.0, 4.0),
}


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "weights",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("log_density", "responsibilities")),
    ],
)
def test_mixtures(name):
    def value(means, weights, x):
        return VALUES[name](gj.make_mixture(means, weights), x)

    both_modes(value, (jnp.asarray(MEANS), jnp.asarray(WEIGHTS), jnp.asarray(POINTS)))


@pytest.mark.parametrize("name", mostly_slow(VALUES, 1))
def test_a_weight_of_zero(name):
    """Its derivative is one-sided: what a little of it would change."""

    def value(t):
        mixture = gj.make_mixture(MEANS, jnp.array([0.0, 1.0, 2.0]) + t * jnp.array([1.0, 0, 0]))
        return VALUES[name](mixture, jnp.asarray(POINTS))

    h = 1e-9  # the component stands where hardly any other is: strongly curved
    assert jax.grad(value)(0.0) == pytest.approx(float(one_sided(value, h)), rel=1e-5)
    assert jax.jvp(value, (0.0,), (1.0,))[1] == pytest.approx(float(jax.grad(value)(0.0)))
    slope = jax.jit(jax.grad(value))
    second = float(one_sided(slope, 1e-7))
    for twice in (jax.grad(jax.grad(value)), jax.jacfwd(jax.grad(value))):
        assert twice(0.0) == pytest.approx(second, rel=1e-4, abs=1e-6)


def test_a_weight_of_zero_where_others_are_far():
    far = gj.make_mixture([[0.0], [80.0]], [1.0, 0.0])
    slope = jax.grad(lambda w: gj.log_density(gj.make_mixture(far.means, w), [80.0])[0])(
        far.weights
    )
    assert np.isfinite(slope).all()
    assert gj.log_density(far, [80.0])[0] == pytest.approx(-3200 - 0.5 * np.log(2 * np.pi))


def test_sample_moves_with_the_means():
    both_modes(lambda means: gj.sample(KEY, gj.make_mixture(means), 7).sum(), (MEANS,), order=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: gj.truth.simplex(3, 2, s),
        lambda s: gj.truth.ring(4, 3, s),
        lambda s: gj.truth.grid(4, 2, s),
        pytest.param(lambda s: gj.truth.random(KEY, 4, 3, s), marks=pytest.mark.slow),
    ],
    ids=["simplex", "ring", "grid", "random"],
)
def test_truths_in_the_separation(make):
    both_modes(lambda s: jnp.sum(make(s).means ** 2 * 0.1), (jnp.asarray(2.5),))


@pytest.mark.slow
def test_recovery():
    truth = gj.make_mixture(MEANS, [0.3, 0.3, 0.4])
    moved = truth.means.at[1].add(jnp.array([0.3, 0.1]))

    def errors(means, weights):
        found = gj.recovery(gj.make_mixture(means, weights), truth)
        return found.mean_error + found.weight_error

    # One mean is off, the others are hit exactly: there the distance has a kink.
    weights = jnp.array([0.31, 0.27, 0.42])
    for mode in (jax.grad, jax.jacfwd):
        slope = mode(errors)(moved, weights)
        np.testing.assert_allclose(slope[1], np.array([0.3, 0.1]) / np.hypot(0.3, 0.1), rtol=1e-12)
        assert (slope[jnp.array([0, 2])] == 0).all()
    assert (jax.grad(errors)(truth.means, weights) == 0).all()
    both_modes(errors, (moved, weights), order=1)


STARTS = {
    "from_target": gj.initialize.from_target,
    "plus_plus": gj.initialize.plus_plus,
    "spectral": lambda key, target, n: gj.initialize.spectral(key, target, n, 1),
    "tensor": lambda key, target, n: gj.initialize.tensor(key, target, n, 2),
}


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("from_target", 1),
        ("plus_plus", 1),
        ("spectral", 2),
        *(pytest.param("tensor", order, marks=pytest.mark.slow) for order in (1, 2)),
    ],
)
def test_starts_in_the_points(name, order):
    def value(points):
        start = STARTS[name](KEY, gj.empirical(points), 4)
        return jnp.sum(start.means * jnp.arange(1.0, 9.0).reshape(4, 2))

    both_modes(value, (jnp.asarray(POINTS),), order=order)


FLAT = np.concatenate([RNG.normal(size=(20, 2)) * [3, 1], np.zeros((20, 2))], axis=1)
CROSS = np.concatenate([np.diag([3.0, 1, 1, 1]), -np.diag([3.0, 1, 1, 1])])
FEW = RNG.normal(size=(12, 30))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("points", "rank", "free"),
    [
        pytest.param(FLAT, 1, 4, marks=pytest.mark.slow),
        (FLAT, 2, 2),
        pytest.param(CROSS, 1, 4, marks=pytest.mark.slow),
        (FEW, 2, 30),
    ],
    ids=["constant columns, rank 1", "constant columns, rank 2", "tied eigenvalues", "few points"],
)
def test_spectral_starts_where_dropped_eigenvalues_tie(points, rank, free):
    """The subspace is smooth though its complement has no directions of its own."""
    N, d = points.shape
    direction = RNG.normal(size=points.shape) * (np.arange(d) < free)
    slopes = RNG.normal(size=(N, d))

    def value(t, dtype=jnp.float64):
        moved = jnp.asarray(points, dtype) + t * jnp.asarray(direction, dtype)
        centred = moved - moved.mean(axis=0, keepdims=True)
        basis = principal(centred.T @ centred / N, rank)
        return jnp.sum(jnp.asarray(slopes, dtype) * (centred @ basis @ basis.T))

    exact = float(difference(value))
    assert jax.grad(value)(0.0) == pytest.approx(exact, rel=1e-6)
    assert jax.jvp(value, (0.0,), (1.0,))[1] == pytest.approx(exact, rel=1e-6)
    h = 1e-3
    second = float((value(h) - 2 * value(0.0) + value(-h)) / h**2)
    assert jax.grad(jax.grad(value))(0.0) == pytest.approx(second, rel=1e-3, abs=1e-4)
    single = jax.grad(lambda t: value(t, jnp.float32))(jnp.float32(0))
    assert single == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(
    ("m", "d", "num_nodes"),
    [
        pytest.param(3, 5, 6, marks=pytest.mark.slow),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in [(2, 1, 40), (3, 2, 16), (2, 5, 4)]),
    ],
)
def test_population_nodes_move_and_turn_with_the_truth(m, d, num_nodes):
    means, move = RNG.normal(size=(m, d)) * 2, RNG.normal(size=(m, d))
    weights = jnp.full((m,), 1 / m).at[0].add(0.1)
    fitted = gj.make_mixture(RNG.normal(size=(3, d)) * 2)

    def loss(t):
        truth = gj.make_mixture(means + t * move, weights + t * jnp.arange(1.0 * m))
        return gj.loss(fitted, gj.population(truth, num_nodes=num_nodes))

    exact = float(difference(loss))
    assert jax.jit(jax.grad(loss))(0.0) == pytest.approx(exact, rel=1e-7, abs=1e-8)
    assert jax.jvp(loss, (0.0,), (1.0,))[1] == pytest.approx(exact, rel=1e-7, abs=1e-8)


def test_population_under_a_trace_that_does_not_see_the_span():
    """Five means in a plane of five dimensions: traced, they might span four."""
    truth = gj.truth.ring(5, 5, 4.0)
    fitted = gj.make_mixture(np.asarray(truth.means) + 0.3)

    def loss(s):
        return gj.loss(fitted, gj.population(gj.truth.ring(5, 5, s), num_nodes=256))

    slope = jax.jit(jax.grad(loss))(4.0)
    assert slope == pytest.approx(float(difference(jax.jit(loss), 4.0)), rel=1e-6)


LOG_DENSITIES = RNG.normal(size=(12, 4)) * 2
MOVE = RNG.normal(size=(12, 4))


def solved(t):
    weights = jnp.full((12,), 1 / 12) * (1 + t * jnp.linspace(-1, 1, 12))
    found = gj.solve_weights(LOG_DENSITIES + t * MOVE, weights, tolerance=1e-13)
    return jnp.sum(jnp.arange(1.0, 5.0) * found.weights**2) + found.loss + found.duality_gap


def in_a_map(t):
    return jax.lax.map(lambda u: solved(t + u), jnp.zeros(2))[0]


def in_a_scan(t):
    return jax.lax.scan(lambda c, u: (c + solved(t + u), None), 0.0, jnp.zeros(1))[0]


@pytest.mark.slow
@pytest.mark.parametrize("function", [solved, in_a_map, in_a_scan])
def test_solve_weights_to_second_order_in_all_orders(function):
    found, by_difference = differences.second_derivatives(function)
    np.testing.assert_allclose(found, by_difference, rtol=1e-6)


@pytest.mark.slow
def test_solve_weights_in_a_map():
    """Over reverse mode JAX drops custom rules there."""
    slope = jax.jit(jax.grad(in_a_map))
    assert slope(0.0) == pytest.approx(float(difference(jax.jit(in_a_map))), rel=1e-6)
    over_reverse = jax.jit(lambda t: jax.jvp(jax.grad(in_a_map), (t,), (1.0,))[1])
    assert over_reverse(0.0) == pytest.approx(float(difference(slope, h=1e-4)), rel=1e-6)
