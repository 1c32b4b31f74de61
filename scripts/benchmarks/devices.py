"""A sweep over two CPU devices, one core each, against one device on one core and on two."""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import numpy as np

import gemjax as gj
from benchmarks import measure, problems, workers

TITLE = "Seeds over devices"


def run(quick: bool) -> dict[str, Any]:
    rounds, sizes = 9, {"N": 20_000, "d": 10, "n": 20, "S": 32, "T": 20}
    if quick:
        rounds, sizes = 2, {"N": 500, "d": 3, "n": 5, "S": 3, "T": 4}
    workers.require_two_cores(quick)
    seconds, losses = workers.take_turns("devices", sizes, rounds)
    first, *_ = seconds
    differences = {
        name: float(np.max(np.abs(np.subtract(x, losses[first])))) for name, x in losses.items()
    }
    for name, difference in differences.items():
        measure.require_agreement(name, difference, 1e-3)
    return {
        "sizes": sizes,
        "seconds": {name: measure.spread(values) for name, values in seconds.items()},
        "speedups": {name: measure.ratio(seconds, first, name) for name in seconds},
        "loss_differences": differences,
    }


def worker(spec: dict[str, int]) -> None:
    mesh = workers.mesh_over("seed", spec["devices"])
    target = problems.sample(spec["N"], spec["d"])

    def sweep() -> jax.Array:
        return gj.sweep(
            jax.random.key(3),
            gj.GradientEM(weight_tolerance=0.0),
            target,
            num_seeds=spec["S"],
            num_components=spec["n"],
            num_iterations=spec["T"],
            mesh=mesh,
        ).history.loss[:, -1]

    workers.serve(sweep)


def markdown(result: dict[str, Any]) -> str:
    sizes = result["sizes"]
    shape = problems.label(sizes["N"], sizes["d"], sizes["n"])
    rows = [
        [
            name,
            measure.cell(result["seconds"][name]),
            measure.cell(result["speedups"][name]),
            f"{result['loss_differences'][name]:.0e}",
        ]
        for name in result["seconds"]
    ]
    header = [f"{shape}, S = {sizes['S']}, T = {sizes['T']}", "seconds", "speed-up",
              "largest difference of a loss"]  # fmt: skip
    return measure.table(header, rows)


if __name__ == "__main__":
    worker(json.loads(sys.argv[1]))
