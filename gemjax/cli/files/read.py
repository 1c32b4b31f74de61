"""Reading data, checked."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import gemjax as gj
from gemjax.cli.files.binary import load
from gemjax.cli.files.boundary import InputError, asking, brief, check_unpacked, reading
from gemjax.cli.files.columns import is_constant
from gemjax.cli.files.dataset import Table, read_table
from gemjax.cli.files.sheet import column_names

_ROWS = 2**18  # of a file on disk, looked at together


READING = ("columns", "weights", "header", "delimiter", "decimal", "drop_missing")


def read_weighted(path: Path, settings: Any) -> Table:
    """Points that can be fitted, and their weights if a column holds some.

    `settings` has an attribute for each in `READING`, as [target] of a config has them.
    """
    table = read_table(path, **{name: getattr(settings, name) for name in READING})
    check_varies(path, table.points, table.names)
    check_range(path, table, table.points, "float64")
    return table


def open_target(path: Path, scale: float, dtype: str, *, centred: bool) -> gj.FileTarget:
    """Points that stay in a .npy file, divided by `scale`."""
    if path.suffix != ".npy":
        raise InputError(f"{path}: only a .npy file can stay on disk")
    with reading(path):
        load(path, path, "r")
    offset: Any = "mean" if centred else None
    with reading(path), asking(str(path)), np.errstate(over="ignore", invalid="ignore"):
        target = gj.from_npy(path, offset=offset, scale=scale, dtype=dtype)
        centre = np.asarray(target.centre, np.float64)
        if not float(np.linalg.norm(centre)) + float(target.radius) <= _most(
            dtype, target.shape[1]
        ):
            for first in range(0, target.shape[0], _ROWS):
                part = load(path, path, "r")[first : first + _ROWS].astype(np.float64)
                part = part.reshape(len(part), -1)
                rows, names = first + np.arange(len(part)), column_names(part.shape[1])
                table = Table(part, None, names, rows, None, target.shape[0], [])
                check_range(path, table, target.units.to_model(part), dtype)
            raise InputError(f"{path}: its values are too far apart for {dtype}")
    return target


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """All arrays of a .npz file; None if it is damaged or not there."""
    try:
        with reading(path), open(path, "rb") as file:
            arrays = np.load(file, allow_pickle=False)
            check_unpacked(path, (entry.file_size for entry in arrays.zip.infolist()))
            return {name: arrays[name] for name in arrays.files}
    except InputError:
        return None


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_varies(path: Path, points: np.ndarray, names: Sequence[str]) -> None:
    """No constant column, of several points."""
    for column, name in enumerate(names):
        if len(points) > 1 and is_constant(points[:, column]) is not None:
            raise InputError(
                f"{path}: column {brief(name, 60)!r} is constant ({points[0, column]:g}) and "
                "cannot tell clusters apart; leave it out with --columns"
            )


def check_range(path: Path, table: Table, values: np.ndarray, dtype: str) -> None:
    """No value whose square the precision cannot hold; `values` are the points in other units."""
    size = np.nan_to_num(np.abs(values), nan=np.inf)
    if size.max() > _most(dtype, values.shape[1]):
        row, column = np.unravel_index(size.argmax(), size.shape)
        unit = "" if values is table.points else f", in units of the fit {values[row, column]:.3g},"
        more = ': take target.dtype = "float64", or' if dtype == "float32" else ":"
        raise InputError(
            f"{table.place(path, row, column)} is {table.points[row, column]:.6g}{unit} "
            f"and too large for {dtype}{more} rescale the data or drop this row"
        )


def _most(dtype: str, d: int) -> float:
    """The largest coordinate of a point whose distances still have a square."""
    return math.sqrt(float(np.finfo(dtype).max) / d) / 16
