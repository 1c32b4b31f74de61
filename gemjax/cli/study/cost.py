"""What a config costs, before any work: refuses what cannot fit, and tells of what takes days.

Counts are from below: what is refused fits in no case, and what is let through may still run out.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import gemjax as gj
from gemjax.cli.files.boundary import InputError
from gemjax.cli.process.memory import available
from gemjax.cli.study.settings import GridPoint, TruthTable

_MOST_PIECES = 1_000_000  # files in one folder
_RATE = {True: 2e10, False: 5e12}  # multiplications per second that are seldom exceeded, by on_cpu
_PER_ITERATION = 1e-5  # seconds, however little there is to do
_DAYS = 3


def check(
    points: Sequence[GridPoint], out: Path, seeds_per_piece: int, *, on_cpu: bool,
    shape: tuple[int, ...] | None = None, disk: float = 0.0,
    tell: Callable[[str], None] | None = None,
) -> None:  # fmt: skip
    """Refuses points that do not fit in memory or on the disk of `out`; `tell` gets a warning.

    `shape` is that of the target, where it is known; `disk` counts bytes beside the usual results.
    """
    pieces = sum(-(-point.sweep.num_seeds // seeds_per_piece) for point in points)
    if pieces > _MOST_PIECES:
        raise InputError(
            f"sweep.num_seeds = {points[0].sweep.num_seeds} on {len(points)} grid points makes "
            f"{pieces:,} pieces, more than the {_MOST_PIECES:,} that are allowed"
        )
    kept = [_kept(point, shape) for point in points]
    memory, total, seconds = available(), 2 * sum(kept), 0.0
    for point in points:
        needed = _bytes(point, shape) | {
            "sweep.num_seeds times what is recorded of each": total,
        }
        if sum(needed.values()) > memory:
            worst = max(needed, key=needed.__getitem__)
            raise InputError(
                f"{worst} takes {_said(needed[worst])} of memory, of {_said(memory)} that there "
                f"are: {_settings(point)}"
            )
        seconds += _seconds(point, shape, seeds_per_piece, on_cpu)
    place = next(path for path in (out.absolute(), *out.absolute().parents) if os.path.isdir(path))
    free = shutil.disk_usage(place).free
    if total + disk > free:
        raise InputError(
            f"results take {_said(total + disk)}, and {place} has {_said(free)} free: "
            f"{_settings(points[0])}"
        )
    if tell is not None and seconds > _DAYS * 86_400:
        tell(
            f"this looks like {seconds / 86_400:,.0f} days of work or more: {_settings(points[0])}"
        )


def _bytes(point: GridPoint, shape: tuple[int, ...] | None) -> dict[str, float]:
    """Bytes that a grid point takes at least, by the key that is to blame."""
    truth, model, size = point.truth, point.model, np.dtype(point.target.dtype).itemsize
    N, d = shape or _shape(point)
    n, m = model.num_components, 0 if truth is None else _num_true(truth)
    data = {"samples": "target.num_samples", "population": "target.num_nodes", "file": "points"}
    of_model = 8.0 * n * (d + 2) + 16 * n  # starts, state, gradients; the narrowest of blocks
    if point.solver.weight_rule == "newton":
        of_model += 3.0 * n * n
    return {
        f"{data[point.target.kind]} times dimensions": 0.0
        if point.target.on_disk
        else 3.0 * size * N * (d + 1),
        "truth.num_components times truth.dim": 3.0 * size * m * d,
        "model.num_components": size * (of_model + float(n) * m),
        "solver.num_iterations / record_every": 2.0 * _recorded(point, n),
    }


def _recorded(point: GridPoint, n: int) -> float:
    """Bytes of the history of one seed, and of the weights that are followed."""
    follow = n if point.report.weights else 0
    numbers = len(dataclasses.fields(gj.Info)) + follow
    return float(np.dtype(point.target.dtype).itemsize) * point.num_records * numbers


def _kept(point: GridPoint, shape: tuple[int, ...] | None) -> float:
    """Bytes that all seeds of a grid point leave in the results."""
    n, (_, d) = point.model.num_components, shape or _shape(point)
    each = np.dtype(point.target.dtype).itemsize * (n * (d + 1) + 16.0)
    history = float(len(dataclasses.fields(gj.Info))) * 4 * point.num_records
    return point.sweep.num_seeds * (each + history)


def _seconds(
    point: GridPoint, shape: tuple[int, ...] | None, seeds_per_piece: int, on_cpu: bool
) -> float:
    N, d = shape or _shape(point)
    passes = float(point.solver.weight_steps) + 2
    work = passes * N * point.model.num_components * (d + 2) * point.sweep.num_seeds
    rounds = -(-point.sweep.num_seeds // (1 if on_cpu else seeds_per_piece))
    each = work / _RATE[on_cpu] + rounds * _PER_ITERATION
    return point.solver.num_iterations * each


def _num_true(truth: TruthTable) -> int:
    return len(truth.means) if truth.means else truth.num_components


def _shape(point: GridPoint) -> tuple[int, ...]:
    """(N, d) of the target, from below where only the data tell."""
    truth, target = point.truth, point.target
    if truth is None or target.kind == "file":
        return 1, 1
    d = len(truth.means[0]) if truth.means else truth.dim
    if target.kind == "samples":
        return target.num_samples, d
    axes = min(d, _num_true(truth) - 1) if d > 3 else d
    return min((target.num_nodes or 2) ** (axes if axes <= 3 else 1), 2**26), d


def _settings(point: GridPoint) -> str:
    """The counts that matter, for a message."""
    return (
        f"model.num_components = {point.model.num_components}, sweep.num_seeds = "
        f"{point.sweep.num_seeds}, solver.num_iterations = {point.solver.num_iterations}"
    )


def _said(size: float) -> str:
    return f"{size / 2**30:,.3g} GiB"
