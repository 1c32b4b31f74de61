"""From a record to the files in figures/."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from gemjax.cli.files.write import replacing
from gemjax.cli.record import Record
from gemjax.cli.report import fit_figures, study_figures
from gemjax.cli.report.canvas import STYLE, label_of, plain

_CONVERGENCE = ("loss", "duality_gap", "gradient_norm")
_COMPONENTS = ("points", "point_weights", "means", "weights")


def draw(record: Record) -> None:
    """Writes the figures that a record has the arrays for into its folder."""
    folder = record.folder / "figures"
    folder.mkdir(exist_ok=True)
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a font has not all alphabets
        for name, figure in _figures(record):
            with replacing(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=130, format="png")


def _figures(record: Record) -> Iterator[tuple[str, Figure]]:
    """Names and figures, one at a time."""
    if record.command == "run":
        yield from _study(record)
    elif _have(record, *(f"history_{name}" for name in _CONVERGENCE)):
        done = record.summary["num_iterations"]
        history = {name: record.grid[0][f"history_{name}"][0, :done] for name in _CONVERGENCE}
        yield "convergence", fit_figures.convergence(history)
    if record.components.keys() >= set(_COMPONENTS):
        told = record.summary["components"]
        arrays: list[Any] = [record.components[name] for name in _COMPONENTS]
        arrays += [told["scale"], list(map(plain, told["columns"])), told["num_points"]]
        yield "components", fit_figures.components(*arrays)


def _study(record: Record) -> Iterator[tuple[str, Figure]]:
    points, results = record.summary["points"], record.grid
    varying = [point["settings"] for point in points]
    every = [point["record_every"] for point in points]
    if _have(record, "recovered", "status") and "model.num_components" in varying[0]:
        yield "success", study_figures.success(varying, results)
    if _have(record, "outcome") and any(arrays["outcome"].any() for arrays in results):
        yield "outcomes", study_figures.outcomes(varying, results)
    if _have(record, "history_loss", "status"):
        floors = [point.get("truth_loss") for point in points]
        yield "loss", study_figures.loss_curves(varying, results, floors, every)
    for i, arrays in enumerate(results):
        if "followed_weights" in arrays:
            title = label_of(varying[i]) or "Weights over time"
            figure = study_figures.weights(arrays["followed_weights"], every[i], title)
            yield "weights" if len(results) == 1 else f"weights-{i}", figure
    against = {"truth.separation": study_figures.iterations}
    against["solver.mean_rule"] = study_figures.mean_rules
    draw = next((against[key] for key in against if key in varying[0]), None)
    if draw is not None and _have(record, "iterations"):
        yield "iterations", draw(varying, results, points[0]["reach"])


def _have(record: Record, *names: str) -> bool:
    """Whether every grid point has these arrays."""
    return all(arrays.keys() >= set(names) for arrays in record.grid)
