"""A run's output folder: gemjax's own, never overwritten by accident, one process at a time.

manifest.json marks it as gemjax's own and says what it is a run of.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gemjax.cli.files.boundary import InputError, brief, read_json
from gemjax.cli.files.whole import MANIFESTS, SUMMARIES, wrong
from gemjax.cli.files.write import TEMPORARY, write_json
from gemjax.cli.process.interrupt import FAILED, Ended

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_MANIFEST = "manifest.json"
_LOCK = "gemjax.lock"
_SUMMARY = "summary.json"
RESULTS = ("results.csv", "history.npz", "components.csv", "components.npz", "labels.csv",
           "responsibilities.npy", "model.npz")  # fmt: skip
_FILES = (_SUMMARY, *RESULTS, "config.toml", "report.md")  # finished is what has a summary
# What is gemjax's own, by its folder within the output folder: the one list of what is removed.
_OWN = {
    "": "|".join(map(re.escape, _FILES)),
    "pieces": r"point-[0-9]{4,}-seed-[0-9]{6,}\.npz",
    "figures": r"(success|outcomes|loss|iterations|weights(-[0-9]+)?|convergence|components"
    r"|clusters|criteria|tree|[0-9]{1,3}-[a-z]+)\.png",
}
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # not the fault of the place chosen
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


def check(
    out: Path, manifest: dict[str, Any], *, force: bool, resume: bool = False
) -> dict[str, Any] | None:
    """Refuses, before any work starts, a folder that must not be written to.

    Returns the manifest of the run in it that is to go on, None where one is to start.
    """
    try:
        _check_places(out)
        with _lock(out) if (out / _LOCK).exists() else contextlib.nullcontext():
            return _earlier(out, manifest, force=force, resume=resume)
    except OSError as error:
        raise _no_place(out, error) from None


@dataclasses.dataclass(frozen=True)
class Claim:
    """A folder that this process holds; `earlier` is as `check` returns."""

    earlier: dict[str, Any] | None
    manifest: dict[str, Any]  # as it is on disk
    out: Path
    lock: IO[str]

    def check(self) -> None:
        """Puts a lost manifest back; fails where the folder is no longer this process's."""
        lock = self.out / _LOCK
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self.lock.fileno()), lock.lstat()):
                if not (self.out / _MANIFEST).is_file():
                    write_json(self.out / _MANIFEST, self.manifest)
                return
        with contextlib.suppress(InputError):
            if read_json(self.out / _MANIFEST) == json.loads(json.dumps(self.manifest)):
                raise OSError(errno.ESTALE, "has been removed or replaced meanwhile", str(lock))
        gone = f"nothing is kept in {self.out}: it was moved, removed or replaced meanwhile"
        raise Ended(FAILED, gone)


@contextlib.contextmanager
def claim(
    out: Path, manifest: dict[str, Any], *, force: bool, resume: bool = False
) -> Iterator[Claim]:
    """Holds `out` for this process alone, ready to be written to.

    Unless a run goes on there, the folder is made or emptied, and then marked as gemjax's own.
    """
    with _lock(out) as lock:
        earlier = _earlier(out, manifest, force=force, resume=resume)
        held = Claim(earlier, earlier or {"program": "gemjax", **manifest}, out, lock)
        if earlier is None:
            _clean(out, "{own}|{temporary}")
            write_json(out / _MANIFEST, held.manifest)
        else:
            _clean(out, "{temporary}")  # of a process that was killed
        try:
            yield held
        except BaseException:
            # Whatever ended the work: what is kept can be gone on with only beside a manifest.
            with contextlib.suppress(OSError, Ended):
                held.check()
            raise
        held.check()


def is_own(place: str, name: str) -> bool:
    """Whether a file in "pieces", "figures" or the folder itself, "", has a name of gemjax's."""
    return re.fullmatch(_OWN[place], name) is not None


def _clean(out: Path, which: str) -> None:
    """Removes files of gemjax's own, and folders that are empty without them. Nothing else."""
    for place, own in _OWN.items():
        written = own if place else f"{own}|{re.escape(_MANIFEST)}"
        names = which.format(own=f"({own})", temporary=TEMPORARY.format(f"({written})"))
        for path in (out / place).iterdir() if (out / place).is_dir() else ():
            if re.fullmatch(names, path.name) and not path.is_dir():
                path.unlink()
        if place and "own" in which:
            with contextlib.suppress(OSError):  # there is none, or it holds something else
                (out / place).rmdir()


def advice(out: Path) -> str:
    """What to do after a run ended early, by what `out` then holds."""
    if not (out / _MANIFEST).is_file():
        return f"nothing is kept in {out}: it has no run in it, or was moved or removed meanwhile"
    pieces = (out / "pieces").iterdir() if (out / "pieces").is_dir() else ()
    if any(is_own("pieces", path.name) for path in pieces):
        return f"what is finished is kept in {out}: go on with --resume"
    return f"no piece is finished in {out}: --resume starts the run again"


def summary(out: Path) -> dict[str, Any] | None:
    """summary.json of a finished result, None where there is none."""
    path = out / _SUMMARY
    return read_json(path) if path.exists() else None


def checked_summary(out: Path, command: str) -> dict[str, Any] | None:
    """The same, as a whole record that all else may rely on."""
    again = "; remove it, and --resume puts the results together again" * (command == "run")
    try:
        content = summary(out)
    except InputError as error:
        raise InputError(f"{error}{again}") from None
    if content is not None and (what := wrong(content, SUMMARIES[command])):
        raise InputError(f"{out / _SUMMARY}: damaged, {what}{again}")
    return content


@contextlib.contextmanager
def finished(out: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Holds the finished result in `out`; yields its command and its summary."""
    manifest = read_json(out / _MANIFEST) if (out / _MANIFEST).exists() else {}
    content, command = summary(out), str(manifest.get("command"))
    if manifest.get("program") != "gemjax" or content is None or command not in MANIFESTS:
        raise InputError(f"{out}: holds no finished result of `gemjax run` or `gemjax fit`")
    with _lock(out):
        yield command, content


def differences(old: dict[str, Any], new: dict[str, Any], place: Any) -> list[str]:
    """Every key, as "table.key", whose values differ."""
    flat_old, flat_new = _flat(old), _flat(new)
    return [
        f"{key}: {brief(flat_old.get(key, 'not set'), 60)} in {place}, "
        f"{brief(flat_new.get(key, 'not set'), 60)} now"
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
    is_run = earlier.get("command") == "run"
    if not resume:
        if is_run and not (out / _SUMMARY).exists():
            raise InputError(
                f"--out {out}: holds an unfinished run; go on with `gemjax run` and --resume, "
                "or replace it with --force"
            )
        raise InputError(f"--out {out}: holds another run; {replace}")
    if not is_run:
        raise InputError(f"--out {out}: holds nothing that --resume can go on with; {replace}")
    if what := wrong(earlier, MANIFESTS["run"]):
        raise InputError(f"--out {out}: {_MANIFEST} is damaged, {what}; {replace}")
    changed = differences(earlier["config"], manifest["config"], "that run")
    if changed:
        what = brief("; ".join(changed), 160)
        raise InputError(f"--out {out}: holds a run of another config: {what}; {replace}")
    if earlier["data_sha256"] != manifest["data_sha256"]:
        raise InputError(
            f"--out {out}: holds a run of other data; target.path = "
            f"{manifest['config']['target']['path']} has changed since: put it back, {replace}"
        )
    return earlier


def _read(out: Path) -> dict[str, Any] | None:
    """The manifest in `out`, None where there is no run; refuses what gemjax did not make."""
    if out.is_symlink() and not out.exists():
        raise InputError(f"--out {out}: is a link to nothing")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file, not a folder")
    if not out.is_dir() or all(_is_trace(path.name) for path in out.iterdir()):
        return None
    path = out / _MANIFEST
    if not path.exists():
        raise InputError(f"--out {out}: holds files gemjax did not write; choose another folder")
    try:
        manifest = read_json(path)
    except InputError as error:
        raise InputError(
            f"--out {out}: its {_MANIFEST} is damaged, so that nothing tells what the folder is; "
            f"choose another folder, or move this one away ({str(error).rpartition(': ')[2]})"
        ) from None
    if manifest.get("program") != "gemjax":
        raise InputError(f"--out {out}: holds files gemjax did not write; choose another folder")
    return manifest


def _check_places(out: Path) -> None:
    """Refuses a folder where files are written, and links and files where folders are."""
    lock = out / _LOCK
    if lock.is_symlink() or (lock.exists() and not lock.is_file()):
        raise InputError(f"{lock}: is a link or no ordinary file; remove it")
    for place, own in _OWN.items():
        if place and ((out / place).is_symlink() or (out / place).is_file()):
            raise InputError(f"{out / place}: is a link or a file and not a folder; move it away")
        names = own if place else f"{own}|{re.escape(_MANIFEST)}"
        for path in (out / place).iterdir() if (out / place).is_dir() else ():
            if re.fullmatch(names, path.name) and path.is_dir():
                raise InputError(f"{path}: is a folder where gemjax has a file; move it away")


def _no_place(out: Path, error: OSError) -> Exception:
    """A failure of the disk as it is; else what is wrong with the place that was chosen."""
    if error.errno in _DISK:
        return error
    return InputError(f"--out {brief(out, 160)}: cannot be written: {error.strerror}")


def _is_trace(name: str) -> bool:
    """What a process leaves that was killed before it could mark the folder."""
    temporary = TEMPORARY.format(re.escape(_MANIFEST))
    return name == _LOCK or re.fullmatch(temporary, name) is not None


@contextlib.contextmanager
def _lock(out: Path) -> Iterator[IO[str]]:
    """Keeps other processes out of `out`. The kernel lets go, however this process ends."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        _check_places(out)
        flags = os.O_APPEND | os.O_CREAT | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
        file = os.fdopen(os.open(out / _LOCK, flags, 0o644), "a")
    except OSError as error:
        raise _no_place(out, error) from None
    with file:
        if fcntl is None:
            yield file
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
        yield file
