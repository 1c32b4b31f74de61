"""The pieces of a run: which there are, what a finished one holds, and how many are finished."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from gemjax.cli import results
from gemjax.cli.files.read import read_arrays
from gemjax.cli.process.progress import Progress
from gemjax.cli.study.config import Config
from gemjax.cli.study.settings import GridPoint

FOLLOWED = ("followed_weights", "followed_means")  # of the first seed, where it is followed


@dataclasses.dataclass(frozen=True)
class Piece:
    """A block of seeds of one grid point: the unit of work, and of loss when a run is stopped."""

    point: int
    first_seed: int
    num_seeds: int

    @property
    def name(self) -> str:
        return f"point-{self.point:04d}-seed-{self.first_seed:06d}.npz"


def pieces(config: Config, seeds_per_piece: int) -> list[Piece]:
    """All pieces of a config, in order."""
    return [
        Piece(index, first, min(seeds_per_piece, point.sweep.num_seeds - first))
        for index, point in enumerate(config.points)
        for first in range(0, point.sweep.num_seeds, seeds_per_piece)
    ]


def origin(manifest: dict[str, Any], piece: Piece) -> np.ndarray:
    """What a piece tells about itself: the run and the seeds that it is of."""
    run = json.dumps([manifest["config"], manifest["data_sha256"]], sort_keys=True)
    return np.array([hashlib.sha256(run.encode()).hexdigest(), *map(str, astuple(piece))])


def read(
    path: Path, piece: Piece, point: GridPoint, told: np.ndarray
) -> dict[str, np.ndarray] | None:
    """The arrays of a finished piece, None if its file is damaged or another's."""
    arrays = read_arrays(path)
    if arrays is None or not np.array_equal(arrays.pop("origin", np.array(0)), told):
        return None
    whole = {"batch", "seconds"}
    if point.report.follow and piece.first_seed == 0:
        whole |= set(FOLLOWED)
    per_seed = {name: array for name, array in arrays.items() if name not in whole}
    good = whole <= arrays.keys() and results.fits(per_seed, piece.num_seeds, point)
    return arrays if good and _fits(arrays, point) else None


def _fits(arrays: dict[str, np.ndarray], point: GridPoint) -> bool:
    """Whether what is not per seed is as it must be."""
    batch, seconds = arrays["batch"], arrays["seconds"]
    is_pair = batch.shape == (2,) and batch.dtype.kind == "i"
    is_time = seconds.shape == () and seconds.dtype == np.float64 and bool(seconds >= 0)
    weights, means = map(arrays.get, FOLLOWED)
    good = bool(is_time and is_pair and 1 <= batch[0] <= batch[1] < 2**31)
    if weights is None or means is None:
        return good
    shape = (point.num_records + 1, point.model.num_components)
    kinds = {weights.dtype.kind, means.dtype.kind}
    return good and kinds == {"f"} and weights.shape == shape == means.shape[:2] and means.ndim == 3


class Tally:
    """Counts pieces as they are finished."""

    def __init__(self, config: Config) -> None:
        self._total = [point.sweep.num_seeds for point in config.points]
        self._iterations = [point.solver.num_iterations for point in config.points]
        self._done = [0] * len(config.points)
        self._recovered = [0] * len(config.points)
        self._has_truth = config.points[0].truth is not None
        self._new_iterations, self._seconds = 0, 0.0

    def add(
        self, piece: Piece, arrays: dict[str, np.ndarray], seconds: float | None = None
    ) -> None:
        """Counts a piece: computed in so many seconds, or read back."""
        self._done[piece.point] += piece.num_seeds
        if self._has_truth:
            self._recovered[piece.point] += results.num_recovered(arrays)
        if seconds is not None:
            self._new_iterations += piece.num_seeds * self._iterations[piece.point]
            self._seconds += seconds

    def progress(self, point: int) -> Progress:
        """The record, with grid point `point` at work."""
        rate = self._new_iterations / self._seconds if self._new_iterations else None
        counts = zip(self._total, self._done, self._iterations, strict=True)
        left = sum((total - done) * iterations for total, done, iterations in counts)
        return Progress(
            seeds=sum(self._done),
            total_seeds=sum(self._total),
            rate=rate,
            seconds_left=None if rate is None else left / rate,
            point_success=self._success(self._recovered[point], self._done[point]),
            success=self._success(sum(self._recovered), sum(self._done)),
        )

    def _success(self, recovered: int, done: int) -> float | None:
        return recovered / done if self._has_truth and done else None
