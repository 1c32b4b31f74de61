"""How the bytes of a text file are letters: UTF-8, UTF-16 or, of old programs, Latin-1."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gemjax.cli.files.boundary import InputError, check_unpacked

_MARKS = {  # at the start of a file, the longer ones first
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
_OTHERS = {
    b"PK\x03\x04": "a zip archive or an Excel file (.xlsx, .npz)", b"PAR1": "a .parquet file",
    b"\x93NUMPY": "a .npy file", b"\x1f\x8b": "what gzip has packed (.gz)", b"ARROW1": "a .feather "
    "file", b"\xd0\xcf\x11\xe0": "an old Excel file (.xls)", b"%PDF": "a PDF", b"<": "HTML or XML",
    b"[{": "JSON", b"{": "JSON", b"\x89HDF": "an HDF5 file", b"BZh": "what bzip2 has packed",
    b"\xfd7zXZ": "what xz has packed",
}  # fmt: skip
_HEAD = 2**12  # bytes
_NO_TEXT = frozenset(range(32)) - frozenset(b"\t\n\r\f\x0b\x1a\x1b")


def size_of(path: Path) -> int:
    """Bytes of a file, unpacked."""
    if path.suffix.lower() != ".gz":
        return path.stat().st_size
    check_unpacked(path, map(len, _chunks(path)))
    return sum(map(len, _chunks(path)))


def encoding_of(path: Path) -> tuple[str, str]:
    """The encoding of a text file, and what a user should know of it."""
    head = next(_chunks(path), b"")[:_HEAD]
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            raise InputError(
                f"holds {what} and no table in text; give it the name that says so, or save the "
                "table as .csv"
            )
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            with_mark = "UTF-8 with a byte order mark" if name == "utf-8-sig" else name.upper()
            return _checked(path, name), with_mark
    for first, name in enumerate(("utf-16-be", "utf-16-le")):  # of Latin letters half is zero
        zeros, others = head[first::2].count(0), head[1 - first :: 2].count(0)
        if len(head) > 3 and zeros > 0.6 * len(head) / 2 and not others:
            return _checked(path, name), "UTF-16 without a mark"
    if (wrong := _wrong(path, "utf-8")) is None:
        return "utf-8", ""
    if _NO_TEXT & set(head) or _wrong(path, "cp1252") is not None:
        raise InputError(f"byte {wrong} is no text in UTF-8; save the file as UTF-8")
    return "cp1252", "Latin-1 (not UTF-8: if names look wrong, save the file as UTF-8)"


def opened(path: Path, encoding: str) -> IO[str]:
    """The text, its ends of lines as they are."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    return opener(path, "rt", encoding=encoding, newline="")


def _checked(path: Path, encoding: str) -> str:
    if (wrong := _wrong(path, encoding)) is not None:
        raise InputError(f"byte {wrong} is no text in {encoding.upper()}; save the file as UTF-8")
    return encoding


def _wrong(path: Path, encoding: str) -> int | None:
    """The first byte that is not of this encoding, None if all are."""
    decoder, before = codecs.getincrementaldecoder(encoding)(), 0
    try:
        for chunk in _chunks(path):
            kept = len(decoder.getstate()[0])
            decoder.decode(chunk)
            before += len(chunk)
        kept = len(decoder.getstate()[0])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return before - kept + error.start
    except UnicodeError:  # UTF-16 whose mark is missing
        return 0
    return None


def _chunks(path: Path) -> Iterator[bytes]:
    """The bytes, unpacked: far quicker than to read lines."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rb") as file:
        while chunk := file.read(2**20):
            yield chunk
