"""The one loop over iterations."""

from __future__ import annotations

import functools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from gemjax import _checks
from gemjax.numerics import vary_alike
from gemjax.solver import Solver
from gemjax.stream import Stream
from gemjax.types import Fit, Info, Mixture, State, Status, Target

Carry: TypeAlias = tuple[State, Info, jax.Array]  # state, its last `Info`, status


def fit(
    solver: Solver,
    target: Target | Stream,
    mixture: Mixture,
    *,
    num_iterations: int,
    record_every: int = 1,
    checkpoint: bool = False,
) -> Fit:
    """Runs `num_iterations` iterations of a solver, under `jit`, as one `lax.scan`.

    Everything but the counts, the rules' names and `checkpoint` is traced: new data of the same
    shape, a new start or a new step size does not compile again. Differentiable in both modes with
    respect to all of it; derivatives are those of the iterations as run, not of the limit.

    Args:
      solver: `GradientEM`, `classical_em()`, or a pytree with the same two methods.
      target: what is fitted, N points in d dimensions, a `Target` or a `Stream`.
      mixture: where to start, n components in d dimensions, same dtype.
      num_iterations: T, static, at least 1.
      record_every: static; history keeps every such iteration.
      checkpoint: static; recompute each iteration in reverse mode instead of storing it. Memory
        then grows with T times the size of the mixture rather than T times N·n.

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
    if hasattr(solver, "prepare"):
        solver, target = solver.prepare(target, mixture)
    return _fit(solver, target, mixture, num_iterations, record_every, bool(checkpoint))


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _fit(
    solver: Solver,
    target: Any,
    mixture: Mixture,
    num_iterations: int,
    record_every: int,
    checkpoint: bool,
) -> Fit:
    # Points spread over a mesh axis stay so; all that is computed from them is the same everywhere.
    axis = getattr(target, "axis", None)
    solver, mixture = vary_alike((solver, mixture), target, but=axis)
    target = vary_alike(target, solver, mixture, but=axis)
    carry = vary_alike(start(solver, mixture), solver, mixture)
    carry, history = _advance(solver, target, carry, num_iterations, record_every, checkpoint)
    state, _, status = carry
    return Fit(state.mixture, history, status)


def start(solver: Solver, mixture: Mixture) -> Carry:
    """What the loop carries before the first iteration."""
    infinity = jnp.asarray(jnp.inf, mixture.means.dtype)
    nothing = Info(infinity, infinity, infinity, jnp.int32(0))
    return solver.init(mixture), nothing, jnp.int32(Status.OK)


def _advance(
    solver: Solver,
    target: Any,
    carry: Carry,
    num_iterations: int,
    record_every: int,
    checkpoint: bool = False,
) -> tuple[Carry, Info]:
    """The loop itself, from wherever `carry` is; also the history."""
    run = jax.checkpoint(solver.step, prevent_cse=False) if checkpoint else solver.step

    def iterate(carry: Carry, _: None) -> tuple[Carry, None]:
        state, info, status = carry
        new_state, new_info = run(state, target)
        good = (status == Status.OK) & _is_finite(new_state, new_info)
        # A frozen run keeps its last finite state; `where` on whole records, leaf by leaf.
        kept = jax.tree.map(
            lambda new, old: jnp.where(good, new, old), (new_state, new_info), (state, info)
        )
        return (*kept, jnp.where(good, status, jnp.int32(Status.DIVERGED))), None

    def record(carry: Carry, _: None) -> tuple[Carry, Info]:
        carry, _ = jax.lax.scan(iterate, carry, length=record_every)
        return carry, carry[1]

    carry, history = jax.lax.scan(record, carry, length=num_iterations // record_every)
    carry, _ = jax.lax.scan(iterate, carry, length=num_iterations % record_every)
    return carry, history


# For fits that stop on the way: with `start` and a prepared solver the same as one long fit.
advance = jax.jit(_advance, static_argnums=(3, 4, 5))


def _is_finite(state: State, info: Info) -> jax.Array:
    mixture = state.mixture
    weights_good = ~jnp.any(jnp.isnan(mixture.log_weights) | jnp.isposinf(mixture.log_weights))
    return jnp.all(jnp.isfinite(mixture.means)) & weights_good & jnp.isfinite(info.loss)
