"""What a config may say: each key of its tables with its type and its limits."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gemjax.cli.files.boundary import InputError, brief, shown
from gemjax.cli.study.settings import PRESENTATION, TABLES

_ALL: dict[str, Any] = TABLES | PRESENTATION
FIELDS = {
    name: {field.name: field for field in dataclasses.fields(table)} for name, table in _ALL.items()
}
HINTS = {name: typing.get_type_hints(table) for name, table in _ALL.items()}
SWEPT = ("truth", "target", "model", "solver", "escape")  # and sweep.seed
_MOST_INT = 2**31 - 1  # what counts in a compiled program hold
_MOST_SEED = 2**32 - 1  # what a key is made of
_KINDS = {
    int: "an integer", str: "a string", bool: "true or false", float: "a number",
    dict: "a table of settings",
}  # fmt: skip


def nearest(name: str, options: Iterable[str]) -> str:
    """What was probably meant, for the end of a message."""
    found = difflib.get_close_matches(name[:60], list(options), n=1)
    return f"; did you mean {found[0]!r}?" if found else f"; known are {', '.join(options)}"


def is_swept(table: str, key: str, value: Any) -> bool:
    """Whether a value is a list of values of its key, over which the grid goes."""
    if table not in SWEPT and (table, key) != ("sweep", "seed"):
        return False
    depth, inner = 0, value
    while isinstance(inner, list):
        if not inner:
            raise InputError(f"{table}.{brief(key, 60)} is an empty list")
        depth, inner = depth + 1, inner[0]
    return depth > str(HINTS[table].get(key)).count("tuple[")


def convert(table: str, key: str, value: Any) -> Any:
    """`value` as the key's type, within its limits."""
    if key not in FIELDS[table]:
        raise InputError(f"unknown key {table}.{brief(key, 60)}{nearest(key, FIELDS[table])}")
    try:
        value = _as(HINTS[table][key], value)
        _check_limits(value, FIELDS[table][key].metadata)
        most = _MOST_SEED if key == "seed" else _MOST_INT
        if type(value) is int and value > most:
            raise ValueError(f"at most {most}")
    except ValueError as error:
        note = ""
        if isinstance(value, list) and table in TABLES and table not in SWEPT:
            note = f" (lists span a grid in {', '.join(SWEPT)} only)"
        raise InputError(f"{table}.{key} must be {error}, got {shown(value)}{note}") from None
    return value


def _as(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is types.UnionType:
        *others, hint = (h for h in typing.get_args(hint) if h is not types.NoneType)
        for other in others:
            with contextlib.suppress(ValueError):
                return _as(other, value)
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
    choices, least, above, below, most = map(
        limits.get, ("choices", "least", "above", "below", "most")
    )
    if choices is not None and value not in choices:
        raise ValueError("one of " + ", ".join(choices))
    if least is not None and value < least:
        raise ValueError(f"at least {least}")
    if above is not None and not value > above:
        raise ValueError(f"greater than {above}")
    if below is not None and not value < below:
        raise ValueError(f"less than {below}")
    if most is not None and value > most:
        raise ValueError(f"at most {most}")


def check_precision(place: str, values: Any, dtype: str) -> None:
    """No number that the fit's precision cannot hold, or whose square it cannot."""
    if isinstance(values, tuple | list):
        for value in values:
            check_precision(place, value, dtype)
    elif isinstance(values, float):
        limits = np.finfo(dtype)
        least, most, size = float(limits.tiny), math.sqrt(float(limits.max)) / 16, abs(values)
        if size > 0 and not least <= size <= most:
            raise InputError(
                f"{place} must be between {least:.2g} and {most:.2g} in size for "
                f'target.dtype = "{dtype}", got {values}'
            )
