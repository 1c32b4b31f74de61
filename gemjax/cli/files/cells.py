"""What a cell of a table is: a number, a missing value, or a text, and what to do about that."""

from __future__ import annotations

import contextlib
import re
from typing import NamedTuple

import numpy as np

from gemjax.cli.files import number

_MISSING = frozenset(["", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?", "-"])
_USUAL = frozenset(way(text) for text in _MISSING for way in (str, str.upper, str.title)) | {"NaN"}
_COMMA = re.compile(r"\s*[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?\s*")
_THOUSANDS = re.compile(
    r"\s*[+-]?[0-9]{1,3}(?:(,[0-9]{3})+(\.[0-9]*)?|(\.[0-9]{3})+,[0-9]*|(\.[0-9]{3}){2,}"
    r"|([ '\u2019\u00a0\u202f][0-9]{3})+([.,][0-9]*)?)\s*"
)
_THREE = re.compile(r"\s*[+-]?[1-9][0-9]{0,2}\.[0-9]{3}\s*")
_WHOLE = re.compile(r"\s*[+-]?(?:0|[1-9][0-9]*)\s*")
_AMOUNT = r"[+-]?(?:[0-9]+(?:[.,][0-9]+)*|[.,][0-9]+)"
_UNIT = re.compile(
    rf"\s*(?:{_AMOUNT}\s*([^\W\d_][\w²³/%°.]{{0,9}}|[%°‰€$£¥])|([€$£¥])\s*{_AMOUNT})\s*"
)
_ODD = re.compile(r"\s*(?:[\u2212\u2013][0-9.,]+|[+-]?[0-9]*\.[0-9]*[dD][+-]?[0-9]+)\s*")
_DATE = re.compile(
    r"\s*(?:[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}([T ].*)?|[0-9]{1,2}([-/.])[0-9]{1,2}\2[0-9]{2,4}"
    r"( .*)?|[0-9]{1,2}:[0-9]{2}(:[0-9.]+)?)\s*",
    re.IGNORECASE,
)


class Cells(NamedTuple):
    """A column of texts, read."""

    values: np.ndarray  # float64, NaN where a cell is missing or a text
    texts: np.ndarray  # which cells are texts, in order


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return cell.strip().lower() in _MISSING


def real(cell: str, decimal: str | None) -> float | None:
    """A number with that decimal sign, either one of None; NaN is no number but a missing value."""
    if decimal != "." and _COMMA.fullmatch(cell):
        return number.real(cell.replace(",", "."))
    found = None if decimal == "," and "." in cell else number.real(cell)
    return None if found is None or found != found else found


def parse(column: list[str], decimal: str | None) -> Cells:
    """A column as numbers: all at once where they are plain, and else each different cell."""
    whole = "".join(column)
    if whole.isascii() and "_" not in whole and not (decimal == "," and "." in whole):
        commas = decimal != "." and "," in whole and "." not in whole
        plain = [cell.replace(",", ".") for cell in column] if commas else column
        for missing in (frozenset(), _USUAL):
            with contextlib.suppress(ValueError):
                values = [float("nan" if cell in missing else cell) for cell in plain]
                return Cells(np.array(values), np.empty(0, np.int64))
    known: dict[str, float | None] = {}
    texts = set()
    for cell in set(column):
        known[cell] = real(cell, decimal)
        if known[cell] is None and not is_missing(cell):
            texts.add(cell)
    found = [known[cell] for cell in column]
    where = [i for i, cell in enumerate(column) if cell in texts] if texts else []
    return Cells(np.array(found, np.float64), np.array(where, np.int64))  # of None it makes NaN


def signs(column: list[str]) -> tuple[int | None, int | None]:
    """The first cells whose decimals have a point, and a comma, None where there are none."""
    whole = "".join(column)
    found: list[int | None] = []
    for sign in ".,":
        there = (
            i for i, cell in enumerate(column) if sign in cell and real(cell, None) is not None
        )
        found.append(next(there, None) if sign in whole else None)
    return found[0], found[1]


def thousands(column: list[str]) -> tuple[int, int] | None:
    """Two cells, one with a point and one without, where points may part thousands: three digits
    after each of them, and no whole number of four digits or more without one."""
    points = [i for i, cell in enumerate(column) if "." in cell]
    if not points or not all(_THREE.fullmatch(column[i]) for i in points):
        return None
    whole = [i for i, cell in enumerate(column) if _WHOLE.fullmatch(cell)]
    if not whole or any(len(column[i].strip().lstrip("+-")) > 3 for i in whole):
        return None
    return points[0], whole[0]


def advice(cell: str, decimal: str | None) -> str:
    """What to do about a text where numbers are."""
    what = "correct it"
    if _THOUSANDS.fullmatch(cell) or (decimal == "," and _THREE.fullmatch(cell)):
        what = "write numbers without separators of thousands"
        what += ", take --decimal ',' if these are decimals" * bool(_COMMA.fullmatch(cell))
    elif _COMMA.fullmatch(cell):
        what = "write decimals with a point, take --decimal ','"
    elif "_" in cell and number.real(cell.replace("_", "")) is not None:
        what = "write numbers without underscores"
    elif decimal == "," and number.real(cell) is not None:
        what = "write decimals with a comma, as --decimal ',' says"
    elif _ODD.fullmatch(cell):
        what = "write numbers as -1.5e-3, with a hyphen and e"
    elif _UNIT.fullmatch(cell):
        what = "write numbers without units"
    return what


def is_amount(cells: set[str], decimal: str | None) -> bool:
    """Whether texts are numbers after all, with one unit or in a way that is not read.

    `cells` are the different ones of a column.
    """
    shapes, units = 0, set()
    for cell in cells:
        forms = (_THOUSANDS, _COMMA, _ODD, *[_THREE] * (decimal == ","))
        if any(form.fullmatch(cell) for form in forms):
            shapes += 1
        elif (found := _UNIT.fullmatch(cell)) and not _DATE.fullmatch(cell):
            units.add(found[1] or found[2])
        elif real(cell, decimal) is None and not is_missing(cell):
            return False
    return bool(shapes) if not units else len(units) == 1 and len(cells) > 2


def described(cells: set[str], num_numbers: int) -> str:
    """What a column is that is left out: of its different cells, and how many are numbers."""
    texts = {cell.strip().lower() for cell in cells if not is_missing(cell)}
    if texts <= {"true", "false"}:
        return "True/False"
    if all(map(_DATE.fullmatch, texts)):
        return "dates or times"
    some = f", some of them numbers ({num_numbers:,})" if num_numbers else ""
    return f"text, {len(texts):,} value{'s' * (len(texts) != 1)}{some}"
