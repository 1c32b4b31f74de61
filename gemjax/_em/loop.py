"""The one loop over iterations."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from gemjax._base import checks
from gemjax._base.records import Fit, Info, Mixture, Monitor, Status
from gemjax._em.insertion import PreparedEscape, try_insert
from gemjax._em.solver import Solver
from gemjax._model.layout import lay_out_for
from gemjax._model.stream import Batches, seen
from gemjax._numerics.pytree import vary_alike
from gemjax._points.blocks import Blocks, Chunks
from gemjax._points.spread import is_imprecise

# The states of a fit's iterations up to this size are all kept for reverse mode.
_KEPT_BYTES = 2**26

Body: TypeAlias = Callable[[Fit, None], tuple[Fit, Any]]


def begin(solver: Solver, mixture: Mixture) -> Fit:
    """A fit before its first iteration."""
    infinity = jnp.asarray(jnp.inf, mixture.means.dtype)
    nothing, zero = Info(infinity, infinity, infinity, jnp.int32(0)), jnp.int32(0)
    monitor = Monitor(zero, infinity, infinity, infinity)
    state = jax.tree.map(jnp.asarray, solver.init(mixture))
    return Fit(state, nothing, None, jnp.int32(Status.OK), zero, zero, monitor)


def run(
    solver: Solver,
    target: Any,
    start: Mixture | Fit,
    rest: tuple[PreparedEscape | None, jax.Array | None],
    num_iterations: int,
    record_every: int,
) -> tuple[Fit, Info]:
    """So many iterations, from a start or from where a fit is; its history apart.

    `rest` is the escape, and the tolerance () at which to stop.
    """
    # Points spread over a mesh axis stay so; all that is computed from them is the same everywhere.
    axis = getattr(target, "axis", None)
    inputs = (solver, start, *rest)
    solver, start, escape, tolerance = vary_alike(inputs, target, but=axis)
    target = vary_alike(target, inputs, but=axis)
    fit = begin(solver, start) if isinstance(start, Mixture) else start
    fit = _reopened(vary_alike(fit, solver, start), tolerance)
    blocks = None if escape is None else lay_out_for(fit.mixture, target)
    iterate = functools.partial(_iterate, solver, target, escape, tolerance, blocks)
    # Reverse mode keeps what comes in, and recomputes the rest.
    body = jax.checkpoint(lambda fit, _: (iterate(fit), None), prevent_cse=False)

    def record(fit: Fit, _: None) -> tuple[Fit, Info]:
        fit, _ = _scan(body, fit, record_every)
        return fit, fit.info

    if num_iterations >= record_every:
        fit, history = _scan(record, fit, num_iterations // record_every, record_every)
    else:
        history = jax.tree.map(lambda leaf: jnp.zeros((0, *leaf.shape), leaf.dtype), fit.info)
    if num_iterations % record_every:
        fit, _ = _scan(body, fit, num_iterations % record_every)
    return _told_if_imprecise(target, _told_if_floored(fit)), history


def _told_if_floored(fit: Fit) -> Fit:
    """The fit, with a status that says so where a floor binds at its end."""
    finished = (fit.status == int(Status.OK)) | (fit.status == int(Status.CONVERGED))
    told = finished & (fit.info.num_floored > 0)
    return dataclasses.replace(fit, status=jnp.where(told, int(Status.FLOORED), fit.status))


def _told_if_imprecise(target: Any, fit: Fit) -> Fit:
    """The fit, with a status that says so where its target asks too much of its precision."""
    if not isinstance(
        target, Blocks | Chunks | Batches
    ):  # a solver of somebody's that lays out nothing
        return fit
    centre, radius = jax.lax.stop_gradient((target.centre, target.radius))
    reach = None
    if not target.apart:
        means = jnp.zeros_like(jax.lax.stop_gradient(fit.mixture.means))
        reach = jax.lax.stop_gradient(fit.mixture.covariance).reach(means, radius)
    imprecise = is_imprecise(centre, radius, reach) & (fit.status != int(Status.DIVERGED))
    status = jnp.where(imprecise, int(Status.IMPRECISE), fit.status)
    return dataclasses.replace(fit, status=status)


def _reopened(fit: Fit, tolerance: jax.Array | None) -> Fit:
    """A fit that had converged goes on: the target, the tolerance or the escape may be others."""
    again = fit.status != int(Status.DIVERGED)
    status = jnp.where(again, int(Status.OK), fit.status)
    if tolerance is not None:  # a bad one that the door could not see
        status = jnp.where(jnp.isnan(tolerance), int(Status.DIVERGED), status)
    return dataclasses.replace(fit, status=status)


def _scan(body: Body, fit: Fit, length: int, inner: int = 1) -> tuple[Fit, Any]:
    """`lax.scan` over iterations, `inner` of them in one call of the body.

    Where their states together are large, a scan of scans, of which reverse mode keeps only the
    states between the inner ones and recomputes those: the square root of the memory for one more
    run.
    """
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(fit))
    block = math.isqrt(length)
    if size * length * inner <= _KEPT_BYTES or block < 2:
        return jax.lax.scan(body, fit, length=length)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def several(fit: Fit, _: None) -> tuple[Fit, Any]:
        return jax.lax.scan(body, fit, length=block)

    fit, records = jax.lax.scan(several, fit, length=length // block)
    records = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), records)
    if length % block:
        fit, rest = jax.lax.scan(body, fit, length=length % block)
        records = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), records, rest)
    return fit, records


def _iterate(
    solver: Solver,
    target: Any,
    escape: PreparedEscape | None,
    tolerance: jax.Array | None,
    blocks: Blocks | Chunks | None,
    fit: Fit,
) -> Fit:
    """One iteration of the loop; a fit that has stopped stays as it is."""
    # Counted apart from what a stopped fit keeps, so that it is the same for a whole batch.
    iteration = fit.monitor.iteration + 1
    step = lambda: _stepped(solver, target, fit)  # noqa: E731
    going = fit.status == int(Status.OK)
    fit = step() if tolerance is None else jax.lax.cond(going, step, lambda: fit)
    fit = dataclasses.replace(fit, monitor=dataclasses.replace(fit.monitor, iteration=iteration))
    if escape is not None:
        assert blocks is not None
        fit = _check_stall(escape, solver, blocks, fit)
    return fit if tolerance is None else _stopped(escape, tolerance, fit)


def _stepped(solver: Solver, target: Any, fit: Fit) -> Fit:
    """The fit after one step of the solver; as it was, if it had stopped or is not finite now."""
    state, info = solver.step(fit.state, seen(target, fit.monitor.iteration))
    checks.same_form("the state that step returns", state, fit.state)
    going, finite = fit.status == int(Status.OK), _is_finite(state.mixture, info)
    loss = jnp.where(fit.num_iterations == 0, info.loss, fit.monitor.checked_loss)
    change = jnp.abs(fit.info.loss - info.loss)
    new = dataclasses.replace(
        fit,
        state=state,
        info=info,
        num_iterations=fit.num_iterations + 1,
        monitor=dataclasses.replace(fit.monitor, change=change, checked_loss=loss),
    )
    fit = jax.tree.map(lambda new, old: jnp.where(going & finite, new, old), new, fit)
    diverged = jnp.where(going & ~finite, int(Status.DIVERGED), fit.status)
    return dataclasses.replace(fit, status=diverged)


def _stopped(escape: PreparedEscape | None, tolerance: jax.Array, fit: Fit) -> Fit:
    """The fit, as converged where its loss hardly changes, and no search is to come."""
    still = (fit.status == int(Status.OK)) & (fit.monitor.change < tolerance)
    if escape is not None:
        over = fit.monitor.iteration > escape.escape.last  # type: ignore[operator]
        still = still & (over | ~_is_worth_a_search(escape, fit))
    return dataclasses.replace(fit, status=jnp.where(still, int(Status.CONVERGED), fit.status))


def _is_worth_a_search(escape: PreparedEscape, fit: Fit) -> jax.Array:
    """() a fit that has hardly moved since nothing paid would get the same answer."""
    return fit.monitor.searched_loss - fit.info.loss >= escape.escape.stall


def _check_stall(
    prepared: PreparedEscape, solver: Solver, blocks: Blocks | Chunks, fit: Fit
) -> Fit:
    """Now and then: whether the fit has stalled, and if so, whether a component pays."""
    escape = prepared.escape

    def check() -> Fit:
        monitor, loss = fit.monitor, fit.info.loss
        stalled = monitor.checked_loss - loss <= escape.stall
        searched = stalled & _is_worth_a_search(prepared, fit) & (fit.status == int(Status.OK))
        searched = searched & (monitor.iteration <= escape.last)  # type: ignore[operator]
        state, pays = jax.lax.cond(
            searched,
            lambda: _inserted(prepared, solver, blocks, fit.state),
            lambda: (fit.state, vary_alike(jnp.zeros((), bool), fit.state)),
        )
        searched_loss = jnp.where(pays, jnp.inf, loss)
        searched_loss = jnp.where(searched, searched_loss, monitor.searched_loss)
        monitor = dataclasses.replace(monitor, checked_loss=loss, searched_loss=searched_loss)
        insertions = fit.num_insertions + pays.astype(jnp.int32)
        return dataclasses.replace(fit, state=state, num_insertions=insertions, monitor=monitor)

    # The same for all seeds of a batch, so that under `vmap` it is a branch, too.
    due = fit.monitor.iteration % escape.every == 0
    return jax.lax.cond(due, check, lambda: fit)


def _inserted(
    prepared: PreparedEscape, solver: Solver, blocks: Blocks | Chunks, state: Any
) -> tuple[Any, jax.Array]:
    mixture, pays = try_insert(prepared, state.mixture, blocks)
    fresh = jax.tree.map(jnp.asarray, solver.init(mixture))
    return jax.tree.map(lambda new, old: jnp.where(pays, new, old), fresh, state), pays


def _is_finite(mixture: Mixture, info: Info) -> jax.Array:
    weights_good = ~jnp.any(jnp.isnan(mixture.log_weights) | jnp.isposinf(mixture.log_weights))
    seen = jax.tree.leaves((mixture.means, mixture.covariance, info))
    return weights_good & jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in seen]))
