"""The first seed of a grid point over time: the ways of its means, and its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from gemjax.cli.files.boundary import InputError
from gemjax.cli.record import Record
from gemjax.cli.report.canvas import (
    colours,
    label_of,
    label_rows,
    legend,
    new_panels,
    title_of,
    wrapped,
)
from gemjax.cli.report.panels import spread
from gemjax.cli.report.selection import Part, parts_of, select, varied
from gemjax.cli.report.series import Spec

_DEAD = 1e-6  # weight below which a component no longer takes part
_GREY = "0.6"  # of what ends below
_AREA = 900.0  # of a circle of weight one, in square points


def paths(record: Record, spec: Spec) -> Figure:
    """Where the means go: against time for d = 1, else in the plane.

    Widths and areas are weights; of more than two dimensions the plane is that of the true means'
    principal directions.
    """
    shown, titles, of = _followed(record, spec, "followed_means")
    figure, axes = new_panels(titles, title_of(spec, f"Paths of the means{of}"))
    for panel, part in zip(axes, shown, strict=True):
        means, weights = part.arrays["followed_means"], part.arrays["followed_weights"]
        truth = part.arrays.get("truth_means", np.zeros((0, means.shape[-1])))
        if means.shape[-1] == 1:
            _against_time(panel, means[..., 0], weights, truth[:, 0], part.point["record_every"])
        else:
            _in_the_plane(panel, means, weights, truth)
    dead = any((part.arrays["followed_weights"][-1] < _DEAD).any() for part in shown)
    axes[0].plot([], [], "o", color="0.3", ms=4, label="start")
    axes[0].plot([], [], "o", mfc="none", mec="0.3", ms=10, label="end (area: weight)")
    axes[0].plot([], [], "x", color="black", ms=9, mew=2, label="true mean")
    if dead:
        axes[0].plot([], [], "--", color="0.6", label=f"weight ends below {_DEAD:g}")
    legend(figure, axes)
    return figure


def weights(record: Record, spec: Spec) -> Figure:
    """Weights over time of the first seed, one line per component."""
    shown, titles, of = _followed(record, spec, "followed_weights")
    title = title_of(spec, f"Weights over time, one line per component{of}")
    figure, axes = new_panels(titles, title, sharey=True)
    for panel, part in zip(axes, shown, strict=True):
        _draw_weights(panel, part.arrays["followed_weights"], part.point["record_every"])
    if any((part.arrays["followed_weights"][-1] < _DEAD).any() for part in shown):
        axes[0].plot([], [], color=_GREY, lw=1, label=f"weight ends below {_DEAD:g}")
    label_rows(axes, "weight of the component")
    legend(figure, axes)
    return figure


def _draw_weights(axes: Any, followed: np.ndarray, every: int) -> None:
    """Weights (T + 1, n) over time, those that live in colour above the others."""
    time = np.arange(len(followed)) * every
    colour = _colours(followed[-1])
    for i in np.argsort(followed[-1]):
        width = 1 if followed[-1, i] < _DEAD else 2
        axes.plot(time, np.maximum(followed[:, i], 1e-12), color=colour[i], lw=width)
    axes.set_xscale("symlog", linthresh=every)
    axes.set(yscale="log", ylim=(_DEAD, 1.3), xlabel="iteration")


def _followed(record: Record, spec: Spec, name: str) -> tuple[list[Part], list[str], str]:
    """The grid points with something followed, with a title each; of many, from end to end.

    Last, for the title of all: what they have in common, less what the whole run has.
    """
    there = [part for part in select(record, spec.get("where")) if name in part.arrays]
    if not there:
        what = name.removeprefix("followed_")
        raise InputError(f'kind = "{spec.get("kind")}": no grid point selected followed its {what}')
    shown = spread(there)
    keys = spec.get("by") or [*there[0].point["settings"]]
    kept = [{key: part.facts.get(key) for key in keys} for part in shown]
    varying = [key for key in keys if len({repr(k[key]) for k in kept}) > 1]
    titles = [label_of({key: value for key, value in k.items() if key in varying}) for k in kept]
    case, everything = shown[0].facts.get("case"), parts_of(record)
    keys = [key for key in varied(everything) if key not in varied(shown)]
    if "case" in keys:  # its name stands for the settings of its own
        inside = varied([part for part in everything if part.facts.get("case") == case])
        keys = ["case", *(key for key in inside if key in keys)]
    of = label_of({key: shown[0].facts.get(key) for key in keys})
    return shown, titles, f": {of}" if of else ""


def _colours(weights: np.ndarray) -> list[Any]:
    """By final weight, grey for what is dead."""
    ranks = np.argsort(np.argsort(-weights))
    ramp = colours(int((weights >= _DEAD).sum()))
    return [
        _GREY if weight < _DEAD else ramp[rank] for weight, rank in zip(weights, ranks, strict=True)
    ]


def _against_time(
    panel: Any, means: np.ndarray, weights: np.ndarray, truth: np.ndarray, every: int
) -> None:
    """(T + 1, n) means over time, as wide as their weights."""
    time = np.arange(len(means)) * every
    for i, colour in enumerate(_colours(weights[-1])):
        points = np.stack([time, means[:, i]], axis=1)
        segments = np.stack([points[:-1], points[1:]], axis=1)
        dead = weights[-1, i] < _DEAD
        widths = 0.6 + 6 * np.sqrt(np.clip(weights[:-1, i], 0, 1))
        if dead:
            panel.plot(*points.T, "--", color=colour, lw=1)
        else:
            lines = LineCollection([*segments], colors=[colour], linewidths=widths, alpha=0.8)
            panel.add_collection(lines)
        _ends(panel, points, weights[-1, i], colour)
    panel.set_xscale("symlog", linthresh=every)
    panel.plot(np.full(len(truth), time[-1]), truth, "x", color="black", ms=9, mew=2, zorder=5)
    for mean in truth:
        panel.axhline(mean, color="0.3", lw=1, ls=":")
    panel.autoscale_view()
    panel.set_xlim(0, time[-1] * 1.6)
    panel.set(xlabel="iteration", ylabel="mean (noise standard deviations)")


def _in_the_plane(panel: Any, means: np.ndarray, weights: np.ndarray, truth: np.ndarray) -> None:
    """(T + 1, n, d) means in two coordinates."""
    d = means.shape[-1]
    if d > 2:
        spread = truth if len(truth) > 1 else means[-1]
        directions, middle = _directions(spread), spread.mean(axis=0)
        means, truth = (means - middle) @ directions.T, (truth - middle) @ directions.T
    for i, colour in enumerate(_colours(weights[-1])):
        dead = weights[-1, i] < _DEAD
        panel.plot(*means[:, i].T, "--" if dead else "-", color=colour, lw=1.4, alpha=0.85)
        _ends(panel, means[:, i], weights[-1, i], colour)
    panel.plot(*truth.T, "x", color="black", ms=9, mew=2, zorder=5)
    names = ("first", "second")
    told = "{} coordinate" if d == 2 else "{} principal direction of the true means"
    panel.set(xlabel=told.format(names[0]), ylabel=wrapped(told.format(names[1])))
    panel.set_aspect("equal", adjustable="datalim")


def _ends(panel: Any, points: np.ndarray, weight: float, colour: Any) -> None:
    """A dot where a component starts, a circle where it ends."""
    panel.scatter(*points[0], s=16, color=colour, zorder=4)
    if weight >= _DEAD:
        size = max(_AREA * weight, 12)
        panel.scatter(*points[-1], s=size, facecolor="none", edgecolor=colour, lw=1.8, zorder=4)


def _directions(points: np.ndarray) -> np.ndarray:
    """(2, d) principal directions, each with its largest entry positive."""
    centred = points - points.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=True)[2][:2]
    largest = np.abs(directions).argmax(axis=1)
    return directions * np.sign(directions[[0, 1], largest])[:, None]
