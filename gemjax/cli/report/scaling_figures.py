"""Values of the seeds against a setting: laws, and whole distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from gemjax.cli.files.boundary import InputError
from gemjax.cli.record import Record
from gemjax.cli.report import estimates, words
from gemjax.cli.report.canvas import (
    is_wide,
    label_rows,
    legend,
    new_panels,
    place_ticks,
    plain,
    title_of,
)
from gemjax.cli.report.estimates import LAWS
from gemjax.cli.report.panels import panels_of, told_of
from gemjax.cli.report.selection import check_number
from gemjax.cli.report.series import Line, Spec, lines

_MOST_PLACES = 24  # with quartiles; more are single points
_SIDES = np.array([-0.46, -0.37, np.nan, 0.37, 0.46])  # of what is spread by 0.35
_GOLDEN = 0.6180339887498949


def scaling(record: Record, spec: Spec) -> Figure:
    """y against x with quartiles, and the law that was fitted, with its slope."""
    y, x, law = spec.get("y") or "iterations", spec.get("x") or "separation", spec.get("law")
    if law and law not in LAWS:
        raise InputError(f"law = {law!r}: is unknown; known are {', '.join(LAWS)}")
    found = lines(record, {**spec, "x": x, "y": y})
    _check_numbers(found, y)
    titles, panels = panels_of(found, spec)
    title = title_of(spec, f"{words.capitalized(words.brief_measure(y))} against {words.short(x)}")
    title += told_of(titles, found, spec)
    figure, axes = new_panels(titles, title, sharex=True, sharey=True)
    every = np.concatenate([np.zeros(0), *(line.x for line in found)])
    named = bool(found and found[0].names)
    alone = len(panels) == 1 and len(panels[0]) == 1
    for panel, name, shown in zip(axes, titles, panels, strict=True):
        _set_scales(panel, every, "named" if named else law, found)
        for line, (label, colour) in shown:
            told = ", ".join(text for text in (name, label) if text) if law else label
            if law and not named:
                fit = estimates.slope(line.x, line.y.astype(np.float64), line.seeds, law)
                told = _with_slope(told, fit)
                if fit.value is not None:
                    at = np.linspace(line.x.min(), line.x.max(), 100)
                    curve = estimates.fitted(line.x, line.y, fit.value, law, at)
                    panel.plot(at, curve, color=colour, lw=1.2, alpha=0.8)
            _quartiles(panel, line, colour, told, alone)
        theory = spec.get("theory")
        if isinstance(theory, int | float) and law and not named and shown:
            line = shown[0][0]
            at = np.linspace(line.x.min(), line.x.max(), 100)
            if (line.y > 0).any():
                curve = estimates.fitted(line.x, line.y, theory, law, at)
                panel.plot(at, curve, "--", color="0.2", lw=1.6, label=f"theory: slope {theory:g}")
        panel.set_xlabel(words.axis(x) + (", on a squared axis" if law == "gaussian" else ""))
        place_ticks(panel.xaxis, np.unique(every), found[0].names if found else ())
    label_rows(axes, words.measure(y) + _reach(record, y))
    legend(figure, axes)
    return figure


def _check_numbers(found: list[Line], y: str) -> None:
    check_number(y)
    if any(line.y.dtype == bool for line in found):
        raise InputError(f"y = {y!r}: is true or false, and this figure is of numbers")


def _reach(record: Record, y: str) -> str:
    """The excess loss that was to be reached, where all grid points have the same."""
    reaches = {point.get("reach") for point in record.summary["points"]} - {None}
    return f" {reaches.pop():g}" if y == "iterations" and len(reaches) == 1 else ""


def _with_slope(label: str, fit: estimates.Estimate) -> str:
    if fit.value is None:
        return label
    ends = "" if fit.low is None else f" ({words.interval(fit.low, fit.high)})"
    return f"{label}{': ' if label else ''}slope {words.number(fit.value)}{ends}"


def _set_scales(panel: Any, x: np.ndarray, law: str | None, found: list[Line]) -> None:
    if len(x) and x.min() > 0 and law in (None, "power"):
        panel.set_xscale("log")
    if law == "gaussian":
        panel.set_xscale("function", functions=(np.square, lambda v: np.sqrt(np.maximum(v, 0))))
        panel.set_xlim(0, 1.05 * x.max() if len(x) else 1)
    if any((line.y[np.isfinite(line.y)] > 0).any() for line in found):
        panel.set_yscale("log")


def _quartiles(panel: Any, line: Line, colour: Any, label: str, alone: bool) -> None:
    """Median and quartiles at each x; how many seeds have a value, where not all do."""
    there = np.isfinite(line.y) & (line.y > 0 if panel.get_yscale() == "log" else True)
    if len(line.places) > _MOST_PLACES:
        panel.plot(line.x[there], line.y[there], "o", color=colour, ms=4, alpha=0.5, lw=0,
                   label=label or None)  # fmt: skip
        return
    rows, counts = [], []
    for place in line.places:
        here = line.x == place
        values = line.y[here & there]
        counts.append((len(values), int(here.sum())))
        if len(values):
            rows.append((place, *np.percentile(values, [25, 50, 75])))
        if alone and len(values) < here.sum():
            told = f"{len(values)} of {here.sum()}"
            where: dict[str, Any] = {"xy": (place, 0.02), "xycoords": ("data", "axes fraction")}
            if len(values):
                where = {"xy": (place, rows[-1][3]), "xytext": (0, 6),
                         "textcoords": "offset points"}  # fmt: skip
            panel.annotate(told, **where, ha="center", va="bottom", fontsize=9, color=colour)
    least, most = min(k for k, _ in counts), max(k for k, _ in counts)
    size = max(size for _, size in counts)
    if not alone and least < size:
        of = f"{least}{f' to {most}' if most > least else ''} of {size} seeds"
        label = f"{label}, {of}" if label else of
    if rows:
        x, low, middle, high = np.array(rows).T
        panel.errorbar(x, middle, yerr=[middle - low, high - middle], fmt="o", capsize=4,
                       color=colour, label=label or None)  # fmt: skip


def distribution(record: Record, spec: Spec) -> Figure:
    """All seeds' y at each x, spread sideways so that they can be told apart, and their median."""
    y, x = spec.get("y") or "loss", spec.get("x")
    found = lines(record, {**spec, "x": x, "y": y})
    _check_numbers(found, y)
    titles, panels = panels_of(found, spec)
    title = title_of(
        spec, f"{words.capitalized(words.brief_measure(y))} of every seed, and the median"
    )
    title += told_of(titles, found, spec)
    figure, axes = new_panels(titles, title, sharex=True, sharey=True)
    places = np.unique(np.concatenate([np.zeros(0), *(line.x for line in found)]))
    names = found[0].names if found else ()
    told = [plain(names[int(p)]) if names else words.number(p) for p in places]
    for panel, shown in zip(axes, panels, strict=True):
        width = 0.8 / max(len(shown), 1)
        for k, (line, (label, colour)) in enumerate(shown):
            middle = (k - (len(shown) - 1) / 2) * width
            for number, place in enumerate(places):
                values = line.at(place)
                values = values[np.isfinite(values)]
                if not len(values):
                    continue
                spread = (np.arange(len(values)) * _GOLDEN % 1 - 0.5) * 0.7 * width
                panel.plot(number + middle + spread, values, "o", ms=4, color=colour, alpha=0.45,
                           mew=0, rasterized=True)  # fmt: skip
                # On both sides of the dots, none of which it hides.
                sides = number + middle + _SIDES * width
                panel.plot(sides, np.full(len(sides), np.median(values)), color="black", lw=2)
            if label:
                panel.plot([], [], "o", color=colour, label=label)
        _scale_values(panel, found)
        panel.set_xticks(range(len(places)), told if x else [""] * len(places))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xlim(-0.6, len(places) - 0.4)
        if sum(map(len, told)) > 40 / (1 + (len(titles) > 1)):
            panel.tick_params(axis="x", rotation=30)
        panel.set_xlabel(words.axis(x) if x else "")
    label_rows(axes, words.measure(y) + _reach(record, y))
    legend(figure, axes)
    return figure


def _scale_values(panel: Any, found: list[Line]) -> None:
    """Logarithmic where values are far apart; around zero where their signs mix."""
    values = np.concatenate([np.zeros(0), *(line.y for line in found)])
    values = values[np.isfinite(values) & (values != 0)]
    if is_wide(values, 100):
        panel.set_yscale("log")
    elif len(values) and values.min() < 0 < values.max() and is_wide(np.abs(values), 100):
        panel.set_yscale(
            "symlog", linthresh=10 ** np.ceil(np.log10(np.quantile(np.abs(values), 0.1)))
        )
        panel.axhline(0, color="0.4", lw=1)
