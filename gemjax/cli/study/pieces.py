"""The pieces of a run: which there are, and what a finished one holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from gemjax.cli import results
from gemjax.cli.files.read import read_arrays
from gemjax.cli.study.config import Config
from gemjax.cli.study.settings import GridPoint


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


def read(path: Path, piece: Piece, point: GridPoint) -> dict[str, np.ndarray] | None:
    """The arrays of a finished piece, None if its file is damaged or another's."""
    arrays = read_arrays(path)
    if arrays is None:
        return None
    whole = {"batch"}
    if point.report.weights and piece.first_seed == 0:
        whole.add("followed_weights")
    per_seed = {name: array for name, array in arrays.items() if name not in whole}
    good = whole <= arrays.keys() and results.fits(per_seed, piece.num_seeds, point)
    return arrays if good else None
