"""CSV as people have it: any delimiter, a header or none, decimals with a point or a comma."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import operator
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from gemjax.cli.files import number
from gemjax.cli.files.boundary import FINITE, InputError, brief, check_unpacked, reading
from gemjax.cli.process.memory import available

_LONGEST = 2**24  # characters of a line
_HEAD = 1000  # lines that are looked at for a doubt
_NEITHER, _EITHER, _DECIMALS = range(3)
_WHOLE = re.compile(r"\s*[+-]?(?:0|[1-9][0-9]*)")
_DECIMAL_COMMA = re.compile(r"\s*[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?\s*")


def column_names(d: int) -> list[str]:
    """Of columns that have no names of their own."""
    return [f"x{i + 1}" for i in range(d)]


def read_csv(
    path: Path, choose: Callable[[list[str]], list[int]]
) -> tuple[np.ndarray, list[str], list[int], list[int]]:
    """Numbers of the columns that `choose` picks from the names of all, these, and the lines."""
    if path.suffix == ".gz":
        check_unpacked(path, _unpacked(path))
    with _opened(path) as file:
        lines = _lines(path, file)
        head = list(itertools.islice(lines, 2))
        delimiter = _delimiter(head)
        rows = list(_rows(path, itertools.chain(head, lines), delimiter))
    if not rows:
        raise InputError(f"{path}: the file is empty")
    if delimiter == "," and _halves([row for _, row in rows]) == _DECIMALS:
        raise InputError(
            f"{path}: line {rows[0][0]} looks like decimals with a comma; write them with a point, "
            "or give the columns names in line 1"
        )
    width, commas = len(rows[0][1]), delimiter != ","
    for line, row in rows:
        if len(row) != width:
            raise InputError(
                f"{path}: line {line} has {len(row)} fields where the first has {width}"
            )
    names = column_names(width)
    if _is_header([row for _, row in rows[:2]], commas):
        names = [field.strip() for field in rows.pop(0)[1]]
    chosen = choose(names)
    points = np.empty((len(rows), len(chosen)))
    for j, (line, row) in enumerate(rows):
        for k, i in enumerate(chosen):
            value = _number(row[i], commas)
            if value is None or not math.isfinite(value):
                where = f"{path}: line {line}, column {brief(names[i], 60)!r}"
                if value is not None:
                    raise InputError(f"{where} is {value}; {FINITE}")
                advice = "choose numeric columns with --columns"
                if _DECIMAL_COMMA.fullmatch(row[i]):
                    advice = "write decimals with a point, or separate columns by semicolons"
                raise InputError(f"{where}: {brief(row[i], 60)!r} is not a number; {advice}")
            points[j, k] = value
    return points, names, chosen, [line for line, _ in rows]


def doubt(path: Path) -> str:
    """What a user should be told of a file that may be read otherwise than it was meant."""
    if path.suffix in (".npy", ".npz"):
        return ""
    with reading(path), _opened(path) as file:
        head = list(itertools.islice(_lines(path, file), _HEAD))
        if _delimiter(head[:2]) != ",":
            return ""
        rows = [row for _, row in _rows(path, iter(head), ",")]
    if _halves(rows) != _EITHER:
        return ""
    return (
        f"{path}: read as {len(rows[0])} columns of whole numbers; if these are decimals with a "
        "comma, write them with a point"
    )


def _halves(rows: list[list[str]]) -> int:
    """Whether fields parted by commas are numbers' whole parts and their decimals in turn.

    A zero before other decimals tells: nobody writes whole numbers so, at least not every other.
    """
    told = _EITHER
    for row in rows:
        if len(row) % 2 or not all(map(_WHOLE.fullmatch, row[::2])):
            return _NEITHER
        if not all(field.isascii() and field.isdigit() for field in row[1::2]):
            return _NEITHER
        if any(field.startswith("0") and len(field) > 1 for field in row[1::2]):
            told = _DECIMALS
    return told if rows else _NEITHER


def _opened(path: Path) -> IO[str]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def _unpacked(path: Path) -> Iterator[int]:
    """Sizes of the parts that a packed file is unpacked in: far quicker than to read its lines."""
    with gzip.open(path, "rb") as file:
        while chunk := file.read(2**20):
            yield len(chunk)


def _lines(path: Path, file: Any) -> Iterator[str]:
    """The lines of a file, as long as one line and all of them fit in memory."""
    most = available() // 16  # as lists of short texts they take about so many times more
    read = 0
    while line := file.readline(_LONGEST):
        read += len(line)
        if len(line) == _LONGEST or read > most:
            raise InputError(
                f"{path}: too large to be read as text; save it as .npy, which can stay on disk"
            )
        yield line


def _delimiter(head: list[str]) -> str | None:
    """Of semicolon, tab, comma the first that is equally often in both lines, or that is there."""
    plain = [re.sub('"[^"]*"', "", line) for line in head]
    there = [c for c in ";\t," if plain and c in plain[0]]
    both = [c for c in there if plain[0].count(c) == plain[-1].count(c)]
    return next(iter(both + there), None)


def _rows(
    path: Path, lines: Iterator[str], delimiter: str | None
) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields of the lines that have some, split at spaces without a delimiter."""
    if delimiter is None:
        yield from ((i, line.split()) for i, line in enumerate(lines, start=1) if line.strip())
        return
    reader, line = csv.reader(lines, delimiter=delimiter), 0
    try:
        for row in reader:
            line = reader.line_num
            if row:
                yield line, row
    except csv.Error as error:
        raise InputError(
            f"{path}: line {line + 1}: {error}; is there a quote that is never closed?"
        ) from None


def _is_header(rows: list[list[str]], commas: bool) -> bool:
    """Line 1 names the columns if all of it is text, or some of it where line 2 has numbers."""
    text = [_number(field, commas) is None for field in rows[0]]
    below = [_number(field, commas) is not None for field in rows[-1]]
    return all(text) or any(map(operator.and_, text, below))


def _number(field: str, commas: bool) -> float | None:
    """A number as CSV files have it, with a decimal comma where commas do not part fields."""
    is_decimal = commas and _DECIMAL_COMMA.fullmatch(field)
    return number.real(field.replace(",", ".") if is_decimal else field)
