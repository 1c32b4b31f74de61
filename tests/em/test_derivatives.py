"""Every derivative is that of the iterations as run: fits, in all rules, modes and arguments."""

import differences
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from differences import MEAN_RULES, PROBLEMS, WEIGHT_RULES, assert_derivatives
from jax.sharding import Mesh
from marks import mostly_slow

import gemjax as gj

KEY = jax.random.key(0)
MEANS, WEIGHTS, POINTS, POINT_WEIGHTS = oracle.problem(5, N=40, n=3, d=2)
TARGET = gj.empirical(POINTS, POINT_WEIGHTS)
START = gj.make_mixture(MEANS, WEIGHTS)

EVERY_CELL = [
    (weights, means, monotone, T)
    for weights in WEIGHT_RULES
    for means in MEAN_RULES
    for monotone in (False, True)
    for T in (1, 2, 5)
]
# Every rule of either kind, both settings of `monotone`, all lengths and problems.
SOME_CELLS = [
    ("mirror", "gradient", False, 2, "overlapping"),
    ("mirror", "adam", True, 2, "zero weight"),
    ("euclidean", "overrelaxed", True, 5, "separated"),
    ("multiplicative", "sgd", False, 2, "zero weight"),
    ("newton", "em", False, 2, "overlapping"),
    ("fixed", "polyak", True, 5, "overlapping"),
]


def check(weights, means, monotone, T, problem, **settings):
    def function(x):
        found = differences.fit(x, weights, means, monotone=monotone, num_iterations=T, **settings)
        return differences.outputs(found)

    # The interior point leaves Newton's weights a rounding of some 1e-13.
    rounding = 1e-8 if weights == "newton" else 1e-9
    return assert_derivatives(function, differences.inputs(problem), rounding=rounding)


@pytest.mark.parametrize(
    ("weights", "means", "monotone", "T", "problem"), mostly_slow(SOME_CELLS, 2)
)
def test_rules(weights, means, monotone, T, problem):
    check(weights, means, monotone, T, problem)


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "means", "monotone", "T"), EVERY_CELL)
def test_every_rule(weights, means, monotone, T):
    for problem in PROBLEMS:
        check(weights, means, monotone, T, problem)


@pytest.mark.slow
def test_newton_that_has_not_arrived():
    found = check("newton", "em", False, 1, "overlapping", weight_steps=1)
    assert abs(found["weights"]).max() > 1e-3  # where it started still counts


@pytest.mark.slow
def test_records_are_thinned():
    check("mirror", "em", False, 5, "overlapping", record_every=2)


@pytest.mark.slow
def test_an_active_bound():
    """The default step size, bounded by 1/max r: the README's example and its like."""
    target = gj.empirical(jnp.array([-3.0, -2.5, 2.0, 3.5]))

    def weight(move, rule, step):
        start = gj.Mixture(
            jnp.array([[-1.0], [1.5]]) + move * jnp.array([[1.0], [0.3]]), jnp.log(jnp.full(2, 0.5))
        )
        solver = gj.GradientEM(0.5, step, weight_rule=rule, weight_steps=3)
        return gj.fit(solver, target, start, num_iterations=2).mixture.weights[0]

    h = 1e-5
    slopes = {}
    for rule in ("euclidean", "mirror"):
        slopes[rule], in_the_step = jax.grad(weight, argnums=(0, 2))(0.0, rule, 1.0)
        difference = (weight(h, rule, 1.0) - weight(-h, rule, 1.0)) / (2 * h)
        assert slopes[rule] == pytest.approx(float(difference), rel=1e-7)
        assert in_the_step == 0
    assert slopes["mirror"] == pytest.approx(0.00183698, abs=1e-8)  # 0.00183688 at a fixed bound


@pytest.mark.slow
def test_the_optimal_loss_counts_where_a_long_step_is_taken():
    """From near the optimum, so that the step is neither EM's nor cut off."""
    settled = gj.fit(gj.GradientEM(1.0, mean_rule="em"), TARGET, START, num_iterations=30)
    moves = []
    for below in (1e-3, 1e-4, 1e-5, 1e-6):
        x = differences.inputs(N=40, n=3)
        x |= {"means": settled.mixture.means, "weights": settled.mixture.weights}
        x["optimal_loss"] = settled.history.loss[-1] - below

        def function(x):
            return differences.outputs(differences.fit(x, "fixed", "polyak", num_iterations=2))

        moves.append(abs(assert_derivatives(function, x)["optimal_loss"]).max())
    assert max(moves) > 1e-3


@pytest.mark.parametrize("rule", ["mirror", "euclidean"])
def test_where_two_components_tie_the_derivative_is_that_of_the_first(rule):
    """max r has a kink there; it is the first one's on the side where its ratio is the larger."""
    target = gj.empirical(jnp.array([-3.0, -2.5, 2.0, 3.5, 4.5]))

    def found(t):
        start = gj.make_mixture(jnp.stack([0.2 + t, jnp.asarray(0.2)]), [0.3, 0.7])
        solver = gj.GradientEM(0.5, 1.0, 0.0, weight_rule=rule, weight_steps=2)
        fit = gj.fit(solver, target, start, num_iterations=1)
        return jnp.append(fit.mixture.weights, fit.history.duality_gap)

    h = 1e-5
    at = [found(k * h) for k in range(3)]  # the mean of the points is larger than 0.2
    up = (-3 * at[0] + 4 * at[1] - at[2]) / (2 * h)
    down = (at[0] - found(-h)) / h
    slope = jax.jacfwd(found)(0.0)
    np.testing.assert_allclose(slope, up, rtol=1e-6)
    assert (abs(slope - down) > 1e-3).any()


@pytest.mark.parametrize(
    "rule",
    [
        "mirror",
        *(
            pytest.param(r, marks=pytest.mark.slow)
            for r in ("euclidean", "multiplicative", "newton", "fixed")
        ),
    ],
)
def test_a_weight_of_zero_has_the_derivative_of_its_growth(rule):
    """One-sided, upwards: through `make_mixture` and the weight steps to the loss."""
    up = jnp.array([1.0, 0.0, 0.0])
    weights = jnp.array([0.0, 1.0, 2.0])

    def loss(weights):
        solver = gj.GradientEM(weight_rule=rule, weight_steps=2, weight_tolerance=0.0)
        start = gj.make_mixture(MEANS, weights)
        return gj.fit(solver, TARGET, start, num_iterations=2).history.loss[-1]

    slope = jax.grad(loss)(weights)
    assert jax.jvp(loss, (weights,), (up,))[1] == pytest.approx(float(slope[0]), rel=1e-10)
    h = 1e-9 if rule != "newton" else 1e-6
    at = [loss(weights + k * h * up) for k in range(3)]
    difference = (-3 * at[0] + 4 * at[1] - at[2]) / (2 * h)
    assert slope[0] == pytest.approx(float(difference), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "rule",
    ["fixed", *(pytest.param(r, marks=pytest.mark.slow) for r in ("multiplicative", "newton"))],
)
def test_adam_where_a_component_has_no_weight(rule):
    """√v at v = 0 has no derivative; what stays has the derivative zero."""
    x = differences.inputs("zero weight")
    gradient = jax.grad(
        lambda x: differences.outputs(differences.fit(x, rule, "adam", num_iterations=3)).sum()
    )(x)
    assert all(np.isfinite(leaf).all() for leaf in gradient.values())
    assert abs(gradient["means"]).max() > 1e-3


def along_the_means(rule, T=1, **settings):
    direction = np.random.default_rng(0).normal(size=MEANS.shape)
    steps, tolerance = (30, 1e-13) if rule == "newton" else (3, 1e-9)

    def function(t):
        start = gj.Mixture(START.means + t * direction, START.log_weights)
        solver = gj.GradientEM(
            0.7, weight_rule=rule, weight_steps=steps, weight_tolerance=tolerance, **settings
        )
        fit = gj.fit(solver, TARGET, start, num_iterations=T)
        return jnp.sum(jnp.arange(1.0, 4.0) * fit.mixture.weights**2) + jnp.sum(fit.mixture.means)

    return function


@pytest.mark.slow
@pytest.mark.parametrize("rule", WEIGHT_RULES)
def test_second_derivatives_in_all_orders(rule):
    found, difference = differences.second_derivatives(along_the_means(rule, 2))
    np.testing.assert_allclose(found, difference, rtol=1e-6)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param("mirror", marks=pytest.mark.slow),
        pytest.param("newton", marks=pytest.mark.slow),
    ],
)
def test_second_derivatives_over_reverse_mode(rule):
    """There JAX drops custom rules inside a scan."""
    function = along_the_means(rule)
    slope = jax.jit(jax.grad(function))
    h = 1e-4
    difference = (slope(h) - slope(-h)) / (2 * h)
    over_reverse = jax.jit(lambda t: jax.jvp(jax.grad(function), (t,), (1.0,))[1])
    assert over_reverse(0.0) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.slow
def test_vmap_of_grad_and_grad_of_a_sweep():
    def loss(step, batch_size):
        fits = gj.sweep(
            KEY, gj.GradientEM(step), TARGET, num_seeds=3, num_components=3, num_iterations=3,
            batch_size=batch_size,
        )  # fmt: skip
        return fits.history.loss[:, -1].mean()

    steps = jnp.array([0.3, 0.8])
    one_by_one = jnp.stack([jax.grad(loss)(step, 1) for step in steps])
    together = jax.vmap(jax.grad(lambda step: loss(step, 3)))(steps)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-9)
    h = 1e-5
    differences_ = [(loss(s + h, 1) - loss(s - h, 1)) / (2 * h) for s in steps]
    np.testing.assert_allclose(one_by_one, differences_, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["mirror", pytest.param("newton", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", [pytest.param((2, 1), marks=pytest.mark.slow), (1, 2)])
def test_grad_of_a_sweep_over_devices(rule, shape):
    def loss(step, points, mesh):
        fits = gj.sweep(
            KEY, gj.GradientEM(step, weight_rule=rule), gj.Target(points, TARGET.weights),
            num_seeds=2, num_components=3, num_iterations=2, mesh=mesh,
        )  # fmt: skip
        return fits.history.loss[:, -1].mean() + fits.mixture.means.sum()

    gradient = jax.grad(loss, argnums=(0, 1))
    mesh = Mesh(np.array(jax.devices()[:2]).reshape(shape), ("seed", "data"))
    spread, alone = (gradient(0.5, TARGET.points, m) for m in (mesh, None))
    for a, b in zip(spread, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_through_an_insertion_that_is_held_fixed():
    """With `escape` it is the derivative of two fits with a fixed insertion between them."""
    target = gj.population(gj.make_mixture([[-3.0], [3.0], [12.0]]), num_nodes=40)
    start = gj.make_mixture([[0.0], [11.6], [12.4]])
    solver = gj.GradientEM(1.0, mean_rule="em")
    escape = gj.Escape(KEY, stall=10.0, every=30, num_starts=4, num_steps=10)

    def moved(shift):
        return gj.Mixture(start.means + shift, start.log_weights)

    def whole(shift):
        fit = gj.fit(solver, target, moved(shift), num_iterations=65, escape=escape)
        return fit.history.loss[-1] + fit.mixture.means.sum(), fit.num_insertions

    first = gj.fit(solver, target, start, num_iterations=30)
    found = gj.certificate(first.mixture, target, KEY, num_starts=4, num_steps=10)

    def parts(shift):
        first = gj.fit(solver, target, moved(shift), num_iterations=30)
        new = gj.insert(first.mixture, found.birth_at, weight=found.birth_weight)
        fit = gj.fit(solver, target, new, num_iterations=35)
        return fit.history.loss[-1] + fit.mixture.means.sum()

    gradient, insertions = jax.grad(whole, has_aux=True)(0.0)
    assert insertions == 1
    assert gradient == pytest.approx(float(jax.grad(parts)(0.0)), rel=1e-6)


@pytest.mark.parametrize("how", mostly_slow(["kept", "recomputed", "chunks"], 1))
def test_reverse_mode_keeps_nothing_of_the_size_of_the_densities_per_iteration(how):
    N, n, d, T = 6000, 16, 4, 40
    blocking = {
        "kept": gj.Blocking(block_size=1000),
        "recomputed": gj.Blocking(block_size=1000, stored_bytes=0),
        "chunks": gj.Blocking(block_size=1000, copied_bytes=8 * 1000 * (d + 3)),
    }[how]
    points = np.random.default_rng(0).normal(size=(N, d))
    target = gj.empirical(points)
    start = gj.make_mixture(points[:n])

    def loss(step, points):
        solver = gj.GradientEM(step, blocking=blocking)
        fit = gj.fit(solver, gj.Target(points, target.weights), start, num_iterations=T)
        return fit.history.loss[-1]

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(0.5, target.points).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 16 * (8 * N * n)
