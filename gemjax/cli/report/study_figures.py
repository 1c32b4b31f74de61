"""The pictures of a run: what its seeds became, over the grid and over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from gemjax.cli.report.canvas import COLOURS, label_of, new_axes
from gemjax.cli.report.outcome_figures import stacked
from gemjax.cli.report.path_figures import draw_weights
from gemjax.cli.report.time_figures import ROUNDING
from gemjax.cli.results import is_good, num_recovered, wilson


def _split(varying: list[dict[str, Any]], key: str) -> list[tuple[Any, str]]:
    """Per grid point the value of one setting and the label of the others."""
    return [(s[key], label_of({k: v for k, v in s.items() if k != key})) for s in varying]


def success(varying: list[dict[str, Any]], results: list[dict]) -> Figure:
    """Success rate against n, with Wilson's 95 % intervals; one line per other setting."""
    figure, axes = new_axes(7, 4.6)
    groups: dict[str, list[tuple[int, int, int]]] = {}
    for (n, rest), arrays in zip(_split(varying, "model.num_components"), results, strict=True):
        entry = (n, num_recovered(arrays), len(arrays["recovered"]))
        groups.setdefault(rest, []).append(entry)
    for k, (label, entries) in enumerate(groups.items()):
        entries.sort()
        rate = np.array([hits / trials for _, hits, trials in entries])
        low, high = np.array([wilson(hits, trials) for _, hits, trials in entries]).T
        axes.errorbar(
            np.array([n for n, _, _ in entries]), rate, yerr=[rate - low, high - rate], fmt="o-",
            capsize=4, color=COLOURS[k % len(COLOURS)], label=label or None, markersize=7,
        )  # fmt: skip
    if len(groups) > 1:
        axes.legend()
    axes.set(
        xticks=sorted({n for n, _ in _split(varying, "model.num_components")}), ylim=(-0.03, 1.03),
        xlabel="number of components n", ylabel="share of seeds that recover the truth",
        title="Success against over-parameterization (Wilson 95 %)",
    )  # fmt: skip
    return figure


def outcomes(varying: list[dict[str, Any]], results: list[dict]) -> Figure:
    """Share of the seeds with each outcome: one bar per grid point, in the order of the config."""
    return stacked([*map(label_of, varying)], [arrays["outcome"] for arrays in results])


def loss_curves(
    varying: list[dict[str, Any]],
    results: list[dict],
    floors: Sequence[float | None],
    every: Sequence[int],
) -> Figure:
    """Median loss over seeds and the band from the 10th to the 90th percentile, per grid point."""
    figure, axes = new_axes(7.5, 4.8)
    excess = floors[0] is not None
    most = min(len(results), len(COLOURS))  # evenly spread over the grid
    shown = np.linspace(0, len(results) - 1, most).round().astype(int)
    lowest = np.inf
    for colour, i in zip(COLOURS, shown, strict=False):
        curves = results[i]["history_loss"][is_good(results[i]["status"])].astype(np.float64)
        if len(curves):
            time = (np.arange(curves.shape[1]) + 1) * every[i]
            low, middle, high = np.percentile(curves - (floors[i] or 0.0), [10, 50, 90], axis=0)
            lowest = min(lowest, float(low.min()))
            axes.plot(time, middle, color=colour, lw=2, label=label_of(varying[i]) or "median")
            axes.fill_between(time, low, high, color=colour, alpha=0.2, lw=0)
    axes.set_xscale("log")
    if excess and lowest > -ROUNDING:
        axes.set_yscale("log")
        if lowest <= 0:
            axes.set_ylim(bottom=ROUNDING)
    elif excess:
        # On samples a good fit ends below the truth's own loss.
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.axhline(0, color="0.4", lw=1)
        pairs = zip(results, floors, strict=True)
        lowest = min(float((arrays["history_loss"] - (f or 0)).min()) for arrays, f in pairs)
        axes.set_ylim(bottom=min(2 * lowest, -1e-3))
    what = "loss above the truth's" if excess else "loss"
    title = "Loss: median over seeds, 10 % to 90 % band"
    axes.set(xlabel="iteration", ylabel=f"{what} (nats per point)", title=title)
    axes.legend()
    return figure


def weights(followed: np.ndarray, every: int, title: str) -> Figure:
    """Weights over time (T + 1, n), one line per component, final heavy ones in colour."""
    figure, axes = new_axes(7.5, 4.8)
    draw_weights(axes, followed, every)
    axes.set_title(f"{title}: one line per component (n = {followed.shape[1]})")
    return figure


def iterations(varying: list[dict[str, Any]], results: list[dict], reach: float) -> Figure:
    """Iterations to an excess loss against the separation, on log axes: median and quartiles."""
    figure, axes = new_axes(7, 4.8)
    groups: dict[str, list[tuple[float, np.ndarray]]] = {}
    for (separation, rest), arrays in zip(
        _split(varying, "truth.separation"), results, strict=True
    ):
        hits = arrays["iterations"][arrays["iterations"] > 0]
        if len(hits):
            groups.setdefault(rest, []).append((separation, hits))
    for k, (label, entries) in enumerate(groups.items()):
        entries.sort(key=lambda entry: entry[0])
        quartiles = np.array([np.percentile(hits, [25, 50, 75]) for _, hits in entries]).T
        axes.errorbar(
            [s for s, _ in entries], quartiles[1],
            yerr=[quartiles[1] - quartiles[0], quartiles[2] - quartiles[1]],
            fmt="o-", capsize=4, color=COLOURS[k % len(COLOURS)], label=label or None,
        )  # fmt: skip
    axes.set(
        xscale="log", yscale="log", xlabel="separation Δ (noise standard deviations)",
        ylabel=f"iterations to excess loss {reach:g}",
        title="Iterations against separation (median, quartiles)",
    )  # fmt: skip
    ticks = sorted({separation for separation, _ in _split(varying, "truth.separation")})
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    if any(groups):
        axes.legend()
    return figure


def mean_rules(varying: list[dict[str, Any]], results: list[dict], reach: float) -> Figure:
    """Iterations to an excess loss per mean rule: median and quartiles of the seeds that reach it.

    One colour per other setting. Where not all seeds reach it, their number stands beside.
    """
    split = _split(varying, "solver.mean_rule")
    rules, labels = (list(dict.fromkeys(names)) for names in zip(*split, strict=True))
    figure, axes = new_axes(7.5, 1.6 + len(rules) * max(0.5, 0.24 * len(labels)))
    spread = min(0.2, 0.7 / len(labels))
    for (rule, rest), arrays in zip(split, results, strict=True):
        k = labels.index(rest)
        height = rules.index(rule) + spread * (k - (len(labels) - 1) / 2)
        colour = COLOURS[k % len(COLOURS)]
        hits, trials = arrays["iterations"][arrays["iterations"] > 0], len(arrays["iterations"])
        missing = f"{len(hits)} of {trials} seeds" if len(hits) < trials else ""
        where: dict[str, Any] = {"xy": (0.02, height), "xycoords": ("axes fraction", "data")}
        if len(hits):
            low, middle, high = np.percentile(hits, [25, 50, 75])
            axes.errorbar(
                [middle], [height], xerr=[[middle - low], [high - middle]], fmt="o", capsize=4,
                color=colour, markersize=7,
            )  # fmt: skip
            where = {"xy": (high, height), "xytext": (8, 0), "textcoords": "offset points"}
            missing = f"{middle:g}" + (f"  ({missing})" if missing else "")
        axes.annotate(missing, **where, va="center", fontsize=10, color=colour)
    if any(labels):
        for k, label in enumerate(labels):
            axes.plot([], [], "o", color=COLOURS[k % len(COLOURS)], label=label)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.set(
        xscale="log", xlabel=f"iterations to excess loss {reach:g}",
        title="Iterations of each mean rule (median, quartiles)",
    )  # fmt: skip
    axes.margins(x=0.15)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(rules)), rules)
    axes.set_ylim(len(rules) - 0.5, -0.5)
    return figure
