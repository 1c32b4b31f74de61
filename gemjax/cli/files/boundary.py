"""One boundary for what comes from outside: whatever a file or a text is, it ends in one line."""

from __future__ import annotations

import contextlib
import json
import reprlib
import stat
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FINITE = "every value must be finite: drop or fill these rows"
_MOST_TEXT = 2**20  # bytes of a config
_MOST_JSON = 2**26  # bytes of a manifest or a summary
_MOST_RATIO = 200  # of unpacked size to packed: tables have about 3, constant ones 100
_LINE = 300  # characters of a message
_NOT_QUIET = (RuntimeWarning, SyntaxWarning, UserWarning)  # NumPy's, about damaged files


class InputError(ValueError):
    """Bad input from a user of the command line; the message is one line that says what to do."""


def brief(value: Any, most: int = _LINE) -> str:
    """A text on one line: what cannot be printed escaped, and its middle left out if it is long."""
    text = str(value)
    if not text.isprintable():
        text = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: 4 * most]
        )
    return text if len(text) <= most else f"{text[: most * 2 // 3]}...{text[-most // 4 :]}"


def shown(value: Any) -> str:
    """A value from a config as a message shows it."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    try:
        return brief(short.repr(value), 80)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes
        return "a value too long to show"


@contextlib.contextmanager
def reading(path: Path, *, most: int | None = None) -> Iterator[None]:
    """Turns whatever may happen while a file is read, in anybody's parser, into one line.

    Only ordinary files are read, and only those of at most `most` bytes.
    """
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"{path}: cannot be read: it is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: cannot be read: only ordinary files are, no pipes, devices")
        if most is not None and found.st_size > most:
            raise InputError(f"{path}: is longer than the {most:,} bytes that are read of its kind")
        with warnings.catch_warnings():
            for category in _NOT_QUIET:
                warnings.simplefilter("error", category)
            yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read: byte {error.start} is not UTF-8") from None
    except MemoryError:
        raise InputError(f"{path}: cannot be read: it is more than the memory holds") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # zlib's, zipfile's, tokenize's, csv's, json's, recursion ...
        what = brief(error, 120) or type(error).__name__
        raise InputError(
            f"{path}: cannot be read, damaged or not what its name says: {what}"
        ) from None


def check_unpacked(path: Path, sizes: Iterable[int]) -> None:
    """Refuses a small file that unpacks to a huge one, by the sizes of its parts in turn."""
    most, size = max(2**26, _MOST_RATIO * path.stat().st_size), 0
    for more in sizes:
        size += more
        if size > most:
            raise InputError(
                f"{path}: unpacks to more than {_MOST_RATIO} times its size, as no data do"
            )


def read_text(path: Path) -> str:
    """The text of a config."""
    with reading(path, most=_MOST_TEXT):
        return path.read_text(encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that gemjax wrote: a table, every number in it finite."""
    with reading(path, most=_MOST_JSON):
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged: it holds no table")
    return content


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


@contextlib.contextmanager
def asking(where: str) -> Iterator[None]:
    """Turns what the library says about a user's settings or data into one line."""
    try:
        yield
    except InputError as error:
        said = str(error)
        raise InputError(said if where in said else f"{where}: {said}") from None
    except (ValueError, TypeError, OverflowError) as error:
        said, *_ = str(error).split("\n")
        raise InputError(said if where in said else f"{where}: {said}") from error
