"""A number over two settings, as colours with the numbers in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gemjax.cli.files.boundary import InputError
from gemjax.cli.record import Record
from gemjax.cli.report import words
from gemjax.cli.report.canvas import is_wide, new_panels, plain, title_of
from gemjax.cli.report.panels import panels_of, told_of
from gemjax.cli.report.series import Line, Spec, lines

_MOST_LETTERS = 60  # of the names on an axis, side by side


def heat(record: Record, spec: Spec) -> Figure:
    """x against the first of `by`: the success rate, or the median of y, in every cell.

    The second of `by` makes the panels.
    """
    spec = {"x": "n", **{key: value for key, value in spec.items() if value is not None}}
    by = list(spec.get("by") or ())[:2]
    if not by:
        raise InputError('kind = "heat" needs by, the setting of its rows')
    spec["by"] = by
    found = lines(record, spec)
    titles, panels = panels_of(found, spec)
    is_rate = all(line.y.dtype == bool for line in found)
    columns = np.unique(np.concatenate([np.zeros(0), *(line.x for line in found)]))
    rows = list({repr(line.by[by[0]]): line.by[by[0]] for line in found}.values())
    tables = [
        _cells([line for line, _ in shown], by[0], rows, columns, is_rate) for shown in panels
    ]
    wide = not is_rate and is_wide(np.concatenate([cells.ravel() for cells in tables]), 30)
    default = "Success rate" if is_rate else f"Median of {words.brief_measure(spec['y'])}"
    title = title_of(spec, default) + told_of(titles, found, spec)
    figure, axes = new_panels(titles, title, sharex=True, sharey=True)
    every = np.concatenate([cells.ravel() for cells in tables])
    every = every[np.isfinite(every)]
    ends = {"vmin": 0.0, "vmax": 1.0} if is_rate else _ends(np.log10(every) if wide else every)
    names = found[0].names if found else ()
    for panel, cells in zip(axes, tables, strict=True):
        shown = np.log10(cells) if wide else cells
        image = panel.pcolormesh(np.ma.masked_invalid(shown), cmap="viridis", edgecolor="w", **ends)
        _write(panel, cells, image.norm(np.nan_to_num(shown)))
        told = [names[int(c)] if names else f"{c:.3g}" for c in columns]
        panel.set_xticks(np.arange(len(columns)) + 0.5, list(map(plain, told)))
        if sum(map(len, told)) * len(titles) > _MOST_LETTERS:
            panel.set_xticks(panel.get_xticks(), list(map(plain, told)), rotation=30, ha="right")
        panel.set_yticks(np.arange(len(rows)) + 0.5, list(map(_value, rows)))
        panel.grid(visible=False)
        panel.set_xlabel(words.axis(spec["x"]))
    axes[0].set_ylabel(words.axis(by[0]))
    label = f"{'log₁₀ of ' * wide}{words.measure(spec.get('y') or 'success')}"
    figure.colorbar(image, ax=axes, label=label)
    return figure


def _cells(
    found: list[Line], key: str, rows: list[Any], columns: np.ndarray, is_rate: bool
) -> np.ndarray:
    """(rows, columns), NaN where there is nothing."""
    measure: Callable[[np.ndarray], Any] = np.mean if is_rate else _median
    cells = np.full((len(rows), len(columns)), np.nan)
    for line in found:
        row = list(map(repr, rows)).index(repr(line.by[key]))
        for place in line.places:
            cells[row, np.searchsorted(columns, place)] = measure(line.at(place))
    return cells


def _write(panel: Any, cells: np.ndarray, shade: np.ndarray) -> None:
    """Every number into its cell."""
    size = min(12.0, 90 / max(1, *cells.shape))
    for row, column in np.ndindex(cells.shape):
        dark = np.isfinite(cells[row, column]) and shade[row, column] < 0.55
        panel.text(
            column + 0.5, row + 0.5, words.number(float(cells[row, column])), ha="center",
            va="center", color="white" if dark else "black", fontsize=size,
        )  # fmt: skip


def _ends(values: np.ndarray) -> dict[str, float]:
    """The same colours in all panels."""
    return {"vmin": float(values.min()), "vmax": float(values.max())} if len(values) else {}


def _median(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if len(there) else np.nan


def _value(value: Any) -> str:
    return plain(words.setting("case", value)) if not isinstance(value, float) else f"{value:.3g}"
