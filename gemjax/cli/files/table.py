"""CSV as people have it: any delimiter, a header or none, decimals with a point or a comma."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gemjax.cli.files.boundary import InputError
from gemjax.cli.files.cells import parse
from gemjax.cli.files.dialect import ONE, SPACE, Block, Dialect, blocks_of, recognise, rows_of
from gemjax.cli.files.encoding import encoding_of, opened, size_of
from gemjax.cli.files.rows import arranged
from gemjax.cli.files.sheet import Sheet, counted
from gemjax.cli.process.memory import available

_HEAD = 1000  # lines by which a file is recognised, as long as
_MOST = 2**18  # characters hold them
_SEP = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)


def read_text(path: Path, header: bool | None, delimiter: str | None, decimal: str | None) -> Sheet:
    """The table of a text file."""
    size = size_of(path)
    _check_size(size, 2)
    encoding, letters = encoding_of(path)
    with opened(path, encoding) as file:
        before, lines = _preamble(file)
        head = _head(lines)
        more = list(itertools.islice(lines, 1))
        if not head:
            raise InputError("the file is empty")
        dialect = recognise(head, delimiter or before.delimiter, decimal, whole=not more)
        arrange = functools.partial(
            arranged, header=header, decimal=dialect.decimal, comment=_comment(before, dialect),
            row_names=dialect.delimiter in (SPACE, "\t"),
        )  # fmt: skip
        rest = itertools.chain(more, lines)
        sheet = _plain(head, rest, dialect.delimiter, before.lines + 1, arrange)
    if sheet is None:
        _check_size(size, 16)
        with opened(path, encoding) as file:
            table = itertools.islice(file, before.lines, None)
            blocks = blocks_of(table, dialect.delimiter, before.lines + 1, strict=True)
            sheet = arrange(blocks)
    doubt = dialect.doubt if sheet.headings is None else ""
    parted = "" if len(sheet.columns) == 1 else dialect.words
    skipped = "" if not before.comments else counted(before.comments, "line") + " of comment first"
    what = "; ".join(filter(None, [sheet.summary, parted, letters, skipped]))
    return sheet._replace(summary=what, doubt=doubt)


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


def _head(lines: Iterator[str]) -> list[str]:
    head, size = [], 0
    for line in lines:
        head.append(line)
        size += len(line)
        if len(head) == _HEAD or (size > _MOST and len(head) > 1):
            break
    return head


def _comment(before: _Before, dialect: Dialect) -> list[str] | None:
    """The fields of the comment above the table: NumPy and others write headings so."""
    rows = rows_of([before.comment], dialect.delimiter).rows
    return rows[0] if rows else None


def _check_size(size: int, part: int) -> None:
    """As lists of short texts a file takes about 16 times more memory, as numbers no more."""
    if size > available() // part:
        raise InputError("too large to be read as text; save it as .npy, which can stay on disk")


def _plain(
    head: list[str], rest: Iterable[str], delimiter: str, first: int,
    arrange: Callable[[Iterable[Block]], Sheet],
) -> Sheet | None:  # fmt: skip
    """The table where all of it is numbers without quotes, which is far quicker; None else."""
    block = rows_of(head, delimiter, first)
    if '"' in "".join(head) or not block.rows:
        return None
    sheet = arrange([block])
    read = [parse(list(column), sheet.decimal) for column in sheet.columns]
    if not sheet.lines or sheet.told or not all(np.isfinite(cells.values).all() for cells in read):
        return None
    gaps: list[int] = []
    start = sheet.lines[0]

    def filled() -> Iterator[str]:
        lines = itertools.islice(itertools.chain(head, rest), start - first, None)
        for i, line in enumerate(lines, start):
            if line.isspace():
                gaps.append(i)
            elif sheet.decimal != ",":
                yield line
            elif "." in line:
                raise ValueError
            else:
                yield line.replace(",", ".")

    parted = None if delimiter in (ONE, SPACE) else delimiter
    try:
        values = np.loadtxt(filled(), np.float64, comments=None, delimiter=parted, ndmin=2)
    except ValueError:
        return None
    if values.shape[1] != len(read) or not np.isfinite(values).all():
        return None
    lines: Sequence[int] = range(start, start + len(values) + len(gaps))
    if gaps:
        skipped = set(gaps)
        lines = [i for i in lines if i not in skipped]
    return sheet._replace(columns=[*values.T], num_rows=len(values), lines=lines)
