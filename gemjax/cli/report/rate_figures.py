"""Success against a setting, as lines with intervals."""

from __future__ import annotations

from collections.abc import Sequence
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
    new_panels,
    place_ticks,
    title_of,
)
from gemjax.cli.report.findings import coverage_at
from gemjax.cli.report.panels import Key, panels_of, told_of
from gemjax.cli.report.selection import constants_of, facts_of
from gemjax.cli.report.series import Line, Spec, lines

_MARKERS = "osD^vP*X"
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
        places = np.unique(np.concatenate([np.zeros(0), *(line.x for line, _ in shown)]))
        wide = is_wide(x)
        for number, (line, (label, colour)) in enumerate(shown):
            if line.y.dtype != bool:
                raise InputError(f"y = {spec.get('y')!r}: success needs one that is true or false")
            at = [estimates.rate(line.at(place)) for place in line.places]
            rate, low, high = np.array([(e.value, e.low, e.high) for e in at], np.float64).T
            panel.errorbar(
                _aside(line.places, places, number - (len(shown) - 1) / 2, len(shown), wide), rate,
                yerr=np.maximum([rate - low, high - rate], 0), capsize=4, color=colour,
                fmt=_MARKERS[number % len(_MARKERS)], ls="none" if line.names else "-",
                label=label or None, markersize=6, lw=_width(number, len(shown)), elinewidth=1.5,
            )  # fmt: skip
        _draw_theory(panel, shown, record, spec)
        if wide:
            panel.set_xscale("log")
        panel.set(ylim=(-0.03, 1.03), xlabel=words.axis(spec["x"]))
        place_ticks(panel.xaxis, np.unique(x), found[0].names if found else ())
    label_rows(axes, words.measure(spec.get("y") or "success"))
    legend(figure, axes)
    return figure


def _aside(at: np.ndarray, places: np.ndarray, k: float, count: int, wide: bool) -> np.ndarray:
    """Places moved a little by the number of a line, so that no interval hides another's.

    On a logarithmic axis that is a factor. All lines together take a quarter of the least gap.
    """
    if len(places) < 2 or count < 2:
        return at + 0.02 * k if count > 1 else at
    on = np.log(places) if wide else places
    step = min(0.25 * np.diff(on).min() / (count - 1), 0.012 * np.ptp(on))
    return at * np.exp(k * step) if wide else at + k * step


def _width(number: int, count: int) -> float:
    """Of a line: those drawn later are thinner, so that what they lie on is seen beside them."""
    return 1.5 + min(1.3, 5 / count) * (count - 1 - number)


def _draw_theory(panel: Any, shown: list[tuple[Line, Key]], record: Record, spec: Spec) -> None:
    """The probability of coverage for each line; or a rate below one, or a place on the x axis."""
    theory = spec.get("theory")
    if theory == "coverage":
        constants = constants_of(record)
        facts = [facts_of(point, constants) for point in record.summary["points"]]
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
