"""One fit per seed: batches of seeds on a device, and seeds over devices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gemjax._base import checks as _checks
from gemjax._base.records import Fit, Mixture, Target
from gemjax._em.insertion import Escape, Exit, prepare
from gemjax._em.loop import _fit
from gemjax._em.solver import Solver
from gemjax._model import starts as initialize
from gemjax._points.file_target import FileTarget

Init = Callable[[jax.Array, Any, int], Mixture]

# Densities of all seeds side by side on an accelerator, N·n·batch: 4 GiB of float32.
_BATCH_ENTRIES = 2**30


def default_batch_size(num_seeds: int, num_points: int, num_components: int) -> int:
    """Seeds side by side under `vmap`.

    1 on a CPU, where one seed fills a core and more spill its caches; elsewhere as many as keep
    2^30 densities.
    """
    if jax.default_backend() == "cpu":
        return 1
    return max(1, min(num_seeds, _BATCH_ENTRIES // (num_points * num_components)))


def sweep(
    key: jax.Array,
    solver: Solver,
    target: Target | FileTarget,
    *,
    num_seeds: int,
    num_components: int,
    num_iterations: int,
    record_every: int = 1,
    init: Init = initialize.from_target,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
    first_seed: int = 0,
    escape: Escape | None = None,
) -> Fit:
    """Fits the same target from `num_seeds` random starts, as one compiled computation.

    Seed s starts from `init(fold_in(key, s), target, num_components)`, so its result depends on
    (key, s) alone, to rounding: not on the batch, the number of seeds or the devices.

    Args:
      key: a JAX random key.
      solver: as for `fit`; its settings are shared by all seeds (`jax.vmap` this function over
        the solver to sweep those).
      target: what is fitted, N points in d dimensions, a `Target` or a `FileTarget`.
      num_seeds: S, static, at least 1.
      num_components: n, static, at least 1.
      num_iterations: T, static, at least 1.
      record_every: static; history keeps every such iteration.
      init: static callable (key, target, num_components) -> `Mixture`. Keep one function object: a
        new one compiles anew.
      batch_size: static; seeds that run side by side under `vmap`. By default 1 on CPU, where that
        is fastest, and elsewhere as many as keep 2^30 densities.
      mesh: devices, one by default. Its axis "seed" spreads the seeds; an axis "data" spreads the
        points, for points that do not fit on one device or fewer seeds than devices, at the price
        of one sum over that axis per pass over the points. In several processes
        (`jax.distributed`) every process calls this with the same arguments and gets all results.
      first_seed: number of the first seed, traced: seeds first_seed … first_seed + S − 1.
      escape: what to do about seeds that are stuck, as for `fit`; nothing by default.

    Returns:
      a `Fit` whose every leaf has a leading axis S, one status per seed.

    Raises:
      ValueError, TypeError: as `fit`; also a mesh without the axis "seed", or an `init` that
        returns something else than a mixture of `num_components` components.

    >>> import gemjax as gj
    >>> truth = gj.truth.ring(3, 2, separation=6.0)
    >>> target = gj.empirical(gj.sample(jax.random.key(0), truth, 1000))
    >>> fits = gj.sweep(jax.random.key(1), gj.GradientEM(), target,
    ...                 num_seeds=4, num_components=7, num_iterations=20)
    >>> fits.mixture.means.shape, fits.status.tolist()
    ((4, 7, 2), [0, 0, 0, 0])
    """
    num_seeds = _checks.count("num_seeds", num_seeds)
    num_components = _checks.count("num_components", num_components)
    num_iterations = _checks.count("num_iterations", num_iterations)
    record_every = _checks.count("record_every", record_every)
    target = _checks.data("target", target)
    if batch_size is None:
        batch_size = default_batch_size(num_seeds, target.shape[0], num_components)
    batch_size = min(_checks.count("batch_size", batch_size), num_seeds)
    shape = _abstract_start(init, key, target, num_components)
    _checks.same_space("init", shape.means.shape[1], shape.means.dtype, "target", target)
    counts = (num_iterations, record_every, batch_size)
    seeds = jnp.asarray(first_seed, jnp.int32) + jnp.arange(num_seeds, dtype=jnp.int32)
    draw = functools.partial(_starts, key, seeds, target, init, num_components)
    way = None if escape is None else prepare(escape, target, num_components, num_iterations)
    if mesh is None:
        solver, data = _prepared(solver, target, shape)
        return _run(solver, data, draw(), way, counts)
    return _spread(solver, target, shape, draw, way, counts, mesh)


def _abstract_start(
    init: Init, key: jax.Array, target: Target | FileTarget, num_components: int
) -> Mixture:
    """Shapes and dtypes of `init`'s result, checked, without running it."""
    start = jax.eval_shape(lambda key, target: init(key, target, num_components), key, target)
    if not isinstance(start, Mixture) or start.log_weights.shape != (num_components,):
        raise TypeError(f"init must return a Mixture of {num_components} components, got {start}")
    return start


@functools.partial(jax.jit, static_argnums=(3, 4))
def _starts(
    key: jax.Array, seeds: jax.Array, target: Target | FileTarget, init: Init, num_components: int
) -> Mixture:
    """Starting points with a leading axis of seeds; seed s depends on (key, s) alone."""
    return jax.lax.map(lambda s: init(jax.random.fold_in(key, s), target, num_components), seeds)


def _prepared(
    solver: Solver, target: Target | FileTarget, start: Mixture, axis: str | None = None
) -> tuple[Solver, Any]:
    """The solver with checked settings, and the target as it likes it; only shapes of `start`."""
    if not hasattr(solver, "prepare"):
        return solver, target
    return solver.prepare(target, start, *([] if axis is None else [axis]))


@functools.partial(jax.jit, static_argnums=4)
def _run(
    solver: Solver, data: Any, starts: Mixture, way: Exit | None, counts: tuple[int, int, int]
) -> Fit:
    """One fit per start, `batch_size` of them at a time."""
    num_iterations, record_every, batch_size = counts
    return jax.lax.map(
        lambda start: _fit(solver, data, start, num_iterations, record_every, way),
        starts,
        batch_size=None if batch_size == 1 else batch_size,
    )


def _spread(
    solver: Solver,
    target: Target | FileTarget,
    shape: Mixture,
    draw: Callable[[], Mixture],
    way: Exit | None,
    counts: tuple[int, int, int],
    mesh: Mesh,
) -> Fit:
    """The same over the devices of a mesh."""
    if "seed" not in mesh.axis_names or set(mesh.axis_names) - {"seed", "data"}:
        raise ValueError(
            'mesh must have an axis "seed", and may have an axis "data", '
            f"got axes {mesh.axis_names}"
        )
    axis = "data" if mesh.shape.get("data", 1) > 1 else None
    data: Any
    if axis is None:
        solver, data = _prepared(solver, target, shape)
    else:
        if not hasattr(solver, "prepare"):
            raise TypeError(f'a mesh with an axis "data" needs a solver with prepare, got {solver}')
        if isinstance(target, FileTarget):
            raise TypeError(
                'a FileTarget cannot be spread over the axis "data"; leave it out of mesh'
            )
        # Settings are checked here, where they have values; each device lays out its own points.
        one = Target(target.points[:1], jnp.ones_like(target.weights[:1]))
        solver, _ = _prepared(solver, one, shape)
        parts = mesh.shape["data"]
        weights = jnp.pad(target.weights, (0, -target.shape[0] % parts))
        data = Target(_repeat_last(target.points, parts), weights)
    starts = draw()
    num_seeds = starts.log_weights.shape[0]
    starts = jax.tree.map(lambda leaf: _repeat_last(leaf, mesh.shape["seed"]), starts)
    arguments: tuple[Any, ...] = (solver, data, starts, way)
    if mesh.is_multi_process:
        arguments = tuple(
            jax.tree.map(functools.partial(_global, NamedSharding(mesh, spec)), tree)
            for tree, spec in zip(arguments, _specs(axis), strict=True)
        )
    result = _run_spread(*arguments, counts, mesh, axis)
    return jax.tree.map(lambda leaf: leaf[:num_seeds], result)


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _run_spread(
    solver: Solver,
    data: Any,
    starts: Mixture,
    way: Exit | None,
    counts: tuple[int, int, int],
    mesh: Mesh,
    axis: str | None,
) -> Fit:
    def run(solver: Any, data: Any, starts: Mixture, way: Exit | None) -> Fit:
        if axis is not None:
            start = jax.tree.map(lambda x: x[0], starts)
            solver, data = _prepared(solver, data, start, axis)
        return _run(solver, data, starts, way, counts)

    out = PartitionSpec("seed")
    spread = jax.shard_map(run, mesh=mesh, in_specs=_specs(axis), out_specs=out)
    result = spread(solver, data, starts, way)
    if mesh.is_multi_process:
        # Every process gets to see all seeds.
        everywhere = NamedSharding(mesh, PartitionSpec())
        result = jax.lax.with_sharding_constraint(result, everywhere)
    return result


def _specs(axis: str | None) -> tuple[PartitionSpec, ...]:
    """How solver, data, starts and the way out lie on the mesh."""
    data = PartitionSpec() if axis is None else PartitionSpec(axis)
    return PartitionSpec(), data, PartitionSpec("seed"), PartitionSpec()


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
