"""TOML -> a config: its grid, and what is shown of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import tomllib
from pathlib import Path
from typing import Any

from gemjax.cli.files.boundary import InputError, asking, brief, read_text, shown
from gemjax.cli.study import grid
from gemjax.cli.study.settings import PRESENTATION, TABLES, GridPoint
from gemjax.cli.study.values import FIELDS, convert, nearest

SIZES = ("fast", "large")  # tables of changes to a config
_LISTED = ("figure", "finding")
_KNOWN = (*TABLES, *PRESENTATION, "case", *SIZES)
_MOST_PARTS = 64
_QUOTED = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"?|'[^'\n]*'?")
_BETWEEN_KEYS, _DOT = re.compile(r"[=,\[\]{}#\n]"), re.compile(r"[^.\s][ \t]*\.")


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole config.

    Attributes:
      name: of its file.
      where: the same with its folder, for messages.
      folder: what its paths are relative to.
      points: the grid, in order.
      varying: per point, the values of what varies, under "table.key" or "case".
      computed: every table that decides the results, in full.
      shown: the tables that decide how they are shown, under their names in summary.json.
      resolved: both, as config.toml has them.
      asked: how it was asked for, in words of the command line, if not as it stands: under "size"
        and "overrides".
    """

    name: str
    where: str
    folder: Path
    points: tuple[GridPoint, ...]
    varying: tuple[dict[str, Any], ...]
    computed: dict[str, Any]
    shown: dict[str, Any]
    resolved: dict[str, Any]
    asked: dict[str, Any] = dataclasses.field(default_factory=dict)


def load(path: Path, overrides: tuple[str, ...] = (), size: str | None = None) -> Config:
    """Reads and checks a config, in one of its `SIZES` or as it stands.

    Each override is "table.key=value", the value as in TOML.
    """
    text = read_text(path)
    with asking(str(path)):
        content = _parsed(text)
        if size is not None:
            _resize(content, size)
        for override in overrides:
            _override(content, override)
        loaded = build(content, path)
        asked = {"size": size, "overrides": list(overrides)}
        loaded = dataclasses.replace(loaded, asked={k: v for k, v in asked.items() if v})
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
        if name not in _KNOWN:
            raise InputError(f"unknown table [{brief(name, 60)}]{nearest(name, _KNOWN)}")
        if name not in (*_LISTED, "case") and not isinstance(table, dict):
            raise InputError(f"{name} must be a table [{name}], got {shown(table)}")
    for size in SIZES:
        _check_size(size, content.get(size, {}))
    study = _one("study", content.get("study", {}))
    together = grid.pairs(content.get("grid", {}))
    laid_out = grid.lay_out(content, together.get("zip", ()))
    figures, findings = (_several(name, content.get(name, [])) for name in _LISTED)
    for name, tables, needed in (("figure", figures, "kind"), ("finding", findings, "measure")):
        if any(needed not in table for table in tables):
            raise InputError(f"{name}.{needed} is needed in every [[{name}]]")
    path = path or Path("options")
    written = {"study": study, "grid": together, "figure": figures, "finding": findings}
    return Config(
        path.name, str(path), path.parent, laid_out.points, laid_out.varying,
        computed=laid_out.written,
        shown={"study": study, "figures": figures, "findings": findings},
        resolved=laid_out.written | {name: table for name, table in written.items() if table},
    )  # fmt: skip


def _check_size(size: str, changes: dict[str, Any]) -> None:
    """Names in [fast] and [large], which may never be asked for."""
    for table, keys in changes.items():
        known = (*TABLES, *PRESENTATION, "case")
        if table not in known:
            raise InputError(f"[{size}]: unknown table {brief(table, 60)}{nearest(table, known)}")
        for key in keys if isinstance(keys, dict) and table in FIELDS else ():
            if key not in FIELDS[table]:
                place = f"{table}.{brief(key, 60)}"
                raise InputError(f"[{size}]: unknown key {place}{nearest(key, FIELDS[table])}")


def _one(name: str, table: dict[str, Any]) -> dict[str, Any]:
    return {key: convert(name, key, value) for key, value in table.items()}


def _several(name: str, tables: Any) -> list[dict[str, Any]]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{name} must be tables [[{name}]], got {shown(tables)}")
    found = [_one(name, table) for table in tables]
    for table in found:
        table |= {key: _flat(table[key]) for key in ("where", "against") if key in table}
    return found


def _flat(where: dict[str, Any]) -> dict[str, Any]:
    """Settings under "table.key", as they are written in tables or with a dot."""
    flat: dict[str, Any] = {}
    for key, value in where.items():
        inner = value.items() if isinstance(value, dict) else ((None, value),)
        for name, chosen in inner:
            values = chosen if isinstance(chosen, list) else [chosen]
            if not values or not all(isinstance(v, str | int | float) for v in values):
                place = key if name is None else f"{key}.{name}"
                raise InputError(f"where: {brief(place, 60)} must be a value or a list of values")
            flat[key if name is None else f"{key}.{name}"] = chosen
    return flat


def _resize(content: dict[str, Any], size: str) -> None:
    """The config with the changes in its table of that name."""
    changes = content.get(size)
    if not isinstance(changes, dict):
        raise InputError(f"--{size} needs a table [{size}] of changes in the config")
    for table, keys in changes.items():
        known = content.get(table)
        if isinstance(keys, dict) and isinstance(known, dict):
            known |= keys
        else:
            content[table] = keys


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
