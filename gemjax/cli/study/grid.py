"""The grid of a config: what lists of values span, in every case."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

from gemjax.cli.files.boundary import InputError, brief, shown
from gemjax.cli.study.sense import check_point, check_together
from gemjax.cli.study.settings import TABLES, GridPoint
from gemjax.cli.study.values import FIELDS, check_precision, convert, is_swept, nearest

Key = tuple[str, str]  # table and name
_OF_A_CASE = (*TABLES, "grid")
_MOST_POINTS = 100_000
_MOST_NAME = 60


@dataclasses.dataclass(frozen=True)
class Grid:
    """Grid points in order, and per point the values of what varies, under "table.key" or "case".

    `written` holds the tables of the config and their cases in full, as they resolve to themselves.
    """

    points: tuple[GridPoint, ...]
    varying: tuple[dict[str, Any], ...]
    written: dict[str, Any]


def pairs(table: dict[str, Any]) -> dict[str, Any]:
    """[grid], checked: lists of keys that there are."""
    found = {key: convert("grid", key, value) for key, value in table.items()}
    known = [f"{table}.{key}" for table in TABLES for key in FIELDS[table]]
    for name in (name for group in found.get("zip", ()) for name in group):
        if name not in known:
            raise InputError(f"grid.zip: unknown key {brief(name, 60)}{nearest(name, known)}")
    return found


def lay_out(content: dict[str, Any], zipped: tuple[tuple[str, ...], ...]) -> Grid:
    """The grid of the tables in a config: the union of those of its cases."""
    cases = _cases(content)
    base = {name: content[name] for name in TABLES if name in content}
    points: list[GridPoint] = []
    names: dict[str, None] = {}  # an ordered set
    for case, changes in cases:
        lists, plain = _values(base, changes)
        own = changes.get("grid", {}).get("zip", zipped)
        there = [name for name in TABLES if name != "truth" or name in {*base, *changes}]
        points += _points(case, there, lists, plain, own)
        names |= dict.fromkeys(map(".".join, lists))
    if len(points) > _MOST_POINTS:
        raise InputError(f"the cases span {len(points):,} grid points, more than {_MOST_POINTS:,}")
    check_together(points)
    if cases[0][0] is not None:  # whose names tell what they change
        names = {"case": None} | names
    varying = tuple({name: point.value(name) for name in names} for point in points)
    return Grid(tuple(points), varying, _written(base, cases))


def _cases(content: dict[str, Any]) -> list[tuple[str | None, dict[str, dict[str, Any]]]]:
    """Names and changes, one without either where there are no cases."""
    given = content.get("case")
    if given is None:
        return [(None, {})]
    if not isinstance(given, list) or not given:
        raise InputError(f"case must be tables [[case]], got {shown(given)}")
    cases: list[tuple[str | None, dict[str, dict[str, Any]]]] = []
    for case in given:
        if not isinstance(case, dict):
            raise InputError(f"case must be tables [[case]], got {shown(given)}")
        name, changes = case.get("name"), {k: v for k, v in case.items() if k != "name"}
        if not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= _MOST_NAME):
            raise InputError(f"case.name must be a text of a line, got {shown(name)}")
        if name in [other for other, _ in cases]:
            raise InputError(f"case.name must be different in each, got {name!r} twice")
        for table, keys in changes.items():
            if table not in _OF_A_CASE:
                known = nearest(table, _OF_A_CASE)
                raise InputError(f"case {name!r}: unknown table {brief(table, 60)}{known}")
            if not isinstance(keys, dict):
                raise InputError(f"case {name!r}: {table} must be a table, got {shown(keys)}")
        if "grid" in changes:
            changes["grid"] = pairs(changes["grid"])
        cases.append((name, changes))
    return cases


def _values(
    base: dict[str, Any], changes: dict[str, dict[str, Any]]
) -> tuple[dict[Key, list[Any]], dict[Key, Any]]:
    """What spans the grid and what does not, each as its key's type.

    In the order of the tables' fields, not of the file: the same settings are the same points.
    """
    lists: dict[Key, list[Any]] = {}
    plain: dict[Key, Any] = {}
    for name in TABLES:
        given = {**base.get(name, {}), **changes.get(name, {})}
        ordered = {key: given[key] for key in FIELDS[name] if key in given} | given
        for key, value in ordered.items():
            if is_swept(name, key, value):
                lists[name, key] = [convert(name, key, v) for v in value]
            else:
                plain[name, key] = convert(name, key, value)
    return lists, plain


def _points(
    case: str | None, there: list[str], lists: dict[Key, list[Any]], plain: dict[Key, Any],
    zipped: tuple[tuple[str, ...], ...],
) -> list[GridPoint]:  # fmt: skip
    axes = _axes(lists, zipped)
    size = math.prod(len(lists[axis[0]]) for axis in axes)
    if size > _MOST_POINTS:
        spanning = ", ".join(map(".".join, lists))
        raise InputError(f"{spanning} span {size:,} grid points, more than {_MOST_POINTS:,}")
    dtype = plain.get(("target", "dtype"), FIELDS["target"]["dtype"].default)
    for (name, key), values in (plain | lists).items():
        check_precision(f"{name}.{key}", values, dtype)
    points = []
    for combination in itertools.product(*(range(len(lists[axis[0]])) for axis in axes)):
        at = dict(plain)
        for axis, index in zip(axes, combination, strict=True):
            at |= {key: lists[key][index] for key in axis}
        made: dict[str, Any] = {"truth": None, "case": case}
        for name in there:
            made[name] = TABLES[name](**{k: v for (owner, k), v in at.items() if owner == name})
        points.append(GridPoint(**made))
        check_point(points[-1])
    return points


def _axes(lists: dict[Key, list[Any]], zipped: tuple[tuple[str, ...], ...]) -> list[list[Key]]:
    """Keys that go together, in the order of their first ones."""
    groups: dict[Key, list[Key]] = {key: [key] for key in lists}
    for names in zipped:
        together = [key for key in lists if ".".join(key) in names]
        if len(set(names)) < len(names) or len(names) < 2:
            raise InputError(f"grid.zip must pair different keys, got {', '.join(names) or 'none'}")
        lengths = {".".join(key): len(lists[key]) for key in together}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {count}" for name, count in lengths.items())
            raise InputError(f"grid.zip must pair lists of one length, but {told} values")
        if together and len(together) < len(names):
            alone = next(name for name in names if name not in lengths)
            raise InputError(f"grid.zip pairs {next(iter(lengths))} with {alone}, which is no list")
        for key in together:
            if len(groups[key]) > 1:
                raise InputError(f"grid.zip must have each key once, got {'.'.join(key)} twice")
        for key in together:
            groups[key] = together
    return list({id(group): group for group in groups.values()}.values())


def _written(base: dict[str, Any], cases: list[tuple[str | None, Any]]) -> dict[str, Any]:
    """Every table in full. TOML has no null: keys without value are left out."""
    written: dict[str, Any] = {}
    for name, fields in FIELDS.items():
        if name not in TABLES or (name == "truth" and name not in base):
            continue
        values = {}
        for key, field in fields.items():
            value = base.get(name, {}).get(key, field.default)
            if value is not None:
                values[key] = _converted(name, key, value) if key in base.get(name, {}) else value
        written[name] = values
    if cases[0][0] is not None:
        written["case"] = [{"name": name, **changes} for name, changes in cases]
    return written


def _converted(table: str, key: str, value: Any) -> Any:
    if is_swept(table, key, value):
        return [convert(table, key, v) for v in value]
    return convert(table, key, value)
