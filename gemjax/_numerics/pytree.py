"""Records as pytrees, and the marks that `shard_map` wants on what loops carry."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any, TypeVar

import jax
import jax.export

_T = TypeVar("_T", bound=type)


def record(cls: _T) -> _T:
    """Makes a dataclass a pytree, with fields marked static as such, that `jax.export` knows."""
    traced, static = _fields(cls)
    jax.tree_util.register_dataclass(cls, data_fields=traced, meta_fields=static)
    return exported(cls)


def exported(cls: _T) -> _T:
    """Tells `jax.export` of a pytree class of ours."""
    jax.export.register_pytree_node_serialization(
        cls,
        serialized_name=f"gemjax.{cls.__name__}",
        serialize_auxdata=lambda values: json.dumps(values).encode(),
        deserialize_auxdata=lambda text: _tuples(json.loads(text)),
    )
    return cls


class Node:
    """What is derived from this, as a dataclass, is a pytree: a kind of thing that others add to.

    JAX (0.10) takes two classes from `register_dataclass` for one where their fields agree, and
    with that the compiled code of one for the other's. Here the class is part of the structure.
    """

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        jax.tree_util.register_pytree_with_keys(cls, _flatten, functools.partial(_unflatten, cls))


def _flatten(node: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
    traced, static = _fields(type(node))  # type: ignore[arg-type]  # a class is hashable
    children = [(jax.tree_util.GetAttrKey(name), getattr(node, name)) for name in traced]
    return children, tuple(getattr(node, name) for name in static)


def _unflatten(cls: type, static: tuple[Any, ...], children: Any) -> Any:
    names = _fields(cls)
    values = dict(zip(names[0], children, strict=True)) | dict(zip(names[1], static, strict=True))
    return cls(**values)


@functools.cache
def _fields(cls: type) -> tuple[list[str], list[str]]:
    """Names of the fields that are traced, and of those that are static."""
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    static = [field.name for field in fields if field.metadata.get("static")]
    return [field.name for field in fields if field.name not in static], static


def _tuples(values: Any) -> Any:
    return tuple(_tuples(value) for value in values) if isinstance(values, list) else values


def vary_alike(tree: Any, *others: Any, but: str | None = None) -> Any:
    """`tree`, each leaf marked under `shard_map` as varying over every axis that any leaf does.

    Loops need this: what is carried must vary alike from the first round on. Leaves of `others`
    count too; the axis `but` does not.
    """
    axes = frozenset().union(*(_axes(leaf) for leaf in jax.tree.leaves((tree, others)))) - {but}

    def mark(leaf: Any) -> Any:
        missing = tuple(axes - _axes(leaf))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(mark, tree)


def _axes(leaf: Any) -> frozenset[str]:
    kind = jax.typeof(leaf)
    return kind.mat.varying if hasattr(kind, "mat") else kind.vma
