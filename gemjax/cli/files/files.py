"""Reading data and writing results. Every file is written beside its place and then moved there."""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gemjax._base.records import Target
from gemjax._points.file_target import FileTarget, from_npy


class InputError(ValueError):
    """Bad input from a user of the command line; the message is one line that says what to do."""


def read_points(path: Path, columns: Sequence[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """Points (N, d), float64, and the names of their columns, from .csv, .csv.gz, .npy or .npz.

    Args:
      path: the file. In a .npz a column choice "name" or "name:2,3" is not needed with one array.
      columns: names, or numbers counted from 1; all columns by default.
    """
    try:
        if path.suffix in (".npy", ".npz"):
            table, names = _read_numpy(path)
            chosen = _choose(path, names, columns)
            points = table[:, chosen]
        else:
            points, names, chosen = _read_csv(path, columns)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if points.shape[0] == 0 or points.shape[1] == 0:
        raise InputError(f"{path}: the file holds no data")
    return points, [names[i] for i in chosen]


def open_file_target(
    path: Path, scale: float, dtype: str, *, centred: bool
) -> tuple[FileTarget, list[str]]:
    """Points that stay in a .npy file, divided by `scale`, and the names of their columns."""
    if path.suffix != ".npy":
        raise InputError(f"{path}: only a .npy file can stay on disk")
    try:
        found = from_npy(path, offset="mean" if centred else None, scale=scale, dtype=dtype)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from None
    return found, [f"x{i + 1}" for i in range(found.shape[1])]


def some_rows(target: Target | FileTarget, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights, float64: all, or of a file about `most`, evenly spread."""
    if isinstance(target, FileTarget):
        points, weights = target.read(slice(None, None, -(-target.shape[0] // most)))
    else:
        points, weights = np.asarray(target.points), np.asarray(target.weights)
    return points.astype(np.float64), weights.astype(np.float64)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def check_points(path: Path, points: np.ndarray, names: Sequence[str]) -> None:
    """No NaN, no infinity and no constant column; the row counts from 1, without the header."""
    bad = np.argwhere(~np.isfinite(points))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{path}: row {row + 1}, column {names[column]!r} is {points[row, column]}; "
            "every value must be finite: drop or fill these rows"
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
    return table.astype(np.float64), [f"x{i + 1}" for i in range(table.shape[1])]


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
    names = [f"x{i + 1}" for i in range(width)]
    if _is_header([row for _, row in rows[:2]]):
        names = [field.strip() for field in rows.pop(0)[1]]
    chosen = _choose(path, names, columns)
    points = np.empty((len(rows), len(chosen)))
    for j, (line, row) in enumerate(rows):
        for k, i in enumerate(chosen):
            try:
                points[j, k] = float(row[i])
            except ValueError:
                raise InputError(
                    f"{path}: line {line}, column {names[i]!r}: {row[i]!r} is not a number; "
                    "choose the numeric columns with --columns"
                ) from None
    bad = np.argwhere(~np.isfinite(points))
    if len(bad):
        (j, k), line = bad[0], rows[bad[0][0]][0]
        raise InputError(
            f"{path}: line {line}, column {names[chosen[k]]!r} is {points[j, k]}; "
            "every value must be finite: drop or fill these rows"
        )
    return points, names, chosen


def _rows(file: Any) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields, split at the first of comma, semicolon, tab that line 1 contains."""
    first = file.readline()
    delimiter = next((c for c in ",;\t" if c in first), None)
    if delimiter is None:
        yield 1, first.split()
        for line, text in enumerate(file, start=2):
            yield line, text.split()
        return
    reader = csv.reader(io.StringIO(first), delimiter=delimiter)
    yield from ((1, row) for row in reader)
    reader = csv.reader(file, delimiter=delimiter)
    for row in reader:
        yield 1 + reader.line_num, row


def _is_header(rows: list[list[str]]) -> bool:
    """Line 1 names the columns if all of it is text, or some of it where line 2 has numbers."""
    text = [not _is_number(field) for field in rows[0]]
    if all(text):
        return True
    return len(rows) > 1 and any(
        t and _is_number(below) for t, below in zip(text, rows[1], strict=True)
    )


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _choose(path: Path, names: list[str], columns: Sequence[str] | None) -> list[int]:
    if columns is None:
        return list(range(len(names)))
    chosen = []
    for column in columns:
        if column in names:
            chosen.append(names.index(column))
        elif column.isdigit() and 1 <= int(column) <= len(names):
            chosen.append(int(column) - 1)
        else:
            raise InputError(
                f"{path}: no column {column!r}; there are {', '.join(names[:20])} "
                f"(or 1 to {len(names)})"
            )
    if len(set(chosen)) != len(chosen):
        raise InputError(f"{path}: a column is chosen twice: {', '.join(columns)}")
    return chosen


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; moved to it, on disk, once the block ends without error."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        # A failed write names no file, or the temporary one.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def jsonable(value: Any) -> float | None:
    """A float for JSON, which has no infinity and no NaN."""
    return float(value) if np.isfinite(value) else None
