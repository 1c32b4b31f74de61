"""How far a run is: the count behind what is shown."""

from __future__ import annotations

import numpy as np

from gemjax.cli import results
from gemjax.cli.process.progress import Progress
from gemjax.cli.study.config import Config
from gemjax.cli.study.pieces import Piece


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
        left = sum(
            (total - done) * iterations
            for total, done, iterations in zip(
                self._total, self._done, self._iterations, strict=True
            )
        )
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
