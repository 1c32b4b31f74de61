"""From process start to the end of the first iteration, in fresh processes.

"Cold" has no compilation cache, "warm" finds a persistent one that an earlier process filled.
Compile times are those of the whole fit and the whole sweep, lowered and compiled on their own.
`gemjax fit` is the whole command, beside scikit-learn's EM as a whole process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import first_iteration, measure, problems

TITLE = "Start-up and compilation"
FIELDS = {
    "import jax": "importing jax",
    "import gemjax": "importing gemjax after it",
    "first iteration": "process start to the end of the first iteration",
    "trace fit": "tracing gj.fit",
    "compile fit": "compiling gj.fit",
    "trace sweep": "tracing gj.sweep",
    "compile sweep": "compiling gj.sweep",
}
POINTS, COMPONENTS = 600, 82
_FIT = ["-m", "gemjax.cli", "fit", "--components", str(COMPONENTS), "--scale", "1",
        "--no-figures", "--force"]  # fmt: skip
_PEER = f"""
import sys, numpy
from sklearn.mixture import GaussianMixture
points = numpy.loadtxt(sys.argv[1], delimiter=",")
GaussianMixture({COMPONENTS}, covariance_type="spherical").fit(points)
"""
COMMANDS = {
    "gemjax fit, the first time ever": _FIT,
    "gemjax fit, afterwards": _FIT,
    "gemjax fit --no-certificate, afterwards": [*_FIT, "--no-certificate"],
    "scikit-learn": ["-W", "ignore", "-c", _PEER],
}


def run(quick: bool) -> dict[str, Any]:
    repeats = 1 if quick else 7
    found: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "cold": {"JAX_ENABLE_COMPILATION_CACHE": "false"},
            "warm": {
                "JAX_COMPILATION_CACHE_DIR": folder,
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            },
        }
        measure.child("first_iteration", {"start": time.time()}, **settings["warm"])
        for _ in range(repeats):
            for name, environment in settings.items():
                found[name].append(
                    measure.child("first_iteration", {"start": time.time()}, **environment)
                )
    times = {
        name: {field: measure.spread([run[field] for run in runs]) for field in FIELDS}
        for name, runs in found.items()
    }
    return {**times, "commands": _commands(2 if quick else 5)}


def _commands(repeats: int) -> dict[str, Any]:
    """Seconds of whole commands on one small file, by turns."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "points.csv")
        np.savetxt(data, np.asarray(problems.sample(POINTS, 2).points), delimiter=",")
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as cache:
                for name, command in COMMANDS.items():
                    started = time.perf_counter()
                    subprocess.run(
                        [sys.executable, *command, str(data)], cwd=folder, check=True,
                        env={**os.environ, "XDG_CACHE_HOME": cache}, capture_output=True,
                    )  # fmt: skip
                    seconds[name].append(time.perf_counter() - started)
    return {name: measure.spread(values) for name, values in seconds.items()}


def markdown(result: dict[str, Any]) -> str:
    rows = [
        [text, measure.cell(result["cold"][field]), measure.cell(result["warm"][field])]
        for field, text in FIELDS.items()
    ]
    shape = problems.label(first_iteration.N, first_iteration.D, first_iteration.COMPONENTS)
    whole = [[name, measure.cell(spread)] for name, spread in result["commands"].items()]
    title = f"whole processes, N = {POINTS}, d = 2, n = {COMPONENTS}"
    return (
        measure.table([f"seconds, {shape}", "cold", "warm cache"], rows)
        + "\n\n"
        + measure.table([title, "seconds"], whole)
    )
