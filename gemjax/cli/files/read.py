"""Reading data, checked."""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import gemjax as gj

_FINITE = "every value must be finite: drop or fill these rows"


class InputError(ValueError):
    """Bad input from a user of the command line; the message is one line that says what to do."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what may happen while a file is read into one line."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def read_points(path: Path, columns: Sequence[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """Points (N, d), float64, and the names of their columns, from .csv, .csv.gz, .npy or .npz.

    `columns` are names, or numbers counted from 1; all columns by default.
    """
    with reading(path):
        if path.suffix in (".npy", ".npz"):
            table, names = _read_numpy(path)
            chosen = _choose(path, names, columns)
            points = table[:, chosen]
        else:
            points, names, chosen = _read_csv(path, columns)
    if points.shape[0] == 0 or points.shape[1] == 0:
        raise InputError(f"{path}: the file holds no data")
    return points, [names[i] for i in chosen]


def read_weighted(
    path: Path, columns: Sequence[str] | None, weights_column: str | None
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Points, checked, their weights, if a column holds some, and the names of the columns."""
    points, names = read_points(path, columns)
    weights = None
    if weights_column is not None:
        table, (taken,) = read_points(path, [weights_column])
        weights = table[:, 0]
        if columns is None:
            kept = [i for i, name in enumerate(names) if name != taken]
            points, names = points[:, kept], [names[i] for i in kept]
            if not names:
                raise InputError(f"{path}: only the weights' column is left")
        bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
        if len(bad):
            raise InputError(
                f"{path}: row {bad[0] + 1}, weight {weights[bad[0]]}: weights must be "
                "finite and non-negative"
            )
        if weights.sum() <= 0:
            raise InputError(f"{path}: the weights in {weights_column!r} are all zero")
    check_points(path, points, names)
    return points, weights, names


def open_target(path: Path, scale: float, dtype: str, *, centred: bool) -> gj.FileTarget:
    """Points that stay in a .npy file, divided by `scale`."""
    if path.suffix != ".npy":
        raise InputError(f"{path}: only a .npy file can stay on disk")
    try:
        with reading(path):
            return gj.from_npy(path, offset="mean" if centred else None, scale=scale, dtype=dtype)
    except ValueError as error:
        raise InputError(str(error)) from None


def column_names(d: int) -> list[str]:
    """Of columns that have no names of their own."""
    return [f"x{i + 1}" for i in range(d)]


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """All arrays of a .npz file; None if it is damaged or not there."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception:  # what a damaged zip file raises has nothing in common
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
            f"{path}: row {row + 1}, column {names[column]!r} is {points[row, column]}; {_FINITE}"
        )
    for column, name in enumerate(names):
        if len(points) > 1 and np.ptp(points[:, column]) == 0:
            raise InputError(
                f"{path}: column {name!r} is constant ({points[0, column]:g}) and cannot tell "
                "clusters apart; leave it out with --columns"
            )


def _read_numpy(path: Path) -> tuple[np.ndarray, list[str]]:
    try:
        loaded = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise InputError(f"{path}: not a NumPy file of numbers: {error}") from None
    if isinstance(loaded, np.lib.npyio.NpzFile):
        if len(loaded.files) != 1:
            raise InputError(
                f"{path}: holds the arrays {', '.join(loaded.files) or '(none)'}; "
                "save the one to fit by itself"
            )
        loaded = loaded[loaded.files[0]]
    table = np.asarray(loaded)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or table.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: must hold numbers of shape (N, d) or (N,), "
            f"got {table.dtype} of shape {table.shape}"
        )
    return table.astype(np.float64), column_names(table.shape[1])


def _read_csv(path: Path, columns: Sequence[str] | None) -> tuple[np.ndarray, list[str], list[int]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        rows = [(line, row) for line, row in _rows(file) if row]
    if not rows:
        raise InputError(f"{path}: the file is empty")
    width = len(rows[0][1])
    for line, row in rows:
        if len(row) != width:
            raise InputError(
                f"{path}: line {line} has {len(row)} fields where the first has {width}"
            )
    names = column_names(width)
    if _is_header([row for _, row in rows[:2]]):
        names = [field.strip() for field in rows.pop(0)[1]]
    chosen = _choose(path, names, columns)
    points = np.empty((len(rows), len(chosen)))
    for j, (line, row) in enumerate(rows):
        for k, i in enumerate(chosen):
            value, where = _number(row[i]), f"{path}: line {line}, column {names[i]!r}"
            if value is None:
                raise InputError(
                    f"{where}: {row[i]!r} is not a number; choose numeric columns with --columns"
                )
            if not math.isfinite(value):
                raise InputError(f"{where} is {value}; {_FINITE}")
            points[j, k] = value
    return points, names, chosen


def _rows(file: Any) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields, split at the first of comma, semicolon, tab that line 1 contains."""
    first = file.readline()
    delimiter = next((c for c in ",;\t" if c in first), None)
    lines = itertools.chain([first], file)
    if delimiter is None:
        yield from enumerate(map(str.split, lines), start=1)
        return
    reader = csv.reader(lines, delimiter=delimiter)
    for row in reader:
        yield reader.line_num, row


def _is_header(rows: list[list[str]]) -> bool:
    """Line 1 names the columns if all of it is text, or some of it where line 2 has numbers."""
    text = [_number(field) is None for field in rows[0]]
    below = [_number(field) is not None for field in rows[-1]]
    return all(text) or any(map(operator.and_, text, below))


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None


def _choose(path: Path, names: list[str], columns: Sequence[str] | None) -> list[int]:
    if columns is None:
        return list(range(len(names)))
    numbered = {str(i + 1): i for i in range(len(names))} | {n: i for i, n in enumerate(names)}
    for column in columns:
        if column not in numbered:
            raise InputError(
                f"{path}: no column {column!r}; there are {', '.join(names[:20])} "
                f"(or 1 to {len(names)})"
            )
    chosen = [numbered[column] for column in columns]
    if len(set(chosen)) != len(chosen):
        raise InputError(f"{path}: a column is chosen twice: {', '.join(columns)}")
    return chosen
