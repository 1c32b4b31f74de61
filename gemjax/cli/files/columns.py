"""Which columns of a table are taken: those asked for, or all numbers that can tell clusters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from gemjax.cli.files.boundary import FINITE, InputError, brief
from gemjax.cli.files.cells import advice, described, is_amount, parse
from gemjax.cli.files.sheet import Sheet

_INDEX = frozenset(
    ["id", "index", "row", "rows", "row_id", "rowid", "row id", "rownames", "row.names", "no",
     "no.", "nr", "nr.", "number", "#", "idx", "obs", "observation", "unnamed: 0", "lfd. nr."]
)  # fmt: skip
# id, customer_id, Patient ID, rowId; not grid
_IDENTIFIER = re.compile(r"(?:^|[\W_])(?:[iI][dD]|idx|IDX)$|[a-z](?:Id|ID)$")
_NUMBER = re.compile(r"(?:^|[\W_])(?:no|nr|number|phone|tel)\.?$|[a-z]nr$", re.IGNORECASE)
# timestamp, unix_time; not duration
_CLOCK = re.compile(r"(?:^|[\W_])(?:timestamp|datetime|epoch|unix[\W_]?time)$", re.IGNORECASE)
_TIME = frozenset(["year", "years", "time", "t", "day", "days", "month", "date", "x"])
_CLASSES = frozenset(
    ["label", "labels", "class", "classes", "cluster", "clusters", "group", "groups", "category",
     "target", "species", "type", "truth"]
)  # fmt: skip
_FEW = 10  # rows that a column without a name may number by chance
_MOST = 12  # columns of which one by one is said why they are left out


class Columns:
    """The columns of a sheet as numbers."""

    def __init__(self, sheet: Sheet, are_asked_for: bool) -> None:
        self.sheet, self.names, self.are_asked_for = sheet, sheet.names, are_asked_for

    def place(self, row: int, column: int) -> str:
        """Where a value is, for a message."""
        lines = self.sheet.lines
        at = row + 1 if lines is None else lines[row]
        return f"{self.sheet.line} {at}, column {brief(self.names[column], 60)!r}"

    def chosen(self, columns: Sequence[str]) -> list[int]:
        """Their places, by names or by numbers from 1."""
        names, headings = self.names, self.sheet.headings or self.names
        times = Counter(headings)
        places = {str(i + 1): i for i in range(len(names))} | {n: i for i, n in enumerate(names)}
        for column in columns:
            if times[column] > 1:
                where = [str(i + 1) for i, name in enumerate(headings) if name == column]
                what = f"give their numbers, {brief(' or '.join(where), 60)}"
                what = what if self.are_asked_for else "rename those that were not fitted"
                raise InputError(f"{len(where)} columns are called {brief(column, 60)!r}; {what}")
            if column not in places:
                known = brief(", ".join(brief(name, 30) for name in names[:20]), 120)
                parts = [i for i, n in enumerate(names, start=1) if "," in n and column in n]
                more = f"; give one with a comma by its number, {parts[0]}" if parts else ""
                numbers = f" (or 1 to {len(names)}){more}" if self.are_asked_for else ""
                if not self.are_asked_for and self.sheet.headings is None:
                    numbers = "; write the names of the fit's columns into its first line"
                raise InputError(f"no column {brief(column, 60)!r}; there are {known}{numbers}")
        found = [places[column] for column in columns]
        if len(set(found)) != len(found):
            raise InputError(f"a column is chosen twice: {brief(', '.join(columns), 80)}")
        return found

    def numbers(self, column: int) -> np.ndarray:
        """A column that must be numbers, NaN where one is missing."""
        values, reason = self._read(column, must=True)
        assert values is not None, reason
        return values

    def _read(self, i: int, must: bool) -> tuple[np.ndarray | None, str]:
        """A column as numbers, or what else it is.

        A few texts among numbers are refused: a slip of the pen must not make a column vanish.
        """
        column, decimal = self.sheet.columns[i], self.sheet.decimal
        if isinstance(column, np.ndarray):
            values = column
        else:
            values, texts = parse(column, decimal)
            if len(texts):
                num_numbers, cells = int((~np.isnan(values)).sum()), set(column)
                if must or len(texts) <= num_numbers or is_amount(cells, decimal):
                    cell, twice = column[texts[0]], ""
                    others = ", or choose columns of numbers with --columns" * self.are_asked_for
                    first = not texts[0] and len(texts) == 1 and self.sheet.headings
                    if first and not any(map(str.isdigit, cell)):
                        twice = " (is it a second line of names? then remove it)"
                    raise InputError(
                        f"{self.place(texts[0], i)}: {brief(cell.strip(), 60)!r} is not a number"
                        f"{twice}; {advice(cell, decimal)}{others}"
                    )
                return None, described(cells, num_numbers)
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            row = infinite[0]
            cell = "" if isinstance(column, np.ndarray) else column[row].strip()
            if any(c.isdigit() for c in cell):
                raise InputError(
                    f"{self.place(row, i)}: {brief(cell, 60)} is too large, above 1.8e308; rescale "
                    "the data or drop this row"
                )
            raise InputError(f"{self.place(row, i)} is {values[row]}; {FINITE}")
        if not must and len(values) and np.isnan(values).all():
            return None, "empty"
        return values, ""

    def useful(self, besides: int | None) -> tuple[dict[int, np.ndarray], list[str]]:
        """All columns of numbers but those that tell no clusters, and why others are left out."""
        found: dict[int, np.ndarray] = {}
        left: dict[int, str] = {}
        for i in range(len(self.names)):
            if i == besides:
                continue
            values, reason = self._read(i, must=False)
            if values is None:
                left[i] = reason
            elif len(values) > 1 and (constant := is_constant(values)) is not None:
                left[i] = f"constant ({constant:g})"
            else:
                found[i] = values
        first = next((i for i in range(len(self.names)) if left.get(i) != "empty"), 0)
        for i in list(found):
            reason = self._no_measure(i, found[i], i == first)
            if reason and len(found) > 1:
                left[i] = reason
                del found[i]
        if not found:
            what = ", ".join(f"{brief(self.names[i], 30)!r} is {left[i]}" for i in sorted(left))
            if not what:
                raise InputError("only the weights' column is left")
            raise InputError(f"no column of numbers to fit: {brief(what, 160)}")
        return found, self._told(left)

    def _no_measure(self, i: int, values: np.ndarray, is_first: bool) -> str:
        """What a column, the first one or not, is by its values and its name if it is an index, a
        clock or a list of classes."""
        headings, N = self.sheet.headings, len(values)
        if headings is None:  # an array has no index unasked
            is_index = (
                is_first and self.sheet.lines is not None and N >= _FEW and values[0] in (0, 1)
            )
        else:
            name = headings[i].lower()
            first = is_first and N >= _FEW and name not in _TIME
            is_index = name in _INDEX or first or (is_first and not name)
        if is_index and np.array_equal(values, values[0] + np.arange(N)):
            return f"numbers the rows, {values[0]:.0f} to {values[-1]:.0f}"
        if headings is not None and not (values % 1).any():
            is_each = N >= _FEW and len(np.unique(values)) == N
            if _IDENTIFIER.search(headings[i]) or (_NUMBER.search(headings[i]) and is_each):
                return "whole numbers, by its name identifiers and no measurements"
            if _CLOCK.search(headings[i]):
                return "whole numbers, by its name times and no measurements"
        if headings is not None and headings[i].lower() in _CLASSES and not (values % 1).any():
            classes = np.unique(values[~np.isnan(values)])
            if 2 * len(classes) <= N:
                return f"{len(classes):,} whole numbers, by its name classes and no measurements"
        return ""

    def _told(self, left: dict[int, str]) -> list[str]:
        told = [f"left out {brief(self.names[i], 60)!r}: {left[i]}" for i in sorted(left)]
        headings = self.sheet.headings or self.names
        for i, (name, heading) in enumerate(zip(self.names, headings, strict=True), start=1):
            if heading and name != heading:
                told.append(f"column {i} is called {brief(name, 60)!r}: its name is there before")
        if len(told) > _MOST:
            told = [*told[: _MOST - 1], f"left out {len(told) - _MOST + 1:,} more columns as well"]
        return told


def is_constant(values: np.ndarray) -> float | None:
    """The only value there is, None if there are several, or none."""
    first = values[:_FEW][~np.isnan(values[:_FEW])]
    if len(first) and (first != first[0]).any():
        return None
    there = values[~np.isnan(values)]
    return float(there[0]) if len(there) and (there == there[0]).all() else None
