"""How the lines of a text are a table: what parts its fields, its decimal sign, its header."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gemjax.cli.files.boundary import InputError, shown
from gemjax.cli.files.cells import is_missing, real

ONE = "\x1f"  # in the place of a delimiter where a line is one field
SPACE = " "  # any white space
_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", SPACE: "spaces"}
_GIVEN = {
    "comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "bar": "|", "pipe": "|",
    "space": SPACE,
}  # fmt: skip
_QUOTED = re.compile(r'"((?:[^"]|"")*)"(?=\s|$)|(\S+)')
_WHOLE = re.compile(r"\s*[+-]?(?:0|[1-9][0-9]*)\s*")
_NEITHER, _EITHER, _DECIMALS = range(3)
_BLOCK = 10_000  # rows


class Block(NamedTuple):
    """Some rows, and the number of the first line of each."""

    lines: list[int]
    rows: list[list[str]]


class Dialect(NamedTuple):
    """How a text is read."""

    delimiter: str
    decimal: str | None  # "." or ","; None: either
    doubt: str = ""

    @property
    def words(self) -> str:
        return f"parted by {_WORDS.get(self.delimiter, shown(self.delimiter))}"


def check_given(delimiter: str | None, decimal: str | None) -> tuple[str | None, str | None]:
    """The delimiter and the decimal sign that a user asks for."""
    if delimiter is not None:
        delimiter = _GIVEN.get(delimiter.lower(), delimiter)
        if len(delimiter) != 1 or delimiter in '"\r\n.' or delimiter.isalnum():
            raise InputError(
                f"--delimiter must be one of , ; | tab space or another character, got "
                f"{shown(delimiter)}"
            )
    if decimal not in (None, ".", ","):
        raise InputError(f'--decimal must be "." or ",", got {shown(decimal)}')
    if delimiter == "," == decimal:
        raise InputError("--decimal ',' cannot be where --delimiter is a comma too")
    return delimiter, decimal


def blocks_of(lines: Iterable[str], delimiter: str, first: int, *, strict: bool) -> Iterator[Block]:
    """The rows of lines, without those that are blank; `first` is the number of the first line.

    In blocks, of which only the fields are kept: a million rows as lists would busy the collector.
    """
    block = Block([], [])
    for start, row in _rows(lines, delimiter, first, strict):
        if len(row) > 1 or (row and (not row[0] or row[0].strip())):
            block.lines.append(start)
            block.rows.append(row)
            if len(block.rows) == _BLOCK:
                yield block
                block = Block([], [])
    if block.rows:
        yield block


def rows_of(lines: Iterable[str], delimiter: str, first: int = 1) -> Block:
    """The rows of few lines, as well as they can be read."""
    blocks = [*blocks_of(lines, delimiter, first, strict=False), Block([], [])]
    return blocks[0]


def _rows(
    lines: Iterable[str], delimiter: str, first: int, strict: bool
) -> Iterator[tuple[int, list[str]]]:
    if delimiter == SPACE:
        for i, line in enumerate(lines, start=first):
            yield i, _words(line) if '"' in line else line.split()
        return
    reader, start = csv.reader(lines, delimiter=delimiter, strict=strict), first
    try:
        for row in reader:
            yield start, row
            start = first + reader.line_num
    except csv.Error as error:
        said = "a quote is never closed"
        if "expected after" in str(error):
            said = "a quote is closed before the end of its field, or never"
        raise InputError(f"line {start}: {said}") from None


def _words(line: str) -> list[str]:
    """What white space parts, where quotes may hold some."""
    return [quoted.replace('""', '"') or word for quoted, word in _QUOTED.findall(line)]


def trimmed(row: list[str], width: int) -> list[str]:
    """A row without the empty fields that it has more than others, as trailing delimiters make."""
    return row[:width] if len(row) > width and not any(map(str.strip, row[width:])) else row


def recognise(
    lines: Sequence[str], delimiter: str | None, decimal: str | None, *, whole: bool
) -> Dialect:
    """The dialect that fits the first lines, `whole` if all; what is given is not asked for."""
    if delimiter is not None:
        fitting = None
        if not any(map(str.isspace if delimiter == SPACE else delimiter.__eq__, "".join(lines))):
            fitting = recognise(lines, None, decimal, whole=whole)
        if fitting is not None and fitting.delimiter != ONE:
            raise InputError(
                f"its first lines have no {shown(delimiter)} and are {fitting.words}; leave "
                "--delimiter out"
            )
        return Dialect(delimiter, decimal or ("." if delimiter == "," else None))
    quoted = decimal != "," or '"' in "".join(lines)  # decimals in quotes may be parted by commas
    candidates = [c for c in "\t;,|" if c != "," or quoted] + [SPACE]
    tables = {c: rows_of(lines, c).rows for c in candidates}
    if not whole:  # the last may go on
        tables = {c: rows[:-1] for c, rows in tables.items()}
    fits = {c: _share(rows, c, decimal) for c, rows in tables.items() if _fits(rows, c)}
    best = max(fits, key=lambda c: fits[c], default=None)
    if best is None:  # the first that most lines have
        there = {c: _most_have(rows) for c, rows in tables.items() if c != SPACE}
        best = max(there, key=lambda c: there[c])
        best = best if there[best] > 0.5 else ONE
    rows = tables.get(",", [])
    if best == "," and len(rows[0]) == 1 and _are_decimals(rows[1:]):
        best = ONE
    if best != ",":
        return Dialect(best, decimal)
    told = _halves(rows) if decimal is None else _NEITHER
    pairs = max(map(len, rows)) == 2
    if told == _DECIMALS and pairs:
        return Dialect(ONE, None)
    if told == _DECIMALS:
        raise InputError(
            "line 1 looks like decimals with a comma that are parted by commas too; write them "
            "with a point, or give the columns names in line 1"
        )
    what = f"read as {len(rows[0])} columns of whole numbers"
    more = "take --decimal ','" if pairs else "write them with a point"
    doubt = f"{what}; if these are decimals with a comma, {more}" if told == _EITHER else ""
    return Dialect(",", decimal or ".", doubt)


def _fits(rows: list[list[str]], delimiter: str) -> bool:
    """Whether all rows have as many fields; the header may lack the one of the rows' names."""
    if not rows:
        return False
    body = rows[1:] or rows
    width = min(map(len, body))
    even = width > 1 and all(len(trimmed(row, width)) == width for row in body)
    names = len(trimmed(rows[0], width)), len(trimmed(rows[0], width - 1))
    header = names[0] == width or (not any(row[-1].strip() for row in body) and width - 1 in names)
    return even and (header or (names[0] == width - 1 and delimiter in (SPACE, "\t")))


def _share(rows: list[list[str]], delimiter: str, decimal: str | None) -> float:
    """Of cells below the first row, how many are numbers."""
    sign = decimal or ("." if delimiter == "," else None)
    cells = [cell for row in rows[1:] or rows for cell in row if cell.strip()]
    return sum(is_missing(c) or real(c, sign) is not None for c in cells) / max(1, len(cells))


def _most_have(rows: list[list[str]]) -> float:
    """The share of rows that have as many fields as most, 0 if most have one."""
    if not rows:
        return 0.0
    width, times = Counter(map(len, rows)).most_common(1)[0]
    return times / len(rows) if width > 1 else 0.51 * (len(rows[0]) > 1)


def _are_decimals(rows: list[list[str]]) -> bool:
    """Whether lines below a heading are numbers with a decimal comma, each as a whole."""
    lines = (",".join(row) for row in rows)
    return all(is_missing(line) or real(line, ",") is not None for line in lines)


def _halves(rows: list[list[str]]) -> int:
    """Whether fields parted by commas are numbers' whole parts and their decimals in turn.

    A zero before other decimals tells: nobody writes whole numbers so, at least not every other. A
    number without decimals beside others with some tells nothing.
    """
    told, width = _EITHER, max(map(len, rows), default=0)
    for row in rows:
        if len(row) != width and len(row) != 1:
            return _NEITHER
        if (len(row) % 2 and width != 2) or not all(map(_WHOLE.fullmatch, row[::2])):
            return _NEITHER
        if not all(field.isascii() and field.isdigit() for field in row[1::2]):
            return _NEITHER
        if any(field.startswith("0") and len(field) > 1 for field in row[1::2]):
            told = _DECIMALS
    return told if rows and width > 1 else _NEITHER
