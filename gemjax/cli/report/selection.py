"""Which grid points and seeds of a record a figure or finding is of."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gemjax.cli.files.boundary import InputError, brief
from gemjax.cli.record import Record
from gemjax.cli.results import Arrays, is_good, outcome_name

_OF_THE_POINT = {"followed_weights", "followed_means", "truth_means", "truth_weights"}
_CODES = ("outcome", "status")  # numbers that stand for names


@dataclasses.dataclass(frozen=True)
class Part:
    """Seeds of one grid point.

    Attributes:
      index: of the grid point.
      facts: its settings and its shape, under their keys, and what all grid points share.
      point: what the summary says about it.
      arrays: of all its seeds.
      seeds: the seeds that are kept.
    """

    index: int
    facts: dict[str, Any]
    point: dict[str, Any]
    arrays: Arrays
    seeds: np.ndarray

    def kept(self, mask: np.ndarray) -> Part:
        """Only those of the seeds."""
        return dataclasses.replace(self, seeds=self.seeds[mask])

    @property
    def good(self) -> np.ndarray:
        """Which of the seeds came to an end of their own."""
        return is_good(self.arrays["status"][self.seeds])

    @property
    def columns(self) -> set[str]:
        """What there is of each seed: numbers, and the names of histories."""
        names = {
            name
            for name, array in self.arrays.items()
            if array.ndim == 1 and name not in _OF_THE_POINT
        }
        return names | self.histories

    @property
    def histories(self) -> set[str]:
        """What there is of each seed over time."""
        start = "history_"
        return {name.removeprefix(start) for name in self.arrays if name.startswith(start)}


def constants_of(record: Record) -> dict[str, Any]:
    """The settings that are the same at all grid points; an earlier version did not tell them."""
    return record.summary.get("constants") or {}


def facts_of(point: dict[str, Any], constants: dict[str, Any]) -> dict[str, Any]:
    """Settings and shape of a grid point, with what follows from them."""
    settings = constants | point["settings"]
    shape = {
        "n": settings.get("model.num_components"), "m": settings.get("truth.num_components"),
        "d": settings.get("truth.dim"), "N": settings.get("target.num_samples"),
        "separation": settings.get("truth.separation"),
    } | (point.get("shape") or {})  # fmt: skip
    n, m = shape["n"], shape["m"]
    ratio = n / m if n and m else None
    scaled = ratio / math.log(m) if ratio and m > 1 else None
    return {**settings, **shape, "n/m": ratio, "n/(m log m)": scaled}


def parts_of(record: Record) -> list[Part]:
    """All grid points with all their seeds."""
    pairs = zip(record.summary["points"], record.grid, strict=True)
    return [
        Part(
            i, facts_of(point, constants_of(record)), point, arrays,
            np.arange(len(arrays["status"])),
        )
        for i, (point, arrays) in enumerate(pairs)
        if "status" in arrays
    ]  # fmt: skip


def select(record: Record, where: dict[str, Any] | None) -> list[Part]:
    """The grid points and seeds for which every key has its value, or one of its values."""
    parts = on_grid(record, where)
    settings = set().union(*(part.facts for part in parts_of(record)))
    for key, wanted in (where or {}).items():
        if key in settings:
            continue
        options = _options(wanted)
        there = [part for part in parts if has(part, key)]
        parts = [part.kept(np.array([any(same(v, o) for o in options) for v in told], bool))
                 for part in there for told in [_told_of(part, key)]]  # fmt: skip
    return [part for part in parts if len(part.seeds)]


def on_grid(record: Record, where: dict[str, Any] | None) -> list[Part]:
    """The grid points of a selection, whatever became of their seeds."""
    everything = parts = parts_of(record)
    for key, wanted in (where or {}).items():
        if any(key in part.facts for part in everything):
            options = _options(wanted)
            parts = [p for p in parts if any(same(p.facts.get(key), o) for o in options)]
        else:
            check_known(everything, key, "where")
    return parts


def _options(wanted: Any) -> list[Any]:
    """A value, or one of several; a setting may be a list itself."""
    return [*wanted, wanted] if isinstance(wanted, list) else [wanted]


def _told_of(part: Part, key: str) -> list[Any]:
    """What a user would write of each seed."""
    return outcomes_of(part) if key == "outcome" else column_of(part, key).tolist()


def column_of(part: Part, name: str) -> np.ndarray:
    """A column as it stands; of a history its end, of "outcome.NAME" whether it is that one."""
    head, _, outcome = name.partition(".")
    if head == "outcome" and outcome:
        return np.array([o == outcome for o in outcomes_of(part)], bool)
    name = "recovered" if name == "success" else name
    if name in part.arrays:
        return part.arrays[name][part.seeds]
    column = part.arrays[f"history_{name}"][part.seeds, -1]
    if column.ndim > 1:
        raise InputError(f"{name}: has several values per seed, which only curves show")
    return column


def outcomes_of(part: Part) -> list[str]:
    """Names of the seeds' outcomes."""
    return [*map(outcome_name, part.arrays["outcome"][part.seeds])]


def values_of(part: Part, y: str) -> np.ndarray:
    """Of each seed, whether it succeeded, or a value: NaN where it diverged or has none."""
    column = column_of(part, y)
    if y.startswith("outcome"):  # to diverge is one
        return column
    if column.dtype == bool:
        return column & part.good
    # 0 iterations stand for a seed that never came there.
    never = y == "iterations" or y.endswith("_iteration")
    none = ~part.good | (column <= 0 if never else False)
    return np.where(none, np.nan, column.astype(np.float64))


def check_known(parts: Sequence[Part], key: str, what: str) -> None:
    """Refuses a key that is neither a setting nor, as y has to be, a column."""
    if not parts or any(has(part, key) for part in parts):
        return
    columns = {"success"}.union(*(part.columns for part in parts))
    facts: set[str] = set().union(*(part.facts for part in parts)) if what != "y" else set()
    near = difflib.get_close_matches(key[:60], sorted(facts | columns), n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    # Those that do not vary are many, and written in config.toml.
    told = {name for name in facts if "." not in name or name in parts[0].point["settings"]}
    settings = f"settings {listed(told)} and all of config.toml; " if facts else ""
    raise InputError(
        f"{what} = {brief(repr(key), 60)}: is unknown{meant}; known are {settings}"
        f"columns {listed(columns)}"
    )


def check_number(y: str) -> None:
    """Refuses a column whose numbers stand for names: their median means nothing."""
    if y in _CODES:
        raise InputError(f'y = "{y}": is a name, not a number; outcome.NAME is a share')


def has(part: Part, y: str) -> bool:
    """Whether it has a column, or what a column tells."""
    head, _, outcome = y.partition(".")
    if outcome and head == "outcome":
        return head in part.columns
    return ("recovered" if y == "success" else y) in part.columns


def same(a: Any, b: Any) -> bool:
    """Whether two settings are equal: numbers by value, a flag is no number."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def hashable(value: Any) -> Any:
    """A setting that may be a list."""
    return tuple(map(hashable, value)) if isinstance(value, list | tuple) else value


def split(part: Part, by: Sequence[str]) -> Iterator[tuple[tuple, Part]]:
    """The seeds with each combination of `by`, of which columns may differ from seed to seed."""
    if not by:
        yield (), part
        return
    key, *rest = by
    if key in part.facts:
        pieces = [(hashable(part.facts[key]), part)]
    elif not has(part, key):
        return
    else:
        told = _told_of(part, key)
        pieces = [(v, part.kept(np.array([t == v for t in told]))) for v in sorted(set(told))]
    for value, piece in pieces:
        yield from (((value, *others), inner) for others, inner in split(piece, rest))


def varied(parts: Sequence[Part]) -> list[str]:
    """The settings that differ between grid points."""
    keys = parts[0].point["settings"] if parts else ()
    return [key for key in keys if len({repr(part.facts.get(key)) for part in parts}) > 1]


def listed(names: set[str]) -> str:
    """Names for a message."""
    return ", ".join(sorted(names)) or "none"
