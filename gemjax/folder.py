"""A run's output folder: never overwritten by accident, and never one that gemjax did not make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from gemjax.files import InputError, write_json

_MANIFEST = "manifest.json"
_OURS = (
    "summary.json",  # goes first: without it a folder is not a finished run
    "results.csv",
    "history.npz",
    "components.csv",
    "labels.csv",
    "responsibilities.npy",
    "config.toml",
    "figures",
    "pieces",
    _MANIFEST,
)


def prepare(out: Path, manifest: dict[str, Any], *, force: bool) -> None:
    """Makes `out`, or empties it of an earlier run if forced, and marks it as gemjax's own."""
    check(out, force=force)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in _OURS:
            path = out / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        write_json(out / _MANIFEST, {"program": "gemjax", **manifest})
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror}") from None


def check(out: Path, *, force: bool) -> None:
    """Refuses, before any work starts, a folder that must not be written to."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file, not a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not _is_ours(out):
        raise InputError(
            f"--out {out}: holds files that gemjax did not write; choose another folder"
        )
    if not force:
        raise InputError(
            f"--out {out}: holds another run; choose another folder, or replace it with --force"
        )


def _is_ours(out: Path) -> bool:
    try:
        content = json.loads((out / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("program") == "gemjax"
