"""Rows of texts, of a text file or of Excel, as columns with their names."""

from __future__ import annotations

from collections import Counter

from gemjax.cli.files.boundary import InputError, brief
from gemjax.cli.files.cells import is_missing, real, signs
from gemjax.cli.files.dialect import Row, trimmed
from gemjax.cli.files.header import has_header
from gemjax.cli.files.sheet import Sheet, counted, heading, summary

_HEAD = 1000  # rows by which a header is recognised


def arranged(
    rows: list[Row],
    header: bool | None,
    decimal: str | None,
    *,
    comment: list[str] | None = None,
    row_names: bool = False,
    line: str = "line",
) -> Sheet:
    """The columns of rows, and what names them: the first row, or a comment above it.

    With `row_names` the first row may lack the name of the first column, as R writes tables.
    """
    told, num_lines = [], len(rows)
    while len(rows) > 1 and len(rows[-1][1]) > 1 and not any(map(str.strip, rows[-1][1])):
        rows.pop()
    if num_lines > len(rows):
        told.append(f"left out {counted(num_lines - len(rows), 'empty row')} at the end")
    width, trailing = _width([row for _, row in rows])
    if trailing:
        told.append("left out an empty column at the end, which has no name")
    top, fields = rows[0][0], trimmed(rows[0][1], width)
    if row_names and len(fields) == width - 1 and header is not False:
        fields = ["", *fields]
    if len(fields) != width:
        raise InputError(
            f"{line} {top} has {counted(len(fields), 'field')} where most after it have {width}; "
            "remove it if it is a title"
        )
    body = [row for _, row in rows[1 : _HEAD + 1]]
    named = has_header(fields, body, decimal) if header is None else header
    headings, where = None, "no header"
    if named:
        headings, where = [heading(field) for field in fields], f"names from {line} {top}"
        if all(real(field, decimal) is not None for field in fields) and header is None:
            told.append(f"took {line} {top} for names; if it is data, take --no-header")
    elif header is None and comment and len(comment) == width and _are_names(comment):
        headings, where = [heading(field) for field in comment], "names from the comment above"
    rows = rows[named:]
    for number, row in rows:
        if len(trimmed(row, width)) != width:
            raise InputError(f"{line} {number} has {len(row)} fields where the first has {width}")
    columns = [list(column) for column in zip(*(row[:width] for _, row in rows), strict=True)]
    lines = [number for number, _ in rows]
    decimal, example = _decimal(columns, lines, decimal, line)
    what = summary(len(rows), width, where) + example
    columns = columns or [[] for _ in fields]
    return Sheet(headings, columns, len(rows), what, lines, decimal, told)


def _width(rows: list[list[str]]) -> tuple[int, bool]:
    """How many fields a row has, and whether one more at the end is always empty."""
    widths = Counter(map(len, rows[1:] or rows))
    width = len(rows[0]) if len(rows[0]) in widths else widths.most_common(1)[0][0]
    trailing = width > 1 and len(rows[0]) >= width - 1
    trailing = trailing and not any("".join(row[width - 1 :]).strip() for row in rows)
    return width - trailing, trailing


def _are_names(fields: list[str]) -> bool:
    return all(real(field, ".") is None and not is_missing(field) for field in fields[1:]) and (
        len(fields) > 1 or not is_missing(fields[0])
    )


def _decimal(
    columns: list[list[str]], lines: list[int], decimal: str | None, line: str
) -> tuple[str, str]:
    """The decimal sign of a file, and an example of a comma, where it does not part fields."""
    if decimal is not None:
        return decimal, ""
    found: dict[str, tuple[int, str]] = {}
    for column in columns:
        for sign, row in zip(".,", signs(column), strict=True):
            if row is not None:
                found.setdefault(sign, (lines[row], column[row].strip()))
    if len(found) == 2:
        (i, point), (j, comma) = found["."], found[","]
        raise InputError(
            f"{line} {i} has decimals with a point ({brief(point, 30)}), {line} {j} with a comma "
            f"({brief(comma, 30)}); say which is right with --decimal . or --decimal ,"
        )
    if "," not in found:
        return ".", ""
    comma = brief(found[","][1], 30)
    return ",", f"; decimal comma ({comma} is {comma.replace(',', '.')})"
