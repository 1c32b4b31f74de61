"""Families and `select` against scikit-learn: an iteration, a loss, a whole answer.

An EM iteration at 100,000 points, d = 16, n = 32 in four families, by the difference of a long and
a short run from the same start; both must end at the same means. The loss at equal number of
components and family on random problems, d from 1 to 30, against scikit-learn's best of ten starts:
few clusters, far apart in most dimensions, and many that overlap.
100 clusters on a grid, nothing given, against scikit-learn with the number and family given. And a
path from 300 components to one against the fit before it.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.mixture import GaussianMixture

import gemjax as gj
from benchmarks import measure

TITLE = "Families and select against scikit-learn"
N, D, COMPONENTS = 100_000, 16, 32
SHORT, LONG, ROUNDS = 2, 8, 3
TOLERANCE = 1e-2
FAMILIES = {"VII": "spherical", "VVI": "diag", "EEE": "tied", "VVV": "full"}
PROBLEMS = 30
CLUSTERS = {"apart": (3, 13), "overlapping": (10, 41)}  # numbers of them, from and below
QUICK = 0.1  # seconds
MARGIN = 1e-4  # nats per point that count as a difference
GRID, SPACING = 10, 4.0
LEVELS, POLISHED, ITERATIONS = 300, (15, 30), 100


def run(quick: bool) -> dict[str, Any]:
    warnings.simplefilter("ignore")  # scikit-learn's, that it has not converged
    size = 10_000 if quick else N
    return {
        "points": size,
        "iterations": {name: iteration(name, size) for name in FAMILIES},
        "losses": {
            name: [losses(seed, name) for seed in range(4 if quick else PROBLEMS)]
            for name in CLUSTERS
        },
        "grid": grid(10_000 if quick else 100_000),
        "path": path(1_000 if quick else 100_000),
    }


def iteration(family: str, size: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    means = 4 * rng.normal(size=(COMPONENTS, D))
    points = means[rng.integers(0, COMPONENTS, size)] + rng.normal(size=(size, D))
    points, start = points.astype(np.float32), means + 0.5 * rng.normal(size=means.shape)
    start = start.astype(np.float32)
    target = gj.empirical(jnp.asarray(points))
    unit = np.broadcast_to(np.eye(D, dtype=np.float32), (COMPONENTS, D, D))
    even = np.full(COMPONENTS, 1 / COMPONENTS, np.float32)
    covariance = gj.covariance.family(family).nearest(jnp.asarray(unit), jnp.asarray(even), 1e-6)
    precisions = {"spherical": np.ones(COMPONENTS), "diag": np.ones((COMPONENTS, D)),
                  "tied": np.eye(D), "full": unit}[FAMILIES[family]]  # fmt: skip

    def ours(steps: int) -> Any:
        mixture = gj.make_mixture(jnp.asarray(start), covariance=covariance)
        return gj.fit(gj.classical_em(), target, mixture, num_iterations=steps).mixture.means

    def theirs(steps: int) -> Any:
        model = GaussianMixture(
            COMPONENTS, covariance_type=FAMILIES[family], tol=0, max_iter=steps,
            weights_init=even, means_init=start, precisions_init=precisions.astype(np.float32),
        )  # fmt: skip
        return model.fit(points).means_

    difference = measure.disagreement([ours(SHORT)], [theirs(SHORT)])
    measure.require_agreement(family, difference, TOLERANCE)
    seconds = measure.interleave(
        {
            "ours short": lambda: ours(SHORT), "ours long": lambda: ours(LONG),
            "theirs short": lambda: theirs(SHORT), "theirs long": lambda: theirs(LONG),
        },
        ROUNDS, least=0,
    )  # fmt: skip
    a = measure.per_iteration(seconds, "ours short", "ours long", LONG - SHORT)
    b = measure.per_iteration(seconds, "theirs short", "theirs long", LONG - SHORT)
    return {
        "seconds": measure.spread(a),
        "ratio": measure.spread([y / x for x, y in zip(a, b, strict=True)]),
    }


def problem(seed: int, name: str) -> tuple[np.ndarray, int, str]:
    """Points (N, d), how many clusters they are of, and of what family."""
    rng = np.random.default_rng(seed)
    d, m = int(rng.integers(1, 31)), int(rng.integers(*CLUSTERS[name]))
    size, family = int(rng.integers(100, 400)) * m, [*FAMILIES][seed % 4]
    apart = rng.uniform(2, 5) if name == "apart" else rng.uniform(3, 6) / np.sqrt(d)
    means = apart * rng.normal(size=(m, d))
    scales = rng.uniform(0.5, 2, (m, d)) if family in ("VVI", "VVV") else np.ones((m, d))
    label = rng.choice(m, size, p=rng.dirichlet(np.full(m, 5.0)))
    points = means[label] + scales[label] * rng.normal(size=(size, d))
    return points.astype(np.float32), m, family


def losses(seed: int, name: str) -> dict[str, Any]:
    """At equal number and family: losses in nats per point, and seconds of warm calls."""
    jax.clear_caches()  # each problem compiles its own, and a process holds only so many
    points, m, family = problem(seed, name)
    size, d = points.shape
    target = gj.empirical(jnp.asarray(points))

    def ours() -> gj.Selection:
        found = gj.select(target, jax.random.key(0), families=(family,), num_components=m)
        return jax.block_until_ready(found)

    def theirs() -> GaussianMixture:
        model = GaussianMixture(m, covariance_type=FAMILIES[family], n_init=10, random_state=seed)
        return model.fit(points)

    seconds = measure.interleave({"ours": ours, "theirs": theirs}, ROUNDS, least=0)
    return {
        "d": d, "m": m, "points": size, "family": family,
        "excess": float(ours().loss) + float(theirs().score(points)),
        "time": measure.ratio(seconds, "ours", "theirs"),
        "theirs": measure.spread(seconds["theirs"]),
    }  # fmt: skip


def grid(size: int) -> dict[str, Any]:
    """Unit Gaussians on a grid: what is missed, and the time of warm calls."""
    rng = np.random.default_rng(0)
    centres = SPACING * np.stack(np.meshgrid(*[np.arange(GRID)] * 2), -1).reshape(-1, 2)
    points = centres[rng.integers(0, GRID * GRID, size)] + rng.normal(size=(size, 2))
    points = points.astype(np.float32)
    target = gj.empirical(jnp.asarray(points))

    def ours() -> Any:
        return jax.block_until_ready(gj.select(target, jax.random.key(0)).mixture.means)

    def theirs() -> Any:
        model = GaussianMixture(GRID * GRID, covariance_type="spherical", random_state=0)
        return model.fit(points).means_

    seconds = measure.interleave({"ours": ours, "theirs": theirs}, ROUNDS, least=0)
    means = ours()
    return {
        "points": size, "found": len(means), "missed": missed(centres, means),
        "missed by scikit-learn": missed(centres, theirs()),
        "time": measure.ratio(seconds, "ours", "theirs"),
    }  # fmt: skip


def path(size: int) -> dict[str, Any]:
    """All levels from 300 components to one, with EM near the minimum, after gradient EM."""
    rng = np.random.default_rng(0)
    points = (6 * rng.normal(size=(20, 2)))[rng.integers(0, 20, size)] + rng.normal(size=(size, 2))
    target = gj.empirical(jnp.asarray(points.astype(np.float32)))
    start = gj.initialize.from_target(jax.random.key(0), target, LEVELS)

    def fit() -> gj.Mixture:
        return gj.fit(gj.GradientEM(), target, start, num_iterations=ITERATIONS).mixture

    end = fit()
    merge = lambda: gj.merge_path(end, target, between=POLISHED).loss  # noqa: E731
    seconds = measure.interleave({"path": merge, "fit": lambda: fit().means}, ROUNDS, least=0)
    return {"points": size, "time": measure.ratio(seconds, "path", "fit")}


def missed(centres: np.ndarray, means: Any) -> int:
    """Centres that are no mean's nearest."""
    apart = np.linalg.norm(np.asarray(means)[:, None] - centres[None], axis=-1)
    return len(centres) - len(np.unique(apart.argmin(axis=1)))


_HEAD = [
    "clusters", "problems", "lower loss", "the same", "higher", "highest, nats per point",
    "time over scikit-learn's", f"where that is {1e3 * QUICK:.0f} ms or more",
]  # fmt: skip


def compared(name: str, problems: list[dict[str, Any]]) -> list[str]:
    excess = np.array([one["excess"] for one in problems])
    times = np.array([one["time"]["median"] for one in problems])
    slow = np.array([one["theirs"]["median"] >= QUICK for one in problems])
    of = lambda x: measure.cell(measure.spread(x.tolist())) if len(x) else "–"  # noqa: E731
    lower, higher = int((excess < -MARGIN).sum()), int((excess > MARGIN).sum())
    least, below = CLUSTERS[name]
    return [
        f"{name}, {least} to {below - 1}", str(len(problems)), str(lower),
        str(len(problems) - lower - higher), str(higher), f"{max(excess.max(), 0):.4f}",
        of(times), f"{of(times[slow])}: {slow.sum()} problems",
    ]  # fmt: skip


def markdown(result: dict[str, Any]) -> str:
    rows = [
        [name, FAMILIES[name], measure.cell(r["seconds"], 1e3), measure.cell(r["ratio"], 1, 1)]
        for name, r in result["iterations"].items()
    ]
    head = ["family", "scikit-learn's name", "ms per iteration", "scikit-learn's time over ours"]
    text = measure.table(head, rows)
    g, p = result["grid"], result["path"]
    return "\n\n".join([
        f"EM at {result['points']:,} points, d = {D}, n = {COMPONENTS}:",
        text,
        f"`select` at equal number and family on random problems, d from 1 to 30, against the best "
        f"of ten starts of scikit-learn; a difference is one of {MARGIN:g} nats per point or more:",
        measure.table(_HEAD, [compared(*item) for item in result["losses"].items()]),
        f"{g['points']:,} points of {GRID * GRID} clusters on a grid, nothing given: {g['found']} "
        f"components, {g['missed']} clusters missed, in {measure.cell(g['time'])} of the time "
        "of scikit-learn with number and family given and one start, which misses "
        f"{g['missed by scikit-learn']}.",
        f"`merge_path` from {LEVELS} components to one at {p['points']:,} points, d = 2, with EM "
        f"at the levels from {POLISHED[1]} to {POLISHED[0]}: {measure.cell(p['time'])} of the time "
        f"of {ITERATIONS} iterations of gradient EM before it.",
    ])  # fmt: skip
