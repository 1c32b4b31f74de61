"""Weights solved to optimality, against closed forms, a conic solver, published values."""

import functools
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.sharding import Mesh
from jax.test_util import check_grads

import gemjax as gj

DATA = Path(__file__).parents[2] / "configs" / "data"
N, n = 60, 12


def hard_problems():
    """name -> log densities (60, 12), point weights, start: all that a solver may stumble over."""
    rng = np.random.default_rng(0)
    even, flat = np.full(N, 1 / N), np.full(n, 1 / n)
    L = rng.normal(size=(N, n)) * 2
    x = rng.normal(size=N) * 3
    vertex = np.eye(n)[0]
    zero_columns = L.copy()
    zero_columns[:, [2, 5]] = -np.inf
    tiny = np.where(np.arange(N) == 0, 1e-25, 1.0)
    alone = np.concatenate([L[:, :-1], np.full((N, 1), -80.0)], axis=1)
    alone[0] = [-80.0] * (n - 1) + [0.0]
    spikes = np.full((N, n), -np.inf)
    spikes[np.arange(N), np.arange(N) % n] = 0.0
    scattered = 10 ** rng.uniform(-12, 0, N)
    return {
        "random": (L, even, flat),
        "duplicates": (np.concatenate([L[:, :6], L[:, :6]], axis=1), even, flat),
        "near duplicates": (np.concatenate([L[:, :6], L[:, :6] * (1 + 1e-9)], 1), even, flat),
        "zero columns": (zero_columns, even, flat),
        "equal rows": (np.repeat(L[:1], N, axis=0), even, flat),
        "flat": (np.zeros((N, n)), even, flat),
        "deep": (-(10 ** rng.uniform(0, 4, (N, n))), even, flat),
        "scaled rows": (L + rng.uniform(-69, 69, (N, 1)), even, flat),
        "zero start": (L, even, vertex),
        "impossible start": (spikes, even, vertex),
        "unequal rows": (L, scattered / scattered.sum(), flat),
        "a weight of 1e-25": (alone, tiny / tiny.sum(), flat),
        "a smooth grid": (-0.5 * (x[:, None] - np.linspace(-1, 1, n)) ** 2, even, flat),
    }


HARD = hard_problems()


@functools.cache
def hard_solutions():
    solve = functools.partial(gj.solve_weights, tolerance=1e-10)
    arguments = (jnp.stack([p[i] for p in HARD.values()]) for i in range(3))
    together = jax.vmap(solve)(*arguments)
    return {name: jax.tree.map(lambda x: x[i], together) for i, name in enumerate(HARD)}  # noqa: B023


def ratios(L, w, weights):
    phi = np.exp(L - L.max(axis=1, keepdims=True))
    return phi.T @ (w / (phi @ weights))


def objective(L, w, weights):
    shift = L.max(axis=1)
    return -w @ (np.log(np.exp(L - shift[:, None]) @ weights) + shift)


@pytest.mark.parametrize("name", HARD)
def test_hard_problems(name):
    L, w, _ = HARD[name]
    solution = hard_solutions()[name]
    assert solution.status == gj.Status.OK
    assert solution.num_steps <= 40
    assert (solution.weights >= 0).all()
    assert solution.weights.sum() == pytest.approx(1, abs=1e-14)
    gap = ratios(L, w, np.asarray(solution.weights)).max() - 1
    assert gap <= 1e-10
    assert solution.duality_gap == pytest.approx(gap, abs=1e-13)
    assert solution.loss == pytest.approx(objective(L, w, solution.weights), abs=1e-12)


def test_hard_problems_hold_what_their_names_say():
    found = hard_solutions()
    assert (found["zero columns"].weights[jnp.array([2, 5])] == 0).all()
    assert found["equal rows"].weights[HARD["equal rows"][0][0].argmax()] == 1
    assert found["a weight of 1e-25"].weights[-1] == pytest.approx(1e-25 / (N - 1), rel=1e-6)
    np.testing.assert_allclose(found["zero start"].weights, found["random"].weights, atol=1e-8)
    np.testing.assert_allclose(found["impossible start"].weights, 1 / n, rtol=1e-12)
    exact_zeros = (found["a smooth grid"].weights == 0).sum()
    assert exact_zeros >= n - 4  # a mixture of a grid this fine keeps a few of its atoms


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_a_conic_solver(seed):
    import cvxpy

    rng = np.random.default_rng(seed)
    L, w = rng.normal(size=(N, n)) * 2, rng.dirichlet(np.ones(N))
    pi = cvxpy.Variable(n, nonneg=True)
    problem = cvxpy.Problem(cvxpy.Maximize(w @ cvxpy.log(np.exp(L) @ pi)), [cvxpy.sum(pi) == 1])
    problem.solve(cvxpy.CLARABEL)
    solution = gj.solve_weights(L, w)
    assert solution.loss == pytest.approx(-problem.value, abs=1e-7)
    assert solution.loss <= -problem.value + 1e-9


@pytest.mark.parametrize("w", [0.45, 0.1])
def test_two_by_two(w):
    # The root of w (a − b)/(b + (a − b)π) + (1 − w)(c − d)/(d + (c − d)π), clipped to [0, 1].
    for a, b, c, d in [(1.0, 0.2, 0.3, 0.9), (2.0, 1.0, 1e-3, 5.0), (1.0, 0.5, 0.6, 0.9)]:
        root = np.clip(-w * d / (c - d) - (1 - w) * b / (a - b), 0, 1)
        solution = gj.solve_weights(np.log([[a, b], [c, d]]), [w, 1 - w], tolerance=1e-13)
        assert solution.weights[0] == pytest.approx(root, abs=1e-9)


@pytest.mark.parametrize("t", [0.2, 0.49, 0.51, 3.0])
def test_two_by_three(t):
    # Columns (1, 0), (0, 1), (t, t): the third takes all or nothing.
    with np.errstate(divide="ignore"):
        table = np.log([[1, 0, t], [0, 1, t]])
    solution = gj.solve_weights(table)
    expected, value = ([0, 0, 1], -np.log(t)) if t > 0.5 else ([0.5, 0.5, 0], np.log(2))
    np.testing.assert_allclose(solution.weights, expected, atol=1e-12)
    assert solution.loss == pytest.approx(value, abs=1e-12)


def galaxies():
    return np.loadtxt(DATA / "galaxies.csv", skiprows=1)[:, None] / 1000


def faithful():
    return np.loadtxt(DATA / "faithful.csv", skiprows=1, delimiter=",") / [0.3, 6.0]


@pytest.mark.parametrize(
    ("points", "value", "num_atoms"), [(galaxies, -2.4335134549, 9), (faithful, -3.5719868433, 12)]
)
def test_published_optima_over_atoms_at_the_data(points, value, num_atoms):
    x = points()
    atoms = np.unique(x, axis=0)
    square = ((x[:, None] - atoms[None]) ** 2).sum(axis=-1)
    table = -0.5 * square - 0.5 * x.shape[1] * np.log(2 * np.pi)
    solution = gj.solve_weights(table, tolerance=1e-10)
    assert solution.num_steps <= 40
    assert solution.duality_gap <= 1e-10
    assert -solution.loss == pytest.approx(value, abs=1e-10)
    assert (solution.weights > 0).sum() == num_atoms


@pytest.mark.parametrize(("rows", "columns"), [(8, 20), (20, 1), (1, 4)])
def test_other_shapes(rows, columns):
    L = np.random.default_rng(1).normal(size=(rows, columns)) * 3
    solution = gj.solve_weights(L, tolerance=1e-10)
    assert solution.status == gj.Status.OK
    assert ratios(L, np.full(rows, 1 / rows), np.asarray(solution.weights)).max() - 1 <= 1e-10


def test_float32():
    for name, (L, w, start) in HARD.items():
        arrays = (jnp.asarray(a, jnp.float32) for a in (L, w, start))
        solution = gj.solve_weights(*arrays)
        assert solution.weights.dtype == solution.loss.dtype == jnp.float32
        assert solution.status == gj.Status.OK, name
        assert 0 <= solution.duality_gap <= 64 * jnp.finfo(jnp.float32).eps
        exact = hard_solutions()[name].loss
        assert solution.loss == pytest.approx(float(exact), rel=2e-6, abs=1e-5)


def test_what_was_set_to_zero_by_mistake_comes_back():
    # Point weights over twenty orders of magnitude, in float32: some optimum weights are far below
    # what the quadratic program can tell from zero, and without them the gap is of order 1e4.
    rng = np.random.default_rng(7)
    x, w = rng.standard_t(2, size=300) * 3, np.random.default_rng(7).dirichlet(np.full(300, 0.05))
    L = -0.5 * (x[:, None] - np.linspace(x.min(), x.max(), 60)) ** 2
    found = gj.solve_weights(*(jnp.asarray(a, jnp.float32) for a in (L, w)))
    assert found.duality_gap < 1e-2
    exact = gj.solve_weights(L, w)
    assert exact.status == gj.Status.OK
    assert float(found.loss) == pytest.approx(float(exact.loss), abs=2e-6)


def test_blocks_agree():
    L = np.random.default_rng(2).normal(size=(9000, 5))
    solution = gj.solve_weights(L)
    assert solution.duality_gap <= 1e-8
    assert solution.loss == pytest.approx(
        objective(L, np.full(9000, 1 / 9000), solution.weights), abs=1e-12
    )


def test_gap_bounds_what_is_missing():
    L, w, _ = HARD["unequal rows"]
    best = hard_solutions()["unequal rows"].loss
    solution = gj.solve_weights(L, w, max_steps=2)
    assert solution.num_steps == 2
    assert solution.status == gj.Status.STEP_LIMIT
    assert 0 < solution.loss - best <= solution.duality_gap


def test_derivatives():
    rng = np.random.default_rng(0)
    L, w = jnp.asarray(rng.normal(size=(30, 6)) * 2), jnp.asarray(rng.dirichlet(np.ones(30)))
    directions = jnp.asarray(rng.normal(size=(30, 6))), jnp.asarray(rng.normal(size=30) * 0.01)

    def some(L, w):
        solution = gj.solve_weights(L, w, tolerance=1e-13)
        value = jnp.sum(jnp.arange(1.0, 7.0) * solution.weights**2) + solution.loss
        return value, solution.weights

    gradient = jax.jit(jax.value_and_grad(some, argnums=(0, 1), has_aux=True))

    def at(h):
        return gradient(*(x + h * dx for x, dx in zip((L, w), directions, strict=True)))

    (_, weights), first = at(0.0)
    assert 0 < (weights == 0).sum() < 5
    slope = sum(jnp.vdot(g, d) for g, d in zip(first, directions, strict=True))
    h = 1e-5
    difference = (at(h)[0][0] - at(-h)[0][0]) / (2 * h)
    assert float(slope) == pytest.approx(float(difference), rel=1e-7)
    # Forward over reverse: the second derivative, along the same directions.
    _, second = jax.jvp(lambda L, w: gradient(L, w)[1], (L, w), directions)
    for found, up, down in zip(second, at(h)[1], at(-h)[1], strict=True):
        np.testing.assert_allclose(found, (up - down) / (2 * h), rtol=1e-5, atol=1e-6)


def test_derivatives_of_duplicates_are_finite():
    # They are not unique; the shortest one is finite.
    L = jnp.asarray(HARD["duplicates"][0])
    gradient = jax.grad(lambda L: gj.solve_weights(L).weights[0])(L)
    assert np.isfinite(gradient).all()
    assert 0 < abs(gradient).max() < 10


def test_new_values_do_not_trace_again():
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def solve(L, tolerance):
        return gj.solve_weights(L, tolerance=tolerance).num_steps

    L = jnp.asarray(HARD["random"][0])
    assert solve(L, 1e-3) < solve(2 * L, 1e-12)


def test_errors_and_statuses():
    L = np.zeros((3, 2))
    for bad, words in [
        ({"log_densities": [1.0, 2.0]}, "shape (N, n)"),
        ({"log_densities": L * np.nan}, "nan at index (0, 0)"),
        ({"log_densities": [[np.inf, 0.0]]}, "inf at index (0, 0)"),
        ({"log_densities": [[0.0, 0.0], [-np.inf, -np.inf]]}, "row 1 is -inf throughout"),
        ({"log_densities": L, "point_weights": [1.0, -1.0, 1.0]}, "point_weights"),
        ({"log_densities": L, "start": [1.0]}, "start must have shape (2,)"),
        ({"log_densities": L, "tolerance": -1.0}, "tolerance"),
        ({"log_densities": L, "max_steps": 0}, "max_steps must be at least 1"),
    ]:
        with pytest.raises(ValueError) as error:
            gj.solve_weights(**bad)
        assert words in str(error.value)
    empty = jnp.array([[0.0, 0.0], [-jnp.inf, -jnp.inf], [0.0, 0.0]])
    unused = gj.solve_weights(empty, [1.0, 0.0, 1.0])
    assert (unused.status, float(unused.loss)) == (gj.Status.OK, 0.0)
    negative = jax.jit(gj.solve_weights)(jnp.zeros((3, 2)), jnp.array([1.0, -0.5, 1.0]))
    assert negative.status == gj.Status.DIVERGED
    for table, status in [
        (empty, gj.Status.IMPOSSIBLE),
        (jnp.zeros((3, 2)).at[1, 1].set(jnp.nan), gj.Status.DIVERGED),
        (jnp.zeros((3, 2)).at[1, 1].set(jnp.inf), gj.Status.DIVERGED),
    ]:
        solution = jax.jit(gj.solve_weights)(table)
        assert solution.status == status
        assert solution.duality_gap == solution.loss == np.inf
        np.testing.assert_array_equal(solution.weights, 0.5)


MEANS, WEIGHTS, POINTS, POINT_WEIGHTS = oracle.problem(3, N=50, n=5, d=2)
TARGET = gj.empirical(POINTS, POINT_WEIGHTS)
START = gj.make_mixture(MEANS, WEIGHTS)


def test_as_a_weight_rule():
    solver = gj.GradientEM(1e-30, weight_rule="newton", weight_tolerance=1e-10)
    state, info = solver.step(solver.init(START), TARGET)
    table = oracle.log_joint(MEANS, np.ones(5), POINTS)
    alone = gj.solve_weights(table, POINT_WEIGHTS)
    assert info.duality_gap < 1e-10
    assert info.loss == pytest.approx(float(alone.loss), abs=1e-10)
    np.testing.assert_allclose(state.mixture.weights, alone.weights, atol=1e-6)


def test_rule_does_not_depend_on_the_blocking():
    def fit(blocking):
        solver = gj.GradientEM(weight_rule="newton", blocking=blocking)
        return gj.fit(solver, TARGET, START, num_iterations=3).mixture

    # Densities stored in one piece, and recomputed chunk by chunk.
    cut = gj.Blocking(block_size=8, copied_bytes=500)
    np.testing.assert_allclose(fit(cut).means, fit(gj.Blocking()).means, atol=1e-9)


def test_rule_over_devices():
    solver = gj.GradientEM(weight_rule="newton", weight_tolerance=1e-10)
    sweep = functools.partial(
        gj.sweep, jax.random.key(0), solver, TARGET, num_seeds=1, num_components=4, num_iterations=3
    )
    spread = sweep(mesh=Mesh(np.array(jax.devices()[:2]).reshape(1, 2), ("seed", "data")))
    np.testing.assert_allclose(spread.mixture.means, sweep().mixture.means, atol=1e-9)


@pytest.mark.slow
def test_rule_is_differentiable():
    def final(means):
        solver = gj.GradientEM(weight_rule="newton", weight_steps=30, weight_tolerance=1e-13)
        start = gj.Mixture(means, START.log_weights)
        fit = gj.fit(solver, TARGET, start, num_iterations=3)
        return fit.history.loss[-1] + jnp.sum(fit.mixture.means**2)

    check_grads(final, (START.means,), 1, modes=("rev",), atol=1e-6, rtol=1e-6, eps=1e-5)
