"""TOML <-> tables of settings, and the product that lists of values span."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gemjax.cli.files.boundary import InputError, asking, brief, read_text, shown
from gemjax.cli.study.settings import TABLES, GridPoint, TruthTable, start_settings

FIELDS = {
    name: {field.name: field for field in dataclasses.fields(table)}
    for name, table in TABLES.items()
}
HINTS = {name: typing.get_type_hints(table) for name, table in TABLES.items()}
_SWEPT = ("truth", "model", "solver")
_STARTS_ON_DISK = ("from_mixture", "from_target")
_MOST_POINTS = 100_000  # of a grid
_MOST_INT = 2**31 - 1  # what counts in a compiled program hold
_MOST_SEED = 2**32 - 1  # what a key is made of
_MOST_PARTS = 64
_QUOTED = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"?|'[^'\n]*'?")
_BETWEEN_KEYS, _DOT = re.compile(r"[=,\[\]{}#\n]"), re.compile(r"[^.\s][ \t]*\.")
_KINDS = {int: "an integer", str: "a string", bool: "true or false", float: "a number"}


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole config.

    Attributes:
      name: of its file.
      where: the same with its folder, for messages.
      folder: what its paths are relative to.
      points: the grid, in order.
      varying: per point, the values of the keys that are lists, under "table.key".
      resolved: every table in full.
    """

    name: str
    where: str
    folder: Path
    points: tuple[GridPoint, ...]
    varying: tuple[dict[str, Any], ...]
    resolved: dict[str, dict[str, Any]]


def load(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Reads and checks a config; each override is "table.key=value", the value as in TOML."""
    text = read_text(path)
    with asking(str(path)):
        content = _parsed(text)
        for override in overrides:
            _override(content, override)
        loaded = build(content, path)
        json.dumps(loaded.resolved, ensure_ascii=False).encode()  # as config.toml will be written
    return loaded


def _parsed(text: str) -> dict[str, Any]:
    # What a key of many parts takes to read grows with their square.
    bare = _QUOTED.sub("q", text)
    if any(len(_DOT.findall(part)) > _MOST_PARTS for part in _BETWEEN_KEYS.split(bare)):
        raise ValueError(f"not valid here: a key of more than {_MOST_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("not valid TOML: nested too deeply") from None
    except MemoryError:
        raise ValueError("more than the memory holds") from None
    except ValueError as error:  # also an integer of more digits than Python reads
        raise ValueError(f"not valid TOML: {brief(error, 160)}") from error


def build(content: dict[str, Any], path: Path | None) -> Config:
    """Checks the content of a config and lays out its grid. Errors name the file, if any."""
    with contextlib.nullcontext() if path is None else asking(str(path)):
        return _build(content, path)


def _build(content: dict[str, Any], path: Path | None) -> Config:
    for name, table in content.items():
        if name not in TABLES:
            raise InputError(f"unknown table [{brief(name, 60)}]{_nearest(name, TABLES)}")
        if not isinstance(table, dict):
            raise InputError(f"{name} must be a table [{name}], got {shown(table)}")
    lists, plain = {}, {}
    for name in TABLES:
        for key, value in content.get(name, {}).items():
            if _is_swept(name, key, value):
                lists[name, key] = [_convert(name, key, v) for v in value]
            else:
                plain[name, key] = _convert(name, key, value)
    size = math.prod(map(len, lists.values()))
    if size > _MOST_POINTS:
        spanning = ", ".join(map(".".join, lists))
        raise InputError(f"{spanning} span {size:,} grid points, more than {_MOST_POINTS:,}")
    dtype = plain.get(("target", "dtype"), FIELDS["target"]["dtype"].default)
    for (name, key), values in (plain | lists).items():
        _check_precision(f"{name}.{key}", values, dtype)
    points, varying = [], []
    there = [name for name in TABLES if name != "truth" or name in content]
    given = {name: {k: v for (owner, k), v in plain.items() if owner == name} for name in there}
    vary = [name for name in there if any(owner == name for owner, _ in lists)]
    same = {name: TABLES[name](**given[name]) for name in there if name not in vary}
    for combination in itertools.product(*lists.values()):
        swept = dict(zip(lists, combination, strict=True))
        made: dict[str, Any] = {"truth": None, **same}
        for name in vary:
            keys = {key: value for (owner, key), value in swept.items() if owner == name}
            made[name] = TABLES[name](**given[name], **keys)
        points.append(GridPoint(**made))
        _check_point(points[-1])
        varying.append({f"{name}.{key}": value for (name, key), value in swept.items()})
    # TOML has no null: keys without value are left out.
    resolved = {
        name: {
            key: value
            for key in FIELDS[name]
            if (value := lists.get((name, key), getattr(made[name], key))) is not None
        }
        for name in TABLES
        if made[name] is not None
    }
    path = path or Path("options")
    return Config(path.name, str(path), path.parent, tuple(points), tuple(varying), resolved)


def _override(content: dict[str, Any], override: str) -> None:
    place, separator, text = override.partition("=")
    table, dot, key = place.strip().partition(".")
    if not (separator and dot and key):
        raise InputError(f"--set {brief(override, 80)}: must have the form table.key=value")
    try:
        value = _parsed(f"value = {text}")["value"]
    except ValueError as error:
        if not isinstance(error.__cause__, tomllib.TOMLDecodeError):
            raise InputError(f"--set {brief(place, 80)}: {error}") from None
        value = text.strip()  # an unquoted string
    target = content.setdefault(table, {})
    if isinstance(target, dict):
        target[key] = value


def _nearest(name: str, options: Iterable[str]) -> str:
    found = difflib.get_close_matches(name[:60], list(options), n=1)
    return f"; did you mean {found[0]!r}?" if found else f"; known are {', '.join(options)}"


def _is_swept(table: str, key: str, value: Any) -> bool:
    depth, inner = 0, value
    while isinstance(inner, list):
        if not inner:
            raise InputError(f"{table}.{brief(key, 60)} is an empty list")
        depth, inner = depth + 1, inner[0]
    return table in _SWEPT and depth > str(HINTS[table].get(key)).count("tuple[")


def _convert(table: str, key: str, value: Any) -> Any:
    """`value` as the key's type, within its limits."""
    if key not in FIELDS[table]:
        raise InputError(f"unknown key {table}.{brief(key, 60)}{_nearest(key, FIELDS[table])}")
    try:
        value = _as(HINTS[table][key], value)
        _check_limits(value, FIELDS[table][key].metadata)
        most = _MOST_SEED if key == "seed" else _MOST_INT
        if type(value) is int and value > most:
            raise ValueError(f"at most {most}")
    except ValueError as error:
        note = ""
        if isinstance(value, list) and table not in _SWEPT:
            note = f" (lists span a grid in {', '.join(_SWEPT)} only)"
        raise InputError(f"{table}.{key} must be {error}, got {shown(value)}{note}") from None
    return value


def _as(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is types.UnionType:
        hint = next(h for h in typing.get_args(hint) if h is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError("a list")
        return tuple(_as(typing.get_args(hint)[0], item) for item in value)
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < 2**1000 else math.inf
    if type(value) is not hint:
        raise ValueError(_KINDS[hint])
    if hint is float and not math.isfinite(value):
        raise ValueError("a finite number")
    return value


def _check_limits(value: Any, limits: Mapping[str, Any]) -> None:
    choices, least, above, below = map(limits.get, ("choices", "least", "above", "below"))
    if choices is not None and value not in choices:
        raise ValueError("one of " + ", ".join(choices))
    if least is not None and value < least:
        raise ValueError(f"at least {least}")
    if above is not None and not value > above:
        raise ValueError(f"greater than {above}")
    if below is not None and not value < below:
        raise ValueError(f"less than {below}")


def _check_point(point: GridPoint) -> None:
    """What no single key can tell."""
    truth, target, model, solver = point.truth, point.target, point.model, point.solver
    is_file, kind = target.kind == "file", f'target.kind = "{target.kind}"'
    init, every = f'model.init = "{model.init}"', point.escape.every

    _refuse(is_file and target.path is None, f"target.path is needed for {kind}")
    _refuse(not is_file and truth is None, f"a [truth] is needed for {kind}")
    _refuse(
        target.on_disk and not is_file, f'target.on_disk needs target.kind = "file", not {kind}'
    )
    plain = target.columns is target.weights is None and model.init in _STARTS_ON_DISK
    other = "target.columns, target.weights nor another model.init"
    _refuse(target.on_disk and not plain, f"target.on_disk goes with neither {other}, got {init}")
    _refuse(
        solver.mean_rule == "polyak" and target.kind != "population",
        'solver.mean_rule = "polyak" needs the least loss there is, which only a [truth] with '
        'target.kind = "population" tells (on samples fits go below the truth\'s), got ' + kind,
    )
    _refuse(model.init == "from_mixture" and truth is None, f"a [truth] is needed for {init}")
    for name, setting in start_settings(model.init).items():
        missing = getattr(model, name) is None and setting.default is setting.empty
        _refuse(missing, f"{init} needs model.{name}")
    steps = f"solver.num_iterations = {solver.num_iterations}"
    recorded = f"solver.record_every = {solver.record_every} is more than {steps}"
    _refuse(solver.record_every > solver.num_iterations, recorded)
    few = "solver.escape needs model.num_components of at least 2, got 1"
    _refuse(solver.escape and model.num_components < 2, few)
    late = f"escape.every = {every} must be at most half of {steps}"
    _refuse(solver.escape and 2 * every > solver.num_iterations, late)
    reach = "report.reach is an excess over the loss of a [truth]"
    _refuse(point.report.reach is not None and truth is None, reach)
    if truth is not None:
        _check_truth(truth)


def _check_precision(place: str, values: Any, dtype: str) -> None:
    """No number that the fit's precision cannot hold, or whose square it cannot."""
    if isinstance(values, tuple | list):
        for value in values:
            _check_precision(place, value, dtype)
    elif isinstance(values, float):
        limits = np.finfo(dtype)
        least, most, size = float(limits.tiny), math.sqrt(float(limits.max)) / 16, abs(values)
        _refuse(
            size > 0 and not least <= size <= most,
            f"{place} must be between {least:.2g} and {most:.2g} in size for "
            f'target.dtype = "{dtype}", got {values}',
        )


def _refuse(wrong: bool, text: str) -> None:
    if wrong:
        raise InputError(text)


def _check_truth(truth: TruthTable) -> None:
    m, d, weights = truth.num_components, truth.dim, truth.weights
    if truth.kind == "explicit":
        means = truth.means or ()
        _refuse(not means, 'truth.means is needed for truth.kind = "explicit"')
        _refuse(len(set(map(len, means))) != 1, "truth.means must all have the same length")
        m = len(means)
    many = f"truth.num_components = {m} is too many for a simplex in truth.dim = {d} dimensions"
    _refuse(truth.kind == "simplex" and m > d + 1, f"{many}, which has {d + 1} corners")
    _refuse(truth.kind == "ring" and d < 2, "truth.dim must be at least 2 for a ring")
    if weights is not None:
        _refuse(
            len(weights) != m, f"truth.weights must have {m} entries, got {shown(list(weights))}"
        )
        bad = min(weights) < 0 or sum(weights) <= 0
        _refuse(
            bad, f"truth.weights must be non-negative and not all zero, got {shown(list(weights))}"
        )
