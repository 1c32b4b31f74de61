"""What became of the seeds, as stacked bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

import gemjax as gj
from gemjax.cli.record import Record
from gemjax.cli.report.canvas import OUTCOME_COLOURS, label_of, new_axes, title_of
from gemjax.cli.report.series import Spec, lines
from gemjax.cli.results import outcome_name

_TITLE = "What became of the seeds"


def outcomes(record: Record, spec: Spec) -> Figure:
    """A bar per combination of x and `by`; without either, one per grid point."""
    keys = [key for key in (spec.get("x"), *(spec.get("by") or ())) if key]
    keys = keys or [*record.summary["points"][0]["settings"]]
    found = lines(record, {**spec, "x": None, "by": keys}, "outcome")
    bars = [(label_of(line.by), line.y) for line in found]
    figure = stacked([label for label, _ in bars], [codes for _, codes in bars])
    figure.axes[0].set_title(title_of(spec, _TITLE))
    return figure


def stacked(labels: Sequence[str], codes: Sequence[np.ndarray]) -> Figure:
    """Shares of the outcomes, one bar per label."""
    figure, axes = new_axes(7.5, 2.2 + 0.4 * len(codes))
    height = np.arange(len(codes))
    left = np.zeros(len(codes))
    for outcome in gj.Outcome:
        share = np.array([np.mean(c == outcome) for c in codes])
        if share.any():
            axes.barh(
                height, share, left=left, label=outcome_name(outcome), edgecolor="white",
                color=OUTCOME_COLOURS[outcome],
            )  # fmt: skip
            left += share
    axes.set_yticks(height, [label or "all seeds" for label in labels])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_axisbelow(True)
    axes.set(xlim=(0, 1), xlabel="share of seeds", title=_TITLE)
    if axes.containers:
        figure.legend(loc="outside lower center", ncols=3)
    return figure
