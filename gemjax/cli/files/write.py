"""Writing results: every file is written beside its place and then moved there."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TEMPORARY = r"\.{}\.[a-z0-9_]{{8}}\.tmp"  # the names that `replacing` makes for a file's name
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![0-9.])")  # what a spreadsheet would take for one


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; moved to it, on disk, once the block ends without error."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        # A failed write names no file, or the temporary one.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([f"'{name}" if _FORMULA.match(name) else name for name in header])
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def own_name(name: str, taken: Sequence[str]) -> str:
    """A name of gemjax's for a column, other than those of the user's."""
    while name in taken:
        name = f"gemjax_{name}"
    return name


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def jsonable(value: Any) -> float | None:
    """A float for JSON, which has no infinity and no NaN."""
    return float(value) if np.isfinite(value) else None


def finite(content: Any) -> Any:
    """Content for JSON, in it None in the place of every number that is not finite."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return jsonable(content) if isinstance(content, float) else content
