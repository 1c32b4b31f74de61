"""What all figures share. Colours are Okabe and Ito's, safe for the colour-blind."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

import gemjax as gj
from gemjax.cli.files.boundary import brief
from gemjax.cli.report import words

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: dict[Any, Any] = {
    "font.size": 12, "axes.titlesize": 14, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False,
}  # fmt: skip
# What is as it should be steps back; each failure keeps its colour in every picture.
OUTCOME_COLOURS = dict(zip(gj.Outcome, ("0.85", *COLOURS), strict=True))
MOST_PANELS = 6
_MOST_ENTRIES = 12  # of a legend
_WIDE = 8  # from this ratio of its ends on an axis is logarithmic
_MOST_TICKS = 9


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches; it needs no display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(width: float, height: float) -> tuple[Figure, Any]:
    """A figure and its only axes."""
    figure = new_figure(width, height)
    return figure, figure.add_subplot()


def new_panels(titles: Sequence[str], title: str, **shared: Any) -> tuple[Figure, list[Any]]:
    """A figure with a panel per title, up to three side by side; a single one has the title."""
    columns = min(3, len(titles))
    rows = -(-len(titles) // columns)
    figure = new_figure(7.5 if columns == 1 else 1 + 4.6 * columns, 0.6 + 4.4 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, **shared)
    panels = [*grid.flat]
    for panel in panels[len(titles) :]:
        panel.remove()
    for panel in panels[: len(titles)][-columns:]:  # also where nothing is below to share them
        panel.tick_params(labelbottom=True)
    for panel, text in zip(panels, titles, strict=False):
        if text:
            panel.set_title(text)
    if len(titles) == 1 and not titles[0]:
        panels[0].set_title(title)
    else:
        figure.suptitle(title, fontsize=15)
    return figure, panels[: len(titles)]


def plain(name: str) -> str:
    """A user's name as text: a dollar starts no formula."""
    return brief(name, 40).replace("$", r"\$")


def title_of(spec: dict[str, Any], default: str) -> str:
    """The title of a configured figure."""
    return wrapped(brief(spec.get("title") or default, 120).replace("$", r"\$"), 60)


def label_of(setting: dict[str, Any]) -> str:
    """Of a grid point: n = 7, Δ = 4."""
    told = (plain(words.setting(key, value)) for key, value in setting.items())
    return ", ".join(dict.fromkeys(told))  # n may be there under both its names


def colours(count: int) -> list[Any]:
    """So many colours, a ramp where there are more than the eye tells apart by name."""
    if count <= len(COLOURS):
        return [*COLOURS[:count]]
    return [*mpl.colormaps["viridis"](np.linspace(0, 0.92, count))]


def legend(figure: Figure, axes: Sequence[Any]) -> None:
    """One legend for all panels, below them, so that it lies over no data."""
    found: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    # What theory says comes last; matplotlib would have it before lines with intervals.
    found = dict(sorted(found.items(), key=lambda item: _is_dashed(item[1])))
    if len(found) > _MOST_ENTRIES:
        keep = {*np.linspace(0, len(found) - 1, _MOST_ENTRIES).round().astype(int).tolist()}
        found = {label: found[label] for i, label in enumerate(found) if i in keep}
    if not found:
        return
    width, height = figure.get_size_inches()
    longest = max(map(len, found)) + 6
    # About nine letters an inch.
    columns = int(np.clip(9 * width // longest, 1, min(4, len(found))))
    figure.set_size_inches(width, height + 0.26 * -(-len(found) // columns))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def _is_dashed(handle: Any) -> bool:
    return isinstance(handle, Line2D) and handle.get_linestyle() == "--"


def wrapped(label: str, width: int = 40) -> str:
    """A label on as many lines as it takes beside or above a panel."""
    return textwrap.fill(label, width, break_on_hyphens=False)


def label_rows(axes: Sequence[Any], label: str) -> None:
    """Labels the y axis of the panels that all panels of a row share."""
    for panel in axes:
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel(wrapped(label))


def is_wide(values: np.ndarray, ratio: float = _WIDE) -> bool:
    """Whether all values are positive and span more than a ratio."""
    values = values[np.isfinite(values)]
    return bool(len(values) and values.min() > 0 and values.max() / values.min() > ratio)


def place_ticks(axis: Any, places: np.ndarray, names: Sequence[str] = ()) -> None:
    """A tick at each place of an axis, if there are not too many; its name, or its value."""
    if names:
        axis.set_ticks(range(len(names)), [plain(name) for name in names])
        axis.axes.set(**{f"{axis.axis_name}lim": (-0.5, len(names) - 0.5)})
        axis.set_minor_locator(NullLocator())
        if axis.axis_name == "x" and max(map(len, names)) * len(names) > 50:
            axis.set_tick_params(rotation=30)
    elif 0 < len(places) <= _MOST_TICKS and _apart(places, axis.get_scale()):
        axis.set_ticks(places, [words.number(place) for place in places])
        axis.set_minor_locator(NullLocator())


def tidy(figure: Figure) -> None:
    """The last touch: ticks of all logarithmic axes that have no places of their own."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log" and isinstance(axis.get_major_locator(), LogLocator):
                _log_ticks(axis)


def _log_ticks(axis: Any) -> None:
    """Whole decades alone have names, and where there are few of them plain numbers between.

    matplotlib would name minor ticks, too, which then touch.
    """
    decades = np.ptp(np.log10(axis.get_view_interval()))
    axis.set_minor_formatter(NullFormatter())
    if decades <= 2:
        subs = (1, 2, 5) if decades > 0.7 else (1, 1.5, 2, 3, 5, 7)
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())


def _apart(places: np.ndarray, scale: str) -> bool:
    """Whether labels at all places would not touch."""
    at = np.log(places) if scale == "log" else places
    return len(at) < 2 or np.diff(at).min() > 0.055 * np.ptp(at)
