"""The clusters that `select` found, on the points: curves, ellipses, a matrix of projections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import gemjax as gj
from gemjax.cli.files.boundary import brief
from gemjax.cli.report.canvas import COLOURS, new_axes, new_figure, plain
from gemjax.cli.report.directions import Directions, discriminant, ellipse

MOST_POINTS = 6_000  # that are drawn one by one
_SHARE = 0.9  # of a component's points, that its ellipse holds
_NAME, _ROOM = 22, 28  # letters of a name beside a panel, and of all that has room there
_SPACING = 0.045  # of a panel: numbers closer than that would touch
_PALETTE = COLOURS[:6]  # without black, which is for numbers


def clusters(
    selection: gj.Selection, points: np.ndarray, columns: Sequence[str] | None = None,
    weights: np.ndarray | None = None, num_points: int | None = None,
    labels: np.ndarray | None = None,
) -> Figure:  # fmt: skip
    """Points (N, d) and the components found, in the colours of their clusters.

    For d = 1 a density, for d = 2 ellipses, for more of them ellipses in the directions along
    which the components lie farthest apart. Numbers are those of `Selection.predict`; `labels` (N,)
    are the points', where they are known. The bars of a histogram count `weights` (N,);
    `num_points` is the number to speak of, where points are some of them.
    """
    points = np.asarray(points, float).reshape(len(points), -1)
    d = points.shape[1]
    if len(points) > MOST_POINTS:  # too many to be drawn one by one
        labels = None
    elif labels is None and d > 1:
        labels = np.asarray(selection.predict(points.astype(selection.mixture.means.dtype)))
    names = [plain(name) for name in columns or [f"coordinate {i + 1}" for i in range(d)]]
    if d == 1:
        figure = _density(selection, points, names[0], weights)
    elif d == 2:
        unchanged = Directions(np.zeros(2), np.eye(2), np.ones(2), np.ones(2))
        figure, axes = new_axes(7.5, 6.6)
        _panel(axes, selection, points, labels, unchanged, (0, 1))
        axes.set(xlabel=names[0], ylabel=names[1])
    else:
        figure = _matrix(selection, points, labels, columns)
    title = _title(selection, num_points or len(points))
    if len(figure.axes) == 1:
        figure.axes[0].set_title(title)
    else:
        figure.suptitle(title, fontsize=15)
    return figure


def _title(selection: gj.Selection, N: int) -> str:
    n, m = int(selection.num_components), int(selection.num_clusters)
    told = f"{n} component{'s' if n > 1 else ''} in {m} cluster{'s' if m > 1 else ''}"
    return f"{told}, {N:,} points"


def colours_of(centres: np.ndarray) -> list[str]:
    """A colour per cluster (m, d): each in turn the one whose clusters so far are farthest away."""
    centres = centres / np.where(np.ptp(centres, axis=0) > 0, np.ptp(centres, axis=0), 1)
    given: list[int] = []
    for centre in centres:
        far = [
            min(
                (float(np.linalg.norm(centre - c)) for c, g in zip(centres, given, strict=False)
                 if g == colour),
                default=np.inf,
            )
            for colour in range(len(_PALETTE))
        ]  # fmt: skip
        given.append(int(np.argmax(far)))
    return [_PALETTE[colour] for colour in given]


def _centres(selection: gj.Selection) -> np.ndarray:
    """(m, d) the mean of each cluster's heaviest component."""
    cluster = np.asarray(selection.cluster)
    first = [int(np.argmax(cluster == c)) for c in range(int(selection.num_clusters))]
    return np.asarray(selection.mixture.means, float)[first]


def _density(
    selection: gj.Selection, points: np.ndarray, column: str, weights: np.ndarray | None
) -> Figure:
    """A histogram, the density, and the part of it that each cluster has."""
    figure, axes = new_axes(7.5, 4.8)
    x = points[:, 0]
    wide = 0.1 * max(float(np.ptp(x)), 1e-12)
    line = np.linspace(x.min() - wide, x.max() + wide, 1001)
    grid = np.asarray(line[:, None], selection.mixture.means.dtype)
    density = np.exp(np.asarray(gj.log_density(selection.mixture, grid)))
    bins = int(np.clip(2.5 * np.sqrt(len(x)), 10, 100))
    axes.hist(x, bins=bins, weights=weights, density=True, color="0.85", zorder=1)
    if len(x) <= MOST_POINTS:
        axes.plot(x, np.zeros(len(x)), "|", color="black", ms=9, alpha=0.5, zorder=6)
    shares = np.asarray(selection.probabilities(grid))
    alone = np.asarray(gj.responsibilities(selection.mixture, grid))
    cluster = np.asarray(selection.cluster)
    colours = colours_of(_centres(selection))
    for c, colour in enumerate(colours):
        part = density * shares[:, c]
        axes.fill_between(line, part, color=colour, alpha=0.3, lw=0, zorder=3)
        axes.plot(line, part, color=colour, lw=1.6, zorder=4)
        inside = np.flatnonzero(cluster == c)
        for i in inside if len(inside) > 1 else []:
            axes.plot(line, density * alone[:, i], "--", color=colour, lw=1.0, zorder=4)
    axes.plot(line, density, color="black", lw=2, zorder=5)
    top = 1.12 * max(float(density.max()), axes.get_ylim()[1] / 1.05)
    peaks = [int(np.argmax(density * shares[:, c])) for c in range(len(colours))]
    places = np.stack([line[peaks], density[peaks] + 0.03 * top], axis=1)
    _numbers(axes, places, (line[0], line[-1]), (0, top))
    axes.set(xlabel=column, ylabel="density", xlim=(line[0], line[-1]), ylim=(0, top), yticks=[])
    return figure


def _panel(
    axes: Any, selection: gj.Selection, points: np.ndarray, label: np.ndarray | None,
    directions: Directions, pair: tuple[int, int],
) -> None:  # fmt: skip
    """Two of the directions: points, an ellipse per component, a number per cluster."""
    two = [*pair]
    shown = directions.of(points)[:, two]
    mixture, cluster = selection.mixture, np.asarray(selection.cluster)
    n, d = mixture.means.shape
    matrices = np.asarray(mixture.covariance.matrices(n, d), float)
    vectors = directions.vectors[:, two]
    means = directions.of(np.asarray(mixture.means, float))[:, two]
    centres = _centres(selection)
    colours = np.asarray(colours_of(centres))
    if label is not None:
        size = float(np.clip(2e4 / len(points), 5, 18))
        axes.scatter(*shown.T, s=size, c=colours[label], lw=0, alpha=0.55, rasterized=True)
    else:
        bins = int(np.clip(0.4 * np.sqrt(len(points)), 60, 220))
        axes.hist2d(*shown.T, bins=bins, cmap="Greys", norm=PowerNorm(0.5), cmin=1, rasterized=True)
    outlines = [
        ellipse(mean, vectors.T @ matrix @ vectors, _SHARE)
        for mean, matrix in zip(means, matrices, strict=True)
    ]
    ink = ["0.4" if c < 0 else colours[c] for c in cluster]  # a background belongs to no cluster
    edges = LineCollection(outlines, colors=ink, linewidths=1.8, zorder=3)
    edges.set_path_effects([effects.withStroke(linewidth=3.2, foreground="white", alpha=0.8)])
    axes.add_collection(edges)
    low, high = shown.min(axis=0), shown.max(axis=0)
    width = np.where(high > low, high - low, 1)
    # Whole ellipses, unless one is so wide that the points would become small.
    ends = np.concatenate(outlines)
    low = np.clip(ends.min(axis=0), low - 0.2 * width, low) - 0.03 * width
    high = np.clip(ends.max(axis=0), high, high + 0.2 * width) + 0.03 * width
    limits = np.stack([low, high], axis=1)
    axes.set(xlim=limits[0], ylim=limits[1])
    _numbers(axes, directions.of(centres)[:, two], *limits)


def _numbers(axes: Any, places: np.ndarray, xlim: Any, ylim: Any) -> None:
    """Numbers of clusters, the heaviest first; one that would touch another is left out."""
    span = np.array([xlim[1] - xlim[0], ylim[1] - ylim[0]])
    taken: list[np.ndarray] = []
    for c, place in enumerate(places):
        if all(np.abs((place - other) / span).max() > _SPACING for other in taken):
            taken.append(place)
            axes.text(
                *place, str(c), ha="center", va="center", fontsize=11, weight="bold", zorder=6,
                path_effects=[effects.withStroke(linewidth=3, foreground="white")],
            )  # fmt: skip


def _matrix(
    selection: gj.Selection,
    points: np.ndarray,
    labels: np.ndarray | None,
    columns: Sequence[str] | None,
) -> Figure:
    """Every pair of up to four discriminant directions."""
    mixture = selection.mixture
    n, d = mixture.means.shape
    matrices = np.asarray(mixture.covariance.matrices(n, d), float)
    means, weights = np.asarray(mixture.means, float), np.asarray(mixture.weights, float)
    found = discriminant(means, weights, matrices)
    k = found.vectors.shape[1]
    names = [f"direction {i + 1} ({share:.0%})" for i, share in enumerate(found.share)]
    if columns:
        names = [f"{a}\n{b}" for a, b in zip(names, _meant(found, points, columns), strict=True)]
    side = 6.4 if k == 2 else 1.2 + 3.1 * (k - 1)
    figure = new_figure(side + 0.6, side)
    panels = figure.subplots(k - 1, k - 1, squeeze=False, sharex="col", sharey="row")
    for row in range(k - 1):
        for column in range(k - 1):
            axes = panels[row, column]
            if column > row:
                axes.remove()
                continue
            _panel(axes, selection, points, labels, found, (column, row + 1))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(5, integer=True))
            if row == k - 2:
                axes.set_xlabel(names[column])
            if column == 0:
                axes.set_ylabel(names[row + 1])
    return figure


def _meant(found: Directions, points: np.ndarray, columns: Sequence[str]) -> list[str]:
    """For each direction the two columns that go with it most, and their correlations; below each
    other where they are long."""
    d = len(columns)
    both = np.concatenate([points, found.of(points)], axis=1)
    with np.errstate(invalid="ignore"):
        together = np.nan_to_num(np.corrcoef(both.T)[:d, d:])
    most = np.argsort(-np.abs(together), axis=0, kind="stable")[:2].T
    told = []
    for i, pair in enumerate(most):
        both_names = [f"{brief(columns[a], _NAME)} {together[a, i]:+.1f}" for a in pair]
        gap = ", " if sum(map(len, both_names)) <= _ROOM else "\n"
        told.append(plain(both_names[0]) + gap + plain(both_names[1]))
    return told
