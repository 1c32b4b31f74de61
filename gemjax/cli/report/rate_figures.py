"""Success over the grid: as lines with intervals, and as a grid of shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gemjax.cli.files.boundary import InputError
from gemjax.cli.record import Record
from gemjax.cli.report import estimates, words
from gemjax.cli.report.canvas import (
    is_wide,
    label_rows,
    legend,
    new_axes,
    new_panels,
    place_ticks,
    plain,
    title_of,
)
from gemjax.cli.report.findings import coverage_at
from gemjax.cli.report.panels import Key, panels_of, told_of
from gemjax.cli.report.selection import facts_of
from gemjax.cli.report.series import Line, Spec, lines

_COMPONENTS = ("n", "model.num_components")


def success(record: Record, spec: Spec) -> Figure:
    """Success rate against x with Wilson's 95 % intervals; one line per `by`.

    The theory "coverage" is the probability that n draws from the truth hit every cluster.
    """
    spec = {"x": "n", **_given(spec)}
    found = lines(record, spec)
    titles, panels = panels_of(found, spec)
    title = title_of(spec, "Success, with Wilson's 95 % intervals")
    title += told_of(titles, found, spec)
    figure, axes = new_panels(titles, title, sharex=True, sharey=True)
    x = np.concatenate([np.zeros(0), *(line.x for line in found)])
    for panel, shown in zip(axes, panels, strict=True):
        for line, (label, colour) in shown:
            if line.y.dtype != bool:
                raise InputError(f"y = {spec.get('y')!r}: success needs one that is true or false")
            at = [estimates.rate(line.at(place)) for place in line.places]
            rate, low, high = np.array([(e.value, e.low, e.high) for e in at], np.float64).T
            panel.errorbar(
                line.places, rate, yerr=np.maximum([rate - low, high - rate], 0),
                fmt="o" if line.names else "o-",
                capsize=4, color=colour, label=label or None, markersize=6,
            )  # fmt: skip
        _draw_theory(panel, shown, record, spec)
        if is_wide(x):
            panel.set_xscale("log")
        panel.set(ylim=(-0.03, 1.03), xlabel=words.axis(spec["x"]))
        place_ticks(panel.xaxis, np.unique(x), found[0].names if found else ())
    label_rows(axes, words.measure(spec.get("y") or "success"))
    legend(figure, axes)
    return figure


def _draw_theory(panel: Any, shown: list[tuple[Line, Key]], record: Record, spec: Spec) -> None:
    """The probability of coverage for each line; or a rate below one, or a place on the x axis."""
    theory = spec.get("theory")
    if theory == "coverage":
        facts = [facts_of(point) for point in record.summary["points"]]
        for line, (_, colour) in shown:
            panel.plot(*_coverage(line, facts, spec["x"]), "--", color=colour, lw=1.5)
        panel.plot([], [], "--", color="0.3", label="probability that the start covers")
    elif isinstance(theory, int | float):
        across = panel.axhline if 0 < theory < 1 else panel.axvline
        across(theory, color="0.3", ls="--", lw=1.5, label=f"theory: {theory:g}")


def _given(spec: Spec) -> Spec:
    return {key: value for key, value in spec.items() if value is not None}


def _coverage(line: Line, facts: Sequence[dict], x: str) -> tuple[np.ndarray, np.ndarray]:
    """The probability of coverage at each x, at every n between where one truth makes it known."""
    there = {index: facts[index] for index in np.unique(line.points)}
    truths = {repr((fact.get("m"), fact.get("truth_weights"))) for fact in there.values()}
    if x in _COMPONENTS and len(truths) == 1 and len(line.places):
        fact, *_ = there.values()
        at = np.unique(np.geomspace(line.places[0], line.places[-1], 60).round())
        return at, np.array([coverage_at({**fact, "n": int(n)}) for n in at], np.float64)
    known = {i: coverage_at(fact) for i, fact in there.items()}
    own = np.array([known[i] for i in line.points], np.float64)  # None is NaN
    return line.places, np.array([own[line.x == place].mean() for place in line.places])


def heat(record: Record, spec: Spec) -> Figure:
    """x against the first of `by`: the success rate, or the median of y, in every cell."""
    spec = {"x": "n", **_given(spec)}
    by = list(spec.get("by") or ())
    if not by:
        raise InputError('kind = "heat" needs by, the setting of its rows')
    found = lines(record, {**spec, "by": by[:1]})
    figure, axes = new_axes(7.5, 4.6)
    columns = np.unique(np.concatenate([np.zeros(0), *(line.x for line in found)]))
    is_rate = all(line.y.dtype == bool for line in found)
    measure: Callable[[np.ndarray], Any] = np.mean if is_rate else _median
    cells = np.full((len(found), len(columns)), np.nan)
    for row, line in enumerate(found):
        for place in line.places:
            cells[row, np.searchsorted(columns, place)] = measure(line.at(place))
    y = spec.get("y") or "success"
    wide = not is_rate and is_wide(cells, 30)
    shown = np.log10(cells) if wide else cells
    if cells.size:
        ends: dict[str, Any] = {"vmin": 0, "vmax": 1} if is_rate else {}
        image = axes.pcolormesh(np.ma.masked_invalid(shown), cmap="viridis", edgecolor="w", **ends)
        figure.colorbar(image, ax=axes, label=f"{'log₁₀ of ' * wide}{words.measure(y)}")
        for row, column in np.ndindex(cells.shape):
            dark = np.isfinite(cells[row, column]) and image.norm(shown[row, column]) < 0.55
            axes.text(
                column + 0.5, row + 0.5, words.number(float(cells[row, column])), ha="center",
                va="center", color="white" if dark else "black",
                fontsize=min(12.0, 90 / max(cells.shape)),
            )  # fmt: skip
    names = found[0].names if found else ()
    told = [names[int(c)] if names else f"{c:.3g}" for c in columns]
    axes.set_xticks(np.arange(len(columns)) + 0.5, [plain(text) for text in told])
    rows = [_value(line.by[by[0]]) for line in found]
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.grid(visible=False)
    default = "Success rate" if is_rate else f"Median of {words.brief_measure(y)}"
    axes.set(xlabel=words.axis(spec["x"]), ylabel=words.axis(by[0]))
    axes.set_title(title_of(spec, default))
    return figure


def _median(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if len(there) else np.nan


def _value(value: Any) -> str:
    return plain(words.setting("case", value)) if not isinstance(value, float) else f"{value:.3g}"
