"""Work spread over the devices of a mesh: seeds over its axis "seed", points over "data"."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gemjax._base.records import Mixture
from gemjax._em.solver import Solver
from gemjax._points.file_target import FileTarget
from gemjax._points.target import Target

# From solver, data, starts, whatever else is traced, and static counts.
Work = Callable[..., Any]


def prepared(solver: Solver, target: Any, start: Mixture, axis: str | None = None) -> Any:
    """The solver with checked settings, and the target as it likes it; only shapes of `start`."""
    if not hasattr(solver, "prepare"):
        return solver, target
    return solver.prepare(target, start, *([] if axis is None else [axis]))


def over_devices(
    work: Work,
    counts: tuple[int, ...],
    solver: Solver,
    target: Target | FileTarget,
    like: Mixture,
    starts: Any,
    rest: Any,
    mesh: Mesh,
) -> Any:
    """`work` on all devices of a mesh; `like` has the shapes of a start.

    With an axis "seed" the leading axis of `starts` and of the result lies along it; it is made a
    multiple of that axis by repeating its last entry.
    """
    axis = "data" if mesh.shape.get("data", 1) > 1 else None
    data: Any
    if axis is None:
        solver, data = prepared(solver, target, like)
    else:
        if not hasattr(solver, "prepare"):
            raise TypeError(f'a mesh with an axis "data" needs a solver with prepare, got {solver}')
        if isinstance(target, FileTarget):
            raise TypeError('a FileTarget cannot be spread over the axis "data"; leave it out')
        # Settings are checked here, where they have values; each device lays out its own points.
        one = Target(target.points[:1], jnp.ones_like(target.weights[:1]))
        solver, _ = prepared(solver, one, like)
        parts = mesh.shape["data"]
        weights = jnp.pad(target.weights, (0, -target.shape[0] % parts))
        data = Target(_repeat_last(target.points, parts), weights)
    seeds = mesh.shape.get("seed")
    if seeds is not None:
        starts = jax.tree.map(lambda leaf: _repeat_last(leaf, seeds), starts)
    arguments: tuple[Any, ...] = (solver, data, starts, rest)
    if mesh.is_multi_process:
        arguments = tuple(
            jax.tree.map(functools.partial(_global, NamedSharding(mesh, spec)), tree)
            for tree, spec in zip(arguments, _specs(mesh, axis), strict=True)
        )
    return _spread(*arguments, work, counts, mesh, axis)


@functools.partial(jax.jit, static_argnums=(4, 5, 6, 7))
def _spread(
    solver: Solver,
    data: Any,
    starts: Any,
    rest: Any,
    work: Work,
    counts: tuple[int, ...],
    mesh: Mesh,
    axis: str | None,
) -> Any:
    def one(solver: Any, data: Any, starts: Any, rest: Any) -> Any:
        if axis is not None:
            mixture = getattr(starts, "mixture", starts)
            if "seed" in mesh.axis_names:
                mixture = jax.tree.map(lambda x: x[0], mixture)
            solver, data = prepared(solver, data, mixture, axis)
        return work(solver, data, starts, rest, *counts)

    specs = _specs(mesh, axis)
    # What comes back lies as the starts do.
    result = jax.shard_map(one, mesh=mesh, in_specs=specs, out_specs=specs[2])(
        solver, data, starts, rest
    )
    if mesh.is_multi_process:
        # Every process gets to see all seeds.
        everywhere = NamedSharding(mesh, PartitionSpec())
        result = jax.lax.with_sharding_constraint(result, everywhere)
    return result


def _specs(mesh: Mesh, axis: str | None) -> tuple[PartitionSpec, ...]:
    """How solver, data, starts and the rest lie on the mesh."""
    data = PartitionSpec() if axis is None else PartitionSpec(axis)
    starts = PartitionSpec("seed") if "seed" in mesh.axis_names else PartitionSpec()
    return PartitionSpec(), data, starts, PartitionSpec()


def _repeat_last(array: jax.Array, multiple: int) -> jax.Array:
    """The leading axis made a multiple."""
    missing = -array.shape[0] % multiple
    if missing == 0:
        return array
    return jnp.concatenate([array, jnp.repeat(array[-1:], missing, axis=0)])


def _global(sharding: NamedSharding, leaf: jax.Array) -> jax.Array:
    """An array of this process, the same in all, as one of all processes' devices."""
    if not leaf.is_fully_addressable:
        return leaf
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])
