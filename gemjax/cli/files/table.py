"""CSV as people have it: any delimiter, a header or none, decimals with a point or a comma."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from gemjax.cli.files.boundary import InputError
from gemjax.cli.files.cells import real
from gemjax.cli.files.dialect import ONE, SPACE, Dialect, recognise, rows_of
from gemjax.cli.files.encoding import encoding_of, opened
from gemjax.cli.files.header import has_header
from gemjax.cli.files.rows import arranged
from gemjax.cli.files.sheet import Sheet, counted, heading, summary
from gemjax.cli.process.memory import available

_LONGEST = 2**24  # characters of a line
_HEAD = 1000  # lines by which a file is recognised
_SEP = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)


def read_text(path: Path, header: bool | None, delimiter: str | None, decimal: str | None) -> Sheet:
    """The table of a text file."""
    encoding, letters = encoding_of(path)
    try:
        with opened(path, encoding) as file:
            before, lines = _preamble(_lines(file, 2))
            head = list(itertools.islice(lines, _HEAD))
            if not head:
                raise InputError("the file is empty")
            dialect = recognise(head, delimiter or before.delimiter, decimal)
            sheet = _plain(itertools.chain(head, lines), head, dialect, header, before)
        if sheet is None:
            with opened(path, encoding) as file:
                rest = itertools.islice(_lines(file, 16), before.lines, None)
                rows = list(rows_of(rest, dialect.delimiter, before.lines + 1, strict=True))
            sheet = arranged(
                rows, header, dialect.decimal, comment=_comment(before, dialect),
                row_names=dialect.delimiter in (SPACE, "\t"),
            )  # fmt: skip
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    parted = "" if len(sheet.columns) == 1 else dialect.words
    skipped = "" if not before.comments else counted(before.comments, "line") + " of comment first"
    what = "; ".join(filter(None, [sheet.summary, parted, letters, skipped]))
    return sheet._replace(summary=what, doubt=dialect.doubt)


class _Before(NamedTuple):
    """What precedes the table: how many lines, of them comments, the last one, Excel's `sep=`."""

    lines: int = 0
    comments: int = 0
    comment: str = ""
    delimiter: str | None = None


def _preamble(lines: Iterator[str]) -> tuple[_Before, Iterator[str]]:
    before = _Before()
    for line in lines:
        if line.startswith("#"):
            before = before._replace(comments=before.comments + 1, comment=line[1:])
        elif found := _SEP.fullmatch(line):
            before = before._replace(delimiter=found[1])
        elif line.strip():
            return before, itertools.chain([line], lines)
        before = before._replace(lines=before.lines + 1)
    return before, iter(())


def _comment(before: _Before, dialect: Dialect) -> list[str] | None:
    """The fields of the comment above the table: NumPy and others write headings so."""
    rows = list(rows_of([before.comment], dialect.delimiter, 1, strict=False))
    return rows[0][1] if rows else None


def _lines(file: IO[str], part: int) -> Iterator[str]:
    """The lines of a file, as long as one line and all of them fit in memory.

    As lists of short texts they take about 16 times more, as numbers at once no more.
    """
    most, read = available() // part, 0
    while line := file.readline(_LONGEST):
        read += len(line)
        if len(line) == _LONGEST or read > most:
            raise InputError(
                "too large to be read as text (is there a quote that is never closed?); save it as "
                ".npy, which can stay on disk"
            )
        yield line


def _plain(
    lines: Iterable[str], head: Sequence[str], dialect: Dialect, header: bool | None,
    before: _Before,
) -> Sheet | None:  # fmt: skip
    """The table where all of it is plain numbers, which takes a tenth of the time; None else."""
    first = before.lines + 1
    rows = list(rows_of(head, dialect.delimiter, first, strict=False))
    if len(rows) < 2 or '"' in "".join(head) or dialect.decimal == ",":
        return None
    named = has_header(rows[0][1], [r for _, r in rows[1:]], ".") if header is None else header
    told_by_comment = not named and before.comments
    if told_by_comment or (named and header is None and real(rows[0][1][0], ".") is not None):
        return None  # both need a closer look
    width = len(rows[0][1])
    for _, row in rows[named:]:
        if len(row) != width or any(real(cell, ".") is None for cell in row):
            return None
    gaps: list[int] = []
    start = rows[named][0]

    def filled() -> Iterator[str]:
        for i, line in enumerate(itertools.islice(lines, start - first, None), start):
            if line.isspace():
                gaps.append(i)
            else:
                yield line

    delimiter = None if dialect.delimiter in (ONE, SPACE) else dialect.delimiter
    try:
        values = np.loadtxt(filled(), np.float64, comments=None, delimiter=delimiter, ndmin=2)
    except ValueError:
        return None
    if values.shape[1] != width or not np.isfinite(values).all():
        return None
    numbers: Sequence[int] = range(start, start + len(values) + len(gaps))
    if gaps:
        skipped = set(gaps)
        numbers = [i for i in numbers if i not in skipped]
    headings = [heading(cell) for cell in rows[0][1]] if named else None
    what = summary(len(values), width, f"names from line {rows[0][0]}" if named else "no header")
    return Sheet(headings, [*values.T], len(values), what, numbers)
