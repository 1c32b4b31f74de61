"""What real programs hand over: all of it is taken right, or refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

import gemjax as gj

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(30, 2))
TARGET, START = gj.empirical(X), gj.make_mixture(X[:3])
SOLVER = gj.GradientEM(weight_steps=2)


@pytest.mark.parametrize("size", [1e-320, 1e-50, 1.0, 1e300, 1.7e308])
def test_weights_of_any_size(size):
    weights = gj.empirical(X[:3], size * np.array([1.0, 0.5, 0.25])).weights
    np.testing.assert_allclose(
        weights, np.array([4, 2, 1]) / 7, rtol=1e-3 if size < 1e-300 else 1e-12
    )


@pytest.mark.parametrize("size", [4e-38, 1.0, 2e38])
def test_weights_at_the_ends_of_float32(size):
    values = np.array([size, size, size / 2], np.float32)
    expected = np.array([0.4, 0.4, 0.2])
    points = X[:3].astype(np.float32)
    for weights in (
        gj.empirical(points, values).weights,
        jax.jit(lambda w: gj.empirical(points, w).weights)(values),
        gj.make_mixture(points, values).weights,
        gj.solve_weights(np.zeros((3, 3), np.float32), values, values).weights,
    ):
        assert weights.dtype == jnp.float32
        np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.parametrize("weights", [[1.0, -5.0, 1.0], [-1.0, -1.0, -1.0]])
def test_what_the_door_cannot_see_ends_in_the_status(weights):
    @jax.jit
    def run(weights):
        target = gj.empirical(X[:3], weights)
        rule = gj.GradientEM(weight_rule="newton", weight_steps=2)
        fits = [gj.fit(solver, target, START, num_iterations=2) for solver in (SOLVER, rule)]
        table = jnp.eye(3)
        solutions = [gj.solve_weights(table, weights), gj.solve_weights(table, None, weights)]
        return [fit.status for fit in fits], solutions

    statuses, solutions = run(jnp.asarray(weights))
    assert statuses == [gj.Status.DIVERGED] * 2
    for solution in solutions:
        assert solution.status == gj.Status.DIVERGED
        np.testing.assert_allclose(solution.weights, 1 / 3)


def test_settings_out_of_bounds_end_in_the_status():
    run = jax.jit(
        lambda step, gap: (
            gj.fit(
                gj.GradientEM(step, weight_tolerance=gap), TARGET, START, num_iterations=2
            ).status
        )
    )
    assert run(0.5, 0.0) == gj.Status.OK
    for step in (0.0, -1.0, np.inf, np.nan):
        assert run(step, 0.0) == gj.Status.DIVERGED


def test_masked_arrays_are_refused_where_anything_is_masked():
    masked = np.ma.masked_greater(X, 0.5)
    for name, call in {
        "points": lambda: gj.empirical(masked),
        "weights": lambda: gj.empirical(X[:2], np.ma.array([1.0, 9.0], mask=[0, 1])),
        "means": lambda: gj.make_mixture(masked),
        "log_densities": lambda: gj.solve_weights(masked),
    }.items():
        with pytest.raises(ValueError, match=f"{name} must not be masked"):
            call()
    assert gj.empirical(np.ma.array(X)).shape == (30, 2)


def test_other_kinds_of_numbers_are_taken():
    for points in (
        X.astype(">f8"), X.astype(np.longdouble), np.asfortranarray(X), X[::-1][::-1],
        X.tolist(), memoryview(X),
    ):  # fmt: skip
        np.testing.assert_array_equal(gj.empirical(points).points, X)
    assert gj.empirical(X.astype(">f4")).points.dtype == jnp.float32
    assert gj.empirical(X, np.ones(30, ">i2")).weights[0] == pytest.approx(1 / 30)
    fit = gj.fit(gj.GradientEM(np.longdouble(0.5)), TARGET, START, num_iterations=1)
    assert fit.status == gj.Status.OK


class Nullable:
    """As a nullable column of a data frame: objects, unless asked for numbers."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=object)

    def to_numpy(self, dtype, na_value):
        return np.array([na_value if v is None else v for v in self.values], dtype)


def test_nullable_columns():
    assert gj.empirical(Nullable([1.0, 2.0])).points.tolist() == [[1.0], [2.0]]
    with pytest.raises(ValueError, match="points must be finite, got nan at index"):
        gj.empirical(Nullable([1.0, None]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gj.GradientEM(None).as_arrays(),
            "step_size must be an array of numbers, got None",
        ),
        (lambda: gj.GradientEM("0.5").as_arrays(), "step_size must be an array of numbers"),
        (lambda: gj.GradientEM(1e39).as_arrays("float32"), "step_size .* in float32, got 1e"),
        (lambda: gj.GradientEM(1e-50).as_arrays("float32"), "step_size .* in float32, got 1e-50"),
        (lambda: gj.GradientEM(1j).as_arrays(), "step_size must be an array of numbers"),
        (lambda: gj.empirical([[1.0], [2.0, 3.0]]), "points must be a rectangular array"),
        (lambda: gj.initialize.from_target(0, TARGET, 2), "key must be a JAX random key"),
        (lambda: gj.initialize.plus_plus(None, TARGET, 2), "key must be a JAX random key"),
        (lambda: gj.truth.random(3, 2, 2, 1.0), "key must be a JAX random key"),
        (lambda: gj.sample(jax.random.split(KEY, 2), START, 2), "key must be .* shape \\(2,\\)"),
        (lambda: gj.certificate(START, TARGET, None), "key must be a JAX random key"),
        (lambda: sweep(first_seed=1.7), "first_seed must be one integer"),
        (lambda: sweep(first_seed=-1), "first_seed must be from 0 to 2147483646, got -1"),
        (lambda: sweep(first_seed=2**31), "first_seed must be from 0"),
        (lambda: sweep(first_seed=np.array([1, 2])), "first_seed must be one integer"),
        (lambda: sweep(key=0), "key must be a JAX random key"),
    ],
)
def test_refused_by_name(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def sweep(key=KEY, **settings):
    return gj.sweep(
        key, SOLVER, TARGET, num_seeds=2, num_components=2, num_iterations=2, **settings
    )


def test_old_keys_are_taken():
    old = sweep(key=jax.random.PRNGKey(0))
    np.testing.assert_array_equal(old.mixture.means, sweep().mixture.means)


@pytest.mark.parametrize("types", [AxisType.Auto, AxisType.Explicit])
def test_any_kind_of_mesh(types):
    devices = np.array(jax.devices()[:2])
    seeds, points = (
        Mesh(devices, ("seed",), axis_types=(types,)),
        Mesh(devices, ("data",), axis_types=(types,)),
    )
    np.testing.assert_allclose(sweep(mesh=seeds).loss, sweep().loss, rtol=1e-12)
    spread = gj.fit(SOLVER, TARGET, START, num_iterations=2, mesh=points)
    alone = gj.fit(SOLVER, TARGET, START, num_iterations=2)
    assert spread.loss == pytest.approx(float(alone.loss), rel=1e-12)


@pytest.mark.parametrize(("T", "record_every"), [(2, 1), (3, 2), (2, 3)])
def test_with_jit_disabled(T, record_every):
    run = lambda: gj.fit(SOLVER, TARGET, START, num_iterations=T, record_every=record_every)  # noqa: E731
    expected = run()
    with jax.disable_jit():
        plain = run()
    assert plain.history.loss.shape == expected.history.loss.shape == (T // record_every,)
    np.testing.assert_allclose(plain.mixture.means, expected.mixture.means, rtol=1e-12)
