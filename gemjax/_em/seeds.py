"""One fit per seed: batches of seeds on a device, and seeds over devices."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import ArrayLike

from gemjax._base import arrays, checks
from gemjax._base.records import Fit, Mixture, Status
from gemjax._em import loop
from gemjax._em.devices import over_devices, prepared
from gemjax._em.fit import checked_tolerance
from gemjax._em.insertion import Escape, prepare_escape
from gemjax._em.solver import Solver
from gemjax._model.starts import from_target
from gemjax._model.stream import Stream, seen_by
from gemjax._points.file_target import FileTarget
from gemjax._points.target import Target, checked_target

Init = Callable[[jax.Array, Any, int], Mixture]

_AXES = {"seed", "data"}

# Densities of all seeds side by side on an accelerator, N·n·batch: 4 GiB of float32.
_BATCH_ENTRIES = 2**30


def default_batch_size(num_seeds: int, num_points: int, num_components: int) -> int:
    """Seeds side by side under `vmap`.

    1 on a CPU, where one seed fills a core and more spill its caches; elsewhere as many as keep
    2^30 densities.

    >>> import gemjax as gj
    >>> gj.default_batch_size(8, 1000, 20) in (1, 8)
    True
    """
    if jax.default_backend() == "cpu":
        return 1
    return max(1, min(num_seeds, _BATCH_ENTRIES // (num_points * num_components)))


def sweep(
    key: jax.Array,
    solver: Solver,
    target: Target | FileTarget | Stream,
    *,
    num_seeds: int,
    num_components: int,
    num_iterations: int,
    tolerance: ArrayLike | None = None,
    record_every: int = 1,
    init: Init = from_target,
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
      target: what is fitted, N points in d dimensions, a `Target` or a `FileTarget`,
        or a `Stream`, of which seed s sees batches of its own.
      num_seeds: S, static, at least 1.
      num_components: n, static, at least 1.
      num_iterations: T, static, at least 1.
      tolerance: () as for `fit`, traced: each seed stops by itself.
      record_every: static; history keeps every such iteration.
      init: static callable (key, target, num_components) -> `Mixture`. Keep one function object: a
        new one compiles anew.
      batch_size: static; seeds that run side by side under `vmap`. By default 1 on CPU, where that
        is fastest, and elsewhere as many as keep 2^30 densities.
      mesh: devices, one by default. Its axis "seed" spreads the seeds; an axis "data" spreads the
        points, for points that do not fit on one device or fewer seeds than devices, at the price
        of one sum over that axis per pass over the points. In several processes
        (`jax.distributed`) every process calls this with the same arguments and gets all results.
        Of a `FileTarget` one process takes one seed after the other on one device.
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
    num_seeds = checks.count("num_seeds", num_seeds)
    num_components = checks.count("num_components", num_components)
    num_iterations = checks.count("num_iterations", num_iterations)
    record_every = checks.count("record_every", record_every)
    target = checked_target("target", target, values=False, streams=True)
    if batch_size is None:
        batch_size = default_batch_size(num_seeds, target.shape[0], num_components)
    batch_size = min(checks.count("batch_size", batch_size), num_seeds)
    checks.key("key", key)
    first = arrays.integer("first_seed", first_seed, 0, 2**31 - num_seeds)
    seeds = first + jnp.arange(num_seeds, dtype=jnp.int32)
    drawn = (key, seeds, target, init, num_components)
    like = _abstract_start(*drawn)
    checks.same_space("init", like, "target", target.shape, target.dtype)
    if mesh is not None and ("seed" not in mesh.axis_names or set(mesh.axis_names) - _AXES):
        raise ValueError(
            'mesh must have an axis "seed", and may have an axis "data", '
            f"got axes {mesh.axis_names}"
        )
    counts = (num_iterations, record_every, batch_size, type(solver))
    solver, data = prepared(solver, target, like, mesh)
    if isinstance(target, FileTarget) and mesh is not None and not mesh.is_multi_process:
        # Reads for several devices of one process may wait for each other for ever: JAX hands them
        # their arguments through the threads that they keep busy.
        mesh = None
    way_out = prepare_escape(escape, target, num_components, num_iterations, num_iterations)
    rest = (way_out, checked_tolerance(tolerance, target.dtype))
    starts = (_starts(*drawn), seeds)
    if mesh is None:
        return _run(solver, data, starts, rest, *counts)
    fits = over_devices(_fits, counts, solver, data, starts, rest, mesh)
    return jax.tree.map(lambda leaf: leaf[:num_seeds], fits)


def best(fits: Fit) -> Fit:
    """The seed of lowest loss of a sweep, among those that did not diverge.

    Args:
      fits: result of `sweep`, or of `jax.vmap` over `fit`: every leaf with a leading axis S.

    Returns:
      its `Fit`, without that axis. By the loss of the last iteration; ties go to the first seed,
      and if all diverged, the first one is returned, with its status.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-3.0], [-2.0], [2.0], [3.0]])
    >>> fits = gj.sweep(jax.random.key(0), gj.GradientEM(), target,
    ...                 num_seeds=4, num_components=2, num_iterations=30)
    >>> bool(gj.best(fits).loss == fits.loss.min())
    True
    """
    if not isinstance(fits, Fit) or jnp.ndim(fits.status) != 1:
        raise TypeError(
            "fits must be a Fit with a leading axis of seeds, as sweep returns, got "
            f"{type(fits).__name__} with a status of shape {jnp.shape(getattr(fits, 'status', 0))}"
        )
    index = jnp.argmin(jnp.where(fits.status == int(Status.DIVERGED), jnp.inf, fits.loss))
    return jax.tree.map(lambda leaf: leaf[index], fits)


def _abstract_start(
    key: jax.Array, seeds: jax.Array, target: Any, init: Init, num_components: int
) -> Mixture:
    """Shapes and dtypes of `init`'s result, checked, without running it."""
    starts = _starts.eval_shape(key, seeds, target, init, num_components)
    start = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), starts)
    if not isinstance(start, Mixture) or start.log_weights.shape != (num_components,):
        raise TypeError(f"init must return a Mixture of {num_components} components, got {start}")
    return start


@functools.partial(jax.jit, static_argnums=(3, 4))
def _starts(
    key: jax.Array, seeds: jax.Array, target: Any, init: Init, num_components: int
) -> Mixture:
    """Starting points with a leading axis of seeds; seed s depends on (key, s) alone."""
    return jax.lax.map(lambda s: init(jax.random.fold_in(key, s), target, num_components), seeds)


def _fits(
    solver: Solver,
    data: Any,
    starts: tuple[Mixture, jax.Array],
    rest: Any,
    num_iterations: int,
    record_every: int,
    batch_size: int,
    kind: type,
) -> Fit:
    """One fit per start and number of its seed, `batch_size` of them at a time; `kind` is the
    solver's class."""

    def one(of_seed: tuple[Mixture, jax.Array]) -> Fit:
        start, s = of_seed
        mine = seen_by(data, s)
        fit, history = loop.run(solver, mine, start, rest, num_iterations, record_every)
        return dataclasses.replace(fit, history=history)

    return jax.lax.map(one, starts, batch_size=None if batch_size == 1 else batch_size)


_run = functools.partial(jax.jit, static_argnums=(4, 5, 6, 7))(_fits)
