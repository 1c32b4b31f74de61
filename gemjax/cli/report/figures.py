"""From a record to the files in figures/."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import gemjax as gj
from gemjax.cli.files.boundary import InputError, brief
from gemjax.cli.files.write import replacing
from gemjax.cli.record import MODEL, Record
from gemjax.cli.report import (
    cluster_figures,
    fit_figures,
    heat_figures,
    outcome_figures,
    path_figures,
    rate_figures,
    scaling_figures,
    selection_figures,
    start_figures,
    time_figures,
    words,
)
from gemjax.cli.report.canvas import STYLE, plain, tidy
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
            tidy(figure)
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
            theory = spec.get("theory")
            if isinstance(theory, str) and (kind, theory) != ("success", "coverage"):
                raise InputError(
                    f'theory = {brief(repr(theory), 60)}: must be a number, or "coverage" with '
                    'kind = "success"'
                )
            if not select(record, spec.get("where")):
                continue  # as --fast leaves grid points out
            yield words.file_name(index, spec), KINDS[kind](record, spec)
        except InputError as error:
            wrong.append(InputError(f"figure {index + 1}: {error}"))


def _figures(record: Record) -> Iterator[tuple[str, Figure]]:
    """Names and figures, one at a time."""
    if record.command == "run":
        yield from _study(record)
    elif record.command == "clusters":
        yield from _clusters(record)
    elif _have(record, *(f"history_{name}" for name in _CONVERGENCE)):
        done = record.summary["num_iterations"]
        history = {name: record.grid[0][f"history_{name}"][0, :done] for name in _CONVERGENCE}
        told = record.summary["components"]  # whose units are the data's, as those of its loss
        units = gj.Units(np.zeros(len(told["columns"])), told["scale"])
        history["loss"] = units.loss_to_data(history["loss"])
        yield "convergence", fit_figures.convergence(history)
    if record.components.keys() >= set(_COMPONENTS):
        told = record.summary["components"]
        arrays: list[Any] = [record.components[name] for name in _COMPONENTS]
        arrays += [told["scale"], list(map(plain, told["columns"])), told["num_points"]]
        yield "components", fit_figures.components(*arrays)


def _clusters(record: Record) -> Iterator[tuple[str, Figure]]:
    found, arrays = record.model.found, record.components
    if not isinstance(found, gj.Selection):
        raise InputError(f"{record.folder / MODEL}: is not what its summary says")
    if "points" in arrays:
        yield (
            "clusters",
            cluster_figures.clusters(
                found, arrays["points"], record.model.names, arrays.get("point_weights"),
                record.summary["num_rows_used"], arrays.get("labels"),
            ),
        )  # fmt: skip
    if record.summary["components_asked_for"] is not None:
        return  # there was no number to choose
    yield "criteria", selection_figures.criteria(found, sampled=record.summary["is_sampled"])
    yield "tree", selection_figures.tree(found)


def _study(record: Record) -> Iterator[tuple[str, Figure]]:
    for name, spec in _usual(record):
        yield name, KINDS[spec["kind"]](record, spec)


def _usual(record: Record) -> Iterator[tuple[str, Spec]]:
    """What is drawn of a run whose config asks for nothing."""
    points = record.summary["points"]
    keys = list(points[0]["settings"])

    def against(x: str) -> Spec:
        return {"x": x, "by": [key for key in keys if key != x]}

    if _have(record, "recovered", "status") and "model.num_components" in keys:
        yield "success", {"kind": "success", **against("model.num_components")}
    if _have(record, "outcome") and any(arrays["outcome"].any() for arrays in record.grid):
        yield "outcomes", {"kind": "outcomes"}
    if _have(record, "history_loss", "status"):
        y = "loss" if points[0].get("truth_loss") is None else "excess_loss"
        yield "loss", {"kind": "curves", "y": y, "by": keys}
    followed = [i for i, arrays in enumerate(record.grid) if "followed_weights" in arrays]
    for i in followed:
        name = "weights" if len(record.grid) == 1 else f"weights-{i}"
        yield name, {"kind": "weights", "where": points[i]["settings"]}
    x = next((key for key in ("truth.separation", "solver.mean_rule") if key in keys), None)
    if x is not None and _have(record, "iterations"):
        yield "iterations", {"kind": "scaling", "y": "iterations", **against(x)}


def _have(record: Record, *names: str) -> bool:
    """Whether every grid point has these arrays."""
    return all(arrays.keys() >= set(names) for arrays in record.grid)
