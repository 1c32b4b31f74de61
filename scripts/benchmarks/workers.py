"""Processes that take turns: a device and its cores are fixed when JAX starts in one of them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from benchmarks import affinity, measure

# (devices, cores)
SETTINGS = {
    "1 device, 1 core": (1, 1),
    "1 device, 2 cores": (1, 2),
    "2 devices, 2 cores": (2, 2),
}


def take_turns(
    module: str, spec: Mapping[str, Any], rounds: int
) -> tuple[measure.Seconds, dict[str, Any]]:
    """Seconds of each setting in each round, and what each computes."""
    with contextlib.ExitStack() as stack:
        workers = {
            name: stack.enter_context(_worker(module, {**spec, "devices": devices}, count))
            for name, (devices, count) in SETTINGS.items()
        }
        seconds: measure.Seconds = {name: [] for name in workers}
        found = {name: _ask(worker)["found"] for name, worker in workers.items()}
        for _ in range(rounds):
            for name, worker in workers.items():
                seconds[name].append(_ask(worker)["seconds"])
    return seconds, found


@contextlib.contextmanager
def _worker(module: str, spec: dict[str, Any], count: int) -> Iterator[subprocess.Popen[str]]:
    with affinity.for_children(min(count, len(affinity.ALLOWED))):
        process = measure.start(module, spec)
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def _ask(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """Has a worker do its work once more."""
    worker.stdin.write("\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit("a worker failed")
    return json.loads(answer)


def serve(work: Callable[[], jax.Array]) -> None:
    """In a worker: the work once per line of input."""
    jax.block_until_ready(work())
    for _ in sys.stdin:
        start = time.perf_counter()
        found = jax.block_until_ready(work())
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "found": np.asarray(found).tolist()}), flush=True)


def mesh_over(axis: str, devices: int) -> jax.sharding.Mesh | None:
    """So many CPU devices along an axis; None stands for one."""
    jax.config.update("jax_num_cpu_devices", devices)
    return jax.sharding.Mesh(np.array(jax.devices()), (axis,)) if devices > 1 else None


def require_two_cores(quick: bool) -> None:
    if not quick and len(affinity.ALLOWED) < 2:
        raise SystemExit("this suite needs two cores, and this process may use one")
