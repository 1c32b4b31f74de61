"""Seeds over time: medians and bands of what was followed."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gemjax.cli.record import Record
from gemjax.cli.report import words
from gemjax.cli.report.canvas import colours, label_rows, legend, new_panels, title_of
from gemjax.cli.report.panels import Key, panels_of, told_of
from gemjax.cli.report.series import Curves, Spec
from gemjax.cli.report.series import curves as curves_of

ROUNDING = 1e-9  # a loss below the truth's by less is as low as the truth's
_DEEPEST = 1e-14  # of the largest value: below that is rounding
_MARGIN = 1.5  # factor between the ends of a logarithmic axis and of what is on it
_GUIDE = 30.0  # ratio of the iterations that a guide line spans


def curves(record: Record, spec: Spec) -> Figure:
    """Median over seeds and the band from the 10th to the 90th percentile, against iteration.

    A number as theory is the exponent of a power of the iteration, drawn through the data's end.
    """
    y = spec.get("y") or "excess_loss"
    found = curves_of(record, {**spec, "y": y})
    which = 0 if y == "moments" else 1
    titles, panels = panels_of(found, spec, which)
    title = title_of(
        spec, f"{words.capitalized(words.brief_measure(y))}: median, 10 % to 90 % band"
    )
    title += told_of(titles, found, spec, which)
    figure, axes = new_panels(titles, title, sharex=True, sharey=True)
    shown = [_orders(panel) if y == "moments" else panel for panel in panels]
    drawn = [
        [(c.time, np.nanpercentile(c.y, [10, 50, 90], axis=0), key) for c, key in panel]
        for panel in shown
    ]
    every = [band for bands in drawn for band in bands]
    signed = y == "excess_loss" and any(band[0].min() <= -ROUNDING for _, band, _ in every)
    for panel, bands in zip(axes, drawn, strict=True):
        alpha = 0.2 if len(bands) < 5 else 0.1
        _scale(panel, every, signed, y)
        for time, band, (label, colour) in bands:
            if panel.get_yscale() == "log":  # zero is below all of it, and not nowhere
                band = np.where(band <= 0, panel.get_ylim()[0] / 10, band)
            low, middle, high = band
            panel.plot(time, middle, color=colour, lw=2, label=label or "median")
            panel.fill_between(time, low, high, color=colour, alpha=alpha, lw=0)
        if spec.get("window"):
            panel.axvspan(*spec["window"], color="0.92", lw=0, zorder=0)
        if not signed:
            _guide(panel, bands, spec)
        panel.set_xlabel("iteration")
    if found:
        times = np.concatenate([curve.time for curve in found])
        axes[0].set_xlim(times.min() / 1.2, times.max() * 1.2)
    label_rows(axes, words.measure(y))
    legend(figure, axes)
    return figure


def _orders(shown: list[tuple[Curves, Key]]) -> list[tuple[Curves, Key]]:
    """A curve per order of the moments, of their sizes."""
    return [
        (
            Curves(curve.by, curve.time, np.abs(curve.y[..., i])),
            (f"{start}order {i + 1}", colour),
        )
        for curve, (label, _) in shown
        for start in [f"{label}, " if len(shown) > 1 and label else ""]
        for i, colour in enumerate(colours(curve.y.shape[-1]))
    ]  # fmt: skip


def _scale(panel: Any, bands: list[Any], signed: bool, y: str) -> None:
    """The axes, before anything is drawn: a logarithmic one ends where its bands do."""
    if bands:
        panel.set_xscale("log")
    ends = np.concatenate([np.zeros(0), *(band.ravel() for _, band, _ in bands)])
    if y == "loss":  # of either sign, and of no scale of its own
        return
    if signed:  # on samples a good fit ends below the truth's own loss
        panel.set_yscale("symlog", linthresh=1e-3)
        panel.axhline(0, color="0.4", lw=1)
    elif (ends > 0).any():
        top, least = np.nanmax(ends), ends[ends > 0].min()
        bottom = max(least / _MARGIN, _DEEPEST * top)
        if (ends <= 0).any() and y == "excess_loss":
            bottom = min(ROUNDING, top / 10)
        panel.set(yscale="log", ylim=(bottom, top * _MARGIN))


def _guide(panel: Any, bands: list[Any], spec: Spec) -> None:
    """The power that theory gives, through the data's end or the window's."""
    theory, window = spec.get("theory"), spec.get("window")
    if not isinstance(theory, int | float):
        return
    for time, (_, middle, _), _ in bands:
        there = middle > 0
        if window:
            there &= time <= window[1]
        if there.any():
            end, level = time[there][-1], middle[there][-1]
            at = np.array([max(end / _GUIDE, time[0]), end])
            panel.autoscale(False)
            panel.plot(
                at, level * (at / end) ** theory, "--", color="0.2", lw=1.8, zorder=5,
                label=f"$T^{{{theory:g}}}$",
            )  # fmt: skip
            return
