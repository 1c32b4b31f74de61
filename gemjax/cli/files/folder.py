"""A run's output folder: gemjax's own, never overwritten by accident, one process at a time.

manifest.json marks it as gemjax's own and says what it is a run of.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemjax.cli.files.read import InputError
from gemjax.cli.files.write import write_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_MANIFEST = "manifest.json"
_LOCK = "gemjax.lock"
_SUMMARY = "summary.json"
_OURS = (  # the summary goes first: without it a folder is not a finished run
    _SUMMARY, "results.csv", "history.npz", "components.csv", "components.npz", "labels.csv",
    "responsibilities.npy", "config.toml", "figures", "pieces",
)  # fmt: skip
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # not the fault of the place chosen
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


def check(
    out: Path, manifest: dict[str, Any], *, force: bool, resume: bool = False
) -> dict[str, Any] | None:
    """Refuses, before any work starts, a folder that must not be written to.

    Returns the manifest of the run in it that is to go on, None where one is to start.
    """
    if (out / _LOCK).exists():
        with _lock(out):
            return _earlier(out, manifest, force=force, resume=resume)
    return _earlier(out, manifest, force=force, resume=resume)


@contextlib.contextmanager
def claim(
    out: Path, manifest: dict[str, Any], *, force: bool, resume: bool = False
) -> Iterator[dict[str, Any] | None]:
    """Holds `out` for this process alone, ready to be written to; yields as `check` returns.

    Unless a run goes on there, the folder is made or emptied, and then marked as gemjax's own.
    """
    with _lock(out):
        earlier = _earlier(out, manifest, force=force, resume=resume)
        for leftover in out.rglob(".*.tmp"):  # of a process that was killed
            leftover.unlink()
        if earlier is None:
            for name in _OURS:
                path = out / name
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            write_json(out / _MANIFEST, {"program": "gemjax", **manifest})
        yield earlier


def summary(out: Path) -> dict[str, Any] | None:
    """summary.json of a finished result, None where there is none."""
    return _content(out / _SUMMARY)


@contextlib.contextmanager
def finished(out: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Holds the finished result in `out`; yields its command and its summary."""
    manifest, content = _content(out / _MANIFEST) or {}, summary(out)
    command = manifest.get("command")
    if manifest.get("program") != "gemjax" or content is None or command not in ("run", "fit"):
        raise InputError(f"{out}: holds no finished result of `gemjax run` or `gemjax fit`")
    with _lock(out):
        yield command, content


def differences(old: dict[str, Any], new: dict[str, Any], place: Any) -> list[str]:
    """Every key, as "table.key", whose values differ."""
    flat_old, flat_new = _flat(old), _flat(new)
    return [
        f"{key}: {flat_old.get(key, 'not set')} in {place}, {flat_new.get(key, 'not set')} now"
        for key in flat_old | flat_new
        if flat_old.get(key) != flat_new.get(key)
    ]


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested tables as {"table.key": value as JSON}, so that lists compare equal to tuples."""
    out: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = json.dumps(value)
    return out


def _earlier(
    out: Path, manifest: dict[str, Any], *, force: bool, resume: bool
) -> dict[str, Any] | None:
    """As `check`, whoever holds the lock."""
    earlier = _read(out)
    if earlier is None or force:
        return None
    replace = "choose another folder, or replace it with --force"
    is_run = earlier.get("command") == "run" and "config" in earlier
    if not resume:
        if is_run and summary(out) is None:
            raise InputError(
                f"--out {out}: holds an unfinished run; go on with `gemjax run` and --resume, "
                "or replace it with --force"
            )
        raise InputError(f"--out {out}: holds another run; {replace}")
    if not is_run:
        raise InputError(f"--out {out}: holds nothing that --resume can go on with; {replace}")
    changed = differences(earlier["config"], manifest["config"], out)
    if changed:
        what = "; ".join(changed)
        raise InputError(f"--out {out}: holds a run of another config; {replace}: {what}")
    if earlier["data_sha256"] != manifest["data_sha256"]:
        raise InputError(
            f"--out {out}: holds a run of other data; target.path = "
            f"{manifest['config']['target']['path']} has changed since: put it back, {replace}"
        )
    return earlier


def _read(out: Path) -> dict[str, Any] | None:
    """The manifest in `out`, None where there is no run; refuses what gemjax did not make."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file, not a folder")
    if not out.is_dir() or all(_is_trace(path.name) for path in out.iterdir()):
        return None
    manifest = _content(out / _MANIFEST)
    if manifest is None or manifest.get("program") != "gemjax":
        raise InputError(f"--out {out}: holds files gemjax did not write; choose another folder")
    return manifest


def _content(path: Path) -> dict[str, Any] | None:
    """Of a JSON file that holds a table."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _is_trace(name: str) -> bool:
    """What a process leaves that was killed before it could mark the folder."""
    return name == _LOCK or (name.startswith(f".{_MANIFEST}.") and name.endswith(".tmp"))


@contextlib.contextmanager
def _lock(out: Path) -> Iterator[None]:
    """Keeps other processes out of `out`. The kernel lets go, however this process ends."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = open(out / _LOCK, "a")  # noqa: SIM115  closed below
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise InputError(f"{out}: cannot be written: {error.strerror}") from None
    with file:
        if fcntl is None:
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{out}: another process is working in it; wait for its end or take another folder"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:  # some file systems have none: go on without
                raise
        yield
