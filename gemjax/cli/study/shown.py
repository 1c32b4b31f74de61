"""Whether what a config wants shown can be shown of its run: asked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gemjax as gj
from gemjax.cli.files.boundary import InputError, brief
from gemjax.cli.results import COLUMNS, FLAGS, outcome_name
from gemjax.cli.study.config import Config
from gemjax.cli.study.settings import TABLES
from gemjax.cli.study.values import FIELDS, nearest

_SHAPE = ("n", "m", "d", "N", "separation", "num_iterations", "n/m", "n/(m log m)")
_HISTORY = "history_"
_CODES = ("outcome", "status")
_SHARES = ("rate", "difference", "smallest", "over coverage")
_PAIRS = ("difference", "ratio")
_FOLLOWED = ("weights", "paths")


def check_shown(config: Config) -> None:
    """Refuses figures and findings of settings and columns that the run will not have."""
    names = _Names(config)
    for kind, check in (("figure", _check_figure), ("finding", _check_finding)):
        for index, table in enumerate(config.shown[f"{kind}s"], 1):
            try:
                check(table, names)
            except InputError as error:
                raise InputError(f"[[{kind}]] {index}: {error}") from None


class _Names:
    """What figures and findings of a config may speak of."""

    def __init__(self, config: Config) -> None:
        self.settings = {f"{table}.{key}" for table in TABLES for key in FIELDS[table]}
        self.settings |= {*_SHAPE, *(["case"] if config.points[0].case is not None else [])}
        there = {
            column.name
            for column in COLUMNS
            for point in config.points
            if column.is_of(point) or column.is_of(point, derived=True)
        }
        self.flags = {*(FLAGS & there), *(["success"] if "recovered" in there else [])}
        self.flags |= {f"outcome.{outcome_name(o)}" for o in gj.Outcome if "outcome" in there}
        self.histories = {n.removeprefix(_HISTORY) for n in there if n.startswith(_HISTORY)}
        if "excess_loss" in there:
            self.histories.add("excess_loss")
        whole = {c.name for c in COLUMNS if c.shape}
        self.numbers = {name for name in there - FLAGS - whole if name not in _CODES}
        self.numbers |= self.histories
        self.points = config.points

    def need(self, what: str, name: Any, known: Iterable[str]) -> None:
        known = sorted(known)
        if name not in known:
            raise InputError(f"{what} = {brief(repr(name), 60)} is not there{nearest(name, known)}")

    def need_selection(self, what: str, where: dict[str, Any] | None) -> None:
        for key, value in (where or {}).items():
            self.need(what, key, self.settings | self.flags | self.numbers | {*_CODES})
            if key == "outcome":
                for name in value if isinstance(value, list) else [value]:
                    self.need(f"{what}: outcome", name, map(outcome_name, gj.Outcome))


def _check_figure(table: dict[str, Any], names: _Names) -> None:
    kind, y, x, by = table["kind"], table.get("y"), table.get("x"), table.get("by", ())
    for name in by:
        names.need("by", name, names.settings)
    if x is not None:
        names.need("x", x, names.settings | names.numbers | names.flags)
    names.need_selection("where", table.get("where"))
    if kind == "success":
        names.need("y", y or "success", names.flags)
    elif kind == "curves":
        names.need("y", y or "excess_loss", names.histories)
    elif kind == "heat":
        names.need("y", y or "success", names.flags | names.numbers)
        _refuse(not by, "by, the setting of its rows, is needed for a heat")
    elif kind == "map":
        names.need("y", y or "outcome", names.flags | names.numbers | {*_CODES})
        started = any(point.report.starts for point in names.points)
        _refuse(not started, "a map needs report.starts = true")
    elif kind in ("scaling", "distribution"):
        names.need("y", y or {"scaling": "iterations"}.get(kind, "loss"), names.numbers)
    elif kind in _FOLLOWED:
        followed = any(point.report.follow for point in names.points)
        _refuse(not followed, f"{kind} of a seed need report.follow = true")
    theory = table.get("theory")
    _refuse(
        isinstance(theory, str) and (theory, kind) != ("coverage", "success"),
        f'theory must be a number, or "coverage" for a success, got {brief(repr(theory), 40)}',
    )
    _check_window(table.get("window"))


def _check_finding(table: dict[str, Any], names: _Names) -> None:
    measure, y, x = table["measure"], table.get("y"), table.get("x")
    is_share = measure in _SHARES
    names.need("y", y or "success", names.flags if is_share else names.numbers)
    if "against_y" in table:
        names.need("against_y", table["against_y"], names.flags if is_share else names.numbers)
    for name in table.get("by", ()):
        names.need("by", name, names.settings)
    if x is not None and (x, measure) != ("iteration", "slope"):
        names.need("x", x, names.settings)
    for key in ("where", "against"):
        names.need_selection(key, table.get(key))
    _refuse(
        measure in ("slope", "rms slope", "smallest") and x is None,
        f"x, a setting, is needed for a {measure}",
    )
    other = table.get("against", table.get("where")), table.get("against_y", y)
    _refuse(
        measure in _PAIRS and other == (table.get("where"), y),
        f"a {measure} compares with against, another selection, or against_y, another column",
    )
    level, least, most = table.get("level"), table.get("least"), table.get("most")
    _refuse(level is not None and level > 1, f"level must be a share, at most 1, got {level}")
    wrong = least is not None and most is not None and least > most
    _refuse(wrong, f"least must be at most most, got {least} and {most}")
    _check_window(table.get("window"))


def _check_window(window: Sequence[float] | None) -> None:
    good = window is None or (len(window) == 2 and 0 < window[0] < window[1])
    _refuse(
        not good,
        f"window must be a first and a last iteration, got {brief(list(window or ()), 40)}",
    )


def _refuse(wrong: bool, text: str) -> None:
    if wrong:
        raise InputError(text)
