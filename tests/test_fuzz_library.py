"""Random problems: whatever comes, finite values and weights on the simplex, losses that an
independent loop in float64 confirms, or an error that names the argument.

Each case has its own seed; those of one `Static` share their programs. `-m slow` runs many more.
"""

import functools
import itertools

import jax
import numpy as np
import oracle
import problems
import pytest
from problems import Static

import gemjax as gj

GOOD = (gj.Status.OK, gj.Status.CONVERGED, gj.Status.IMPRECISE)
T = 5


def double(*arrays):
    return [np.asarray(a, np.float64) for a in arrays]


class Rounding:
    """Bounds on what rounding may do to a loss, from the points alone.

    With u_i the distance of a point from a mean that matters to it, u²/2 is at most −log p. A
    product of d + 1 features is wrong by (d + 6) eps (R + |μ|)² with |μ| <= R + u, R the points'
    distance from the centre, and that is at most (d + 6) eps (8 R² + 4 (−log p)). Differences are
    wrong by (d + 6) eps u². Since −log p > 0, its mean is the loss; the sums over points and
    components lose (N + n + 8) eps of it. A mean is moved by eps |μ| and by the rounding of its
    moments, (N + d) eps (R + u), which a loss L feels by no more than √(2L) times as much.
    """

    def __init__(self, static, target, start, traced=False):
        x, w = double(target.points, target.weights)
        self.eps, (self.N, self.d), self.n = static.eps, x.shape, static.n
        self.size = max(np.abs(x).max(), np.abs(np.asarray(start.means)).max())
        radius = np.linalg.norm(x - w @ x, axis=1).max() + self.N * self.eps * np.abs(x).max()
        apart = self.eps * radius**2 > 6e-4 and not traced
        self.radius = 0.0 if apart else radius

    def exponent(self, loss):
        return self.eps * (self.d + 6) * (8 * self.radius**2 + 4 * loss)

    def loss(self, loss):
        return self.exponent(loss) + self.eps * (self.N + self.n + 8) * (loss + 1)

    def moved(self, loss):
        """Of a mean, in an iteration that began at a loss."""
        far = np.sqrt(2 * loss)
        return self.eps * (self.d * self.size + (self.N + self.d) * (self.radius + far))

    def rise(self, loss, before=None):
        """Of a loss that should not, and after an iteration from another one."""
        moved = self.moved(loss if before is None else before)
        return 2 * self.loss(loss) + np.sqrt(2 * loss) * moved + moved**2


def check_state(static, fit):
    """Weights on the simplex, and nothing that is not finite."""
    assert int(fit.status) in (*GOOD, gj.Status.DIVERGED)
    weights = np.asarray(fit.mixture.weights, np.float64)
    assert (weights >= 0).all()
    assert abs(weights.sum() - 1) <= static.eps * (4 * static.n + 100)
    assert np.isfinite(fit.mixture.means).all()
    if int(fit.status) in GOOD:
        for leaf in jax.tree.leaves((fit.history, fit.info)):
            assert np.isfinite(leaf).all(), fit.history


def check_told(static, x, fit):
    """Whether coordinates have too few digits is told: half an ulp is 0.02, up to a factor."""
    half_ulp = 0.5 * static.eps * np.linalg.norm(x, axis=1).max()
    imprecise = int(fit.status) == gj.Status.IMPRECISE
    assert half_ulp > 0.005 if imprecise else half_ulp < 0.04 or int(fit.status) not in GOOD


def never_rises(static):
    return static.mean_rule in ("gradient", "em", "classical") or static.monotone


def fit_case(static, rng):
    """One iteration at a time, each confirmed; then all of them at once."""
    target, start, solver = problems.problem(static, rng)
    x, w = double(target.points, target.weights)
    rounding, more = (
        Rounding(static, target, start),
        {"tolerance": 1e-5} if static.tolerance else {},
    )
    fit, singles = start, []
    for _ in range(T):
        old = fit.mixture if singles else fit
        fit = gj.fit(solver, target, fit, num_iterations=1, **more)
        check_state(static, fit)
        check_told(static, x, fit)
        if never_rises(static):
            assert int(fit.status) in GOOD
        if int(fit.status) not in GOOD:
            return
        means, weights, new = double(old.means, old.weights, fit.mixture.weights)
        at = weights if static.mean_rule == "classical" else new
        loss = oracle.loss(means, at, x, w)
        assert abs(float(fit.loss) - loss) <= rounding.loss(loss)
        if singles and never_rises(static):
            assert float(fit.loss) <= float(singles[-1].loss) + rounding.rise(
                float(singles[-1].loss)
            )
        singles.append(fit)
    whole = gj.fit(
        solver, target, start, num_iterations=T, record_every=static.record_every, **more
    )
    check_state(static, whole)
    assert whole.history.loss.shape == (T // static.record_every,)
    one = singles[int(whole.num_iterations) - 1]
    same(static, rounding, whole, one, singles[0].loss)


def same(static, rounding, a, b, first):
    """Two ways to one fit: what rounding decides may be decided otherwise, and grows."""
    assert int(a.status) == int(b.status)
    loss, slack = float(b.loss), rounding.rise(float(b.loss), float(first))
    assert abs(float(a.loss) - loss) <= static.eps**0.5 * (1 + loss) + slack


drawn = jax.jit(gj.initialize.from_target, static_argnums=2)


def sweep_case(static, rng):
    target, start, solver = problems.problem(static, rng)
    key, rounding = jax.random.key(int(rng.integers(2**31))), Rounding(static, target, start)
    counts = {"num_components": static.n, "num_iterations": 3}
    one, three = (
        gj.sweep(key, solver, target, num_seeds=3, batch_size=size, **counts) for size in (1, 3)
    )
    init = drawn(jax.random.fold_in(key, 1), target, static.n)
    alone = gj.fit(solver, target, init, num_iterations=3)
    for s in range(3):
        fits = [jax.tree.map(lambda leaf, s=s: leaf[s], fits) for fits in (one, three)]
        check_state(static, fits[0])
        same(static, rounding, *fits, fits[0].history.loss[0])
        if s == 1:
            same(static, rounding, fits[0], alone, alone.history.loss[0])
    assert gj.best(one).loss <= one.loss[1] or int(one.status[1]) not in GOOD


def file_case(static, rng, folder):
    target, start, solver = problems.problem(static, rng)
    x, w = folder / "points.npy", folder / "weights.npy"
    np.save(x, target.points)
    np.save(w, target.weights)
    file = gj.from_npy(x, w, dtype=static.dtype)
    fits = [gj.fit(solver, data, start, num_iterations=2) for data in (target, file)]
    check_state(static, fits[1])
    same(static, Rounding(static, target, start), *fits, fits[0].history.loss[0])


@functools.cache
def traced_fit(static, solver_kind):
    def run(solver, points, weights, start):
        target = gj.empirical(points, weights)
        return gj.fit(solver, target, start, num_iterations=3), gj.loss(start, target)

    return jax.jit(run)


def traced_case(static, rng):
    """Under a trace the spread is not known: float32 loses eps R² nats, as the README says."""
    target, start, solver = problems.problem(static, rng)
    rounding = Rounding(static, target, start, traced=True)
    fit, loss = traced_fit(static, type(solver))(solver, target.points, target.weights, start)
    check_state(static, fit)
    exact = oracle.loss(*double(start.means, start.weights, target.points, target.weights))
    assert abs(float(loss) - exact) <= rounding.loss(exact)
    if never_rises(static) and rounding.rise(exact) < 1:
        assert int(fit.status) in GOOD


def escape_case(static, rng):
    static_n = max(2, static.n)
    static = Static(**{**vars(static), "n": static_n})
    target, start, solver = problems.problem(static, rng)
    escape = gj.Escape(
        jax.random.key(0), rng.choice([0.0, 1e-3, 0.1]), 1e3, every=2, num_starts=4, num_steps=5
    )
    fit = gj.fit(solver, target, start, num_iterations=6, escape=escape)
    check_state(static, fit)
    if never_rises(static):
        assert int(fit.status) in GOOD
        losses, rounding = np.asarray(fit.history.loss, np.float64), Rounding(static, target, start)
        for before, after in itertools.pairwise(losses):
            assert after <= before + rounding.rise(before)


@jax.jit
def judged(mixture, truth):
    return gj.diagnose(mixture, truth), gj.recovery(mixture, truth, active_weight=0.0)


def certificate_case(static, rng):
    """No rival with one component more gains what the bound excludes; what is said is there."""
    target, mixture, _ = problems.problem(static, rng)
    found = gj.certificate(mixture, target, jax.random.key(0), num_starts=8, num_steps=10)
    for path, leaf in jax.tree.leaves_with_path(found):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
    x, w, means, weights = double(target.points, target.weights, mixture.means, mixture.weights)
    rounding = Rounding(static, target, mixture)
    log_p = oracle.log_density(means, weights, x)
    loss = -w @ log_p
    slack = 2 * rounding.loss(max(loss, 0))
    assert abs(float(found.loss) - loss) <= slack

    def gain(place, share):
        log_phi = oracle.log_density(place[None], np.ones(1), x)
        with np.errstate(divide="ignore"):
            return w @ (np.logaddexp(np.log1p(-share) + log_p, np.log(share) + log_phi) - log_p)

    for _ in range(6):
        place = x[rng.integers(len(x))] + rng.normal(size=static.d) * rng.choice([0, 0.1, 1])
        assert gain(place, rng.uniform(1e-6, 0.999)) <= float(found.npmle_gap) + slack
    there = gain(*double(found.birth_at, found.birth_weight))
    assert there >= float(found.birth_gain) - slack - static.eps * np.abs(x).max() * loss**0.5
    diagnosis, recovery = judged(mixture, mixture)
    assert np.isfinite(diagnosis.spread)
    assert recovery.num_active == static.n


def weights_case(static, rng):
    """The conditions of optimality, in float64."""
    table, w = problems.table_of(static, rng), problems.point_weights_of(static, rng)
    start = rng.dirichlet(np.ones(static.n)) if rng.random() < 0.5 else None
    found = gj.solve_weights(table, w, start, tolerance=10 ** rng.uniform(-9, -3))
    weights, table = double(found.weights, table)
    w = np.full(static.N, 1 / static.N) if w is None else w / w.max() / (w / w.max()).sum()
    assert (weights >= 0).all()
    assert abs(weights.sum() - 1) <= static.eps * (static.n + 8)
    assert int(found.status) in (gj.Status.OK, gj.Status.STALLED, gj.Status.STEP_LIMIT)
    there = w > np.finfo(static.dtype).tiny
    peak = table[there].max(axis=1)
    phi = np.exp(table[there] - peak[:, None])
    p = phi @ weights
    assert (p > 0).all()
    gap = (w[there] @ (phi / p[:, None])).max() - 1
    slack = static.eps * (static.N + static.n + 16) * (1 + gap)
    assert abs(gap - float(found.duality_gap)) <= slack
    loss = -w[there] @ (np.log(p) + peak)
    assert abs(float(found.loss) - loss) <= slack * (1 + w[there] @ np.abs(np.log(p) + peak))


def bad_case(static, rng):
    calls = problems.bad_arguments(rng)
    name, call = calls[rng.integers(len(calls))]
    with pytest.raises((ValueError, TypeError), match=name):
        call()


def run(static, seed, folder):
    """One case; its seed is told if it fails."""
    more = (folder,) if static.kind == "file" else ()
    try:
        with jax.numpy_dtype_promotion("standard" if static.mean_rule == "adam" else "strict"):
            globals()[f"{static.kind}_case"](static, np.random.default_rng(seed), *more)
    except BaseException as error:
        error.add_note(f"seed {seed}, {static}")
        raise


# What is compiled in the ordinary suite, each with a number of cases.
SMALL = [
    (Static("fit", weight_rule="euclidean", monotone=True, far=True), 50),
    (Static("traced", mean_rule="overrelaxed", weight_rule="multiplicative"), 30),
    (Static("traced", mean_rule="gradient", weight_rule="newton", dtype="float64", n=7), 30),
    (Static("sweep", mean_rule="classical"), 20),
    (Static("file", N=2, n=5, weight_rule="fixed", mean_rule="polyak"), 2),
    (Static("certificate"), 28),
    (Static("weights"), 20),
    (Static("bad"), 20),
]


@pytest.mark.parametrize(("static", "count"), SMALL, ids=lambda value: getattr(value, "kind", ""))
def test_random_problems(static, count, tmp_path):
    for seed in range(count):
        run(static, seed, tmp_path)


def slow_static(seed):
    return problems.any_static(np.random.default_rng([1, seed // 10]))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(40))
def test_many_random_problems(part, tmp_path):
    for seed in range(1000 + 50 * part, 1050 + 50 * part):
        run(slow_static(seed), seed, tmp_path)
    jax.clear_caches()
