"""The pictures of a fit: how it converged, and its components on the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

import gemjax as gj
from gemjax.cli.report.canvas import COLOURS, new_axes, new_figure


def convergence(history: dict[str, np.ndarray]) -> Figure:
    """Loss, duality gap and gradient norm of one fit, each (T,)."""
    figure = new_figure(7.5, 6.4)
    top, bottom = figure.subplots(2, 1, sharex=True)
    time = np.arange(len(history["loss"])) + 1
    top.plot(time, history["loss"], color=COLOURS[0], lw=2)
    top.set(ylabel="loss (nats per point)", title="Convergence")
    top.ticklabel_format(axis="y", useOffset=False)
    for name, label, colour in (
        ("duality_gap", "duality gap of the weights (nats per point)", COLOURS[1]),
        ("gradient_norm", "norm of the mean gradient", COLOURS[2]),
    ):
        values = np.where(history[name] > 0, history[name], np.nan)
        bottom.plot(time, values, color=colour, lw=2, label=label)
    bottom.set(xscale="log", yscale="log", xlabel="iteration")
    bottom.legend()
    return figure


def components(
    points: np.ndarray, point_weights: np.ndarray, means: np.ndarray, weights: np.ndarray,
    scale: float, columns: Sequence[str], num_points: int,
) -> Figure:  # fmt: skip
    """Data and fitted components for d <= 2, in the data's units.

    `num_points` is the number to speak of: `points` may be only some of them.
    """
    kept = weights >= 1e-3 * weights.max()
    title = f"{num_points:,} points and {int(kept.sum())} components"
    if points.shape[1] == 1:
        figure = _density(points, point_weights, means, weights, scale, columns[0])
        figure.axes[0].set_title(title)
        return figure
    figure, axes = new_axes(7.5, 7)
    size = float(np.clip(2e4 / len(points), 1, 12))
    axes.scatter(*points.T, s=size, color="0.65", lw=0, rasterized=True)
    heavy = weights[kept] / weights.max()
    axes.scatter(*means[kept].T, s=6 + 90 * heavy, facecolor="none", edgecolor=COLOURS[1], lw=1.2)
    axes.set(xlabel=columns[0], ylabel=columns[1], title=f"{title} (area: weight)")
    axes.set_aspect("equal", adjustable="datalim")
    return figure


def _density(
    points: np.ndarray, point_weights: np.ndarray, means: np.ndarray, weights: np.ndarray,
    scale: float, column: str,
) -> Figure:  # fmt: skip
    figure, axes = new_axes(7.5, 4.8)
    bins = int(np.clip(np.sqrt(len(points)) * 3, 10, 120))
    axes.hist(
        points[:, 0], bins=bins, weights=point_weights, density=True, color="0.8", label="data"
    )
    units = gj.Units(points.mean(axis=0), scale)
    line = np.linspace(points.min(axis=0) - 3 * scale, points.max(axis=0) + 3 * scale, 1000)
    # In float32 whatever the fit was in, so that a later drawing is the same to the last pixel.
    mixture = gj.make_mixture(np.float32(units.to_model(means)), np.float32(weights))
    log_density = np.asarray(gj.log_density(mixture, np.float32(units.to_model(line))))
    density = np.exp(-units.loss_to_data(-log_density))
    axes.plot(line, density, color=COLOURS[0], lw=2, label="fitted density")
    kept = weights >= 1e-3 * weights.max()
    top = density.max()
    # Components closer than the eye can tell stand as one line, as tall as all of them.
    order = np.argsort(means[kept, 0])
    at, mass = means[kept, 0][order], weights[kept][order]
    starts = np.flatnonzero(np.diff(at, prepend=-np.inf) > 0.05 * scale)
    mass_at = np.add.reduceat(mass, starts)
    at = np.add.reduceat(mass * at, starts) / mass_at
    axes.vlines(
        at, 0, mass_at / mass_at.max() * top, color=COLOURS[1], lw=2,
        label="components (height: weight)",
    )  # fmt: skip
    axes.set(
        xlabel=column, ylabel=f"density (per unit of {column})",
        ylim=(0, max(1.35 * top, axes.get_ylim()[1])),
    )  # fmt: skip
    axes.legend(loc="upper right")
    return figure
