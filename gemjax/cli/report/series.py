"""Series of data of a record: what against what, of which seeds."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gemjax.cli.files.boundary import InputError, brief
from gemjax.cli.record import Record
from gemjax.cli.report.selection import (
    Part,
    check_known,
    column_of,
    constants_of,
    has,
    hashable,
    listed,
    outcomes_of,
    parts_of,
    same,
    select,
    split,
    values_of,
)
from gemjax.cli.results import cell

Spec = dict[str, Any]  # of a figure or finding: x, y, by, where ...


@dataclasses.dataclass(frozen=True)
class Line:
    """What belongs together in a figure: replicates with the same `by`.

    Attributes:
      by: values of the keys that tell lines apart; what is the same all over the run does not.
      x: (R,) where each replicate stands; the place in `names` if there are any.
      y: (R,) its value, NaN for none; or whether it succeeded.
      seeds: (R,) which replicates are one seed at several x.
      points: (R,) grid point of each.
      names: of the places, where x is not a number.
    """

    by: dict[str, Any]
    x: np.ndarray
    y: np.ndarray
    seeds: np.ndarray
    points: np.ndarray
    names: tuple[str, ...] = ()

    @property
    def places(self) -> np.ndarray:
        """The x that there are, in order."""
        return np.unique(self.x)

    def at(self, place: float) -> np.ndarray:
        """The y of all replicates there."""
        return self.y[self.x == place]


@dataclasses.dataclass(frozen=True)
class Curves:
    """Good seeds over time with the same `by`: y is (R, T), for moments (R, T, 6)."""

    by: dict[str, Any]
    time: np.ndarray
    y: np.ndarray


def lines(record: Record, spec: Spec, y: str | None = None) -> list[Line]:
    """The replicates of each combination of `by`; other settings are pooled."""
    y = y or spec.get("y") or "success"
    by, x = list(spec.get("by") or ()), spec.get("x")
    constants = constants_of(record)
    everything = parts_of(record)
    for key, what in [(y, "y"), *((k, "by") for k in by), *([(x, "x")] if x else [])]:
        if what == "y" or not any(key in part.facts for part in everything):
            check_known(everything, key, what)
    pieces = [
        (values, piece)
        for part in select(record, spec.get("where"))
        if has(part, y)
        for values, piece in split(part, by)
    ]
    names = _names([piece for _, piece in pieces], x)
    groups: dict[tuple, list[tuple[np.ndarray, ...]]] = {}
    ranks: Counter = Counter()
    for values, piece in pieces:
        place, own = _places(piece, x, names), values_of(piece, y)
        shared = float(place[0]) if x is None or x in piece.facts else None
        rank = ranks[values, shared]
        ranks[values, shared] += 1
        there = ~np.isnan(place)
        entry = (place, own, rank * 2**32 + piece.seeds, np.full(len(own), piece.index))
        groups.setdefault(values, []).append(tuple(array[there] for array in entry))
    made = []
    for values in _in_order(groups):
        x_, y_, seeds, points = (np.concatenate(a) for a in zip(*groups[values], strict=True))
        if len(x_):
            told = {k: v for k, v in zip(by, values, strict=True) if k not in constants}
            made.append(Line(told, x_, y_, seeds, points, names))
    return made


def curves(record: Record, spec: Spec) -> list[Curves]:
    """The histories of each combination of `by`, at the iterations that all of it have."""
    y, by = spec.get("y") or "excess_loss", list(spec.get("by") or ())
    source = "loss" if y == "excess_loss" else y
    everything = parts_of(record)
    known = set().union(*(part.histories for part in everything))
    if source not in known:
        raise InputError(f"y = {brief(repr(y), 60)}: is not followed; followed are {listed(known)}")
    for key in by:
        if not any(key in part.facts for part in everything):
            check_known(everything, key, "by")
    groups: dict[tuple, list[tuple[np.ndarray, np.ndarray]]] = {}
    for part in select(record, spec.get("where")):
        if source not in part.histories:
            continue
        for values, piece in split(part, by):
            y_ = piece.arrays[f"history_{source}"][piece.seeds[piece.good]].astype(np.float64)
            if y == "excess_loss":
                floor = piece.point.get("truth_loss")
                if floor is None:
                    continue
                y_ = y_ - floor
            time = (np.arange(y_.shape[1]) + 1) * piece.point["record_every"]
            groups.setdefault(values, []).append((time, y_))
    made = []
    for values in _in_order(groups):
        shared = groups[values][0][0]
        for time, _ in groups[values]:
            shared = np.intersect1d(shared, time)
        y_ = np.concatenate([y_[:, np.isin(time, shared)] for time, y_ in groups[values]])
        if len(y_) and len(shared):
            constants = constants_of(record)
            told = {k: v for k, v in zip(by, values, strict=True) if k not in constants}
            made.append(Curves(told, shared, y_))
    return made


def pairs(record: Record, spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """The y of two selections, `where` and `against`, of the same seeds at matching settings.

    Or of one selection y and `against_y`. A setting has to match if it varies in both selections
    and they share values of it.
    """
    y = spec.get("y") or "success"
    other_y = spec.get("against_y") or y
    for name, column in (("y", y), ("against_y", other_y)):
        check_known(parts_of(record), column, name)
    ours = select(record, spec.get("where"))
    theirs = select(record, spec.get("against") or spec.get("where"))
    keys = [key for key in (ours[0].point["settings"] if ours else ())
            if _varied(ours, key) and _varied(theirs, key)
            and _varied(ours, key) & _varied(theirs, key)]  # fmt: skip
    matches = [
        (part, match)
        for part in ours
        for match in theirs
        if all(same(part.facts.get(key), match.facts.get(key)) for key in keys)
    ]
    if any(len({pair[side].index for pair in matches}) < len(matches) for side in (0, 1)):
        raise InputError("where and against: a grid point of one has several partners in the other")
    one, other = [], []
    for part, match in matches:
        if has(part, y) and has(match, other_y):
            _, i, k = np.intersect1d(part.seeds, match.seeds, return_indices=True)
            one.append(values_of(part, y)[i])
            other.append(values_of(match, other_y)[k])
    empty = np.zeros(0)
    return np.concatenate(one or [empty]), np.concatenate(other or [empty])


def _varied(parts: Sequence[Part], key: str) -> set:
    """The values of a setting, none if there is only one."""
    values = {hashable(part.facts.get(key)) for part in parts}
    return values if len(values) > 1 else set()


def _in_order(groups: dict[tuple, Any]) -> list[tuple]:
    """Numbers by size, names as they come."""
    ranks = []
    for values in zip(*groups, strict=True):
        seen = list(dict.fromkeys(values))
        if all(isinstance(v, int | float) for v in seen):
            seen.sort()
        ranks.append({value: rank for rank, value in enumerate(seen)})
    return sorted(groups, key=lambda key: [r[v] for r, v in zip(ranks, key, strict=True)])


def _names(pieces: Sequence[Part], x: str | None) -> tuple[str, ...]:
    """The places on an axis whose values are no numbers, in order."""
    if x is None:
        return ()
    if any(x in piece.facts for piece in pieces):
        values = {_told(piece.facts.get(x)): piece.facts.get(x) for piece in pieces}
        numbers = (v is None or (isinstance(v, int | float) and not isinstance(v, bool))
                   for v in values.values())  # fmt: skip
        return () if all(numbers) else tuple(values)
    if x == "outcome":
        return tuple(sorted({name for p in pieces if has(p, x) for name in outcomes_of(p)}))
    flags = (has(piece, x) and column_of(piece, x).dtype == bool for piece in pieces)
    return ("no", "yes") if any(flags) else ()


def _told(value: Any) -> str:
    return (
        ("no", "yes")[value]
        if isinstance(value, bool)
        else str(cell("" if value is None else value))
    )


def _places(piece: Part, x: str | None, names: tuple[str, ...]) -> np.ndarray:
    """Where each of the seeds stands on the axis, NaN for nowhere."""
    size = len(piece.seeds)
    if x is None:
        return np.zeros(size)
    if x in piece.facts:
        value = piece.facts[x]
        place = names.index(_told(value)) if names else np.nan if value is None else value
        return np.full(size, place, np.float64)
    if not has(piece, x):
        return np.full(size, np.nan)
    if x == "outcome":
        return np.array([names.index(name) for name in outcomes_of(piece)], np.float64)
    return (column_of(piece, x) if names else values_of(piece, x)).astype(np.float64)
