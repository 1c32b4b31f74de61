"""`fit`: one mixture to one target."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import ArrayLike

from gemjax._base import arrays, checks
from gemjax._base.records import Fit, Info, Mixture
from gemjax._em import loop
from gemjax._em.devices import over_devices, prepared
from gemjax._em.insertion import Escape, prepare_escape
from gemjax._em.solver import Solver
from gemjax._model.stream import Stream
from gemjax._points.file_target import FileTarget
from gemjax._points.target import Target, checked_target


def fit(
    solver: Solver,
    target: Target | FileTarget | Stream,
    mixture: Mixture | Fit,
    *,
    num_iterations: int,
    tolerance: ArrayLike | None = None,
    record_every: int = 1,
    escape: Escape | None = None,
    mesh: Mesh | None = None,
) -> Fit:
    """Runs `num_iterations` iterations of a solver, under `jit`, as one `lax.scan`.

    Everything but the counts and the rules' names is traced: new data of the same shape, a new
    start or a new step size does not compile again. Differentiable with respect to all of it, in
    both modes, to any order ("newton" weights: to the second); derivatives are those of the
    iterations as run, not of the limit.
    Reverse mode recomputes every iteration, or, where the states of all iterations are large, every
    block of √T iterations and in it every iteration: it keeps the states between them and the
    inside of one, never anything of size N·n per iteration.

    For a batch of data sets, `jax.vmap` over the target and the start; see `empirical` for sets of
    different sizes.

    Args:
      solver: `GradientEM`, `classical_em()`, or a pytree with the same two methods.
      target: what is fitted, N points in d dimensions, a `Target` or a `FileTarget`,
        or a `Stream`, which draws N new ones at every iteration.
      mixture: where to start, n components in d dimensions, same dtype; or a `Fit` to go on from:
        10 iterations and 10 more are 20, and the history grows. One that had CONVERGED goes on
        for an iteration at least. A new target or another solver's settings are taken as they
        are; for another rule start from `fit.mixture`.
      num_iterations: T, static, at least 1.
      tolerance: () nats per point, non-negative, traced. The fit stops, CONVERGED, after the first
        iteration whose loss differs by less than this from the one before, unless an `escape` has
        yet to search; what is left of T then costs nothing, but under `vmap`, where runs wait
        for each other. Without it all T iterations run.
      record_every: static; history keeps every such iteration.
      escape: what to do about a fit that is stuck; nothing by default.
      mesh: devices, one by default. Its axis "data" spreads the points, with the numbers of one
        device.

    Returns:
      a `Fit`. A run that meets a value that is not finite is frozen there, with its status.

    Raises:
      ValueError, TypeError: bad settings, shapes or dtypes, or values that are not finite, each
        before any work starts.

    >>> import gemjax as gj
    >>> key = jax.random.key(0)
    >>> truth = gj.truth.ring(3, 2, separation=6.0)
    >>> target = gj.empirical(gj.sample(key, truth, 2000))
    >>> start = gj.initialize.from_target(key, target, 7)
    >>> result = gj.fit(gj.GradientEM(), target, start, num_iterations=200)
    >>> bool(gj.recovery(result.mixture, truth).recovered)
    True
    >>> result = gj.fit(gj.GradientEM(), target, result, num_iterations=500, tolerance=1e-6)
    >>> gj.Status(int(result.status)).name, bool(result.num_iterations < 700)
    ('CONVERGED', True)
    """
    counts = (*_counts(num_iterations, record_every), type(solver))
    before = mixture if isinstance(mixture, Fit) else None
    like = checks.mixture("mixture", mixture if before is None else before.mixture)
    if mesh is not None and getattr(mesh, "axis_names", mesh) != ("data",):
        raise ValueError(
            f'mesh must have the axis "data" alone, got axes {getattr(mesh, "axis_names", mesh)}'
        )
    target = checked_target("target", target, values=False, streams=True)
    solver, data = prepared(solver, target, like, mesh)
    # Begun apart, so that the loop compiles once for starts and for fits that go on.
    if before is None:
        start = _begin(solver, like, type(solver))
    else:
        start = dataclasses.replace(before, history=None)
        blank = _begin.eval_shape(solver, like, type(solver))
        checks.same_form("mixture, a Fit to go on from with this solver,", start, blank)
    end = num_iterations + (0 if before is None else before.monitor.iteration)
    way_out = prepare_escape(escape, target, len(like.means), end, num_iterations)
    rest = (way_out, checked_tolerance(tolerance, like.means.dtype))
    if mesh is None:
        result, more = _run(solver, data, start, rest, *counts)
    else:
        result, more = over_devices(_work, counts, solver, data, start, rest, mesh)
    if before is not None:
        more = jax.tree.map(
            lambda a, b: jnp.concatenate([a, b]) if len(a) else b, before.history, more
        )
    return dataclasses.replace(result, history=more)


def _counts(num_iterations: int, record_every: int) -> tuple[int, int]:
    return (
        checks.count("num_iterations", num_iterations),
        checks.count("record_every", record_every),
    )


def checked_tolerance(tolerance: ArrayLike | None, dtype: Any) -> jax.Array | None:
    """() or None: no tolerance."""
    return None if tolerance is None else arrays.scalar("tolerance", tolerance, dtype, least=0)


def _work(
    solver: Solver,
    data: Any,
    start: Any,
    rest: Any,
    num_iterations: int,
    record_every: int,
    kind: type,
) -> tuple[Fit, Info]:
    """`kind` is the solver's class, which is not always a part of its structure; see `Node`."""
    return loop.run(solver, data, start, rest, num_iterations, record_every)


_run = functools.partial(jax.jit, static_argnums=(4, 5, 6))(_work)


@functools.partial(jax.jit, static_argnums=2)
def _begin(solver: Solver, mixture: Mixture, kind: type) -> Fit:
    return loop.begin(solver, mixture)
