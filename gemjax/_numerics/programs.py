"""Room for compiled programs.

XLA's for CPUs take memory maps by the hundred. Linux lets a process have so many (65,530 by
default) and XLA ends one that runs out of them, as after some twenty tables of different shapes.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

_MAPS, _LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")


@functools.lru_cache(maxsize=1024)
def make_room(*key: Any) -> None:
    """To be called with what a set of programs is for: where it is new and half of the maps are
    taken, what this package has compiled is forgotten."""
    try:
        taken, limit = _MAPS.read_bytes().count(b"\n"), int(_LIMIT.read_text())
    except OSError:  # another system
        return
    if 2 * taken > limit:
        forget()


def forget() -> None:
    """Drops this package's compiled programs; they are compiled again when they are needed."""
    package = __name__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package:
            for value in list(vars(module).values()):
                if hasattr(value, "lower") and hasattr(value, "clear_cache"):
                    value.clear_cache()
    make_room.cache_clear()
