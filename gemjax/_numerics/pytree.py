"""Records as pytrees, and the marks that `shard_map` wants on what loops carry."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, TypeVar

import jax
import jax.export

_T = TypeVar("_T", bound=type)


def record(cls: _T) -> _T:
    """Makes a dataclass a pytree, with fields marked static as such, that `jax.export` knows."""
    fields = dataclasses.fields(cls)
    static = [field.name for field in fields if field.metadata.get("static")]
    traced = [field.name for field in fields if field.name not in static]
    jax.tree_util.register_dataclass(cls, data_fields=traced, meta_fields=static)
    jax.export.register_pytree_node_serialization(
        cls,
        serialized_name=f"gemjax.{cls.__name__}",
        serialize_auxdata=lambda values: json.dumps(values).encode(),
        deserialize_auxdata=lambda text: tuple(json.loads(text)),
    )
    return cls


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
