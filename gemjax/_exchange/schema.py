"""What a file of `save` holds: a record's arrays, by the names of its fields, and their shapes.

The types of the fields are the schema. Only the family of a covariance is told by a name beside
its parameters; no class is ever looked up by a name from outside but in the table here.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gemjax._base import arrays, checks
from gemjax._base.records import Fit, Info, Mixture, State
from gemjax._families.covariance import Covariance
from gemjax._families.registry import NAMES
from gemjax._reduce.select import Selection

RECORDS: dict[str, type] = {cls.__name__: cls for cls in (Mixture, Selection, Fit)}
_FAMILIES = {cls.__name__: cls for cls in NAMES.values()}
_NARROWER: dict[type, dict[str, Any]] = {Fit: {"state": State, "history": Info}}
_NAMES = tuple[str, ...]

# Axes: n components, d dimensions, f families, l levels, s slots, t entries of a history; those
# left out are scalars. Parameters of covariances are checked by their family.
_AXES = {
    "means": "nd",
    "log_weights": "n",
    "cluster": "n",
    "npmle_at": "d",
    "birth_at": "d",
    "sizes": "fl",
    "heights": "fl",
    "losses": "fl",
    "criteria": "fl",
    "best_criteria": "f",
    "families": "f",
    "kept": "s",
    "freed": "s",
    "height": "s",
}
_KINDS = dict.fromkeys(("agree", "npmle_usable", "birth_optimal"), "b") | dict.fromkeys(
    (
        *("num_components", "cluster", "num_clusters", "family", "num_born", "num_by_height"),
        *("status", "sizes", "kept", "freed", "num_agreed", "birth_agreed", "num_starts"),
        *("num_active", "num_floored", "num_iterations", "num_insertions", "iteration"),
    ),
    "i",
)
_KINDS["families"] = "U"
_SAID = {"f": "floating", "i": "integer", "b": "bool", "U": "text"}


def checked(thing: Any) -> Any:
    """A record whose mixture is valid and whose other arrays have the shapes that go with it."""
    if not arrays.is_concrete(thing):
        raise ValueError("thing must be known: save outside of jit, vmap and grad")
    is_mixture = lambda node: isinstance(node, Mixture)  # noqa: E731
    thing = jax.tree.map(
        lambda node: checks.mixture("mixture", node) if is_mixture(node) else node,
        thing,
        is_leaf=is_mixture,
    )
    held, sizes = flat(thing), dict[str, int]()
    for path, array in held.items():
        name = path.rpartition(".")[2]
        if "covariance" in path:
            continue
        axes = ("t" if path.startswith("history.") else "") + _AXES.get(name, "")
        fits = array.ndim == len(axes) and all(
            sizes.setdefault(axis, size) == size
            for axis, size in zip(axes, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join(f"{axis} = {sizes.get(axis, 'any')}" for axis in axes)
            raise ValueError(f"{path} must have shape ({wanted}), got {array.shape}")
        kind = _KINDS.get(name, "f")
        if array.dtype.kind != kind:
            raise ValueError(f"{path} must be {_SAID[kind]}, got {array.dtype}")
    if isinstance(thing, Selection):
        thing.certificate.birth_covariance.check("certificate.birth_covariance", 1, sizes["d"])
        for name, least, size in (("cluster", -1, sizes["n"]), ("family", 0, sizes["f"])):
            if not ((held[name] >= least) & (held[name] < size)).all():
                raise ValueError(f"{name} must be from {least} to {size - 1}")
    return thing


def flat(record: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of a record by the paths of their fields, and names of families as texts."""
    held: dict[str, np.ndarray] = {}
    for field, kind in _fields(type(record)).items():
        path, value = prefix + field, getattr(record, field)
        if kind is Covariance:
            if _FAMILIES.get(type(value).__name__) is not type(value):
                raise TypeError(
                    f"{path} must be one of {', '.join(_FAMILIES)} to be saved, "
                    f"got {type(value).__name__}"
                )
            held[path] = np.asarray(type(value).__name__)
            held |= flat(value, f"{path}.")
        elif _is_record(kind):
            if type(value) is not kind:
                raise TypeError(
                    f"{path} must be a {kind.__name__} to be saved, got {type(value).__name__}"
                )
            held |= flat(value, f"{path}.")
        elif field == "mean_state":
            if type(value) is not tuple or value:
                raise TypeError(
                    f"{path} must be empty to be saved: this mean rule carries a state of its "
                    "own; save the fit's `mixture`"
                )
        else:
            held[path] = np.asarray(value)
    return held


def rebuilt(cls: type, held: Mapping[str, np.ndarray], prefix: str = "") -> Any:
    """The record whose arrays `flat` gave; what is not there keeps its default, if it has one."""
    values: dict[str, Any] = {}
    for field, kind in _fields(cls).items():
        path = prefix + field
        if field == "mean_state":
            values[field] = ()
        elif _is_record(kind):
            values[field] = rebuilt(kind, held, f"{path}.")
        elif path not in held:
            if not _has_default(cls, field):
                raise ValueError(f"it has no {path}")
        elif kind is Covariance:
            name = str(held[path])
            if name not in _FAMILIES:
                raise ValueError(f"{path} must be one of {', '.join(_FAMILIES)}, got {name[:40]!r}")
            values[field] = rebuilt(_FAMILIES[name], held, f"{path}.")
        elif kind == _NAMES:
            values[field] = tuple(str(name) for name in held[path].reshape(-1))
        else:
            with np.errstate(over="ignore", under="ignore"):
                values[field] = arrays.put(held[path])
    return cls(**values)


def _fields(cls: type) -> dict[str, Any]:
    """The fields of a record or a family, and their types."""
    if dataclasses.is_dataclass(cls):
        names = [field.name for field in dataclasses.fields(cls)]
    else:
        names = list(cls._fields)  # type: ignore[attr-defined]  # a named tuple
    types = typing.get_type_hints(cls) | _NARROWER.get(cls, {})
    return {name: types[name] for name in names}


def _is_record(kind: Any) -> bool:
    """Whether a field's type is a record or a named tuple."""
    if not isinstance(kind, type) or issubclass(kind, Covariance):
        return False
    return dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")


def _has_default(cls: type, name: str) -> bool:
    field = cls.__dataclass_fields__.get(name) if dataclasses.is_dataclass(cls) else None
    missing = dataclasses.MISSING
    return field is not None and (
        field.default is not missing or field.default_factory is not missing
    )
