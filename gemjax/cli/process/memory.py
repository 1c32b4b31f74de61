"""How much memory there is, and when it does not hold a batch of seeds: half as many at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_T = TypeVar("_T")


def available() -> int:
    """Bytes of the host's memory that this process may use at most."""
    limits = [2**45]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(ValueError, OSError):  # of a container
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    if resource is not None:
        limits.append(resource.getrlimit(resource.RLIMIT_AS)[0])
    return min(limit for limit in limits if limit > 0)  # no limit is -1


def is_out_of_memory(error: BaseException) -> bool:
    """Of the device, which JAX reports among its other runtime errors, or of the host."""
    if isinstance(error, jax.errors.JaxRuntimeError):
        return "RESOURCE_EXHAUSTED" in str(error)
    return isinstance(error, MemoryError)


class Batches:
    """Batch sizes that fitted where a larger one did not; they hold for what is as large or larger.

    A size is a tuple of counts that all add to the memory of a seed: points, components, ...
    """

    def __init__(self) -> None:
        self._found: list[tuple[tuple[int, ...], int]] = []

    def remember(self, size: tuple[int, ...], batch: int) -> None:
        self._found.append((size, batch))

    def limit(self, size: tuple[int, ...], batch: int) -> int:
        """`batch`, or what is known to fit in its place."""
        fits = [b for known, b in self._found if all(map(int.__le__, known, size))]
        return min([batch, *fits])

    def run(
        self,
        size: tuple[int, ...],
        batch: int,
        compute: Callable[[int], _T],
        tell: Callable[[str], None],
    ) -> tuple[_T, int]:
        """compute(batch), the batch halved until it fits; and the batch that did."""
        batch = self.limit(size, batch)
        while True:
            try:
                return compute(batch), batch
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                # Several processes would halve alone, and wait for each other for ever.
                if batch == 1 or jax.process_count() > 1 or not is_out_of_memory(error):
                    raise
            # Outside the except, where the error would keep the arrays of the failed try alive.
            tell(f"out of memory with {batch} seeds at a time; going on with {batch // 2}")
            batch //= 2
            self.remember(size, batch)
