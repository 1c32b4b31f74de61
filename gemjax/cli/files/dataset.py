"""A file of data as points: which columns and rows of it are taken, and what is said of that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gemjax.cli.files import binary
from gemjax.cli.files.boundary import InputError, brief, reading
from gemjax.cli.files.columns import Columns, is_constant
from gemjax.cli.files.dialect import check_given
from gemjax.cli.files.sheet import Sheet, counted, of_part
from gemjax.cli.files.table import read_text

_UNREAD = frozenset(
    [".json", ".jsonl", ".pkl", ".pickle", ".mat", ".rds", ".rdata", ".sav", ".dta", ".h5", ".hdf5",
     ".pdf", ".arff", ".orc", ".joblib", ".pt"]
)  # fmt: skip
_PACKED = frozenset([".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz"])


class Table(NamedTuple):
    """What was taken of a file; `told[0]` is how it was read, the others what was decided."""

    points: np.ndarray  # (N, d), float64, finite
    weights: np.ndarray | None  # (N,), float64, none negative, the largest 1
    names: list[str]  # of the columns taken
    rows: np.ndarray  # (N,), the number of each among the file's rows of data, from 0
    lines: Sequence[int] | None  # per point its line, in a text file or a workbook
    num_rows: int  # rows of data in the file
    told: list[str]  # lines in the user's words
    line: str = "row"  # what one of `lines` is called

    def place(self, path: Path, row: int, column: int) -> str:
        """Where a value is, for a message."""
        at = self.rows[row] + 1 if self.lines is None else self.lines[row]
        return f"{path}: {self.line} {at}, column {brief(self.names[column], 60)!r}"


def read_table(
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    weights: str | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    drop_missing: bool = False,
    are_asked_for: bool = True,
) -> Table:
    """Points of a text file, of NumPy's, of Parquet, Feather or Excel.

    `columns`, and the one of `weights`, are names, or numbers from 1; by default those that hold
    numbers and can tell clusters apart. `header`, `delimiter` and `decimal` (of text files) are
    recognised where they are not given. Rows with missing values are dropped if `drop_missing`,
    and else refused. Where columns are not `are_asked_for`, there are no others to choose. Raises
    `InputError` with one line that says what is wrong where.
    """
    delimiter, decimal = check_given(delimiter, decimal)
    try:
        with reading(path):
            sheet = _sheet(path, header, delimiter, decimal)
            if not sheet.num_rows or not sheet.columns:
                raise InputError(f"the file holds no data ({sheet.shape}, {sheet.summary})")
            with of_part(sheet.source):
                return _taken(Columns(sheet, are_asked_for), columns, weights, drop_missing)
    except InputError as error:  # most of what is said here speaks of lines and columns alone
        said = str(error)
        whole = said if said.startswith(f"{path}: ") else f"{path}: {said}"
        raise InputError(whole) from None


def _sheet(path: Path, header: bool | None, delimiter: str | None, decimal: str | None) -> Sheet:
    suffix = path.suffix.lower()
    if suffix in _UNREAD:
        raise InputError(f"{suffix} is not read; save the table as .csv, .npy or .parquet")
    if suffix in _PACKED:
        raise InputError(f"{suffix} is not read; unpack it first, or pack it as .csv.gz")
    if suffix not in (".npy", ".npz", *binary.COLUMNS, *binary.SHEETS):
        return read_text(path, header, delimiter, decimal)
    if delimiter is not None:
        raise InputError(f"--delimiter is for text files, not for {suffix}")
    if suffix in binary.SHEETS:
        return binary.read_excel(path, header, decimal)
    if header is not None:
        raise InputError(f"--header and --no-header are for text files, not for {suffix}")
    if suffix in binary.COLUMNS:
        return binary.read_frame(path, decimal)
    if decimal is not None:
        raise InputError(f"--decimal is for text files, not for {suffix}")
    return binary.read_numpy(path)


def _taken(
    table: Columns, columns: Sequence[str] | None, weights: str | None, drop_missing: bool
) -> Table:
    sheet = table.sheet
    told: list[str] = []
    weighing = None if weights is None else table.chosen([weights])[0]
    if columns is None:
        found, told = table.useful(weighing)
    else:
        found = {i: table.numbers(i) for i in table.chosen(columns)}
    used = dict(found)
    if weighing is not None:
        used[weighing] = table.numbers(weighing)
    gone, lacking = _missing(table, used)
    if lacking and not drop_missing:
        others = ", or choose other columns with --columns" * table.are_asked_for
        rows_ = "this row" if gone.sum() == 1 else "these rows"
        raise InputError(f"{lacking}; drop {rows_} with --drop-missing{others}")
    rows = np.flatnonzero(~gone)
    if not len(rows):
        others = ": choose other columns with --columns" * table.are_asked_for
        raise InputError(f"{lacking}; no row is left{others}")
    if lacking:
        told.append(f"dropped {lacking}")
    if lacking and columns is None:
        for i in [i for i in found if len(rows) > 1 and is_constant(found[i][rows]) is not None]:
            del found[i]
            told.append(f"left out {brief(table.names[i], 60)!r}: constant in the rows left")
        if not found:
            raise InputError(f"{lacking}; without them no column is left that varies")
    points = np.column_stack([values[rows] if lacking else values for values in found.values()])
    lines = sheet.lines
    if lines is not None and lacking:
        lines = [lines[row] for row in rows.tolist()]
    heft = None
    if weighing is not None:
        heft = _weights(table, used[weighing], weighing)[rows]
        if not heft.max() > 0:
            raise InputError(f"the weights in {brief(table.names[weighing], 60)!r} are all zero")
        heft = heft / heft.max()
    if sheet.doubt and columns is None:
        told.append(sheet.doubt)
    names = [table.names[i] for i in found]
    told = [f"{sheet.shape}, {sheet.summary}", *sheet.told, *told]
    return Table(points, heft, names, rows, lines, sheet.num_rows, told, sheet.line)


def _missing(table: Columns, used: dict[int, np.ndarray]) -> tuple[np.ndarray, str]:
    """Which rows lack a value of the columns used, and that in words, "" if none does."""
    gone = np.zeros(table.sheet.num_rows, bool)
    counts = []
    for i, values in used.items():
        missing = np.isnan(values)
        if missing.any():
            gone |= missing
            first = table.place(int(missing.argmax()), i).partition(",")[0]
            where = "first in" if missing.sum() > 1 else "in"
            name = brief(table.names[i], 30)
            counts.append(f"{name!r} {missing.sum():,} ({where} {first})")
    if not counts:
        return gone, ""
    more = f" and {len(counts) - 3} more columns" if len(counts) > 3 else ""
    what = f"{gone.sum():,} of {counted(len(gone), 'row')} with missing values"
    return gone, f"{what}: {', '.join(counts[:3])}{more}"


def _weights(table: Columns, weights: np.ndarray, column: int) -> np.ndarray:
    negative = np.flatnonzero(weights < 0)
    if len(negative):
        row = int(negative[0])
        raise InputError(
            f"{table.place(row, column)}, weight {weights[row]}: weights must be finite and "
            "non-negative"
        )
    return weights
