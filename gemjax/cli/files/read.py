"""Reading data, checked."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gemjax as gj
from gemjax.cli.files.boundary import FINITE, InputError, asking, brief, check_unpacked, reading
from gemjax.cli.files.table import column_names, read_csv
from gemjax.cli.process.memory import available

_ROWS = 2**18  # of a file on disk, looked at together


class Data(NamedTuple):
    """Points (N, d) and weights (N,), float64; names of the columns; per row its line in a CSV."""

    points: np.ndarray
    weights: np.ndarray | None
    names: list[str]
    lines: list[int] | None

    def place(self, path: Path, row: int, column: int, first: int = 0) -> str:
        """Where a value is, for a message; `first` is the number of the first row."""
        at = f"row {first + row + 1}" if self.lines is None else f"line {self.lines[row]}"
        return f"{path}: {at}, column {brief(self.names[column], 60)!r}"


def read_points(path: Path, columns: Sequence[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """Points (N, d), float64, and the names of their columns, from .csv, .csv.gz, .npy or .npz.

    `columns` are names, or numbers counted from 1; all columns by default.
    """
    data = _read(path, columns)
    return data.points, data.names


def _read(path: Path, columns: Sequence[str] | None) -> Data:
    lines = None
    with reading(path):
        if path.suffix in (".npy", ".npz"):
            table, names = _read_numpy(path)
            chosen = _choose(path, columns, names)
            points = table[:, chosen]
        else:
            choose = functools.partial(_choose, path, columns)
            points, names, chosen, lines = read_csv(path, choose)
    if points.shape[0] == 0 or points.shape[1] == 0:
        raise InputError(f"{path}: the file holds no data")
    return Data(points, None, [names[i] for i in chosen], lines)


def read_weighted(path: Path, columns: Sequence[str] | None, weights_column: str | None) -> Data:
    """Points, checked, and their weights, the largest one, if a column holds some."""
    data = _read(path, columns)
    if weights_column is not None:
        read = _read(path, [weights_column])
        weights, points, names = read.points[:, 0], data.points, data.names
        if columns is None:
            kept = [i for i, name in enumerate(names) if name != read.names[0]]
            points, names = points[:, kept], [names[i] for i in kept]
            if not names:
                raise InputError(f"{path}: only the weights' column is left")
        bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
        if len(bad):
            raise InputError(
                f"{path}: row {bad[0] + 1}, weight {weights[bad[0]]}: weights must be "
                "finite and non-negative"
            )
        if weights.max() <= 0:
            raise InputError(f"{path}: the weights in {brief(weights_column, 60)!r} are all zero")
        data = Data(points, weights / weights.max(), names, data.lines)
    check_points(path, data.points, data.names)
    check_range(path, data, data.points, "float64")
    return data


def open_target(path: Path, scale: float, dtype: str, *, centred: bool) -> gj.FileTarget:
    """Points that stay in a .npy file, divided by `scale`."""
    if path.suffix != ".npy":
        raise InputError(f"{path}: only a .npy file can stay on disk")
    with reading(path):
        _load(path, path, "r")
    offset: Any = "mean" if centred else None
    with reading(path), asking(str(path)), np.errstate(over="ignore", invalid="ignore"):
        target = gj.from_npy(path, offset=offset, scale=scale, dtype=dtype)
        centre = np.asarray(target.centre, np.float64)
        if not float(np.linalg.norm(centre)) + float(target.radius) <= _most(
            dtype, target.shape[1]
        ):
            for first in range(0, target.shape[0], _ROWS):
                part = _load(path, path, "r")[first : first + _ROWS].astype(np.float64)
                part = part.reshape(len(part), -1)
                data = Data(part, None, column_names(part.shape[1]), None)
                check_range(path, data, target.units.to_model(part), dtype, first)
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


def check_points(path: Path, points: np.ndarray, names: Sequence[str]) -> None:
    """No NaN, no infinity and no constant column; the row counts from 1, without the header."""
    bad = np.argwhere(~np.isfinite(points))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{path}: row {row + 1}, column {brief(names[column], 60)!r} is {points[row, column]}; "
            f"{FINITE}"
        )
    for column, name in enumerate(names):
        if len(points) > 1 and (points[:, column] == points[0, column]).all():
            raise InputError(
                f"{path}: column {brief(name, 60)!r} is constant ({points[0, column]:g}) and "
                "cannot tell clusters apart; leave it out with --columns"
            )


def check_range(path: Path, data: Data, values: np.ndarray, dtype: str, first: int = 0) -> None:
    """No value whose square the precision cannot hold; `values` are the points in other units."""
    size = np.nan_to_num(np.abs(values), nan=np.inf)
    if size.max() > _most(dtype, values.shape[1]):
        row, column = np.unravel_index(size.argmax(), size.shape)
        unit = "" if values is data.points else f", in units of the fit {values[row, column]:.3g},"
        more = ': take target.dtype = "float64", or' if dtype == "float32" else ":"
        raise InputError(
            f"{data.place(path, row, column, first)} is {data.points[row, column]:.6g}{unit} "
            f"and too large for {dtype}{more} rescale the data or drop this row"
        )


def _most(dtype: str, d: int) -> float:
    """The largest coordinate of a point whose distances still have a square."""
    return math.sqrt(float(np.finfo(dtype).max) / d) / 16


def _load(file: Any, path: Path, mmap_mode: Any = None) -> Any:
    try:
        return np.load(file, mmap_mode, allow_pickle=False)
    except ValueError:  # whose text recommends pickles
        raise InputError(f"{path}: not a NumPy file of numbers, or damaged") from None


def _read_numpy(path: Path) -> tuple[np.ndarray, list[str]]:
    with open(path, "rb") as file:
        loaded = _load(file, path)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            if len(loaded.files) != 1:
                raise InputError(
                    f"{path}: holds the arrays {brief(', '.join(loaded.files), 120) or '(none)'}; "
                    "save the one to fit by itself"
                )
            sizes = [entry.file_size for entry in loaded.zip.infolist()]  # type: ignore
            check_unpacked(path, sizes)
            if sum(sizes) > available():
                raise MemoryError
            loaded = loaded[loaded.files[0]]
    table = np.asarray(loaded)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or table.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: must hold numbers of shape (N, d) or (N,), "
            f"got {brief(table.dtype, 60)} of shape {table.shape}"
        )
    return table.astype(np.float64), column_names(table.shape[1])


def _choose(path: Path, columns: Sequence[str] | None, names: list[str]) -> list[int]:
    if columns is None:
        return list(range(len(names)))
    numbered = {str(i + 1): i for i in range(len(names))} | {n: i for i, n in enumerate(names)}
    for column in columns:
        if column not in numbered:
            known = brief(", ".join(brief(name, 30) for name in names[:20]), 120)
            raise InputError(
                f"{path}: no column {brief(column, 60)!r}; there are {known} (or 1 to {len(names)})"
            )
    chosen = [numbered[column] for column in columns]
    if len(set(chosen)) != len(chosen):
        raise InputError(f"{path}: a column is chosen twice: {brief(', '.join(columns), 80)}")
    return chosen
