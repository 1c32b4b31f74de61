"""From process start to the end of the first iteration, in fresh processes.

"Cold" has no compilation cache, "warm" finds a persistent one that an earlier process filled.
Compile times are those of the whole fit and the whole sweep, lowered and compiled on their own.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

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
    return {
        name: {field: measure.spread([run[field] for run in runs]) for field in FIELDS}
        for name, runs in found.items()
    }


def markdown(result: dict[str, Any]) -> str:
    rows = [
        [text, measure.cell(result["cold"][field]), measure.cell(result["warm"][field])]
        for field, text in FIELDS.items()
    ]
    shape = problems.label(first_iteration.N, first_iteration.D, first_iteration.COMPONENTS)
    return measure.table([f"seconds, {shape}", "cold", "warm cache"], rows)
