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
from gemjax.cli.study.settings import GridPoint

Shape = tuple[int, ...] | None  # (N, d) of the target, where it is known
_MOST_PIECES = 1_000_000  # files in one folder
_RATE = {True: 2e10, False: 5e12}  # multiplications per second that are seldom exceeded, by on_cpu
_PER_ITERATION, _PER_STEP = 3e-6, 1e-6  # seconds, however little there is to do
_NEWTON_STEPS = 10  # that end by themselves, as do the ascents of a search
_WARNED_DAYS = 3


def check(
    points: Sequence[GridPoint], out: Path, seeds_per_piece: int, *, on_cpu: bool,
    shape: Shape = None, disk: float = 0.0, tell: Callable[[str], None] | None = None,
) -> None:  # fmt: skip
    """Refuses points that do not fit in memory or on the disk of `out`; `tell` gets a warning.

    `disk` counts bytes beside the usual results.
    """
    most = max(point.sweep.num_seeds for point in points)
    pieces = sum(-(-point.sweep.num_seeds // seeds_per_piece) for point in points)
    if pieces > _MOST_PIECES:
        raise InputError(
            f"sweep.num_seeds = {most} on {len(points)} grid points makes {pieces:,} pieces, more "
            f"than the {_MOST_PIECES:,} that are allowed"
        )
    # As pieces, and as a whole.
    kept = 2.0 * sum(point.sweep.num_seeds * _per_seed(point, shape) for point in points)
    memory, days = available(), 0.0
    for point in points:
        needed = _bytes(point, shape) | {"sweep.num_seeds times what is recorded of each": kept}
        if sum(needed.values()) > memory:
            worst = max(needed, key=needed.__getitem__)
            raise InputError(
                f"{worst} takes {needed[worst] / 2**30:,.3g} GiB, and there are "
                f"{memory / 2**30:,.3g} GiB of memory: {_counts(point)}"
            )
        seeds = point.sweep.num_seeds
        rounds = seeds if on_cpu else -(-seeds // seeds_per_piece)
        products, overhead = _work(point, shape or _shape(point))
        days += (seeds * products / _RATE[on_cpu] + rounds * overhead) / 86_400
    place = next(path for path in (out.absolute(), *out.absolute().parents) if os.path.isdir(path))
    free = shutil.disk_usage(place).free
    if kept + disk > free:
        raise InputError(
            f"results take {(kept + disk) / 2**30:,.3g} GiB, and {place} has "
            f"{free / 2**30:,.3g} GiB free: {_counts(points[0])}"
        )
    if tell is not None and days > _WARNED_DAYS:
        tell(f"this looks like {days:,.0f} days of work or more: {_counts(points[0])}")


def _work(point: GridPoint, shape: tuple[int, ...]) -> tuple[float, float]:
    """Multiplications that the fit of a seed takes, and seconds beside them."""
    (N, d), n, solver, escape = shape, point.model.num_components, point.solver, point.escape
    steps = {"fixed": 0, "newton": min(solver.weight_steps, _NEWTON_STEPS)}
    K = 1 if solver.method == "classical_em" else steps.get(solver.weight_rule, solver.weight_steps)
    report = point.report
    # A path is a fit of its own; reverse mode is one forward, one more, and two back.
    fits = 1 + bool(report.path or report.moments) + 4 * report.sensitivity
    passes = float(solver.num_iterations) * (K + 2 + solver.monotone) * fits
    searched = 0.0  # candidates times their ascents' steps
    if solver.escape:
        each = min(escape.num_starts, N) * min(escape.num_steps, _NEWTON_STEPS)
        searched = float(solver.num_iterations // escape.every) * each
    overhead = solver.num_iterations * (_PER_ITERATION + K * _PER_STEP) * fits
    return N * (d + 2) * (passes * n + searched), overhead


def _bytes(point: GridPoint, shape: Shape) -> dict[str, float]:
    """Bytes that a grid point takes at least, by the key that is to blame."""
    truth, size = point.truth, np.dtype(point.target.dtype).itemsize
    (N, d), n = shape or _shape(point), float(point.model.num_components)
    m = 0 if truth is None else len(truth.means or ()) or truth.num_components
    key = {
        "samples": "target.num_samples",
        "stream": "target.num_samples",
        "population": "target.num_nodes",
    }
    of_points = f"{key.get(point.target.kind, 'points')} times dimensions"
    square = 3 * n * n if point.solver.weight_rule == "newton" else 0
    return {
        of_points: 0.0 if point.target.on_disk else 3.0 * size * N * (d + 1),
        "truth.num_components times truth.dim": 3.0 * size * m * d,
        # Starts, state, gradients, and the narrowest of blocks.
        "model.num_components": size * (n * (8 * (d + 2) + 16 + m) + square),
        "solver.num_iterations / record_every": 2.0 * size * _recorded(point),
    }


def _recorded(point: GridPoint) -> float:
    """Numbers in the history of one seed, and of the mixture that is followed."""
    d = _shape(point)[1]
    follow = point.model.num_components * (1 + d) if point.report.follow else 0
    return float(point.num_records) * (len(dataclasses.fields(gj.Info)) + follow)


def _per_seed(point: GridPoint, shape: Shape) -> float:
    """Bytes that each seed leaves in the results."""
    report = point.report
    history = point.num_records * (
        len(dataclasses.fields(gj.Info)) + 2 * report.path + report.moments
    )
    means = (1 + report.starts) * point.model.num_components * ((shape or _shape(point))[1] + 1)
    return np.dtype(point.target.dtype).itemsize * (float(history) + means + 16)


def _shape(point: GridPoint) -> tuple[int, int]:
    """(N, d) of the target, from below where only the data tell."""
    truth, target = point.truth, point.target
    if truth is None or target.kind == "file":
        return 1, 1
    d = len(truth.means[0]) if truth.means else truth.dim
    if target.kind in ("samples", "stream"):
        return target.num_samples, d
    return min((target.num_nodes or 2) ** min(d, 3 if d <= 3 else 1), 2**26), d


def _counts(point: GridPoint) -> str:
    return (
        f"model.num_components = {point.model.num_components}, sweep.num_seeds = "
        f"{point.sweep.num_seeds}, solver.num_iterations = {point.solver.num_iterations}, "
        f"solver.weight_steps = {point.solver.weight_steps}"
    )
