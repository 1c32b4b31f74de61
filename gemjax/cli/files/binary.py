"""Tables that are no text: NumPy's files, and through pandas Parquet, Feather and Excel."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from gemjax.cli.files.boundary import InputError, brief, check_unpacked
from gemjax.cli.files.dialect import Block
from gemjax.cli.files.rows import arranged, decimal_sign
from gemjax.cli.files.sheet import Sheet, heading, of_part
from gemjax.cli.process.memory import available

COLUMNS = {".parquet": "pyarrow", ".pq": "pyarrow", ".feather": "pyarrow"}  # by what they are read
SHEETS = {".xlsx": "openpyxl", ".xlsm": "openpyxl", ".xls": "xlrd", ".ods": "odf"}
_PACKAGES = {"odf": "odfpy"}


def load(file: Any, path: Path, mmap_mode: Any = None) -> Any:
    """What NumPy finds in a file."""
    try:
        return np.load(file, mmap_mode, allow_pickle=False)
    except ValueError:  # whose text recommends pickles
        raise InputError(f"{path}: not a NumPy file of numbers, or damaged") from None


def read_numpy(path: Path) -> Sheet:
    """The table of a .npy file, or of a .npz file with one."""
    more = ""
    with open(path, "rb") as file:
        loaded = load(file, path)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            sizes = [entry.file_size for entry in loaded.zip.infolist()]  # type: ignore
            check_unpacked(path, sizes)
            if sum(sizes) > available():
                raise MemoryError
            name, loaded = _the_table(path, {name: loaded[name] for name in loaded.files})
            more = f"; its array {brief(name, 60)!r}" * bool(name)
    table = np.asarray(loaded)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or table.dtype.kind not in "fiub":
        raise InputError(
            f"must hold numbers of shape (N, d) or (N,), "
            f"got {brief(table.dtype, 60)} of shape {table.shape}"
        )
    columns = [*table.astype(np.float64).T]
    return Sheet(None, columns, len(table), "without names" + more)


def _the_table(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, np.ndarray]:
    """The only array, or the only one that is a table of numbers."""
    if len(arrays) == 1:
        return "", next(iter(arrays.values()))
    tables = [name for name, a in arrays.items() if a.ndim == 2 and a.dtype.kind in "fiub"]
    if len(tables) != 1:
        raise InputError(
            f"holds the arrays {brief(', '.join(arrays), 120) or '(none)'}, "
            f"{len(tables) or 'none'} of them {'a table' if len(tables) == 1 else 'tables'} of "
            "numbers; save the one to fit by itself"
        )
    return tables[0], arrays[tables[0]]


def read_frame(path: Path, decimal: str | None) -> Sheet:
    """The table of a file of columns, .parquet or .feather."""
    pandas = _pandas(path, COLUMNS[path.suffix.lower()])
    read = pandas.read_feather if path.suffix.lower() == ".feather" else pandas.read_parquet
    frame = read(path)
    names = [heading(" ".join(map(str, n)) if isinstance(n, tuple) else str(n)) for n in frame]
    columns = [_column(pandas, frame.iloc[:, i]) for i in range(len(names))]
    texts = [column for column in columns if isinstance(column, list)]
    sign, example = decimal_sign(texts, range(1, len(frame) + 1), decimal, "row")
    return Sheet(names, columns, len(frame), "with names" + example, decimal=sign)


def _column(pandas: Any, series: Any) -> np.ndarray | list[str]:
    """Numbers, or texts with "" for what is missing."""
    types = pandas.api.types
    numbers = types.is_numeric_dtype(series.dtype) and not types.is_bool_dtype(series.dtype)
    if numbers and not types.is_complex_dtype(series.dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    missing = series.isna().to_numpy()
    return ["" if gone else str(cell) for cell, gone in zip(series, missing, strict=True)]


def read_excel(path: Path, header: bool | None, decimal: str | None) -> Sheet:
    """The first sheet of a workbook that has cells with something in them."""
    pandas = _pandas(path, SHEETS[path.suffix.lower()])
    sheets = pandas.read_excel(path, sheet_name=None, header=None, dtype=object, na_filter=False)
    for sheet_name, frame in sheets.items():
        block = Block([], [])
        for i, cells in enumerate(frame.itertuples(index=False), start=1):
            row = [_text(cell, decimal) for cell in cells]
            if any(map(str.strip, row)):
                block.lines.append(i)
                block.rows.append(row)
        if not block.rows:
            continue
        of = f"sheet {brief(sheet_name, 60)!r}, the first of {len(sheets)}" * (len(sheets) > 1)
        with of_part(of):
            sheet = arranged([block], header, decimal, line="row")
        return sheet._replace(summary="; ".join(filter(None, [sheet.summary, of])), source=of)
    raise InputError("the file is empty")


def _text(cell: Any, decimal: str | None) -> str:
    """A cell as a person would have written it."""
    text = "" if cell is None else str(cell)
    return text.replace(".", ",") if decimal == "," and isinstance(cell, float) else text


def _pandas(path: Path, reader: str) -> Any:
    needs = [name for name in ("pandas", reader) if importlib.util.find_spec(name) is None]
    if needs:
        extra = "'gemjax[tables]'" if reader not in ("xlrd", "odf") else "pandas "
        packages = extra + _PACKAGES.get(reader, reader) * extra.endswith(" ")
        raise InputError(
            f"{path.suffix} is read with {' and '.join(needs)}: pip install {packages}; or "
            "save the table as .csv"
        )
    import pandas

    return pandas
