"""TOML <-> frozen dataclasses, and the product that lists of values span."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, Literal

from gemjax.cli.files.files import InputError


def _least(least: float, default: Any) -> Any:
    return dataclasses.field(default=default, metadata={"least": least})


def _above(above: float, default: Any) -> Any:
    return dataclasses.field(default=default, metadata={"above": above})


@dataclasses.dataclass(frozen=True)
class TruthTable:
    """[truth]: the mixture to be found."""

    kind: Literal["simplex", "ring", "grid", "random", "explicit"] = "simplex"
    num_components: int = _least(1, 3)
    dim: int = _least(1, 2)
    separation: float = _above(0, 4.0)  # noise standard deviations
    weights: tuple[float, ...] | None = None
    means: tuple[tuple[float, ...], ...] | None = None  # for kind "explicit"
    seed: int = _least(0, 0)  # for kind "random"


@dataclasses.dataclass(frozen=True)
class TargetTable:
    """[target]: what is fitted."""

    kind: Literal["samples", "population", "file"] = "samples"
    num_samples: int = _least(1, 20_000)
    num_nodes: int | None = _least(2, None)
    path: str | None = None  # relative to the config file
    columns: tuple[str, ...] | None = None
    scale: float = _above(0, 1.0)  # noise standard deviation of the file's data
    on_disk: bool = False  # read the file (.npy) while fitting, instead of loading it
    seed: int = _least(0, 0)
    dtype: Literal["float32", "float64"] = "float32"


@dataclasses.dataclass(frozen=True)
class ModelTable:
    """[model]: the mixture that is fitted, and where it starts."""

    num_components: int = _least(1, 7)
    init: Literal["from_mixture", "from_target", "plus_plus", "spectral"] = "from_target"
    rank: int | None = _least(1, None)  # for init "spectral"


@dataclasses.dataclass(frozen=True)
class SolverTable:
    """[solver]: GradientEM's fields, and the length of the run."""

    method: Literal["gradient_em", "classical_em"] = "gradient_em"
    step_size: float = _above(0, 0.5)
    weight_step_size: float = _above(0, 1.0)
    weight_tolerance: float = _least(0, 1e-6)
    weight_steps: int = _least(0, 10)
    weight_rule: Literal["mirror", "euclidean", "multiplicative", "newton", "fixed"] = "mirror"
    mean_rule: Literal["gradient", "em", "overrelaxed", "polyak"] = "gradient"
    monotone: bool = False
    escape: bool = False  # by the settings in [escape]
    active_weight: float = _least(0, 1e-3)
    num_iterations: int = _least(1, 300)
    record_every: int = _least(1, 1)


@dataclasses.dataclass(frozen=True)
class EscapeTable:
    """[escape]: Escape's fields, for solver.escape."""

    price: float | None = _least(0, None)
    stall: float = _least(0, 1e-3)
    every: int = _least(1, 25)
    num_starts: int = _least(1, 64)
    num_steps: int = _least(1, 50)


@dataclasses.dataclass(frozen=True)
class SweepTable:
    """[sweep]: random starts per grid point."""

    num_seeds: int = _least(1, 32)
    seed: int = _least(0, 0)
    batch_size: int | None = _least(1, None)


@dataclasses.dataclass(frozen=True)
class ReportTable:
    """[report]: what to report beside the standard columns."""

    reach: float | None = _above(0, None)  # excess loss whose first iteration is reported
    weights: bool = False  # follow the weights of the first seed
    certificate: bool = False  # of every seed's fit


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of the grid: every table with one value per key."""

    truth: TruthTable | None
    target: TargetTable
    model: ModelTable
    solver: SolverTable
    escape: EscapeTable
    sweep: SweepTable
    report: ReportTable


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole config: its points, in order, and what varies over them.

    `varying` holds, per point, the values of the keys that are lists, under "table.key".
    """

    source: Path
    points: tuple[Point, ...]
    varying: tuple[dict[str, Any], ...]
    resolved: dict[str, dict[str, Any]]


_TABLES: dict[str, Any] = {
    "truth": TruthTable,
    "target": TargetTable,
    "model": ModelTable,
    "solver": SolverTable,
    "escape": EscapeTable,
    "sweep": SweepTable,
    "report": ReportTable,
}
_SWEPT = ("truth", "model", "solver")


def load(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Reads and checks a config; each override is "table.key=value", the value as in TOML."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    for override in overrides:
        _override(content, override)
    return build(content, path)


def build(content: dict[str, Any], path: Path) -> Config:
    """Checks the content of a config and lays out its grid."""
    for name, table in content.items():
        if name not in _TABLES:
            raise InputError(f"{path}: unknown table [{name}]{_nearest(name, _TABLES)}")
        if not isinstance(table, dict):
            raise InputError(f"{path}: {name} must be a table [{name}], got {table!r}")
    lists = {
        (name, key): [_convert(path, name, key, v) for v in value]
        for name in _SWEPT
        for key, value in content.get(name, {}).items()
        if _is_swept(path, name, key, value)
    }
    plain = {
        name: {
            key: _convert(path, name, key, value)
            for key, value in table.items()
            if (name, key) not in lists
        }
        for name, table in content.items()
    }
    points, varying = [], []
    for combination in itertools.product(*lists.values()):
        tables = {name: dict(plain.get(name, {})) for name in _TABLES}
        for (name, key), value in zip(lists, combination, strict=True):
            tables[name][key] = value
        made = {name: _TABLES[name](**tables[name]) for name in _TABLES}
        if "truth" not in content:
            made["truth"] = None
        point = Point(**made)
        _check_point(path, point)
        points.append(point)
        keys = [f"{name}.{key}" for name, key in lists]
        varying.append(dict(zip(keys, combination, strict=True)))
    return Config(path, tuple(points), tuple(varying), _resolve(points[0], lists))


def _resolve(point: Point, lists: dict[tuple[str, str], list[Any]]) -> dict[str, dict[str, Any]]:
    """Every table in full, for `config.toml`. TOML has no null: keys without value are left out."""
    resolved: dict[str, dict[str, Any]] = {}
    for name in _TABLES:
        table = getattr(point, name)
        if table is None:
            continue
        values = {f.name: getattr(table, f.name) for f in dataclasses.fields(table)}
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


def _nearest(name: str, options: typing.Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(options), n=1)
    return f"; did you mean {found[0]!r}?" if found else f"; known are {', '.join(options)}"


def _hint(path: Path, table: str, key: str) -> Any:
    hints = typing.get_type_hints(_TABLES[table])
    if key not in hints:
        raise InputError(f"{path}: unknown key {table}.{key}{_nearest(key, hints)}")
    return hints[key]


def _is_swept(path: Path, table: str, key: str, value: Any) -> bool:
    depth, inner = 0, value
    while isinstance(inner, list):
        if not inner:
            raise InputError(f"{path}: {table}.{key} is an empty list")
        depth, inner = depth + 1, inner[0]
    hint = str(_hint(path, table, key))
    return depth > hint.count("tuple[")


def _convert(path: Path, table: str, key: str, value: Any) -> Any:
    """`value` as the key's type, within its range."""
    hint = _hint(path, table, key)
    try:
        value = _as(hint, value)
    except TypeError as error:
        note = ""
        if isinstance(value, list) and table not in _SWEPT:
            note = f" (lists span a grid in {', '.join(_SWEPT)} only)"
        raise InputError(f"{path}: {table}.{key} must be {error}, got {value!r}{note}") from None
    field = next(f for f in dataclasses.fields(_TABLES[table]) if f.name == key)
    least, above = field.metadata.get("least"), field.metadata.get("above")
    if least is not None and value < least:
        raise InputError(f"{path}: {table}.{key} must be at least {least}, got {value!r}")
    if above is not None and not value > above:
        raise InputError(f"{path}: {table}.{key} must be greater than {above}, got {value!r}")
    return value


def _as(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is types.UnionType:
        hint = next(h for h in typing.get_args(hint) if h is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise TypeError("a list")
        return tuple(_as(typing.get_args(hint)[0], item) for item in value)
    if typing.get_origin(hint) is Literal:
        options = typing.get_args(hint)
        if value not in options:
            raise TypeError("one of " + ", ".join(options))
        return value
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError("a number")
        if not math.isfinite(value):
            raise TypeError("a finite number")
        return float(value)
    names = {int: "an integer", str: "a string", bool: "true or false"}
    if type(value) is not hint:
        raise TypeError(names[hint])
    return value


def _check_point(path: Path, point: Point) -> None:
    """What no single key can tell."""
    truth, target, model = point.truth, point.target, point.model
    if target.kind == "file":
        if target.path is None:
            raise InputError(f'{path}: target.path is needed for target.kind = "file"')
    elif truth is None:
        raise InputError(f'{path}: a [truth] is needed for target.kind = "{target.kind}"')
    if target.on_disk and (target.kind != "file" or target.columns is not None):
        raise InputError(f'{path}: target.on_disk needs target.kind = "file" and no target.columns')
    if target.on_disk and model.init not in ("from_mixture", "from_target"):
        raise InputError(f'{path}: model.init = "{model.init}" cannot start from a target.on_disk')
    if point.solver.mean_rule == "polyak" and target.kind != "population":
        raise InputError(
            f'{path}: solver.mean_rule = "polyak" needs the least loss there is, which only a '
            f'[truth] with target.kind = "population" tells (on samples fits go below the '
            f'truth\'s), got target.kind = "{target.kind}"'
        )
    if model.init == "from_mixture" and truth is None:
        raise InputError(f'{path}: a [truth] is needed for model.init = "from_mixture"')
    if model.init == "spectral" and model.rank is None:
        raise InputError(f'{path}: model.rank is needed for model.init = "spectral"')
    if point.solver.record_every > point.solver.num_iterations:
        raise InputError(
            f"{path}: solver.record_every = {point.solver.record_every} is more than "
            f"solver.num_iterations = {point.solver.num_iterations}"
        )
    if point.solver.escape and model.num_components < 2:
        raise InputError(f"{path}: solver.escape needs model.num_components of at least 2, got 1")
    if point.solver.escape and 2 * point.escape.every > point.solver.num_iterations:
        raise InputError(
            f"{path}: escape.every = {point.escape.every} must be at most half of "
            f"solver.num_iterations = {point.solver.num_iterations}"
        )
    if point.report.reach is not None and truth is None:
        raise InputError(f"{path}: report.reach is an excess over the loss of a [truth]")
    if truth is None:
        return
    if truth.kind == "explicit":
        if truth.means is None:
            raise InputError(f'{path}: truth.means is needed for truth.kind = "explicit"')
        if len({len(mean) for mean in truth.means}) != 1:
            raise InputError(f"{path}: truth.means must all have the same length")
        m = len(truth.means)
    else:
        m = truth.num_components
        if truth.kind == "simplex" and m > truth.dim + 1:
            raise InputError(
                f"{path}: truth.num_components = {m} is too many for a simplex in "
                f"truth.dim = {truth.dim} dimensions, which has {truth.dim + 1} corners"
            )
        if truth.kind == "ring" and truth.dim < 2:
            raise InputError(f"{path}: truth.dim must be at least 2 for a ring")
    if truth.weights is not None:
        if len(truth.weights) != m:
            raise InputError(f"{path}: truth.weights must have {m} entries, got {truth.weights}")
        if min(truth.weights) < 0 or sum(truth.weights) <= 0:
            raise InputError(
                f"{path}: truth.weights must be non-negative and not all zero, got {truth.weights}"
            )
