"""The record of a finished run or fit on disk, from which its tables and figures are made.

summary.json holds numbers and texts; history.npz the columns, "name_i" for grid point i, in the
target's units; components.npz one mixture and the points under it, in the data's units.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gemjax.cli import model
from gemjax.cli.case import Case
from gemjax.cli.files import folder
from gemjax.cli.files.boundary import InputError
from gemjax.cli.files.number import is_count
from gemjax.cli.files.read import digest, read_arrays
from gemjax.cli.files.write import finite, write_arrays, write_json
from gemjax.cli.process import devices
from gemjax.cli.results import Arrays

MODEL = "model.npz"
FORMAT = 1  # a change that an older `gemjax draw` would get wrong is a new one
MOST_DRAWN = 20_000  # points


@dataclasses.dataclass(frozen=True)
class Record:
    """A finished run or fit: what `gemjax draw` draws from.

    Attributes:
      folder: where it lies.
      command: "run", "fit" where the scale is known, or "clusters".
      summary: content of summary.json.
    """

    folder: Path
    command: str
    summary: dict[str, Any]

    @functools.cached_property
    def components(self) -> Arrays:
        """Content of components.npz, if it is there."""
        return self._read("components.npz")

    @functools.cached_property
    def grid(self) -> list[Arrays]:
        """Content of history.npz, if it is there, per grid point; a fit is one with one seed."""
        grid: list[Arrays] = [{} for _ in self.summary.get("points", [None])]
        for name, array in self._read("history.npz").items():
            stem, _, index = name.rpartition("_")
            if is_count(index) and int(index) < len(grid):
                grid[int(index)][stem] = array
        return grid

    @functools.cached_property
    def model(self) -> model.Model:
        """Content of model.npz."""
        return model.load(self.folder / MODEL)

    def _read(self, name: str) -> Arrays:
        path = self.folder / name
        arrays = read_arrays(path)
        if arrays is None and path.exists():
            raise InputError(f"{path}: damaged")
        return arrays or {}


Draw = Callable[[Record], None]


@contextlib.contextmanager
def opened(out: Path) -> Iterator[Record]:
    """Holds the record of a finished run or fit; refuses a folder that has none."""
    with folder.finished(out) as (command, summary):
        form = summary.get("format")
        if not isinstance(form, int):
            raise InputError(f"{out}: an earlier gemjax wrote it, without what figures need")
        if form < 1:
            raise InputError(f"{out / 'summary.json'}: damaged, there is no format {form}")
        if form > FORMAT:
            raise InputError(
                f"{out}: has format {form}, and this gemjax draws up to {FORMAT}: install a newer"
            )
        folder.checked_summary(out, command)
        yield Record(out, command, summary)


def is_whole(out: Path, summary: dict[str, Any]) -> bool:
    """Whether the results in a folder are those that its summary was written with."""
    digests = summary.get("sha256", {})
    needed = {"results.csv", "history.npz"} <= digests.keys() <= set(folder.RESULTS)
    there = needed and all((out / name).is_file() for name in digests)
    return there and all(digest(out / name) == known for name, known in digests.items())


def finish(
    record: Record, grid: list[Arrays], components: Arrays, draw: Draw | None, begun: float
) -> Record:
    """Writes a record and draws from it; summary.json comes last and means "finished"."""
    out, summary = record.folder, record.summary
    flat = {f"{name}_{i}": array for i, arrays in enumerate(grid) for name, array in arrays.items()}
    if "points" in summary:
        settings = json.dumps([point["settings"] for point in summary["points"]])
        flat["settings"] = np.array(settings)
    if flat:
        write_arrays(out / "history.npz", flat)
    if components:
        write_arrays(out / "components.npz", components)
    digests = {name: digest(out / name) for name in folder.RESULTS if (out / name).exists()}
    made = {"format": FORMAT, **summary, **devices.provenance(), "sha256": digests}
    summary = json.loads(json.dumps(finite(made)))
    summary["wall_seconds"] = round(time.perf_counter() - begun, 3)
    record = dataclasses.replace(record, summary=summary)
    if draw is not None:
        draw(record)
    write_json(out / "summary.json", summary)
    return record


def in_units(case: Case, means: Any, weights: Any) -> tuple[Arrays, dict[str, Any]]:
    """A mixture and the points under it as they are drawn: components.npz, and what it needs said.

    Points are there for the dimensions that have a picture.
    """
    # Rounding leaves the weights of a float32 fit a few 1e-7 from summing to one.
    weights = np.asarray(weights, np.float64)
    arrays = {"means": case.units.to_data(means), "weights": weights / weights.sum()}
    N, d = case.judge.shape
    if d <= 2:
        points, point_weights = case.judge.read(slice(None, None, -(-N // MOST_DRAWN)))
        arrays |= {"points": case.units.to_data(points), "point_weights": point_weights}
    told = {"columns": case.columns, "scale": float(case.units.scale), "num_points": N}
    return arrays, {"components": told}
