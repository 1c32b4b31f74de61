"""From a record to the files in figures/."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from gemjax.cli.files.boundary import InputError, brief
from gemjax.cli.files.write import replacing
from gemjax.cli.record import Record
from gemjax.cli.report import (
    fit_figures,
    heat_figures,
    outcome_figures,
    path_figures,
    rate_figures,
    scaling_figures,
    start_figures,
    study_figures,
    time_figures,
    words,
)
from gemjax.cli.report.canvas import STYLE, label_of, plain
from gemjax.cli.report.selection import select
from gemjax.cli.report.series import Spec

_CONVERGENCE = ("loss", "duality_gap", "gradient_norm")
# What a [[figure]] may be.
KINDS: dict[str, Callable[[Record, Spec], Figure]] = {
    "success": rate_figures.success,
    "outcomes": outcome_figures.outcomes,
    "curves": time_figures.curves,
    "scaling": scaling_figures.scaling,
    "heat": heat_figures.heat,
    "weights": path_figures.weights,
    "paths": path_figures.paths,
    "distribution": scaling_figures.distribution,
    "map": start_figures.start_map,
}
_COMPONENTS = ("points", "point_weights", "means", "weights")


def draw(record: Record) -> None:
    """Writes the figures that are configured, or those that a record has the arrays for.

    One that cannot be drawn keeps none of the others from it; it is told at the end.
    """
    folder = record.folder / "figures"
    folder.mkdir(exist_ok=True)
    wrong: list[InputError] = []
    configured = record.summary.get("figures")
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a font has not all alphabets
        for name, figure in _configured(record, wrong) if configured else _figures(record):
            with replacing(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=130, format="png")
    if wrong:
        raise wrong[0]


def _configured(record: Record, wrong: list[InputError]) -> Iterator[tuple[str, Figure]]:
    """The figures that the config asks for; what is wrong with the others."""
    for index, spec in enumerate(record.summary["figures"]):
        kind = spec.get("kind")
        try:
            if kind not in KINDS:
                known = ", ".join(KINDS)
                raise InputError(f"kind = {brief(repr(kind), 60)}: is unknown; known are {known}")
            if not select(record, spec.get("where")):
                raise InputError("where: no grid point or seed is selected")
            yield words.file_name(index, spec), KINDS[kind](record, spec)
        except InputError as error:
            wrong.append(InputError(f"figure {index + 1}: {error}"))


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
