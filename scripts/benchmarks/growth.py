"""How time and peak memory grow with the number of points, components, dimensions and seeds.

Each size doubles four times from a common base; the exponent is the slope of log time over log
size. Memory is measured in a fresh process per size: the highest resident memory during a fit,
beyond what was resident before it with the data in place, once compiled and once including the
compilation. Times are medians of fits after the first in the same process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import gemjax as gj
from benchmarks import measure, problems

TITLE = "Growth"
BASE = {"N": 10_000, "d": 8, "n": 16, "S": 2}
QUICK_BASE = {"N": 200, "d": 2, "n": 2, "S": 1}
LARGE = ((100_000, 2, 64), (1_000_000, 2, 64), (10_000_000, 2, 64))
QUICK_LARGE = ((1_000, 2, 8),)


def run(quick: bool) -> dict[str, Any]:
    base, doublings, repeats = (QUICK_BASE, 1, 1) if quick else (BASE, 4, 5)
    at_base = _in_child(base, seeds=True, iterations=5, repeats=repeats)
    growth = {}
    for letter, size in base.items():
        sizes = [size * 2**k for k in range(doublings + 1)]
        points = [at_base] + [
            _in_child({**base, letter: x}, seeds=True, iterations=5, repeats=repeats)
            for x in sizes[1:]
        ]
        times = [point["seconds"]["median"] for point in points]
        growth[letter] = {
            "sizes": sizes,
            "points": points,
            "exponent": float(np.polyfit(np.log(sizes), np.log(times), 1)[0]),
        }
    large = [
        {"shape": shape, **_in_child(dict(zip("Ndn", shape, strict=True)), False, 2, 1)}
        for shape in (QUICK_LARGE if quick else LARGE)
    ]
    return {"base": base, "growth": growth, "large": large}


def _in_child(sizes: dict[str, int], seeds: bool, iterations: int, repeats: int) -> Any:
    spec = {"sizes": sizes, "seeds": seeds, "iterations": iterations, "repeats": repeats}
    return measure.child("growth", spec)


def child(spec: dict[str, Any]) -> dict[str, Any]:
    """What one size needs, measured in this process."""
    sizes = spec["sizes"]
    target = problems.sample(sizes["N"], sizes["d"])
    mixture = problems.start(target, sizes["n"])
    solver = gj.GradientEM(weight_tolerance=0.0)
    jax.block_until_ready((target, mixture))

    def fit() -> None:
        if spec["seeds"]:
            found = gj.sweep(
                jax.random.key(2), solver, target,
                num_seeds=sizes["S"], num_components=sizes["n"], num_iterations=spec["iterations"],
            )  # fmt: skip
        else:
            found = gj.fit(solver, target, mixture, num_iterations=spec["iterations"])
        jax.block_until_ready(found)

    first, _ = _peak_and_seconds(fit)
    peaks, seconds = zip(*(_peak_and_seconds(fit) for _ in range(spec["repeats"])), strict=True)
    return {
        "seconds": measure.spread(seconds),
        "data_bytes": target.points.nbytes + target.weights.nbytes,
        "peak_bytes_with_compilation": first,
        "peak_bytes": max(peaks),
    }


def _peak_and_seconds(function: Callable[[], None]) -> tuple[int, float]:
    """Bytes by which resident memory peaks during a call, and how long the call takes."""
    status = Path("/proc/self/status")
    with contextlib.suppress(AttributeError):
        # glibc keeps what the last call freed; a peak above that would look too small.
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts over
        before = _status(status, "VmRSS")
    except OSError:
        status, before = None, _max_resident()
    start = time.perf_counter()
    function()
    seconds = time.perf_counter() - start
    return (_status(status, "VmHWM") if status else _max_resident()) - before, seconds


def _status(status: Path, field: str) -> int:
    line = next(x for x in status.read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024


def _max_resident() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def markdown(result: dict[str, Any]) -> str:
    mib = 2**20
    grown = []
    for letter, entry in result["growth"].items():
        times = (f"{1e3 * p['seconds']['median']:.0f}" for p in entry["points"])
        peaks = (f"{p['peak_bytes'] / mib:.1f}" for p in entry["points"])
        data = (f"{p['data_bytes'] / mib:.1f}" for p in entry["points"])
        sizes = (f"{x:,}" for x in entry["sizes"])
        columns = (" / ".join(column) for column in (sizes, times, peaks, data))
        grown.append([letter, *columns, f"{entry['exponent']:.2f}"])
    large = [
        [
            problems.label(*row["shape"]),
            f"{row['seconds']['median']:.1f}",
            f"{row['data_bytes'] / mib:.1f}",
            f"{row['peak_bytes'] / mib:.1f}",
            f"{row['peak_bytes_with_compilation'] / mib:.1f}",
        ]
        for row in result["large"]
    ]
    base = ", ".join(f"{letter} = {size:,}" for letter, size in result["base"].items())
    return "\n\n".join(
        [
            measure.table(
                [f"from {base}", "sizes", "ms", "peak beyond the data, MiB", "data, MiB",
                 "exponent of time"],
                grown,
            ),
            measure.table(
                ["one fit, T = 2", "seconds", "data, MiB", "peak beyond the data, MiB",
                 "the same with compilation, MiB"],
                large,
            ),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(child(json.loads(sys.argv[1]))))
