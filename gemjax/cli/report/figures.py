"""The pictures of a run and of a fit. Colours are Okabe and Ito's, safe for the colour-blind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from gemjax._assess.diagnosis import Outcome
from gemjax.cli.files.files import replacing, some_rows
from gemjax.cli.report.tables import outcome_name, wilson

if TYPE_CHECKING:
    from gemjax.cli.fit import Result
    from gemjax.cli.study.config import Config

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# What is as it should be steps back; each failure keeps its colour in every picture.
_OUTCOME_COLOURS = dict(zip(Outcome, ("0.85", *_COLOURS), strict=True))
_STYLE: dict[Any, Any] = {
    "font.size": 12,
    "axes.titlesize": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
_MOST_DRAWN = 20_000  # points in a scatter plot
_ROUNDING = 1e-9  # a loss below the truth's by less is as low as the truth's


def draw_run(folder: Path, config: Config, results: list[dict], problems: list[Any]) -> None:
    """The figures of `gemjax run` that its config and results call for."""
    with mpl.rc_context(_STYLE):
        varying = [dict(v) for v in config.varying]
        if "recovered" in results[0] and "model.num_components" in varying[0]:
            _save(success(varying, results), folder / "success.png")
        if "outcome" in results[0] and any(a["outcome"].any() for a in results):
            _save(outcomes(varying, results), folder / "outcomes.png")
        floors = [problem.truth_loss for problem in problems]
        every = [point.solver.record_every for point in config.points]
        _save(loss_curves(varying, results, floors, every), folder / "loss.png")
        for i, arrays in enumerate(results):
            if "followed_weights" in arrays:
                name = "weights.png" if len(results) == 1 else f"weights-{i}.png"
                title = _label(varying[i]) or "Weights over time"
                _save(weights(arrays["followed_weights"], every[i], title), folder / name)
        against = [k for k in ("truth.separation", "solver.mean_rule") if k in varying[0]]
        if "iterations" in results[0] and against:
            reach = config.points[0].report.reach
            assert reach is not None  # there would be no iterations without it
            draw = iterations if against[0] == "truth.separation" else mean_rules
            _save(draw(varying, results, reach), folder / "iterations.png")
        best, problem = results[-1], problems[-1]
        if problem.truth is None and problem.target.shape[1] <= 2:
            s = int(np.argmin(best["loss"]))
            points, point_weights = some_rows(problem.target, _MOST_DRAWN)
            means = best["means"][s] * problem.scale + problem.offset
            picture = components(
                points * problem.scale + problem.offset, point_weights, means, best["weights"][s],
                problem.scale, problem.columns, problem.target.shape[0],
            )  # fmt: skip
            _save(picture, folder / "components.png")


def draw_fit(folder: Path, result: Result, scale: float) -> None:
    """The figures of `gemjax fit`."""
    with mpl.rc_context(_STYLE):
        _save(convergence(result.history), folder / "convergence.png")
        if result.points.shape[1] <= 2:
            picture = components(
                result.points, result.point_weights, result.means, result.weights, scale,
                result.columns, result.summary["num_points"],
            )  # fmt: skip
            _save(picture, folder / "components.png")


def success(varying: list[dict[str, Any]], results: list[dict]) -> Figure:
    """Success rate against n, with Wilson's 95 % intervals; one line per other setting."""
    figure, axes = _axes(7, 4.6)
    groups: dict[str, list[tuple[int, int, int]]] = {}
    for setting, arrays in zip(varying, results, strict=True):
        rest = {k: v for k, v in setting.items() if k != "model.num_components"}
        hits = int((arrays["recovered"] & (arrays["status"] == 0)).sum())
        entry = (setting["model.num_components"], hits, len(arrays["recovered"]))
        groups.setdefault(_label(rest), []).append(entry)
    for k, (label, entries) in enumerate(groups.items()):
        entries.sort()
        rate = np.array([hits / trials for _, hits, trials in entries])
        low, high = np.array([wilson(hits, trials) for _, hits, trials in entries]).T
        axes.errorbar(
            np.array([n for n, _, _ in entries]), rate, yerr=[rate - low, high - rate], fmt="o-",
            capsize=4, color=_COLOURS[k % len(_COLOURS)], label=label or None, markersize=7,
        )  # fmt: skip
    if len(groups) > 1:
        axes.legend()
    ticks = sorted({setting["model.num_components"] for setting in varying})
    axes.set_xticks(ticks)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("number of components n")
    axes.set_ylabel("share of seeds that recover the truth")
    axes.set_title("Success against over-parameterization (Wilson 95 %)")
    return figure


def outcomes(varying: list[dict[str, Any]], results: list[dict]) -> Figure:
    """Share of the seeds with each outcome: one bar per grid point, in the order of the config."""
    figure, axes = _axes(7.5, 2.2 + 0.4 * len(results))
    codes = [arrays["outcome"] for arrays in results]
    height = np.arange(len(codes))
    left = np.zeros(len(codes))
    for outcome in Outcome:
        share = np.array([np.mean(c == outcome) for c in codes])
        if share.any():
            axes.barh(
                height, share, left=left, label=outcome_name(outcome), edgecolor="white",
                color=_OUTCOME_COLOURS[outcome],
            )  # fmt: skip
            left += share
    axes.set_yticks(height, [_label(setting) or "all seeds" for setting in varying])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of seeds")
    axes.set_title("What became of the seeds")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def loss_curves(
    varying: list[dict[str, Any]],
    results: list[dict],
    floors: Sequence[float | None],
    every: Sequence[int],
) -> Figure:
    """Median loss over seeds and the band from the 10th to the 90th percentile, per grid point."""
    figure, axes = _axes(7.5, 4.8)
    excess = floors[0] is not None
    shown = range(len(results))
    if len(results) > len(_COLOURS):  # evenly spread over the grid
        shown = np.linspace(0, len(results) - 1, len(_COLOURS)).round().astype(int)  # type: ignore[assignment]
    lowest = np.inf
    for colour, i in zip(_COLOURS, shown, strict=False):
        curves = results[i]["history_loss"][results[i]["status"] == 0].astype(np.float64)
        if not len(curves):
            continue
        curves = curves - (floors[i] or 0.0)
        time = (np.arange(curves.shape[1]) + 1) * every[i]
        low, middle, high = np.percentile(curves, [10, 50, 90], axis=0)
        lowest = min(lowest, float(low.min()))
        axes.plot(time, middle, color=colour, lw=2, label=_label(varying[i]) or "median")
        axes.fill_between(time, low, high, color=colour, alpha=0.2, lw=0)
    axes.set_xscale("log")
    if excess and lowest > -_ROUNDING:
        axes.set_yscale("log")
        if lowest <= 0:
            axes.set_ylim(bottom=_ROUNDING)
    elif excess:
        # On samples a good fit ends below the truth's own loss.
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.axhline(0, color="0.4", lw=1)
        lowest = min(
            float((a["history_loss"] - (f or 0)).min())
            for a, f in zip(results, floors, strict=True)
        )
        axes.set_ylim(bottom=min(2 * lowest, -1e-3))
    axes.set_xlabel("iteration")
    unit = "nats per point"
    axes.set_ylabel(f"loss above the truth's ({unit})" if excess else f"loss ({unit})")
    axes.set_title("Loss: median over seeds, 10 % to 90 % band")
    axes.legend()
    return figure


def weights(followed: np.ndarray, every: int, title: str) -> Figure:
    """Weights over time (T + 1, n), one line per component, final heavy ones in colour."""
    figure, axes = _axes(7.5, 4.8)
    time = np.arange(len(followed)) * every
    order = np.argsort(-followed[-1])
    for rank, i in enumerate(order[::-1]):
        place = len(order) - 1 - rank
        heavy = place < len(_COLOURS)
        colour = _COLOURS[place] if heavy else "0.6"
        axes.plot(time, np.maximum(followed[:, i], 1e-12), color=colour, lw=2 if heavy else 1)
    axes.set_xscale("symlog", linthresh=every)
    axes.set_yscale("log")
    axes.set_ylim(1e-6, 1.3)
    axes.set_xlabel("iteration")
    axes.set_ylabel("weight of the component")
    axes.set_title(f"{title}: one line per component (n = {followed.shape[1]})")
    return figure


def iterations(varying: list[dict[str, Any]], results: list[dict], reach: float) -> Figure:
    """Iterations to an excess loss against the separation, on log axes: median and quartiles."""
    figure, axes = _axes(7, 4.8)
    groups: dict[str, list[tuple[float, np.ndarray]]] = {}
    for setting, arrays in zip(varying, results, strict=True):
        rest = {k: v for k, v in setting.items() if k != "truth.separation"}
        hits = arrays["iterations"][arrays["iterations"] > 0]
        if len(hits):
            groups.setdefault(_label(rest), []).append((setting["truth.separation"], hits))
    for k, (label, entries) in enumerate(groups.items()):
        entries.sort(key=lambda entry: entry[0])
        quartiles = np.array([np.percentile(hits, [25, 50, 75]) for _, hits in entries]).T
        axes.errorbar(
            [s for s, _ in entries], quartiles[1],
            yerr=[quartiles[1] - quartiles[0], quartiles[2] - quartiles[1]],
            fmt="o-", capsize=4, color=_COLOURS[k % len(_COLOURS)], label=label or None,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({setting["truth.separation"] for setting in varying})
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("separation Δ (noise standard deviations)")
    axes.set_ylabel(f"iterations to excess loss {reach:g}")
    axes.set_title("Iterations against separation (median, quartiles)")
    if any(groups):
        axes.legend()
    return figure


def mean_rules(varying: list[dict[str, Any]], results: list[dict], reach: float) -> Figure:
    """Iterations to an excess loss per mean rule: median and quartiles of the seeds that reach it.

    One colour per other setting. Where not all seeds reach it, their number stands beside.
    """
    rules = list(dict.fromkeys(setting["solver.mean_rule"] for setting in varying))
    rests = [{k: v for k, v in s.items() if k != "solver.mean_rule"} for s in varying]
    labels = list(dict.fromkeys(_label(rest) for rest in rests))
    figure, axes = _axes(7.5, 1.6 + len(rules) * max(0.5, 0.24 * len(labels)))
    spread = min(0.2, 0.7 / len(labels))
    unreached: list[tuple[float, str, str]] = []
    for setting, rest, arrays in zip(varying, rests, results, strict=True):
        k = labels.index(_label(rest))
        height = rules.index(setting["solver.mean_rule"]) + spread * (k - (len(labels) - 1) / 2)
        colour = _COLOURS[k % len(_COLOURS)]
        hits, trials = arrays["iterations"][arrays["iterations"] > 0], len(arrays["iterations"])
        missing = f"{len(hits)} of {trials} seeds" if len(hits) < trials else ""
        if not len(hits):
            unreached.append((height, missing, colour))
            continue
        low, middle, high = np.percentile(hits, [25, 50, 75])
        axes.errorbar(
            [middle], [height], xerr=[[middle - low], [high - middle]], fmt="o", capsize=4,
            color=colour, markersize=7,
        )  # fmt: skip
        axes.annotate(
            f"{middle:g}" + (f"  ({missing})" if missing else ""), (high, height), (8, 0),
            textcoords="offset points", va="center", fontsize=10, color=colour,
        )  # fmt: skip
    for height, text, colour in unreached:
        axes.annotate(
            text, (0.02, height), xycoords=("axes fraction", "data"), va="center", fontsize=10,
            color=colour,
        )  # fmt: skip
    if any(labels):
        for k, label in enumerate(labels):
            axes.plot([], [], "o", color=_COLOURS[k % len(_COLOURS)], label=label)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(rules)), rules)
    axes.set_ylim(len(rules) - 0.5, -0.5)
    axes.set_xlabel(f"iterations to excess loss {reach:g}")
    axes.set_title("Iterations of each mean rule (median, quartiles)")
    return figure


def convergence(history: dict[str, np.ndarray]) -> Figure:
    """Loss above the last value, weight gap and gradient norm of one fit."""
    figure = Figure(figsize=(7.5, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True)
    time = np.arange(len(history["loss"])) + 1
    top.plot(time, history["loss"], color=_COLOURS[0], lw=2)
    top.set_ylabel("loss (nats per point)")
    top.set_title("Convergence")
    top.ticklabel_format(axis="y", useOffset=False)
    for name, label, colour in (
        ("duality_gap", "duality gap of the weights (nats per point)", _COLOURS[1]),
        ("gradient_norm", "norm of the mean gradient", _COLOURS[2]),
    ):
        values = np.where(history[name] > 0, history[name], np.nan)
        bottom.plot(time, values, color=colour, lw=2, label=label)
    bottom.set_yscale("log")
    bottom.set_xscale("log")
    bottom.set_xlabel("iteration")
    bottom.legend()
    return figure


def components(
    points: np.ndarray,
    point_weights: np.ndarray,
    means: np.ndarray,
    weights: np.ndarray,
    scale: float,
    columns: Sequence[str],
    num_points: int | None = None,
) -> Figure:
    """Data and fitted components for d <= 2, in the data's units.

    `num_points` is the number to speak of, where `points` are only some of them.
    """
    number = f"{num_points or len(points):,}"
    if points.shape[1] == 1:
        return _components_1d(
            points[:, 0], point_weights, means[:, 0], weights, scale, columns[0], number
        )
    figure, axes = _axes(7.5, 7)
    shown = points
    if len(points) > _MOST_DRAWN:
        shown = points[:: -(-len(points) // _MOST_DRAWN)]
    size = float(np.clip(2e4 / len(shown), 1, 12))
    axes.scatter(*shown.T, s=size, color="0.65", lw=0, rasterized=True)
    kept = weights >= 1e-3 * weights.max()
    heavy = weights[kept] / weights.max()
    axes.scatter(*means[kept].T, s=6 + 90 * heavy, facecolor="none", edgecolor=_COLOURS[1], lw=1.2)
    axes.set_xlabel(columns[0])
    axes.set_ylabel(columns[1])
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(f"{number} points and {int(kept.sum())} components (area: weight)")
    return figure


def _components_1d(
    x: np.ndarray,
    point_weights: np.ndarray,
    means: np.ndarray,
    weights: np.ndarray,
    scale: float,
    column: str,
    number: str,
) -> Figure:
    figure, axes = _axes(7.5, 4.8)
    bins = int(np.clip(np.sqrt(len(x)) * 3, 10, 120))
    axes.hist(x, bins=bins, weights=point_weights, density=True, color="0.8", label="data")
    low, high = x.min() - 3 * scale, x.max() + 3 * scale
    line = np.linspace(low, high, 1000)
    z = (line[:, None] - means[None]) / scale
    density = np.exp(-0.5 * z**2) @ weights / (scale * np.sqrt(2 * np.pi))
    axes.plot(line, density, color=_COLOURS[0], lw=2, label="fitted density")
    kept = weights >= 1e-3 * weights.max()
    top = density.max()
    # Components closer than the eye can tell stand as one line, as tall as all of them.
    order = np.argsort(means[kept])
    at, mass = means[kept][order], weights[kept][order]
    starts = np.flatnonzero(np.diff(at, prepend=-np.inf) > 0.05 * scale)
    mass_at = np.add.reduceat(mass, starts)
    at = np.add.reduceat(mass * at, starts) / mass_at
    axes.vlines(
        at, 0, mass_at / mass_at.max() * top, color=_COLOURS[1], lw=2,
        label="components (height: weight)",
    )  # fmt: skip
    axes.set_xlabel(column)
    axes.set_ylabel(f"density (per unit of {column})")
    axes.set_ylim(0, 1.35 * max(top, axes.get_ylim()[1] / 1.35))
    axes.set_title(f"{number} points and {int(kept.sum())} components")
    axes.legend(loc="upper right")
    return figure


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _label(setting: dict[str, Any]) -> str:
    names = {"num_components": "n", "separation": "Δ", "dim": "d", "step_size": "η"}
    parts = [(key.split(".")[1], value) for key, value in setting.items()]
    return ", ".join(f"{names.get(k, k)} = {v}" for k, v in parts)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
