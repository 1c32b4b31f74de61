"""The pieces of a run: which there are, and what a finished one holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from gemjax.cli.study.case import array_names
from gemjax.cli.study.config import Config, Point


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
    out = []
    for index, point in enumerate(config.points):
        total = point.sweep.num_seeds
        for first in range(0, total, seeds_per_piece):
            out.append(Piece(index, first, min(seeds_per_piece, total - first)))
    return out


def read(path: Path, piece: Piece, point: Point) -> dict[str, np.ndarray] | None:
    """The arrays of a finished piece, None if its file is damaged or another's."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception:  # what a damaged zip file raises has nothing in common
        return None
    per_seed = array_names(point)
    whole = ["batch"]
    if point.report.weights and piece.first_seed == 0:
        whole.append("followed_weights")
    records = point.solver.num_iterations // point.solver.record_every
    good = (
        arrays.keys() == {*per_seed, *whole}
        and all(arrays[name].shape[:1] == (piece.num_seeds,) for name in per_seed)
        and arrays["history_loss"].shape == (piece.num_seeds, records)
        and arrays["weights"].shape == (piece.num_seeds, point.model.num_components)
    )
    return arrays if good else None
