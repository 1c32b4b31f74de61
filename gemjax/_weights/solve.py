"""Mixing weights for given densities, solved to optimality: `solve_weights`."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays, checks
from gemjax._base.records import Status, WeightSolution
from gemjax._families.identity import Identity
from gemjax._model.densities import Densities
from gemjax._model.statistics import duality_gap, e_step
from gemjax._numerics.finite import safe_log
from gemjax._points.blocks import AUTOMATIC, lay_out, resolve
from gemjax._weights import sequential


def solve_weights(
    log_densities: Any,
    point_weights: Any = None,
    start: Any = None,
    *,
    tolerance: Any = 1e-8,
    max_steps: int = 100,
) -> WeightSolution:
    """Minimises −Σ_j w_j log Σ_i π_i exp(log_densities_ji) over the simplex, to optimality.

    The maximum-likelihood mixing weights of known components: of an empirical Bayes prior on a
    grid, a nonparametric MLE, or the means of a fit. Sequential quadratic programming (Kim,
    Carbonetto, Stephens and Anitescu 2020): each step is one product over the N rows, in blocks,
    and a quadratic program of size n. Five to ten steps are usual; inactive components get
    exactly 0.

    Differentiable to any order in `log_densities` and `point_weights`, by the implicit function
    theorem on the support of the solution: the loss exactly, the weights where the support
    does not change. Derivatives are those of the optimum; with the status STEP_LIMIT or STALLED it
    was not reached, and they are no more exact than the weights. Not in `start`: the optimum does
    not depend on it. Works under `jit` and `vmap`.

    Time O(N n²) per step, memory two arrays of the size of `log_densities`.

    Args:
      log_densities: (N, n), log density of every component at every point in nats, float32 or
        float64; −inf is a density of zero. Any constant may be added to a row.
      point_weights: (N,) w, non-negative, normalised to sum to one; equal by default.
      start: (n,) weights to start from, non-negative, normalised; equal by default. Zeros may be
        left. Worth giving when a similar problem has been solved.
      tolerance: () duality gap (nats per point) to stop at, traced. Gaps below 64 eps of the dtype,
        8e-6 for float32, are rounding: a smaller tolerance stands for that.
      max_steps: static, the most Newton steps.

    Returns:
      a `WeightSolution`. Its weights are finite, non-negative and sum to one whatever the status.

    Raises:
      ValueError, TypeError: wrong shapes or dtypes; NaN or +inf; a row of positive weight that is
        −inf throughout, where no weights give a finite loss.

    >>> import gemjax as gj
    >>> log_densities = jnp.log(jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 1.0]]))
    >>> solution = gj.solve_weights(log_densities)
    >>> [f"{weight:.4f}" for weight in solution.weights], gj.Status(int(solution.status)).name
    (['0.3333', '0.6667'], 'OK')
    """
    table = _table("log_densities", log_densities)
    N, n = table.shape
    dtype = table.dtype
    if point_weights is None:
        w = jnp.full((N,), 1 / N, dtype)
    else:
        w = arrays.weights("point_weights", point_weights, N, dtype)
    if start is None:
        begin = jnp.full((n,), 1 / n, dtype)
    else:
        begin = arrays.weights("start", start, n, dtype)
    _possible("log_densities", table, w)
    tolerance = arrays.scalar("tolerance", tolerance, dtype, least=0)
    return _solve(table, w, begin, tolerance, checks.count("max_steps", max_steps))


@functools.partial(jax.jit, static_argnums=4)
def _solve(
    table: jax.Array, w: jax.Array, start: jax.Array, tolerance: jax.Array, max_steps: int
) -> WeightSolution:
    # A row without any density is left out of the sums, and told of afterwards.
    densities = _lay_out(table, w)
    weights, num_steps, status = sequential.solve(densities, start, tolerance, max_steps)
    at = e_step(densities, safe_log(weights))
    empty = jnp.all(jnp.isneginf(table), axis=1) & (w > 0)
    bad = jnp.any(jnp.isnan(table) | jnp.isposinf(table)) | ~jnp.all(jnp.isfinite(w) & (w >= 0))
    status = jnp.where(jnp.any(empty), Status.IMPOSSIBLE, status)
    status = jnp.where(bad, Status.DIVERGED, status).astype(jnp.int32)
    lost = (status == Status.IMPOSSIBLE) | (status == Status.DIVERGED)
    gap = duality_gap(at.ratios)
    gap = jnp.where(gap < 0, 0, gap)  # by rounding
    return WeightSolution(
        weights=weights,
        loss=jnp.where(lost, jnp.inf, at.loss),
        duality_gap=jnp.where(lost, jnp.inf, gap),
        num_steps=num_steps,
        status=status,
    )


def _lay_out(table: jax.Array, w: jax.Array) -> Densities:
    """The table as blocks of densities [n, C], each row relative to its largest."""
    N, n = table.shape
    dtype = table.dtype
    # Points without coordinates: only their weights are laid out.
    nowhere, zero = jnp.zeros((0,), dtype), jnp.zeros((), dtype)
    blocks = lay_out(
        jnp.zeros((N, 0), dtype),
        w,
        nowhere,
        zero,
        resolve(AUTOMATIC, n),
        Identity,
        False,
        None,
    )
    B, C = blocks.weights.shape
    pad = B * C - N
    shift = jax.lax.stop_gradient(jnp.max(table, axis=1))  # it cancels
    shift = jnp.pad(jnp.where(jnp.isfinite(shift), shift, 0), (0, pad)).reshape(B, C)
    rows = jnp.pad(table, ((0, pad), (0, 0))).reshape(B, C, n)
    scaled = jax.lax.map(lambda block: jnp.exp(block[0].T - block[1][None]), (rows, shift))
    return Densities(
        blocks=blocks,
        means=jnp.zeros((n, 0), dtype),
        covariance=Identity(),
        natural=jnp.zeros((n, 1), dtype),
        reference=jnp.zeros((n,), dtype),
        scaled=scaled,
        shift=shift,
    )


def _table(name: str, value: Any) -> jax.Array:
    """(N, n) with N, n >= 1, where known without NaN and +inf."""
    array = arrays.floating(name, value)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must have shape (N, n) with N, n >= 1, got {array.shape}")
    if arrays.is_concrete(array):
        bad = np.isnan(array) | np.isposinf(array)
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"{name} must be log densities, finite or -inf, got {array[where]} at index {where}"
            )
    return array


def _possible(name: str, table: jax.Array, w: jax.Array) -> None:
    """Every row of positive weight has a density somewhere, where that is known."""
    if arrays.is_concrete(table, w):
        empty = np.isneginf(table).all(axis=1) & (np.asarray(w) > 0)
        if empty.any():
            raise ValueError(
                f"{name} must have a finite entry in every row of positive weight, row "
                f"{int(np.flatnonzero(empty)[0])} is -inf throughout ({int(empty.sum())} such rows)"
            )
