"""Which CPU cores a process may use. Imported before numpy and jax, which look once at start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_HAS_AFFINITY = hasattr(os, "sched_setaffinity")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

ALLOWED = sorted(os.sched_getaffinity(0)) if _HAS_AFFINITY else list(range(os.cpu_count() or 1))
"""The cores this process could use when it started."""


def pin(count: int) -> None:
    """Confines this process to the last `count` allowed cores, and BLAS to as many threads."""
    if not 1 <= count <= len(ALLOWED):
        raise SystemExit(f"--cores must be from 1 to {len(ALLOWED)} here, got {count}")
    os.environ.update({name: str(count) for name in _THREADS})
    if _HAS_AFFINITY:
        os.sched_setaffinity(0, ALLOWED[-count:])


def in_use() -> int:
    """How many cores this process may use now."""
    return len(os.sched_getaffinity(0)) if _HAS_AFFINITY else len(ALLOWED)


@contextlib.contextmanager
def for_children(count: int) -> Iterator[None]:
    """Processes started inside are confined to the last `count` allowed cores."""
    environment = {name: os.environ.get(name) for name in _THREADS}
    before = os.sched_getaffinity(0) if _HAS_AFFINITY else None
    pin(count)
    try:
        yield
    finally:
        for name, value in environment.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if before is not None:
            os.sched_setaffinity(0, before)
