"""A table as a file holds it, before anything is decided about its columns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gemjax.cli.files.boundary import InputError


class Sheet(NamedTuple):
    """Columns of numbers (float64, NaN where there is none) or of texts, and what names them."""

    headings: list[str] | None  # as they are written, "" where one is empty; None without a header
    columns: Sequence[np.ndarray | list[str]]
    num_rows: int
    summary: str  # how that was read
    lines: Sequence[int] | None = None  # per row its line, where the file has lines
    line: str = "row"  # what one is called
    decimal: str | None = "."  # in texts: ".", "," or, of None, whichever is there
    told: Sequence[str] = ()  # what was decided on the way
    source: str = ""  # which part of the file it is, where that is a question
    doubt: str = ""  # where it may be meant otherwise, unless columns are chosen

    @property
    def shape(self) -> str:
        """Its size in words."""
        rows, columns = counted(self.num_rows, "row"), counted(len(self.columns), "column")
        return f"{rows} of {columns}"

    @property
    def names(self) -> list[str]:
        """One of its own for each column, on one line, without what cannot be printed."""
        if self.headings is None:
            return column_names(len(self.columns))
        names: dict[str, None] = {}
        taken = set(self.headings)
        for i, heading in enumerate(self.headings, start=1):
            name = heading or f"column {i}"
            while name in names or (name != heading and name in taken):
                name = f"{name}.{i}"
            names[name] = None
        return [*names]


@contextlib.contextmanager
def of_part(source: str) -> Iterator[None]:
    """Says of what is wrong in which part of a file it is, if that is a question."""
    try:
        yield
    except InputError as error:
        first = f"only {source}, is read; put the table's first: " if source else ""
        raise InputError(f"{first}{error}") from None


def column_names(d: int) -> list[str]:
    """Of columns that have no names of their own."""
    return [f"x{i + 1}" for i in range(d)]


def heading(text: str) -> str:
    """What names a column, on one line, what cannot be printed escaped."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def counted(number: int, what: str) -> str:
    """1 row, 2 rows."""
    return f"{number:,} {what}{'s' * (number != 1)}"
