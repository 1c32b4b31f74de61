"""The estimator with a number of components, warm, against ten starts of scikit-learn's.

Of one covariance type, full, and the same data: clusters that overlap somewhat, from a thousand to
a million points. Of each fit the score on its own points, in nats. And importing the one or the
other in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import jax
import numpy as np
from sklearn.mixture import GaussianMixture

import gemjax.sklearn
from benchmarks import measure

TITLE = "The estimator against scikit-learn's"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SHAPES = ((2, 5), (10, 10))  # dimensions, clusters
SEEDS, LONG = 3, 1_000_000  # of such sizes one only


def run(quick: bool) -> dict[str, Any]:
    warnings.simplefilter("ignore")  # scikit-learn's, that it has not converged
    rows = []
    for size in SIZES[:1] if quick else SIZES:
        for d, m in SHAPES:
            jax.clear_caches()
            rows.append(row(size, d, m, 1 if quick or size >= LONG else SEEDS))
    return {"rows": rows, "imports": imports(3 if quick else 11)}


def row(size: int, d: int, m: int, seeds: int) -> dict[str, Any]:
    seconds: measure.Seconds = {"ours": [], "theirs": []}
    worse = []
    for seed in range(seeds):
        points = clusters(np.random.default_rng(seed), size, d, m)
        ours = gemjax.sklearn.GaussianMixture(m, random_state=seed)
        theirs = GaussianMixture(m, n_init=10, random_state=seed)
        contenders = {"ours": lambda: ours.fit(points), "theirs": lambda: theirs.fit(points)}  # noqa: B023
        rounds = measure.interleave(contenders, 1 if size >= LONG else 3, least=0)
        seconds = {name: seconds[name] + rounds[name] for name in seconds}
        worse.append(float(theirs.score(points) - ours.score(points)))
    return {
        "points": size, "d": d, "m": m, "worse": worse,
        "ours": measure.spread(seconds["ours"]), "theirs": measure.spread(seconds["theirs"]),
        "time": measure.ratio(seconds, "ours", "theirs"),
    }  # fmt: skip


def imports(rounds: int) -> dict[str, Any]:
    def of(module: str) -> Any:
        return lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True)

    contenders = {"ours": of("gemjax.sklearn"), "theirs": of("sklearn.mixture")}
    return measure.ratio(measure.interleave(contenders, rounds, least=0), "ours", "theirs")


def clusters(rng: np.random.Generator, size: int, d: int, m: int) -> np.ndarray:
    """Points (size, d) of m Gaussians, each with a covariance of its own."""
    means = 3 * rng.normal(size=(m, d))
    factor = 0.4 * rng.normal(size=(m, d, d))
    root = np.linalg.cholesky(factor @ factor.swapaxes(1, 2) + 0.3 * np.eye(d))
    label = rng.choice(m, size, p=rng.dirichlet(np.full(m, 5.0)))
    return means[label] + np.einsum("nij,nj->ni", root[label], rng.normal(size=(size, d)))


def markdown(result: dict[str, Any]) -> str:
    rows = [
        [
            f"{r['points']:,}", str(r["d"]), str(r["m"]),
            measure.cell(r["ours"], 1e3, 0), measure.cell(r["theirs"], 1e3, 0),
            measure.cell(r["time"]), f"{max(r['worse']):.0e}", f"{min(r['worse']):.0e}",
        ]
        for r in result["rows"]
    ]  # fmt: skip
    head = [
        "points", "d", "components", "ms", "scikit-learn, ms", "ratio of times",
        "loss above scikit-learn's, at most", "at least",
    ]  # fmt: skip
    imports = f"Importing `gemjax.sklearn` takes {measure.cell(result['imports'])} of the time of "
    return measure.table(head, rows) + f"\n\n{imports}`sklearn.mixture`, in fresh processes."
