"""The one loop over iterations."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from gemjax._base import checks as _checks
from gemjax._base.numerics import vary_alike
from gemjax._base.records import Fit, Info, Mixture, State, Status, Target
from gemjax._em.insertion import Escape, Exit, leave, prepare
from gemjax._em.solver import Solver
from gemjax._points.blocks import Blocks, Chunks, as_blocks
from gemjax._points.file_target import FileTarget

# The states of a fit's iterations up to this size are all kept for reverse mode.
_KEPT_BYTES = 2**26


class Watch(NamedTuple):
    """What an `Escape` goes by, each ().

    iteration: iterations done; loss: at the last look, or the first loss; settled: loss when a
    certificate found nothing that pays, infinite since the last insertion; insertions: their
    number.
    """

    iteration: jax.Array
    loss: jax.Array
    settled: jax.Array
    insertions: jax.Array


class Carry(NamedTuple):
    """What one iteration hands to the next: state, its last `Info`, () status, watch."""

    state: State
    info: Info
    status: jax.Array
    watch: Watch


Body: TypeAlias = Callable[[Carry, None], tuple[Carry, Any]]


def fit(
    solver: Solver,
    target: Target | FileTarget,
    mixture: Mixture,
    *,
    num_iterations: int,
    record_every: int = 1,
    escape: Escape | None = None,
) -> Fit:
    """Runs `num_iterations` iterations of a solver, under `jit`, as one `lax.scan`.

    Everything but the counts and the rules' names is traced: new data of the same shape, a new
    start or a new step size does not compile again. Differentiable with respect to all of it, in
    both modes, to any order ("newton" weights: to the second); derivatives are those of the
    iterations as run, not of the limit.
    Reverse mode recomputes every iteration, or, where the states of all iterations are large, every
    block of √T iterations and in it every iteration: it keeps the states between them and the
    inside of one, never anything of size N·n per iteration.

    Args:
      solver: `GradientEM`, `classical_em()`, or a pytree with the same two methods.
      target: what is fitted, N points in d dimensions, a `Target` or a `FileTarget`.
      mixture: where to start, n components in d dimensions, same dtype.
      num_iterations: T, static, at least 1.
      record_every: static; history keeps every such iteration.
      escape: what to do about a fit that is stuck; nothing by default.

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
    """
    num_iterations = _checks.count("num_iterations", num_iterations)
    record_every = _checks.count("record_every", record_every)
    mixture = _checks.mixture("mixture", mixture)
    target = _checks.data("target", target)
    _checks.same_space("mixture", mixture.means.shape[1], mixture.means.dtype, "target", target)
    way = None
    if escape is not None:
        way = prepare(escape, target, len(mixture.means), num_iterations)
    if hasattr(solver, "prepare"):
        solver, data = solver.prepare(target, mixture)
    else:
        data = target
    return _fit(solver, data, mixture, num_iterations, record_every, way)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _fit(
    solver: Solver,
    target: Any,
    mixture: Mixture,
    num_iterations: int,
    record_every: int,
    way: Exit | None,
) -> Fit:
    # Points spread over a mesh axis stay so; all that is computed from them is the same everywhere.
    axis = getattr(target, "axis", None)
    solver, mixture, way = vary_alike((solver, mixture, way), target, but=axis)
    target = vary_alike(target, solver, mixture, but=axis)
    carry = vary_alike(start(solver, mixture), solver, mixture)
    carry, history = _advance(solver, target, carry, num_iterations, record_every, way)
    return Fit(carry.state.mixture, history, carry.status, carry.watch.insertions)


def start(solver: Solver, mixture: Mixture) -> Carry:
    """What the loop carries before the first iteration."""
    infinity = jnp.asarray(jnp.inf, mixture.means.dtype)
    nothing = Info(infinity, infinity, infinity, jnp.int32(0))
    watch = Watch(jnp.int32(0), infinity, infinity, jnp.int32(0))
    return Carry(solver.init(mixture), nothing, jnp.int32(Status.OK), watch)


def _advance(
    solver: Solver,
    target: Any,
    carry: Carry,
    num_iterations: int,
    record_every: int,
    way: Exit | None = None,
) -> tuple[Carry, Info]:
    """The loop itself, from wherever `carry` is; also the history."""
    n = len(carry.state.mixture.means)
    look = None if way is None else functools.partial(_look, way, solver, as_blocks(target, n))

    def iterate(carry: Carry, _: None) -> tuple[Carry, None]:
        state, info, status, watch = carry
        new_state, new_info = solver.step(state, target)
        good = (status == Status.OK) & _is_finite(new_state, new_info)
        # A frozen run keeps its last finite state; `where` on whole records, leaf by leaf.
        state, info = jax.tree.map(
            lambda new, old: jnp.where(good, new, old), (new_state, new_info), (state, info)
        )
        status = jnp.where(good, status, jnp.int32(Status.DIVERGED))
        begun = jnp.where(watch.iteration == 0, info.loss, watch.loss)
        watch = watch._replace(iteration=watch.iteration + 1, loss=begun)
        carry = Carry(state, info, status, watch)
        return carry if look is None else look(carry), None

    # Reverse mode keeps what comes in, and recomputes the rest.
    iterate = jax.checkpoint(iterate, prevent_cse=False)

    def record(carry: Carry, _: None) -> tuple[Carry, Info]:
        carry, _ = _scan(iterate, carry, record_every)
        return carry, carry.info

    carry, history = _scan(record, carry, num_iterations // record_every, record_every)
    carry, _ = _scan(iterate, carry, num_iterations % record_every)
    return carry, history


def _scan(body: Body, carry: Carry, length: int, inner: int = 1) -> tuple[Carry, Any]:
    """`lax.scan` over iterations, `inner` of them in one call of the body.

    Where their states together are large, a scan of scans, of which reverse mode keeps only the
    states between the inner ones and recomputes those: the square root of the memory for one more
    run.
    """
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carry))
    block = math.isqrt(length)
    if size * length * inner <= _KEPT_BYTES or block < 2:
        return jax.lax.scan(body, carry, length=length)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def several(carry: Carry, _: None) -> tuple[Carry, Any]:
        return jax.lax.scan(body, carry, length=block)

    carry, records = jax.lax.scan(several, carry, length=length // block)
    carry, rest = jax.lax.scan(body, carry, length=length % block)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), records)
    return carry, jax.tree.map(lambda x, y: jnp.concatenate([x, y]), flat, rest)


# For fits that stop on the way: with `start` and a prepared solver the same as one long fit.
advance = jax.jit(_advance, static_argnums=(3, 4))


def _look(way: Exit, solver: Solver, points: Blocks | Chunks, carry: Carry) -> Carry:
    """Now and then: whether the fit has stalled, and if so, whether there is a way out."""

    def look() -> Carry:
        state, info, status, watch = carry
        # A fit that has hardly moved since nothing paid would get the same answer.
        stalled = (watch.loss - info.loss <= way.stall) & (watch.settled - info.loss >= way.stall)
        asked = stalled & (status == Status.OK) & (watch.iteration <= way.last)
        state, pays = jax.lax.cond(
            asked,
            lambda: _escaped(way, solver, points, state),
            lambda: (state, vary_alike(jnp.zeros((), bool), state)),
        )
        settled = jnp.where(asked, jnp.where(pays, jnp.inf, info.loss), watch.settled)
        insertions = watch.insertions + pays.astype(jnp.int32)
        watch = Watch(watch.iteration, info.loss, settled, insertions)
        return Carry(state, info, status, watch)

    # The same for all seeds of a batch, so that under `vmap` it is a branch, too.
    due = carry.watch.iteration % way.every == 0
    return jax.lax.cond(due, look, lambda: carry)


def _escaped(
    way: Exit, solver: Solver, points: Blocks | Chunks, state: State
) -> tuple[State, jax.Array]:
    mixture, pays = leave(way, state.mixture, points)
    fresh = solver.init(mixture)
    return jax.tree.map(lambda new, old: jnp.where(pays, new, old), fresh, state), pays


def _is_finite(state: State, info: Info) -> jax.Array:
    mixture = state.mixture
    weights_good = ~jnp.any(jnp.isnan(mixture.log_weights) | jnp.isposinf(mixture.log_weights))
    seen_good = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(info)])
    return jnp.all(jnp.isfinite(mixture.means)) & weights_good & jnp.all(seen_good)
