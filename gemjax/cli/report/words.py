"""Settings, columns and numbers in plain words, for axes, legends and pages alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gemjax.cli.results import cell

_WHOLE = 1e6  # up to which whole numbers are written out
_SHORT = {
    "model.num_components": "n", "truth.num_components": "m", "truth.separation": "Δ",
    "separation": "Δ", "truth.dim": "d", "target.num_samples": "N", "solver.step_size": "η",
    "solver.weight_steps": "K", "solver.num_iterations": "T", "n/m": "n / m",
    "n/(m log m)": "n / (m log m)", "truth.weights": "weights of the truth",
}  # fmt: skip
_LONG = {
    "n": "number of components n", "m": "number of true components m", "d": "dimension d",
    "N": "number of points N", "Δ": "separation Δ (noise standard deviations)",
    "η": "step size η", "K": "weight steps per iteration K", "T": "number of iterations T",
    "n / m": "components per cluster n / m",
}  # fmt: skip
_MEASURES = {
    "success": "share of seeds that recover the truth",
    "recovered": "share of seeds with the truth's means",
    "covered": "share of seeds that start in every cluster",
    "loss": "loss (nats per point)",
    "excess_loss": "loss above the truth's (nats per point)",
    "duality_gap": "duality gap of the weights (nats per point)",
    "gradient_norm": "norm of the mean gradient",
    "rms_distance": "RMS distance to the truth (noise standard deviations)",
    "mean_error": "largest error of a mean (noise standard deviations)",
    "weight_error": "largest error of a weight",
    "stray_mass": "weight of stray components",
    "surplus_mass": "surplus of weight",
    "moments": "difference of moments to the truth's",
    "iterations": "iterations to the excess loss",
    "num_iterations": "iterations run",
    "num_active": "components with weight",
    "num_distinct": "distinct components",
    "num_insertions": "components inserted",
    "largest_rise": "largest rise of the loss (nats per point)",
    "entry_iteration": "iterations until entry",
    "entry_loss": "loss at entry (nats per point)",
    "outcome": "outcome",
    "iteration": "iteration",
}


_BRIEF = {
    "rms_distance": "RMS distance", "num_iterations": "iterations run",
    "num_active": "components with weight", "num_distinct": "distinct components",
    "num_insertions": "components inserted", "num_missed": "clusters missed",
    "entry_iteration": "iterations until entry",
    **{f"moment{k}_iteration": f"iterations to moment {k}" for k in range(1, 7)},
}  # fmt: skip


def number(found: float | None) -> str:
    """Three digits that count, and whole numbers as they are: 0.0123, 1024, 1.2e-07."""
    if found is None:
        return "none"
    if not math.isfinite(found):
        return {math.inf: "∞", -math.inf: "-∞"}.get(found, "none")
    if found == int(found) and abs(found) < _WHOLE:
        return str(int(found))
    return f"{float(f'{found:.3g}'):g}"


def interval(low: float | None, high: float | None) -> str:
    """The ends of an interval: 0.3 to 0.4."""
    return "none" if low is None or high is None else f"{number(low)} to {number(high)}"


def short(key: str) -> str:
    """A setting in a legend: n, Δ, mean rule."""
    return _SHORT.get(key) or key.rpartition(".")[2].replace("_", " ")


def value(of: Any) -> str:
    """The value of a setting or a flag: 7, yes, none."""
    if isinstance(of, bool | np.bool_):
        return "yes" if of else "no"
    if isinstance(of, float):
        return f"{of:g}"
    return "none" if of is None else str(cell(of))


def setting(key: str, of: Any) -> str:
    """A setting with its value: n = 7, escape = no; of a case its name alone."""
    return value(of) if key == "case" else f"{short(key)} = {value(of)}"


def selection(where: dict[str, Any] | None) -> str:
    """What a selection keeps: n = 7 or 20, covered = yes."""
    texts = []
    for key, wanted in (where or {}).items():
        first, *others = wanted if isinstance(wanted, list) and wanted else [wanted]
        told = setting(key, first)
        rest = (setting(key, other) for other in others)
        texts.append(" or ".join([told, *(text.removeprefix(f"{short(key)} = ") for text in rest)]))
    return ", ".join(texts)


def axis(key: str) -> str:
    """The label of an axis on which a setting or a column is."""
    return _LONG.get(short(key)) or measure(key)


def measure(name: str) -> str:
    """What a column holds."""
    if name.startswith("outcome."):
        return f"share of seeds with outcome {name.partition('.')[2]}"
    return _MEASURES.get(name) or short(name)


def brief_measure(name: str) -> str:
    """A column within a sentence, without units: excess loss."""
    head, _, outcome = name.partition(".")
    if head == "outcome" and outcome:
        return outcome
    return _BRIEF.get(name) or name.replace("_", " ")


def capitalized(text: str) -> str:
    """At the start of a sentence, whatever else is in capitals: RMS distance."""
    return text[:1].upper() + text[1:]


def median(name: str) -> str:
    """Of a column: median excess loss, median number of distinct components."""
    count = name.startswith("num_") or name == "iterations" or name.endswith("_iteration")
    return f"median {'number of ' if count else ''}{brief_measure(name)}"


def file_name(index: int, figure: dict[str, Any]) -> str:
    """Of a configured figure, without its ending: 1-success."""
    return f"{index + 1}-{figure['kind']}"
