"""Timing, spread, provenance, child processes and Markdown tables.

Contenders run interleaved (A B C A B C ...), so that a change of the machine's speed meets all of
them alike, and ratios are taken within a round before their median.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import affinity

SCRIPTS = Path(__file__).resolve().parent.parent
PACKAGES = (
    "gemjax", "jax", "jaxlib", "numpy", "scikit-learn", "gmmx", "torch", "pomegranate", "torchgmm",
    "tgmm",
)  # fmt: skip
Seconds = dict[str, list[float]]


def interleave(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, least: float = 0.05
) -> Seconds:
    """Seconds per call of each contender in each round, after a warm-up.

    Calls shorter than `least` seconds are repeated within a round until they fill it.
    """
    numbers = {}
    for name, function in contenders.items():
        jax.block_until_ready(function())
        numbers[name] = math.ceil(least / _seconds(function, 1)) if least else 1
    seconds: Seconds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, function in contenders.items():
            seconds[name].append(_seconds(function, numbers[name]))
    return seconds


def _seconds(function: Callable[[], Any], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        jax.block_until_ready(function())
    return (time.perf_counter() - start) / number


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles, beside the values themselves."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {"median": median, "quartiles": [low, high], "values": list(values)}


def ratio(seconds: Seconds, top: str, bottom: str) -> dict[str, Any]:
    """Spread of the ratio of two contenders, taken round by round."""
    return spread([a / b for a, b in zip(seconds[top], seconds[bottom], strict=True)])


def per_iteration(seconds: Seconds, short: str, long: str, iterations: int) -> list[float]:
    """Seconds per iteration from two run lengths, round by round: fixed costs cancel."""
    pairs = zip(seconds[short], seconds[long], strict=True)
    return [(b - a) / iterations for a, b in pairs]


def disagreement(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """Largest difference over several arrays, each relative to its largest entry."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(found, expected, strict=True)]
    return max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in pairs)


def require_agreement(name: str, difference: float, tolerance: float) -> None:
    """Stops the benchmark where contenders compute different things."""
    if not difference <= tolerance:
        raise SystemExit(f"{name} disagrees by {difference:.1e}, more than {tolerance:.0e}")


def start(module: str, spec: Mapping[str, Any], **environment: str) -> subprocess.Popen[str]:
    """`python -m benchmarks.MODULE SPEC` as a child that talks over pipes."""
    path = os.pathsep.join(filter(None, [str(SCRIPTS), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", json.dumps(spec)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


def child(module: str, spec: Mapping[str, Any], **environment: str) -> Any:
    """What a fresh process prints as JSON on its last line."""
    process = start(module, spec, **environment)
    output, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"benchmarks.{module} {dict(spec)} failed")
    return json.loads(output.splitlines()[-1])


def provenance() -> dict[str, Any]:
    """When, what and where."""
    device = jax.devices()[0]
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES if version(name)},
        "cpu": _cpu_model(),
        "cores": affinity.in_use(),
        "device": f"{device.platform}: {device.device_kind}",
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def version(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    command = ["git", "-C", str(SCRIPTS), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cell(value: Mapping[str, Any] | None, scale: float = 1.0, digits: int = 2) -> str:
    """A spread as "median (quartile to quartile)"."""
    if value is None:
        return ""
    low, high = (scale * x for x in value["quartiles"])
    return f"{scale * value['median']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(x) for x in line) + " |" for line in lines)
