"""The fits of a case, and what is said of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

import gemjax as gj
from gemjax.cli import paths, sensitivity
from gemjax.cli.case import Case
from gemjax.cli.files.boundary import InputError, asking

_SEGMENTS = 20  # of a fit that shows its progress
_LEAST_ITERATIONS = 10  # of one: each checks the points and lays them out anew
_AHEAD_POINTS = 2**14  # up to which a certificate takes less time than its compilation
_aside = ThreadPoolExecutor(1)


class Found(NamedTuple):
    """Fits with a leading axis of seeds, and what is said of each; `loss` is the final one."""

    fit: gj.Fit
    loss: jax.Array
    recovery: gj.Recovery | None
    diagnosis: gj.Diagnosis | None
    certificate: gj.Certificate | None
    num_distinct: jax.Array | None = None
    starts: gj.Mixture | None = None
    covered: jax.Array | None = None
    path: paths.Path | None = None
    sensitivity: sensitivity.Sensitivity | None = None


def fit_block(
    case: Case, first_seed: int, num_seeds: int, mesh: Mesh | None, batch_size: int
) -> Found:
    """Fits a block of seeds."""
    length = case.point.solver
    with asking(case.where):
        fits = gj.sweep(
            case.key, case.solver, case.target, num_seeds=num_seeds, first_seed=first_seed,
            num_components=case.point.model.num_components, init=case.init, escape=case.escape,
            num_iterations=length.num_iterations, tolerance=length.tolerance,
            record_every=length.record_every, batch_size=batch_size, mesh=mesh,
        )  # fmt: skip
    _wait(fits)
    _require_precision(case, fits.status)
    # What several processes computed together, each now goes on with by itself.
    found = assess(case, jax.tree.map(np.asarray, fits))
    return _with_report(case, found, first_seed, num_seeds)


def _with_report(case: Case, found: Found, first_seed: int, num_seeds: int) -> Found:
    """The same, with what the config asks for beside the standard columns."""
    report = case.point.report
    if not (report.starts or report.path or report.moments or report.sensitivity):
        return found
    starts = [case.start(first_seed + seed) for seed in range(num_seeds)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *starts)
    with asking(case.where):
        if report.path or report.moments:
            found = found._replace(path=paths.along(case, stacked))
            _wait(found.path)
        if report.sensitivity:
            found = found._replace(sensitivity=sensitivity.of_seeds(case, stacked))
            _wait(found.sensitivity)
    if report.starts:
        assert case.truth is not None  # checked with the config
        covered = jax.vmap(gj.covers, in_axes=(0, None))(stacked, case.truth)
        found = found._replace(starts=stacked, covered=covered)
    return found


def _require_precision(case: Case, status: Any) -> None:
    if (np.asarray(status) == gj.Status.IMPRECISE).any():
        raise InputError(
            f"{case.where}: the points are spread over more standard deviations of the noise than "
            f'{case.point.target.dtype} can resolve; try target.dtype = "float64", or a larger '
            "target.scale"
        )


def fit_best(
    case: Case, on_progress: Callable[[int, int], None], mesh: Mesh | None = None
) -> tuple[gj.Fit, int, list[float]]:
    """The fit whose final loss is lowest, its seed, and the losses of all seeds if there are more.

    Each runs in several calls, so that progress can be shown and Ctrl-C is heard.
    """
    T, S = case.point.solver.num_iterations, case.point.sweep.num_seeds
    segment = _segment(T)
    ahead: list[Future[Any]] = []
    fits: list[gj.Fit] = []
    losses: list[float] = []
    on_progress(0, T * S)
    for seed in range(S):
        fit: Any = case.start(seed)
        if seed == 0 and case.point.report.certificate and case.target.shape[0] <= _AHEAD_POINTS:
            # Of no use, but for its program, which is compiled while the fit runs.
            ahead.append(_aside.submit(gj.certificate, fit, case.judge, case.search_key))
        records = []
        for done in range(0, T, segment):
            fit = _go_on(case, fit, min(segment, T - done), 1, mesh)
            records.append(jax.tree.map(np.asarray, fit.history))
            on_progress(seed * T + min(done + segment, T), T * S)
            _require_precision(case, fit.status)
            if int(fit.status) != gj.Status.OK:
                break
        good = int(fit.status) != gj.Status.DIVERGED
        fit = jax.tree.map(np.asarray, fit)
        if S > 1:
            losses.append(float(gj.loss(fit.mixture, case.judge)) if good else float("inf"))
        history = jax.tree.map(lambda *parts: np.concatenate(parts), *records)
        fits.append(dataclasses.replace(fit, history=history))
    wait(ahead)
    best = int(np.argmin(losses)) if losses else 0
    return fits[best], best, losses


def _segment(T: int) -> int:
    """Iterations in a call, a divisor of T where there is a fitting one: each length compiles."""
    longest = max(min(T, _LEAST_ITERATIONS), T // _SEGMENTS)
    return next((s for s in range(longest, longest // 2, -1) if T % s == 0), longest)


def _go_on(
    case: Case, start: gj.Mixture | gj.Fit, num_iterations: int, record_every: int,
    mesh: Mesh | None = None,
) -> gj.Fit:  # fmt: skip
    """More iterations, and their history alone."""
    start = jax.tree.map(np.asarray, start)  # of no device, whatever the mesh
    if isinstance(start, gj.Fit):
        # One that grows would compile something for every length.
        none = jax.tree.map(lambda leaf: leaf[:0], start.history)
        start = dataclasses.replace(start, history=none)
    with asking(case.where):
        return gj.fit(
            case.solver, case.target, start, num_iterations=num_iterations,
            record_every=record_every, tolerance=case.point.solver.tolerance, escape=case.escape,
            mesh=mesh,
        )  # fmt: skip


def assess(case: Case, fits: gj.Fit) -> Found:
    """What can be said of fits, with a leading axis of seeds: all that the config asks for."""
    recovery = diagnosis = certificate = distinct = None
    if case.truth is not None:
        tolerance = np.asarray(case.point.report.tolerance, case.target.dtype)
        recovery, diagnosis, distinct = _compared(fits.mixture, fits.status, case.truth, tolerance)
    if case.point.report.certificate:
        certificate = _certificates(case, fits.mixture)
        losses = certificate.loss
    else:
        losses = _losses(fits.mixture, case.judge)
        _wait(losses)
    return Found(fits, losses, recovery, diagnosis, certificate, distinct)


def _certificates(case: Case, mixtures: gj.Mixture) -> gj.Certificate:
    """One for each, with a leading axis."""
    found = []
    for seed in range(len(mixtures.means)):
        mixture = jax.tree.map(lambda leaf, seed=seed: leaf[seed], mixtures)
        with asking(case.where):
            found.append(gj.certificate(mixture, case.judge, case.search_key))
        _wait(found[-1])
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def _wait(arrays: Any) -> None:
    """Until the device is done. Python hears Ctrl-C between these naps, but not inside JAX."""
    while not all(leaf.is_ready() for leaf in jax.tree.leaves(arrays)):
        time.sleep(0.002)


@jax.jit
def _losses(mixtures: gj.Mixture, target: Any) -> jax.Array:
    return jax.lax.map(lambda mixture: gj.loss(mixture, target), mixtures)


@jax.jit
def _compared(
    mixtures: gj.Mixture, status: jax.Array, truth: gj.Mixture, tolerance: jax.Array
) -> tuple[gj.Recovery, gj.Diagnosis, jax.Array]:
    def one(mixture: gj.Mixture, status: jax.Array) -> Any:
        recovery = gj.recovery(mixture, truth, tolerance=tolerance)
        diagnosis = gj.diagnose(mixture, truth, status, tolerance=tolerance)
        return recovery, diagnosis, gj.num_distinct(mixture)

    return jax.vmap(one)(mixtures, status)
