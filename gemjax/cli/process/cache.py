"""Compiled programs, kept from one run of the program to the next."""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import warnings
from pathlib import Path

import filelock
import jax
import platformdirs

_MOST_BYTES = 2**25  # of which those used last are kept: some hundred shapes of data


def keep_compiled() -> None:
    """JAX writes what it compiles to a folder of the user's, and reads it from there.

    Where JAX was told of a folder already, or not to keep anything, it stays so. Whatever is wrong
    with the folder costs the time to compile again, and nothing else.
    """
    config = jax.config
    if config.jax_compilation_cache_dir is not None or not config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return
    try:
        folder = _folder()
    except OSError:
        return
    if folder is None:
        return
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")
    config.update("jax_compilation_cache_dir", str(folder))
    config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    config.update("jax_persistent_cache_min_compile_time_secs", 0)
    config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    config.update("jax_persistent_cache_enable_xla_caches", "none")  # no bound holds for those


def _folder() -> Path | None:
    """The folder, if it is private: what lies in it will be executed."""
    folder = Path(platformdirs.user_cache_dir("gemjax", appauthor=False), f"compiled-{_machine()}")
    if not folder.is_absolute():  # nobody's home is known
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return None
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o077):
        return None
    # JAX writes the time last: what has none was cut off, and would never be written again.
    with filelock.FileLock(folder / ".lockfile", timeout=1):
        for program in folder.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("cache") + "atime").exists():
                program.unlink()
    return folder


def _machine() -> str:
    """Of the processor: a home may be shared by several, and not all know all instructions."""
    known = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        known += [line for line in lines if line.startswith(("flags", "Features"))][:1]
    except OSError:  # not Linux
        pass
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]
