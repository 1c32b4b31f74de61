"""Random problems for the library, each from a seed: data, starts and solvers of odd kinds."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gemjax as gj

ADAM = optax.adam(0.1)  # one object: another one compiles anew
WEIGHT_RULES = ["mirror", "multiplicative", "euclidean", "newton", "fixed"]
MEAN_RULES = ["gradient", "em", "overrelaxed", "polyak", "adam", "classical"]
KINDS = ["fit", "fit", "fit", "fit", "sweep", "file", "traced", "escape", "certificate", "weights"]


@dataclasses.dataclass(frozen=True)
class Static:
    """What compiles anew: cases that share it share their programs.

    `far` is for points so far apart that exponents come from differences; `draw` names the start.
    """

    kind: str
    N: int = 24
    d: int = 2
    n: int = 4
    dtype: str = "float32"
    far: bool = False
    weight_rule: str = "mirror"
    mean_rule: str = "em"
    monotone: bool = False
    K: int = 2
    record_every: int = 1
    tolerance: bool = False
    draw: str = ""

    @property
    def eps(self):
        return float(np.finfo(self.dtype).eps)


def any_static(rng):
    pick = lambda *values: values[rng.integers(len(values))]  # noqa: E731
    return Static(
        kind=pick(*KINDS),
        N=int(pick(1, 2, rng.integers(3, 61), rng.integers(10, 61))),
        d=int(rng.integers(1, 11)),
        n=int(rng.integers(1, 10)),
        dtype=pick("float32", "float64"),
        far=bool(rng.random() < 0.4),
        weight_rule=pick(*WEIGHT_RULES),
        mean_rule=pick(*MEAN_RULES),
        monotone=bool(rng.random() < 0.4),
        K=int(pick(0, 1, 2, 5, 30)),
        record_every=int(pick(1, 1, 2, 3, 9)),
        tolerance=bool(rng.random() < 0.3),
        draw=pick("", "", "", "from_target", "plus_plus", "spectral", "tensor", "population"),
    )


def points_of(static, rng):
    """(N, d) of the dtype."""
    N, d = static.N, static.d
    kind = rng.integers(3 if static.far else 0, 9)  # what is far stays far
    least = 3.5 if static.dtype == "float32" else 7.5
    far = 10 ** rng.uniform(least, least + 3)
    centres = rng.normal(size=(4, d)) * (far if static.far else 10 ** rng.uniform(-1, 0.8))
    x = centres[np.arange(N) % 4] + rng.normal(size=(N, d))
    if static.far and rng.random() < 0.5:  # one or two points, and the others are near
        x = rng.normal(size=(N, d))
        x[rng.integers(0, N, 2)] *= 10 ** rng.uniform(least + 1, rng.choice([10, 15]))
    if kind == 0:
        x = x[rng.integers(0, min(N, 3), N)]
    elif kind == 1:
        x[:, rng.integers(d)] = rng.normal()
    elif kind == 2:
        x = np.repeat(x[:1], N, axis=0)
    elif kind == 3:
        x += rng.normal(size=d) * 10 ** rng.uniform(4, 8)
    elif kind == 4 and not static.far:
        x *= 10 ** rng.uniform(-30, -1)
    elif kind == 5:
        x = np.round(x)
    return x.astype(static.dtype)


def point_weights_of(static, rng):
    """(N,), float64, or None."""
    N, kind = static.N, rng.integers(7)
    w = rng.dirichlet(np.ones(N)) + 1e-6
    if kind == 0:
        return None
    if kind == 1:
        w[rng.random(N) < 0.6] = 0
        w[rng.integers(N)] = 1
    elif kind == 2:
        w = np.eye(N)[rng.integers(N)]
    elif kind == 3:
        w = 10 ** rng.uniform(-30, 30, N)
    elif kind == 4:
        w *= 10 ** rng.uniform(-300, 300)
    elif kind == 5:
        w[rng.integers(N)] = 1e-300
    return w


def start_of(static, rng, target):
    """A mixture to start from: drawn, or of means near the points, equal, or far away."""
    n, d, kind = static.n, static.d, rng.integers(7)
    if static.draw in gj.initialize.STARTS:
        ranks = {"spectral": 1, "tensor": min(n, d + 1, 3)}
        more = {"rank": ranks[static.draw]} if static.draw in ranks else {}
        draw = gj.initialize.STARTS[static.draw]
        return draw(jax.random.key(int(rng.integers(2**31))), target, n, **more)
    x = np.asarray(target.points, np.float64)
    means = x[rng.integers(0, len(x), n)] + rng.normal(size=(n, d)) * 10 ** rng.uniform(-3, 0.5)
    if kind == 0:
        means[:] = means[:1]
    elif kind == 1:
        means[rng.random(n) < 0.5] += 10 ** rng.uniform(1, 6)
    elif kind == 2:
        means += rng.normal(size=d) * 10 ** rng.uniform(1, rng.choice([2, 6, 12]))
    elif kind == 3:
        means = rng.normal(size=(n, d))
    weights = rng.dirichlet(np.ones(n)) if rng.random() < 0.7 else 10 ** rng.uniform(-30, 0, n)
    if rng.random() < 0.4:
        weights[rng.random(n) < 0.5] = 0
        weights[rng.integers(n)] = 1
    return gj.make_mixture(means.astype(static.dtype), weights)


def solver_of(static, rng):
    if static.mean_rule == "classical":
        return gj.classical_em()
    floor = 0.5 * static.d * np.log(2 * np.pi)  # no loss is below
    huge = 10 ** rng.uniform(-9, 30) if static.monotone else 1.0
    return gj.GradientEM(
        rng.choice([1.0, rng.uniform(0.01, 1), rng.uniform(0, 1) ** 9 + 1e-9, huge]),
        rng.choice([1.0, 10 ** rng.uniform(-3, 3), 10 ** rng.uniform(-30, 30)]),
        rng.choice([0, 1e-6, 1e-2]),
        optimal_loss=floor + rng.exponential() if static.mean_rule == "polyak" else None,
        weight_steps=static.K,
        weight_rule=static.weight_rule,
        mean_rule=ADAM if static.mean_rule == "adam" else static.mean_rule,
        monotone=static.monotone,
    )


def problem(static, rng):
    """Target, start and solver."""
    points = points_of(static, rng)
    if static.draw == "population":
        truth = gj.make_mixture(points[:3])
        target = gj.population(truth, num_nodes=max(2, int(30 ** (1 / min(static.d, 3)))))
        assert target.quadrature_error >= 0
    else:
        target = gj.empirical(points, point_weights_of(static, rng))
    return target, start_of(static, rng, target), solver_of(static, rng)


def table_of(static, rng):
    """(N, n) log densities, some of them −inf, no row throughout."""
    N, n = static.N, static.n
    table = rng.normal(size=(N, n)) * 10 ** rng.uniform(-3, 3.5)
    kind = rng.integers(6)
    if kind == 0:
        table = table[:, rng.integers(0, n, n)]
    elif kind == 1:
        table = table[rng.integers(0, N, N)]
    elif kind == 2:
        x, means = rng.normal(size=(2, N, 1)) * 10 ** rng.uniform(-1, 2)
        table = -0.5 * (x - np.resize(means, n)[None]) ** 2
    elif kind == 3:
        table = np.zeros((N, n)) + rng.normal(size=(N, 1)) * 10 ** rng.uniform(0, 30)
    if rng.random() < 0.4:
        table[rng.random((N, n)) < 0.3] = -np.inf
        table[np.isneginf(table).all(axis=1)] = 0
    return table.astype(static.dtype)


def bad_arguments(rng):
    """Calls that must be refused, each with the argument that is to be named."""
    key, nan, big = jax.random.key(0), rng.choice([np.nan, np.inf, -np.inf]), 10**30
    x = rng.normal(size=(5, 2))
    start, target, solver = gj.make_mixture(x[:2]), gj.empirical(x), gj.GradientEM()
    broken = np.where(np.arange(10).reshape(5, 2) == rng.integers(10), nan, x)
    signed = np.array([1.0, 1.0, 1.0, 1.0, -(10 ** rng.uniform(-30, 30))])

    def fit(solver=solver, target=target, start=start, **more):
        return lambda: gj.fit(solver, target, start, **{"num_iterations": 1} | more)

    return [
        ("points", lambda: gj.empirical(broken)),
        ("points", lambda: gj.empirical(x[None])),
        ("points", lambda: gj.empirical(x[:0])),
        ("points", lambda: gj.empirical(x + 1j)),
        ("weights", lambda: gj.empirical(x, signed)),
        ("weights", lambda: gj.empirical(x, np.ones(4))),
        ("weights", lambda: gj.empirical(x, np.zeros(5))),
        ("weights", lambda: gj.empirical(x, broken[:, 0] * broken[:, 1])),
        ("means", lambda: gj.make_mixture(broken)),
        ("weights", lambda: gj.make_mixture(x, signed)),
        ("covariance", lambda: gj.make_mixture(x, covariance=np.eye(2))),
        ("dimension", fit(start=gj.make_mixture(x[:2, :1]))),
        ("float32", fit(start=gj.make_mixture(x[:2].astype(np.float32)))),
        ("mixture", fit(start=x)),
        ("target", fit(target=x)),
        ("target", fit(target=gj.Target(jnp.asarray(x), jnp.ones(5)))),
        ("num_iterations", fit(num_iterations=rng.choice([0, -1]))),
        ("num_iterations", fit(num_iterations=2.0)),
        ("record_every", fit(record_every=0)),
        ("tolerance", fit(tolerance=-1e-9)),
        ("tolerance", fit(tolerance=nan)),
        ("escape", fit(escape=key)),
        ("escape.every", fit(escape=gj.Escape(key))),
        ("step_size", fit(gj.GradientEM(rng.choice([0, -1, nan, -1e-300])))),
        ("step_size", fit(gj.GradientEM(x))),
        ("weight_step_size", fit(gj.GradientEM(0.5, nan))),
        ("weight_tolerance", fit(gj.GradientEM(0.5, 1.0, -1e-9))),
        ("weight_rule", fit(gj.GradientEM(weight_rule="mirr"))),
        ("mean_rule", fit(gj.GradientEM(mean_rule=3))),
        ("optimal_loss", fit(gj.GradientEM(mean_rule="polyak"))),
        ("monotone", fit(gj.GradientEM(monotone=1))),
        ("weight_steps", fit(gj.GradientEM(weight_steps=rng.choice([-1, 1.5])))),
        ("weight_steps", fit(gj.GradientEM(weight_steps=big))),
        ("num_iterations", fit(num_iterations=big)),
        ("log_densities", lambda: gj.solve_weights(broken)),
        ("log_densities", lambda: gj.solve_weights(np.full((3, 2), -np.inf))),
        ("point_weights", lambda: gj.solve_weights(x, signed)),
        ("start", lambda: gj.solve_weights(x, None, [1.0, -1.0])),
        ("max_steps", lambda: gj.solve_weights(x, max_steps=0)),
        ("num_starts", lambda: gj.certificate(start, target, key, num_starts=0)),
        ("key", lambda: gj.certificate(start, target, 0)),
        ("price", lambda: gj.certificate(start, target, key, price=nan)),
        ("at", lambda: gj.insert(start, broken[0] * broken[1] * broken[2] * broken[3] * broken[4])),
        ("weight", lambda: gj.insert(start, x[0], weight=1.0)),
        ("tolerance", lambda: gj.recovery(start, start, tolerance=-1)),
        ("stray_radius", lambda: gj.diagnose(start, start, stray_radius=0)),
        ("rank", lambda: gj.initialize.spectral(key, target, 2, rank=3)),
        ("rank", lambda: gj.initialize.tensor(key, target, 2, rank=3)),
        ("order", lambda: gj.hermite.tensor(rng.choice([-1, 21]), x)),
        ("directions", lambda: gj.hermite.along(2, start, broken)),
        ("num_nodes", lambda: gj.population(start, num_nodes=1)),
        ("num_samples", lambda: gj.sample(key, start, 0)),
        ("x", lambda: gj.log_density(start, broken)),
    ]
