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
from gemjax.cli.report.selection import check_number, constants_of
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
    check_number(spec.get("y") or "success")
    found = lines(record, spec)
    constants = constants_of(record)
    titles, panels = panels_of(found, spec)
    is_rate = all(line.y.dtype == bool for line in found)
    columns = np.unique(np.concatenate([np.zeros(0), *(line.x for line in found)]))

    def row_of(line: Line) -> Any:
        return line.by.get(by[0], constants.get(by[0]))

    rows = list({repr(row_of(line)): row_of(line) for line in found}.values())
    places = {repr(row): place for place, row in enumerate(rows)}
    tables = [
        _cells([(places[repr(row_of(line))], line) for line, _ in shown], len(rows), columns)
        for shown in panels
    ]
    every = np.concatenate([cells.filled(np.nan).ravel() for cells in tables])
    every = every[np.isfinite(every)]
    wide = not is_rate and is_wide(every, 30)
    default = "Success rate" if is_rate else words.capitalized(words.median(spec["y"]))
    title = title_of(spec, default) + told_of(titles, found, spec)
    figure, axes = new_panels(titles, title, sharex=True, sharey=True)
    ends = {"vmin": 0.0, "vmax": 1.0} if is_rate else _ends(np.log10(every) if wide else every)
    names = found[0].names if found else ()
    for panel, cells in zip(axes, tables, strict=True):
        shown = np.ma.masked_invalid(np.log10(cells) if wide else cells)
        image = panel.pcolormesh(shown, cmap="viridis", edgecolor="w", **ends)
        _write(panel, cells, image.cmap(image.norm(shown)))
        told = [names[int(c)] if names else words.number(c) for c in columns]
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


def _cells(found: list[tuple[int, Line]], num_rows: int, columns: np.ndarray) -> np.ma.MaskedArray:
    """(rows, columns), masked where the grid has nothing, NaN where its seeds have no value."""
    cells = np.ma.masked_all((num_rows, len(columns)))
    for row, line in found:
        measure: Callable[[np.ndarray], Any] = np.mean if line.y.dtype == bool else _median
        for place in line.places:
            cells[row, np.searchsorted(columns, place)] = measure(line.at(place))
    return cells


def _write(panel: Any, cells: np.ma.MaskedArray, colours: np.ndarray) -> None:
    """Every number into its cell of the grid, in the one of black and white that stands out."""
    size = min(12.0, 90 / max(1, *cells.shape))
    for row, column in np.argwhere(~np.ma.getmaskarray(cells)):
        value = float(cells.data[row, column])
        # Black and white stand out alike from this luminance (WCAG 2); no value has no colour.
        dark = np.isfinite(value) and _luminance(colours[row, column]) < 0.179
        panel.text(
            column + 0.5, row + 0.5, words.number(value), ha="center", va="center",
            color="white" if dark else "black", fontsize=size,
        )  # fmt: skip


def _luminance(colour: np.ndarray) -> float:
    """Relative luminance of sRGB."""
    rgb = colour[:3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _ends(values: np.ndarray) -> dict[str, float]:
    """The same colours in all panels."""
    return {"vmin": float(values.min()), "vmax": float(values.max())} if len(values) else {}


def _median(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if len(there) else np.nan


def _value(value: Any) -> str:
    return plain(words.value(value)) if not isinstance(value, float) else words.number(value)
