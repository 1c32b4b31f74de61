"""What is known of fits along their iterations: how far from the truth they are, and how."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gemjax as gj
from gemjax.cli.case import Case


class Path(NamedTuple):
    """Per seed and recorded iteration; see `gj.recovery` and `gj.hermite.residuals`.

    `stray_mass` counts as stray what is farther than a quarter of the smallest separation from
    every true mean. `moments` has one entry per order, and is None where none is asked for.
    """

    rms_distance: jax.Array
    stray_mass: jax.Array
    moments: jax.Array | None


def along(case: Case, starts: gj.Mixture) -> Path:
    """The paths from starts with a leading axis of seeds."""
    assert case.truth is not None  # checked with the config
    separation = smallest_separation(case.truth)
    radius = jnp.asarray(1.0 if separation is None else separation / 4, case.target.dtype)
    order = case.point.report.moments
    measured = _along(case.solver, case.target, case.escape, starts, case.truth, radius,
                      _settings(case), order)  # fmt: skip
    return Path(measured[0], measured[1], measured[2] if order else None)


def followed(case: Case) -> dict[str, np.ndarray]:
    """Weights (T', n) and means (T', n, d) of the first seed, from the start on."""
    start = case.start(0)
    path = _followed(case.solver, case.target, case.escape, start, _settings(case))
    whole = jax.tree.map(lambda first, rest: np.concatenate([first[None], rest]), start, path)
    return {"followed_weights": np.asarray(whole.weights), "followed_means": whole.means}


def smallest_separation(truth: gj.Mixture) -> float | None:
    """The distance of the nearest two true means; None where there is one, or they coincide."""
    means = np.asarray(truth.means, np.float64)
    i, j = np.triu_indices(len(means), 1)
    nearest = min(np.linalg.norm(means[i] - means[j], axis=1), default=0.0)
    return float(nearest) if nearest > 0 else None


def _settings(case: Case) -> tuple[int, int, float | None]:
    solver = case.point.solver
    return case.point.num_records, solver.record_every, solver.tolerance


@functools.partial(jax.jit, static_argnames=("settings", "order"))
def _along(
    solver: Any, target: Any, escape: Any, starts: gj.Mixture, truth: gj.Mixture,
    radius: jax.Array, settings: tuple[int, int, float | None], order: int,
) -> Any:  # fmt: skip
    def measure(mixture: gj.Mixture) -> tuple[jax.Array, ...]:
        found = gj.recovery(mixture, truth, stray_radius=radius)
        measured = (found.rms_distance, found.stray_mass)
        return (*measured, gj.hermite.residuals(mixture, truth, order)) if order else measured

    return jax.lax.map(
        lambda start: _walk(solver, target, escape, start, settings, measure), starts
    )


@functools.partial(jax.jit, static_argnames="settings")
def _followed(
    solver: Any, target: Any, escape: Any, start: gj.Mixture,
    settings: tuple[int, int, float | None],
) -> gj.Mixture:  # fmt: skip
    return _walk(solver, target, escape, start, settings, lambda mixture: mixture)


def _walk(
    solver: Any, target: Any, escape: Any, start: gj.Mixture,
    settings: tuple[int, int, float | None], measure: Any,
) -> Any:  # fmt: skip
    """`measure` of the mixtures of a fit after every so many iterations, stacked."""
    num_records, every, tolerance = settings

    def more(fit: Any) -> gj.Fit:
        fit = gj.fit(
            solver, target, fit, num_iterations=every, record_every=every, tolerance=tolerance,
            escape=escape,
        )  # fmt: skip
        return dataclasses.replace(fit, history=jax.tree.map(lambda leaf: leaf[:0], fit.history))

    def body(fit: gj.Fit, _: None) -> tuple[gj.Fit, Any]:
        fit = more(fit)
        return fit, measure(fit.mixture)

    fit = more(start)
    first = measure(fit.mixture)
    _, rest = jax.lax.scan(body, fit, length=num_records - 1)
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)
