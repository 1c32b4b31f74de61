"""One fit per seed: batches of seeds on a device, and seeds over devices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from gemjax import _checks, initialize
from gemjax.fit import _fit
from gemjax.solver import Solver
from gemjax.types import Fit, Mixture, Target

Init = Callable[[jax.Array, Target, int], Mixture]

# Seeds side by side under `vmap`. A CPU core is filled by one seed, and more spill its caches.
_BATCH = {"cpu": 1}
_ACCELERATOR_BATCH = 32


def sweep(
    key: jax.Array,
    solver: Solver,
    target: Target,
    *,
    num_seeds: int,
    num_components: int,
    num_iterations: int,
    record_every: int = 1,
    init: Init = initialize.from_target,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
    first_seed: int = 0,
) -> Fit:
    """Fits the same target from `num_seeds` random starts, as one compiled computation.

    Seed s starts from `init(fold_in(key, s), target, num_components)`, so its result depends on
    (key, s) alone, to rounding: not on the batch, the number of seeds or the devices.

    Args:
      key: a JAX random key.
      solver: as for `fit`; its settings are shared by all seeds (`jax.vmap` this function over
        the solver to sweep those).
      target: what is fitted, N points in d dimensions.
      num_seeds: S, static, at least 1.
      num_components: n, static, at least 1.
      num_iterations: T, static, at least 1.
      record_every: static; history keeps every such iteration.
      init: static callable (key, target, num_components) -> `Mixture`. Keep one function object: a
        new one compiles anew.
      batch_size: static; seeds that run side by side under `vmap`. By default 1 on CPU, where that
        is fastest, and 32 elsewhere.
      mesh: devices to spread the seeds over, along its axis "seed"; one device by default.
      first_seed: number of the first seed, traced: seeds first_seed … first_seed + S − 1.

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
    if batch_size is None:
        batch_size = _BATCH.get(jax.default_backend(), _ACCELERATOR_BATCH)
    batch_size = min(_checks.count("batch_size", batch_size), num_seeds)
    target = _checks.target("target", target)
    start = _abstract_start(init, key, target, num_components)
    _checks.same_space("init", start.means.shape[1], start.means.dtype, "target", target)
    data: Any = target
    if hasattr(solver, "prepare"):
        solver, data = solver.prepare(target, start)
    if mesh is not None and "seed" not in mesh.axis_names:
        raise ValueError(f'mesh must have an axis "seed", got axes {mesh.axis_names}')
    counts = (num_components, num_iterations, record_every)
    return _sweep(
        key, jnp.asarray(first_seed, jnp.int32), solver, target, data,
        counts=counts, num_seeds=num_seeds, init=init, batch_size=batch_size, mesh=mesh,
    )  # fmt: skip


def _abstract_start(init: Init, key: jax.Array, target: Target, num_components: int) -> Mixture:
    """Shapes and dtypes of `init`'s result, checked, without running it."""
    start = jax.eval_shape(lambda key, target: init(key, target, num_components), key, target)
    if not isinstance(start, Mixture) or start.log_weights.shape != (num_components,):
        raise TypeError(f"init must return a Mixture of {num_components} components, got {start}")
    return start


@functools.partial(jax.jit, static_argnames=("counts", "num_seeds", "init", "batch_size", "mesh"))
def _sweep(
    key: jax.Array,
    first_seed: jax.Array,
    solver: Solver,
    target: Target,
    data: Any,
    *,
    counts: tuple[int, int, int],
    num_seeds: int,
    init: Init,
    batch_size: int,
    mesh: Mesh | None,
) -> Fit:
    num_components, num_iterations, record_every = counts

    def run(seeds: jax.Array, key: Any, solver: Any, target: Target, data: Any) -> Fit:
        def one(seed: jax.Array) -> Fit:
            start = init(jax.random.fold_in(key, seed), target, num_components)
            return _fit(solver, data, start, num_iterations, record_every, False)

        return jax.lax.map(one, seeds, batch_size=batch_size)

    if mesh is None:
        seeds = first_seed + jnp.arange(num_seeds, dtype=jnp.int32)
        return run(seeds, key, solver, target, data)
    # Devices get equally many seeds; the surplus is dropped.
    size = mesh.shape["seed"]
    padded = -(-num_seeds // size) * size
    seeds = first_seed + jnp.arange(padded, dtype=jnp.int32)
    axis, everywhere = PartitionSpec("seed"), PartitionSpec()
    spread = jax.shard_map(
        run,
        mesh=mesh,
        in_specs=(axis, everywhere, everywhere, everywhere, everywhere),
        out_specs=axis,
    )
    result = spread(seeds, key, solver, target, data)
    return jax.tree.map(lambda leaf: leaf[:num_seeds], result)
