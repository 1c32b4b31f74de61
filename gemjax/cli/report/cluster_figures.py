"""The pictures of a selection: how components merge, what was compared, and the clusters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

import gemjax as gj
from gemjax.cli.report.canvas import (
    COLOURS,
    colours,
    legend,
    new_axes,
    new_figure,
    plain,
    tidy,
)

_CLUSTER_COLOURS = COLOURS[:6]  # black is for text; more clusters than these are told by number
_MOST_POINTS = 5000  # drawn
_MOST_DIRECTIONS = 4
_NEAR = 10.0  # differences of a criterion up to which the axis is linear


class Join(NamedTuple):
    """One merging in a dendrogram: where the two branches are and end, and its height."""

    left: tuple[float, float]
    right: tuple[float, float]
    height: float


def joins_of(kept: np.ndarray, freed: np.ndarray, heights: np.ndarray) -> list[Join]:
    """The mergings from many components to one, leaves at 0, 1, … so that no branches cross.

    Row k of kept, freed and heights (n,) is the merging that left k + 1 components, kept < 0 if
    there was none. A merging that cost less than one before it stands as high as that.
    """
    rows = [int(k) for k in np.flatnonzero(kept >= 0)[::-1]]
    below: dict[int, Any] = {}
    for k in rows:
        i, j = int(kept[k]), int(freed[k])
        below[i] = (below.get(i, i), below.get(j, j))
    if not rows:
        return []
    place: dict[int, float] = {}

    def visit(node: Any) -> None:
        stack = [node]
        while stack:
            node = stack.pop()
            if isinstance(node, tuple):
                stack += [node[1], node[0]]
            else:
                place[node] = float(len(place))

    visit(below[int(kept[rows[-1]])])
    at = {slot: (x, 0.0) for slot, x in place.items()}
    highest, joins = 0.0, []
    for k in rows:
        i, j = int(kept[k]), int(freed[k])
        if i not in at or j not in at:  # a branch that was cut off before the end
            continue
        highest = max(highest, float(heights[k]))
        joins.append(Join(at[i], at[j], highest))
        at[i] = (0.5 * (at[i][0] + at[j][0]), highest)
    return joins


def tree(selection: gj.Selection) -> Figure:
    """The dendrogram of the family chosen, and where it is cut."""
    kept, freed, heights = (np.asarray(leaf) for leaf in (
        selection.merges.kept, selection.merges.freed, selection.merges.height
    ))  # fmt: skip
    figure, axes = new_axes(7.5, 5)
    joins = joins_of(kept, freed, heights)
    m, jump = int(selection.num_components), int(selection.num_by_height)
    axes.set(xticks=[], ylabel="cost of merging (nats per point)")
    axes.set_title(f"How components merge: {selection.family_name}, {m} chosen")
    if not joins:
        axes.text(
            0.5, 0.5, "one component: nothing to merge", ha="center", transform=axes.transAxes
        )
        return figure
    least = 0.5 * min(join.height for join in joins if join.height > 0)
    # The last m − 1 mergings are those that are not done.
    apart = {"kept apart": joins[len(joins) - m + 1 :], "merged": joins[: len(joins) - m + 1]}
    for (told, some), colour in zip(apart.items(), (COLOURS[1], "0.35"), strict=True):
        for (a, low), (b, lower), height in some:
            x, y = [a, a, b, b], np.maximum([low, height, height, lower], least)
            axes.plot(x, y, color=colour, lw=1.4)
        if some:
            axes.plot([], [], color=colour, lw=1.4, label=told)
    axes.set(yscale="log", ylim=(least, 2 * joins[-1].height))
    axes.grid(visible=False, axis="x")
    if jump != m and jump <= len(joins):
        done, undone = joins[-jump].height, 2 * joins[-1].height
        if jump > 1:
            undone = joins[1 - jump].height
        axes.axhline(
            np.sqrt(done * undone), color=COLOURS[0], ls="--", lw=1.6,
            label=f"from {jump} components on merging is expensive",
        )  # fmt: skip
    legend(figure, [axes])
    tidy(figure)
    return figure


def criteria(selection: gj.Selection) -> Figure:
    """What each number of components costs in each family, above the best."""
    figure, axes = new_axes(7.5, 5)
    sizes, values = np.asarray(selection.sizes), np.asarray(selection.criteria)
    best = np.asarray(selection.best_criteria)
    lowest = values[np.isfinite(values)].min()
    for f, (name, colour) in enumerate(zip(selection.families, colours(len(best)), strict=True)):
        known = np.isfinite(values[f])
        if not known.any():
            continue
        chosen = f == int(selection.family)
        behind = best[f] - best.min()
        told = "chosen" if chosen else f"+{behind:.1f}" if np.isfinite(behind) else "out"
        axes.plot(
            sizes[f][known], values[f][known] - lowest, color=colour, marker="o", ms=3.5,
            lw=2.6 if chosen else 1.4, label=f"{name} ({told})", zorder=3 if chosen else 2,
        )  # fmt: skip
    m = int(selection.num_components)
    axes.axvline(m, color="0.5", ls="--", lw=1.2, zorder=1)
    axes.set_yscale("symlog", linthresh=_NEAR)
    axes.set(
        xlabel="components", ylabel="criterion above the best on the way",
        title=f"Which family, how many: {selection.family_name}, {m}",
    )  # fmt: skip
    axes.set_ylim(bottom=-1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend(figure, [axes])
    return figure


def clusters(points: np.ndarray, selection: gj.Selection, columns: Sequence[str]) -> Figure:
    """Points (N, d) by cluster, and the components: density, ellipses, or discriminant directions.

    Ellipses are where a component's density is exp(−2) of its peak: 86 % of it in two dimensions.
    """
    points = np.asarray(points)
    label = np.asarray(selection.predict(np.asarray(points, selection.mixture.means.dtype)))
    found = _arrays(selection)
    title = f"{int(selection.num_clusters)} clusters of {len(points):,} points"
    if points.shape[1] == 1:
        figure = _density(points[:, 0], found, plain(columns[0]))
        figure.axes[0].set_title(title)
        return figure
    rng = np.random.default_rng(0)
    some = rng.permutation(len(points))[:_MOST_POINTS]
    points, label = points[some], label[some]
    if points.shape[1] == 2:
        figure, axes = new_axes(7.5, 7)
        _plane(axes, points, label, found)
        axes.set(xlabel=plain(columns[0]), ylabel=plain(columns[1]), title=title)
        return figure
    directions = discriminants(found.means, found.weights, found.covariances)
    found = found._replace(
        means=found.means @ directions, covariances=directions.T @ found.covariances @ directions
    )
    points, k = points @ directions, directions.shape[1]
    figure = new_figure(2.2 + 2.6 * (k - 1), 2.0 + 2.6 * (k - 1))
    grid = figure.subplots(k - 1, k - 1, squeeze=False, sharex="col", sharey="row")
    for (row, axes_row), column in itertools.product(enumerate(grid), range(k - 1)):
        axes = axes_row[column]
        if column > row:
            axes.remove()
            continue
        pair = [column, row + 1]
        _plane(axes, points[:, pair], label, found.of(pair))
        if row == k - 2:
            axes.set_xlabel(f"direction {column + 1}")
        if column == 0:
            axes.set_ylabel(f"direction {row + 2}")
    figure.suptitle(f"{title}\nalong the directions that tell them apart best")
    return figure


def discriminants(means: np.ndarray, weights: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """(d, k) directions with the most variance between components for that within (Fisher 1936;
    Rao 1948), k <= 4, each of standard deviation one within; at least two."""
    centre = weights @ means
    between = ((means - centre).T * weights) @ (means - centre)
    within = np.einsum("n,nab->ab", weights, covariances)
    factor = np.linalg.cholesky(within)
    inverse = np.linalg.inv(factor)
    values, vectors = np.linalg.eigh(inverse @ between @ inverse.T)
    order = np.argsort(values)[::-1]
    rank = min(len(means) - 1, _MOST_DIRECTIONS, means.shape[1])
    return inverse.T @ vectors[:, order[: max(2, rank)]]


class _Found(NamedTuple):
    """A mixture in NumPy: means (n, d), weights (n,), covariances (n, d, d), clusters (n,)."""

    means: np.ndarray
    weights: np.ndarray
    covariances: np.ndarray
    cluster: np.ndarray

    def of(self, pair: list[int]) -> _Found:
        covariances = self.covariances[:, pair][:, :, pair]
        return self._replace(means=self.means[:, pair], covariances=covariances)


def _arrays(selection: gj.Selection) -> _Found:
    mixture, (n, d) = selection.mixture, selection.mixture.means.shape
    covariances = np.asarray(mixture.covariance.matrices(n, d), float)
    means, weights = np.asarray(mixture.means, float), np.asarray(mixture.weights, float)
    return _Found(means, weights, covariances, np.asarray(selection.cluster))


def _colour(cluster: int) -> str:
    return _CLUSTER_COLOURS[cluster % len(_CLUSTER_COLOURS)]


def _plane(axes: Any, points: np.ndarray, label: np.ndarray, found: _Found) -> None:
    """Points (N, 2) and ellipses, and the number of each cluster where there are many."""
    size = float(np.clip(2e4 / len(points), 3, 14))
    axes.scatter(
        *points.T, s=size, color=[_colour(c) for c in label], alpha=0.45, lw=0, rasterized=True
    )
    many = found.cluster.max() >= len(_CLUSTER_COLOURS)
    for mean, covariance, cluster in zip(
        found.means, found.covariances, found.cluster, strict=True
    ):
        axes.add_patch(ellipse(mean, covariance, ec=_colour(cluster), fc="none", lw=1.8))
    if many:
        for cluster in range(found.cluster.max() + 1):
            inside = found.cluster == cluster
            at = np.average(found.means[inside], axis=0, weights=found.weights[inside])
            axes.text(
                *at, str(cluster), ha="center", va="center", fontsize=9, clip_on=True,
                bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7},
            )  # fmt: skip
    axes.autoscale_view()


def ellipse(mean: np.ndarray, covariance: np.ndarray, **style: Any) -> Ellipse:
    """Two standard deviations about a mean in the plane."""
    values, vectors = np.linalg.eigh(covariance)
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    long, short = 4 * np.sqrt(np.maximum(values[1], 0)), 4 * np.sqrt(np.maximum(values[0], 0))
    return Ellipse((mean[0], mean[1]), long, short, angle=angle, **style)


def _density(x: np.ndarray, found: _Found, column: str) -> Figure:
    figure, axes = new_axes(7.5, 4.8)
    bins = int(np.clip(np.sqrt(len(x)) * 3, 10, 120))
    axes.hist(x, bins=bins, density=True, color="0.85", label="data")
    deviations = np.sqrt(found.covariances[:, 0, 0])
    margin = 2 * deviations.max()
    line = np.linspace(x.min() - margin, x.max() + margin, 1000)
    apart = (line[:, None] - found.means[:, 0]) / deviations
    parts = found.weights * np.exp(-0.5 * apart**2) / (deviations * np.sqrt(2 * np.pi))
    for part, cluster in zip(parts.T, found.cluster, strict=True):
        axes.fill_between(line, part, color=_colour(cluster), alpha=0.45, lw=0)
    axes.plot(line, parts.sum(1), color="black", lw=1.6, label="fitted density")
    axes.set(xlabel=column, ylabel=f"density (per unit of {column})")
    axes.legend(loc="upper right")
    return figure
