"""A data file that is read again and again must stay as it is: a result is of one file."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from gemjax.cli.files.boundary import reading


class Watch:
    """A file as it was when this was made; without a `path` there is nothing to watch."""

    def __init__(self, path: Path | None, advice: str = "") -> None:
        self._path, self._advice = path, advice
        if path is not None:
            with reading(path):
                self._before = _stamp(path)

    def check(self) -> None:
        """Fails where the file has been changed, replaced or removed."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            if _stamp(self._path) == self._before:
                return
        what = f"has changed since the work began{self._advice}"
        raise OSError(errno.ESTALE, what, str(self._path))

    @contextlib.contextmanager
    def kept(self, while_read: bool = True) -> Iterator[None]:
        """Checks before and after a block that reads the file, also where the block fails."""
        if not while_read:
            yield
            return
        self.check()
        try:
            yield
        except Exception:
            self.check()  # what was read was no longer the file, and no fault of anything else
            raise
        self.check()


def _stamp(path: Path) -> tuple[int, ...]:
    """What tells one content of a file from the next without reading it."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
