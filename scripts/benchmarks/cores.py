"""One fit by classical EM on one core and on two: as it is called, and with its points spread."""

from __future__ import annotations

import json
import sys
from typing import Any

import jax

import gemjax as gj
from benchmarks import measure, problems, workers

TITLE = "One fit on two cores"
SHAPES = ((100_000, 2, 100), (200_000, 16, 64), (1_000_000, 16, 64))
_T = 10


def run(quick: bool) -> dict[str, Any]:
    rounds, shapes = (2, ((2_000, 2, 5),)) if quick else (7, SHAPES)
    workers.require_two_cores(quick)
    cases = []
    for shape in shapes:
        seconds, found = workers.take_turns("cores", {"shape": shape}, rounds)
        first, *others = seconds
        for name in others:
            measure.require_agreement(
                name, measure.disagreement([found[name]], [found[first]]), 1e-4
            )
        densities = _T * shape[0] * shape[2]
        cases.append(
            {
                "shape": shape,
                "nanoseconds": {
                    name: measure.spread([1e9 * s / densities for s in values])
                    for name, values in seconds.items()
                },
                "speedups": {name: measure.ratio(seconds, first, name) for name in others},
            }
        )
    return {"cases": cases}


def worker(spec: dict[str, Any]) -> None:
    mesh = workers.mesh_over("data", spec["devices"])
    N, d, n = spec["shape"]
    target = problems.sample(N, d)
    start = gj.make_mixture(target.points[:n])

    def fit() -> jax.Array:
        found = gj.fit(gj.classical_em(), target, start, num_iterations=_T, mesh=mesh)
        return found.history.loss

    workers.serve(fit)


def markdown(result: dict[str, Any]) -> str:
    first, *others = workers.SETTINGS
    rows = [
        [
            problems.label(*case["shape"]),
            measure.cell(case["nanoseconds"][first]),
            *(measure.cell(case["speedups"][name]) for name in others),
        ]
        for case in result["cases"]
    ]
    header = ["classical EM", f"{first}: ns per point and component"]
    return measure.table([*header, *(f"{name}: speed-up" for name in others)], rows)


if __name__ == "__main__":
    worker(json.loads(sys.argv[1]))
