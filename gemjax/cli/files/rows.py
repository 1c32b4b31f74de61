"""Rows of texts, of a text file or of Excel, as columns with their names."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from gemjax.cli.files.boundary import InputError, brief
from gemjax.cli.files.cells import is_missing, real, signs, thousands
from gemjax.cli.files.dialect import Block, trimmed
from gemjax.cli.files.header import has_header
from gemjax.cli.files.sheet import Sheet, counted, heading

_HEAD = 1000  # rows by which the number of fields is recognised
_CELLS = 2**16  # cells by which a header is


def arranged(
    blocks: Iterable[Block],
    header: bool | None,
    decimal: str | None,
    *,
    comment: list[str] | None = None,
    row_names: bool = False,
    line: str = "line",
) -> Sheet:
    """The columns of rows, and what names them: the first row, or a comment above it.

    With `row_names` the first row may lack the name of the first column, as R writes tables. Lines
    are called `line`.
    """
    rest = iter(blocks)
    first = next(rest)
    told = _without_titles(first, decimal, line)
    top, fields = first.lines[0], _first(first, row_names and header is not False, line)
    width, body = len(fields), first.rows[1 : max(3, _CELLS // len(fields))]
    named = has_header(fields, body, decimal) if header is None else header
    headings, where = None, "no header"
    if named:
        headings, where = [heading(field) for field in fields], f"names from {line} {top}"
        if header is None and all(real(field, decimal) is not None for field in fields):
            told.append(f"took {line} {top} for names; take --no-header if it is data")
        del first.lines[0], first.rows[0]
    elif header is None and comment and len(comment) == width and _are_names(comment):
        headings, where = [heading(field) for field in comment], "names from the comment above"
    columns: list[list[str]] = [[] for _ in fields]
    lines: list[int] = []
    for block in itertools.chain([first], rest):
        cells = zip(*_even(block, width, line), strict=True)
        for column, more in zip(columns, cells, strict=False):  # none of a block without rows
            column.extend(more)
        lines += block.lines
    told += _without_ends(columns, lines, headings)
    sign, example = decimal_sign(columns, lines, decimal, line)
    return Sheet(headings, columns, len(lines), where + example, lines, line, sign, told)


def _without_titles(first: Block, decimal: str | None, line: str) -> list[str]:
    """Leaves out lines of one field above a table of several columns; of two, if a text stands
    above names, since else one may be missing."""
    told = []
    filled = [sum(map(bool, map(str.strip, row))) for row in first.rows[: _HEAD + 1]]
    usual = Counter(filled).most_common(1)[0][0]

    def above_names() -> bool:
        title, names, *body = first.rows[: _HEAD + 1]
        is_text = real(title[0], decimal) is None
        return is_text and filled[1] == usual and has_header(names, body, decimal)

    while usual > 1 and filled[0] == 1 and first.rows[0][0].strip():
        if usual == 2 and not above_names():
            break
        told.append(f"left out {line} {first.lines[0]}, a title: {brief(first.rows[0][0], 60)}")
        del first.lines[0], first.rows[0], filled[0]
    return told


def _first(block: Block, row_names: bool, line: str) -> list[str]:
    """The first row, with as many fields as the others have."""
    body = block.rows[1 : _HEAD + 1]
    width = _width(block.rows[0], body)
    fields = trimmed(block.rows[0], width)
    if len(fields) == width - 1 and body:
        if not any(row[-1].strip() for row in body if len(row) == width):
            return [*fields, ""]
        if row_names:
            return ["", *fields]
    if len(fields) != width:
        raise InputError(
            f"{line} {block.lines[0]} has {counted(len(fields), 'field')} where most after it have "
            f"{width}; remove it if it is a title"
        )
    return fields


def _width(first: list[str], body: list[list[str]]) -> int:
    """How many fields the rows have: as many as the first where another has so many too."""
    widths = Counter(map(len, body or [first]))
    return len(first) if len(first) in widths else widths.most_common(1)[0][0]


def _even(block: Block, width: int, line: str) -> list[list[str]]:
    """Rows of equal lengths."""
    if {*map(len, block.rows)} <= {width}:
        return block.rows
    rows = [trimmed(row, width) for row in block.rows]
    for number, row in zip(block.lines, rows, strict=True):
        if len(row) != width:
            raise InputError(
                f"{line} {number} has {counted(len(row), 'field')} where the first has {width}"
            )
    return rows


def _without_ends(
    columns: list[list[str]], lines: list[int], headings: list[str] | None
) -> list[str]:
    """Leaves out what trailing delimiters and cleared cells of Excel leave at the ends."""
    told, blank = [], 0
    while len(columns) > 1 and len(lines) > 1 and not any(c[-1].strip() for c in columns):
        blank += 1
        lines.pop()
        for column in columns:
            column.pop()
    if blank:
        told.append(f"left out {counted(blank, 'empty row')} at the end")
    nameless = headings is None or not headings[-1]
    if len(columns) > 1 and lines and nameless and not "".join(columns[-1]).strip():
        columns.pop()
        if headings:
            headings.pop()
        told.append("left out an empty column at the end, which has no name")
    return told


def _are_names(fields: list[str]) -> bool:
    return all(real(field, ".") is None and not is_missing(field) for field in fields[1:]) and (
        len(fields) > 1 or not is_missing(fields[0])
    )


def decimal_sign(
    columns: Sequence[list[str]], lines: Sequence[int], decimal: str | None, line: str
) -> tuple[str, str]:
    """The decimal sign of a file, and an example of a comma, where it does not part fields."""
    if decimal is not None:
        return decimal, ""
    found: dict[str, tuple[int, str]] = {}
    for column in columns:
        if both := thousands(column):
            (i, point), (j, whole) = ((lines[row], column[row].strip()) for row in both)
            raise InputError(
                f"{line} {i} has {brief(point, 30)} and {line} {j} {brief(whole, 30)} in one "
                "column: write whole numbers without separators of thousands, or take "
                "--decimal '.' if these are decimals"
            )
        for sign, row in zip(".,", signs(column), strict=True):
            if row is not None:
                found.setdefault(sign, (lines[row], column[row].strip()))
    if len(found) == 2:
        (i, point), (j, comma) = found["."], found[","]
        raise InputError(
            f"{line} {i} has decimals with a point ({brief(point, 30)}), {line} {j} with a comma "
            f"({brief(comma, 30)}); say which is right: --decimal '.' or --decimal ','"
        )
    if "," not in found:
        return ".", ""
    comma = brief(found[","][1], 30)
    return ",", f"; decimal comma ({comma} is {comma.replace(',', '.')})"
