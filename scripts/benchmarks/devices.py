"""A sweep over two CPU devices, one core each, against one device on one core and on two.

A device is fixed when JAX starts, so each contender is a process of its own, confined to its cores;
all three stay alive and take turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np

import gemjax as gj
from benchmarks import cores, measure, problems

TITLE = "Seeds over devices"
# (devices, cores)
CONTENDERS = {
    "1 device, 1 core": (1, 1),
    "1 device, 2 cores": (1, 2),
    "2 devices, 2 cores": (2, 2),
}


def run(quick: bool) -> dict[str, Any]:
    rounds, sizes = 9, {"N": 20_000, "d": 10, "n": 20, "S": 32, "T": 20}
    if quick:
        rounds, sizes = 2, {"N": 500, "d": 3, "n": 5, "S": 3, "T": 4}
    elif len(cores.ALLOWED) < 2:
        raise SystemExit("the devices suite needs two cores, and this process may use one")
    workers = {name: _start(sizes, *setting) for name, setting in CONTENDERS.items()}
    try:
        seconds: measure.Seconds = {name: [] for name in workers}
        losses = {name: _ask(worker)["losses"] for name, worker in workers.items()}
        for _ in range(rounds):
            for name, worker in workers.items():
                seconds[name].append(_ask(worker)["seconds"])
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
    first, *_ = workers
    differences = {
        name: float(np.max(np.abs(np.subtract(x, losses[first])))) for name, x in losses.items()
    }
    for name, difference in differences.items():
        measure.require_agreement(name, difference, 1e-3)
    return {
        "sizes": sizes,
        "seconds": {name: measure.spread(values) for name, values in seconds.items()},
        "speedups": {name: measure.ratio(seconds, first, name) for name in workers},
        "loss_differences": differences,
    }


def _start(sizes: dict[str, int], devices: int, count: int) -> subprocess.Popen[str]:
    with cores.for_children(min(count, len(cores.ALLOWED))):
        return measure.start("devices", {**sizes, "devices": devices})


def _ask(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """Has a worker run its sweep once more."""
    worker.stdin.write("\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit("a worker of the devices suite failed")
    return json.loads(answer)


def worker(spec: dict[str, int]) -> None:
    """One sweep per line of input."""
    jax.config.update("jax_num_cpu_devices", spec["devices"])
    target = problems.sample(spec["N"], spec["d"])
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("seed",)) if spec["devices"] > 1 else None

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

    jax.block_until_ready(sweep())
    for _ in sys.stdin:
        start = time.perf_counter()
        losses = jax.block_until_ready(sweep())
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "losses": losses.tolist()}), flush=True)


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
