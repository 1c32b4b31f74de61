"""TOML <-> tables of settings, and the product that lists of values span."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gemjax.cli.files.read import InputError, reading
from gemjax.cli.study.settings import TABLES, GridPoint, TruthTable, start_settings

FIELDS = {
    name: {field.name: field for field in dataclasses.fields(table)}
    for name, table in TABLES.items()
}
HINTS = {name: typing.get_type_hints(table) for name, table in TABLES.items()}
_SWEPT = ("truth", "model", "solver")
_STARTS_ON_DISK = ("from_mixture", "from_target")
_KEY = re.compile(rf'\b((?:{"|".join(TABLES)})\.\w+)(?: = (?:"(\w+)"|(\S+)))?')


@dataclasses.dataclass(frozen=True)
class Source:
    """Where settings come from: a config file, or options, with their names by "table.key"."""

    place: Path | Mapping[str, str]

    def error(self, text: str) -> InputError:
        """An error about keys, "table.key"; it names the file, or the options in their place."""
        if isinstance(self.place, Path):
            return InputError(f"{self.place}: {text}")
        names = self.place

        def option(found: re.Match) -> str:
            key, word, value = found.groups()
            return " ".join(filter(None, [names.get(key, key), word, value]))

        return InputError(_KEY.sub(option, text))


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole config.

    Attributes:
      name: of its file.
      folder: what its paths are relative to.
      points: the grid, in order.
      varying: per point, the values of the keys that are lists, under "table.key".
      resolved: every table in full.
    """

    name: str
    folder: Path
    points: tuple[GridPoint, ...]
    varying: tuple[dict[str, Any], ...]
    resolved: dict[str, dict[str, Any]]


def load(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Reads and checks a config; each override is "table.key=value", the value as in TOML."""
    try:
        with reading(path):
            content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    for override in overrides:
        _override(content, override)
    return build(content, path)


def build(content: dict[str, Any], place: Path | Mapping[str, str]) -> Config:
    """Checks the content of a config and lays out its grid; `place` is as in `Source`."""
    source = Source(place)
    for name, table in content.items():
        if name not in TABLES:
            raise source.error(f"unknown table [{name}]{_nearest(name, TABLES)}")
        if not isinstance(table, dict):
            raise source.error(f"{name} must be a table [{name}], got {table!r}")
    lists = {
        (name, key): [_convert(source, name, key, v) for v in value]
        for name in _SWEPT
        for key, value in content.get(name, {}).items()
        if _is_swept(source, name, key, value)
    }
    plain = {
        name: {
            key: _convert(source, name, key, value)
            for key, value in table.items()
            if (name, key) not in lists
        }
        for name, table in content.items()
    }
    points, varying = [], []
    for combination in itertools.product(*lists.values()):
        tables = {name: dict(plain.get(name, {})) for name in TABLES}
        for (name, key), value in zip(lists, combination, strict=True):
            tables[name][key] = value
        made = {name: TABLES[name](**tables[name]) for name in TABLES}
        if "truth" not in content:
            made["truth"] = None
        point = GridPoint(**made)
        _check_point(source, point)
        points.append(point)
        keys = [f"{name}.{key}" for name, key in lists]
        varying.append(dict(zip(keys, combination, strict=True)))
    path = place if isinstance(place, Path) else Path("options")
    resolved = _resolve(points[0], lists)
    return Config(path.name, path.parent, tuple(points), tuple(varying), resolved)


def _resolve(
    point: GridPoint, lists: dict[tuple[str, str], list[Any]]
) -> dict[str, dict[str, Any]]:
    """Every table in full, for `config.toml`. TOML has no null: keys without value are left out."""
    resolved: dict[str, dict[str, Any]] = {}
    for name in TABLES:
        table = getattr(point, name)
        if table is None:
            continue
        values = {key: getattr(table, key) for key in FIELDS[name]}
        values |= {key: value for (owner, key), value in lists.items() if owner == name}
        resolved[name] = {key: value for key, value in values.items() if value is not None}
    return resolved


def _override(content: dict[str, Any], override: str) -> None:
    place, separator, text = override.partition("=")
    table, dot, key = place.strip().partition(".")
    if not (separator and dot and key):
        raise InputError(f"--set {override}: must have the form table.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # an unquoted string
    target = content.setdefault(table, {})
    if isinstance(target, dict):
        target[key] = value


def _nearest(name: str, options: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(options), n=1)
    return f"; did you mean {found[0]!r}?" if found else f"; known are {', '.join(options)}"


def _is_swept(source: Source, table: str, key: str, value: Any) -> bool:
    depth, inner = 0, value
    while isinstance(inner, list):
        if not inner:
            raise source.error(f"{table}.{key} is an empty list")
        depth, inner = depth + 1, inner[0]
    return depth > str(HINTS[table].get(key)).count("tuple[")


def _convert(source: Source, table: str, key: str, value: Any) -> Any:
    """`value` as the key's type, within its limits."""
    if key not in FIELDS[table]:
        raise source.error(f"unknown key {table}.{key}{_nearest(key, FIELDS[table])}")
    limits = FIELDS[table][key].metadata
    try:
        value = _as(HINTS[table][key], value)
        _check_limits(value, limits)
    except ValueError as error:
        note = ""
        if isinstance(value, list) and table not in _SWEPT:
            note = f" (lists span a grid in {', '.join(_SWEPT)} only)"
        raise source.error(f"{table}.{key} must be {error}, got {value!r}{note}") from None
    return value


def _as(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is types.UnionType:
        hint = next(h for h in typing.get_args(hint) if h is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError("a list")
        return tuple(_as(typing.get_args(hint)[0], item) for item in value)
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("a number")
        if not math.isfinite(value):
            raise ValueError("a finite number")
        return float(value)
    names = {int: "an integer", str: "a string", bool: "true or false"}
    if type(value) is not hint:
        raise ValueError(names[hint])
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


def _check_point(source: Source, point: GridPoint) -> None:
    """What no single key can tell."""
    truth, target, model, solver = point.truth, point.target, point.model, point.solver
    is_file, kind = target.kind == "file", f'target.kind = "{target.kind}"'
    init, every = f'model.init = "{model.init}"', point.escape.every

    def refuse(wrong: bool, text: str) -> None:
        if wrong:
            raise source.error(text)

    refuse(is_file and target.path is None, f"target.path is needed for {kind}")
    refuse(not is_file and truth is None, f"a [truth] is needed for {kind}")
    refuse(target.on_disk and not is_file, f'target.on_disk needs target.kind = "file", not {kind}')
    plain = target.columns is target.weights is None and model.init in _STARTS_ON_DISK
    other = "target.columns, target.weights nor another model.init"
    refuse(target.on_disk and not plain, f"target.on_disk goes with neither {other}, got {init}")
    refuse(
        solver.mean_rule == "polyak" and target.kind != "population",
        'solver.mean_rule = "polyak" needs the least loss there is, which only a [truth] with '
        'target.kind = "population" tells (on samples fits go below the truth\'s), got ' + kind,
    )
    refuse(model.init == "from_mixture" and truth is None, f"a [truth] is needed for {init}")
    for name, setting in start_settings(model.init).items():
        missing = getattr(model, name) is None and setting.default is setting.empty
        refuse(missing, f"{init} needs model.{name}")
    steps = f"solver.num_iterations = {solver.num_iterations}"
    recorded = f"solver.record_every = {solver.record_every} is more than {steps}"
    refuse(solver.record_every > solver.num_iterations, recorded)
    few = "solver.escape needs model.num_components of at least 2, got 1"
    refuse(solver.escape and model.num_components < 2, few)
    late = f"escape.every = {every} must be at most half of {steps}"
    refuse(solver.escape and 2 * every > solver.num_iterations, late)
    reach = "report.reach is an excess over the loss of a [truth]"
    refuse(point.report.reach is not None and truth is None, reach)
    if truth is not None:
        _check_truth(refuse, truth)


def _check_truth(refuse: Callable[[bool, str], None], truth: TruthTable) -> None:
    m, d, weights = truth.num_components, truth.dim, truth.weights
    if truth.kind == "explicit":
        means = truth.means or ()
        refuse(not means, 'truth.means is needed for truth.kind = "explicit"')
        refuse(len(set(map(len, means))) != 1, "truth.means must all have the same length")
        m = len(means)
    many = f"truth.num_components = {m} is too many for a simplex in truth.dim = {d} dimensions"
    refuse(truth.kind == "simplex" and m > d + 1, f"{many}, which has {d + 1} corners")
    refuse(truth.kind == "ring" and d < 2, "truth.dim must be at least 2 for a ring")
    if weights is not None:
        refuse(len(weights) != m, f"truth.weights must have {m} entries, got {weights}")
        bad = min(weights) < 0 or sum(weights) <= 0
        refuse(bad, f"truth.weights must be non-negative and not all zero, got {weights}")
