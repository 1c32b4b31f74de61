"""Work spread over the devices of a mesh: seeds over its axis "seed", points over "data"."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gemjax._base import checks
from gemjax._base.records import Mixture
from gemjax._em.solver import Solver
from gemjax._model.stream import Stream
from gemjax._points.file_target import FileTarget
from gemjax._points.target import Target, checked_target

# From solver, data, starts, whatever else is traced, and static counts.
Work = Callable[..., Any]


def prepared(
    solver: Solver,
    target: Target | FileTarget | Stream,
    like: Mixture,
    mesh: Mesh | None = None,
) -> tuple[Solver, Any]:
    """The solver with checked settings, and the target, checked, as the solver likes it.

    Of a mixture `like` the start only shapes and dtypes count. Where a mesh spreads the points,
    each device lays out its own later on.
    """
    spread = _axis(mesh) is not None
    if not hasattr(solver, "prepare") or spread:
        checks.same_space("mixture", like, "target", target.shape, target.dtype)
        target = checked_target("target", target, streams=True)
    if not hasattr(solver, "prepare"):
        if spread:
            raise TypeError(f'a mesh with an axis "data" needs a solver with prepare, got {solver}')
        return solver, target
    if not spread:
        return solver.prepare(target, like)
    if not isinstance(target, Target):
        name = type(target).__name__
        raise TypeError(f'a {name} cannot be spread over the axis "data"; leave it out')
    # Settings are checked here, where they have values.
    one = Target(target.points[:1], jnp.ones_like(target.weights[:1]))
    return solver.prepare(one, like)[0], target


def _axis(mesh: Mesh | None) -> str | None:
    """The mesh axis over which points are spread, if any."""
    return None if mesh is None or mesh.shape.get("data", 1) == 1 else "data"


def over_devices(
    work: Work,
    counts: tuple[Any, ...],
    solver: Solver,
    data: Any,
    starts: Any,
    rest: Any,
    mesh: Mesh,
) -> Any:
    """`work` on all devices of a mesh, for a solver and data that are `prepared`.

    With an axis "seed" the leading axis of `starts` and of the result lies along it; it is made a
    multiple of that axis by repeating its last entry.
    """
    # As `jax.make_mesh` makes them, axes are explicit: part of every array's type.
    types = (AxisType.Auto,) * len(mesh.axis_names)
    mesh, axis = Mesh(mesh.devices, mesh.axis_names, axis_types=types), _axis(mesh)
    if axis is not None:
        parts = mesh.shape["data"]
        weights = jnp.pad(data.weights, (0, -len(data.weights) % parts))
        data = dataclasses.replace(data, points=_repeat_last(data.points, parts), weights=weights)
    seeds = mesh.shape.get("seed")
    if seeds is not None:
        starts = jax.tree.map(lambda leaf: _repeat_last(leaf, seeds), starts)
    arguments: tuple[Any, ...] = (solver, data, starts, rest)
    if mesh.is_multi_process:
        arguments = tuple(
            jax.tree.map(functools.partial(_global, NamedSharding(mesh, spec)), tree)
            for tree, spec in zip(arguments, _specs(mesh, axis), strict=True)
        )
    return _on_mesh(*arguments, work, counts, mesh, axis)


@functools.partial(jax.jit, static_argnums=(4, 5, 6, 7))
def _on_mesh(
    solver: Solver,
    data: Any,
    starts: Any,
    rest: Any,
    work: Work,
    counts: tuple[Any, ...],
    mesh: Mesh,
    axis: str | None,
) -> Any:
    def one(solver: Any, data: Any, starts: Any, rest: Any) -> Any:
        if axis is not None:
            if "seed" in mesh.axis_names:
                mixture = jax.tree.map(lambda x: x[0], starts[0])
            else:
                mixture = getattr(starts, "mixture", starts)
            solver, data = solver.prepare(data, mixture, axis)
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
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):  # has no values of NumPy's
        data = _global(sharding, jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])
