"""Whether the first row of a table names its columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gemjax.cli.files.cells import is_missing, real


def has_header(first: list[str], body: Sequence[list[str]], decimal: str | None) -> bool:
    """Whether the first row names the columns, by what stands below it."""
    values = [real(cell, decimal) for cell in first]
    below = [_column(body, i, decimal) for i in range(len(first))]
    numbers = [i for i, value in enumerate(values) if value is not None and below[i]]
    texts = [i for i, cell in enumerate(first) if values[i] is None and not is_missing(cell)]
    if _counts_up([values[i] for i in numbers], [below[i] for i in numbers]):
        return all(i in numbers or i in texts or not first[i].strip() for i in range(len(first)))
    if not texts:
        return False
    over = [i for i in texts if below[i]]
    if over:  # a text over numbers; beside other numbers it may be a mistyped one
        plain = not any(re.match(r"\s*[+-]?[.,]?[0-9]", first[i]) for i in over)
        return not numbers or (plain and all(values[i] == int(values[i] or 0) for i in numbers))
    return not any(value is not None for value in values) and not any(
        is_missing(cell) and cell.strip() for cell in first
    )


def _column(body: Sequence[list[str]], i: int, decimal: str | None) -> list[float]:
    """The numbers of a column, none if most of its cells are others."""
    cells = [row[i] for row in body if i < len(row) and not is_missing(row[i])]
    found = [value for cell in cells if (value := real(cell, decimal)) is not None]
    return found if 2 * len(found) > len(cells) else []


def _counts_up(values: Sequence[float | None], below: Sequence[list[float]]) -> bool:
    """Whether numbers are headings: years above what is none, or 0, 1, ... above decimals."""
    if len(values) < 2 or any(v is None or v != v or abs(v) > 1e6 or v % 1 for v in values):
        return False
    first, second, *_ = (int(v or 0) for v in values)
    step = second - first
    if step < 1 or any(v != first + i * step for i, v in enumerate(values)):
        return False
    years = range(1900, 2101)
    if first in years and first + step * (len(values) - 1) in years:
        return not any(v in years for column in below for v in column)
    return first in (0, 1) and step == 1 and all(any(v % 1 for v in column) for column in below)
