"""The columns of a result: what is known of each seed, where it comes from and where it goes."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import gemjax as gj
from gemjax.cli.derived import Arrays, entry, largest_rise, moment, reached
from gemjax.cli.files.write import jsonable
from gemjax.cli.fitting import Found
from gemjax.cli.study.settings import GridPoint

Summarize = Callable[[np.ndarray, np.ndarray], dict[str, Any]]  # of values, and which are good


def is_good(status: np.ndarray) -> np.ndarray:
    """Which seeds came to an end of their own."""
    return np.isin(status, (gj.Status.OK, gj.Status.CONVERGED, gj.Status.FLOORED))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a success rate (Wilson 1927)."""
    z = 1.959963984540054
    p, spread = successes / trials, z * z / trials
    centre = (p + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (p * (1 - p) + spread / 4)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def num_recovered(arrays: Arrays) -> int:
    """Seeds that recovered the truth."""
    return int((arrays["recovered"] & is_good(arrays["status"])).sum())


def outcome_name(code: Any) -> str:
    """As in results.csv: one-fits-many."""
    return gj.Outcome(int(code)).name.lower().replace("_", "-")


def cell(value: Any) -> Any:
    """A value as results.csv has it; blank where a setting has none."""
    if value is None:
        return ""
    if isinstance(value, np.bool_ | bool):
        return int(value)
    if isinstance(value, np.integer | int | str):
        return value
    if isinstance(value, tuple | list):
        return " ".join(str(cell(v)) for v in value)
    return f"{float(value):.9g}"


def _median(values: np.ndarray) -> float | None:
    return jsonable(np.median(values)) if len(values) else None


def _median_of(name: str) -> Summarize:
    return lambda values, good: {f"median_{name}": _median(values[good])}


def _sum_as(key: str) -> Summarize:
    return lambda values, good: {key: int(values.sum())}


def _losses(values: np.ndarray, good: np.ndarray) -> dict[str, Any]:
    best = jsonable(values[good].min()) if good.any() else None
    return {"median_loss": _median(values[good]), "best_loss": best}


def _success(values: np.ndarray, good: np.ndarray) -> dict[str, Any]:
    hits, trials = int((values & good).sum()), len(values)
    interval = list(wilson(hits, trials))
    return {"num_recovered": hits, "success_rate": hits / trials, "success_interval_95": interval}


def _outcomes(values: np.ndarray, good: np.ndarray) -> dict[str, Any]:
    codes, counts = np.unique(values, return_counts=True)
    return {"outcomes": {outcome_name(c): int(k) for c, k in zip(codes, counts, strict=True)}}


def _reached(values: np.ndarray, good: np.ndarray) -> dict[str, Any]:
    hits = values[values > 0]
    return {"num_reached": len(hits), "median_iterations": _median(hits)}


@dataclasses.dataclass(frozen=True)
class Column:
    """One value, or an array, per seed.

    Attributes:
      source: where in `Found` it is; or a function of the other columns, the grid point and the
        truth's loss, from which it is derived.
      needs: the setting of a grid point without which it is not there, or a function of the grid
        point; none by default.
      summarize: what summary.json says about it.
      cell: how results.csv writes it; None if it does not.
      shape: per seed; T records, n components, d dimensions.
    """

    name: str
    source: Any
    needs: str | Callable[[GridPoint], bool] = ""
    summarize: Summarize = lambda values, good: {}
    cell: Callable[[Any], Any] | None = cell
    shape: str = ""

    def is_of(self, point: GridPoint, *, derived: bool = False) -> bool:
        """Whether this grid point has it, as a derived column or as another one."""
        needs = self.needs
        there = needs(point) if callable(needs) else not needs or operator.attrgetter(needs)(point)
        return bool(there) and derived == callable(self.source)


def _has_moment(point: GridPoint, order: int) -> bool:
    return bool(point.report.moments >= order)


_ASKED = "report.certificate"
_KNOBS = ("step_size", "weight_step_size", "separation", "start")
# fmt: off
COLUMNS = (
    Column("status", "fit.status", cell=lambda code: gj.Status(int(code)).name,
           summarize=lambda values, good: {"num_diverged": int((~good).sum())}),
    Column("loss", "loss", summarize=_losses),
    Column("excess_loss", lambda arrays, point, truth_loss: arrays["loss"] - truth_loss,
           "truth", _median_of("excess_loss")),
    Column("duality_gap", lambda arrays, point, truth_loss: arrays["history_duality_gap"][:, -1],
           summarize=_median_of("duality_gap")),
    Column("recovered", "recovery.recovered", "truth", _success),
    Column("mean_error", "recovery.mean_error", "truth", _median_of("mean_error")),
    Column("weight_error", "recovery.weight_error", "truth"),
    Column("stray_mass", "recovery.stray_mass", "truth"),
    Column("rms_distance", "recovery.rms_distance", "truth", _median_of("rms_distance")),
    Column("num_distinct", "num_distinct", "truth", _median_of("num_distinct")),
    Column("largest_rise", lambda arrays, point, truth_loss: largest_rise(arrays["history_loss"])),
    Column("num_active", "recovery.num_active", "truth", _median_of("num_active")),
    Column("outcome", "diagnosis.outcome", "truth", _outcomes, outcome_name),
    Column("most_served", "diagnosis.most_served", "truth"),
    Column("most_sharing", "diagnosis.most_sharing", "truth"),
    Column("num_missed", "diagnosis.num_missed", "truth"),
    Column("surplus_mass", "diagnosis.surplus_mass", "truth"),
    Column("idle_mass", "diagnosis.idle_mass", "truth"),
    Column("spread", "diagnosis.spread", "truth"),
    Column("num_insertions", "fit.num_insertions", summarize=_sum_as("num_insertions")),
    Column("num_iterations", "fit.num_iterations",
           "solver.tolerance", _median_of("num_iterations")),
    Column("npmle_gap", "certificate.npmle_gap", _ASKED,
           lambda values, good: {"median_npmle_gap": _median(values)}),
    Column("npmle_usable", "certificate.npmle_usable", _ASKED, _sum_as("num_npmle_usable")),
    Column("birth_gain", "certificate.birth_gain", _ASKED,
           lambda values, good: {"largest_birth_gain": jsonable(values.max())}),
    Column("birth_price", "certificate.birth_price", _ASKED,
           lambda values, good: {"birth_price": jsonable(values[0])}, cell=None),
    Column("birth_optimal", "certificate.birth_optimal", _ASKED, _sum_as("num_birth_optimal")),
    Column("iterations", lambda arrays, point, truth_loss: reached(
               arrays["history_loss"], truth_loss, float(point.report.reach or 0),
               point.solver.record_every),
           "report.reach", _reached, lambda value: int(value) or ""),
    Column("entry_iteration", lambda arrays, point, truth_loss: entry(arrays, point)[0],
           "report.path", cell=lambda value: int(value) or ""),
    Column("entry_loss", lambda arrays, point, truth_loss: entry(arrays, point)[1] - truth_loss,
           "report.path"),
    *(Column(f"moment{k}_iteration", functools.partial(moment, order=k),
             functools.partial(_has_moment, order=k),
             cell=lambda value: int(value) or "") for k in range(1, 7)),
    Column("covered", "covered", "report.starts", _sum_as("num_covered")),
    *(Column(f"{prefix}sensitivity_{knob}", f"sensitivity.{of}.{knob}", "report.sensitivity")
      for prefix, of in (("", "loss"), ("error_", "error")) for knob in _KNOBS),
    Column("start_means", "starts.means", "report.starts", cell=None, shape="nd"),
    Column("history_rms_distance", "path.rms_distance", "report.path", cell=None, shape="T"),
    Column("history_stray_mass", "path.stray_mass", "report.path", cell=None, shape="T"),
    Column("history_moments", "path.moments", "report.moments", cell=None, shape="Tk"),
    Column("means", "fit.mixture.means", cell=None, shape="nd"),
    Column("weights", "fit.mixture.weights", cell=None, shape="n"),
    *(Column(f"history_{field.name}", f"fit.history.{field.name}", cell=None, shape="T")
      for field in dataclasses.fields(gj.Info)),
)
# fmt: on
FLAGS = {"recovered", "npmle_usable", "birth_optimal", "covered"}
_COUNTS = {  # and codes, with the largest that there is
    "status": max(gj.Status), "outcome": max(gj.Outcome),
    **dict.fromkeys(("most_served", "most_sharing", "num_missed", "num_active", "num_insertions",
                     "num_distinct", "num_iterations", "history_num_active", "history_num_floored"),
                    2**31 - 1),
}  # fmt: skip


def arrays_of(found: Found, point: GridPoint) -> Arrays:
    """What a block of seeds leaves behind."""
    return {
        column.name: np.asarray(operator.attrgetter(column.source)(found))
        for column in COLUMNS
        if column.is_of(point)
    }


def fits(arrays: Arrays, num_seeds: int, point: GridPoint) -> bool:
    """Whether these are the arrays that so many seeds of a grid point leave behind."""
    expected = {column.name: column.shape for column in COLUMNS if column.is_of(point)}
    if arrays.keys() != expected.keys():
        return False
    if arrays["means"].ndim != 3:
        return False
    d = arrays["means"].shape[-1]
    lengths = {"T": point.num_records, "n": point.model.num_components, "d": d,
               "k": point.report.moments}  # fmt: skip
    return all(
        arrays[name].shape == (num_seeds, *(lengths[axis] for axis in shape))
        and _is_in_range(name, arrays[name], point.target.dtype)
        for name, shape in expected.items()
    ) and all(
        np.isfinite(arrays[name][is_good(arrays["status"])]).all()
        for name in ("loss", "means", "weights")
    )


def _is_in_range(name: str, values: np.ndarray, dtype: str) -> bool:
    if name in FLAGS:
        return values.dtype == bool
    if name in _COUNTS:
        in_range = values.dtype.kind == "i" and ((values >= 0) & (values <= _COUNTS[name])).all()
        return bool(in_range)
    return values.dtype == dtype and not (name == "weights" and (values < 0).any())


def derived(arrays: Arrays, point: GridPoint, truth_loss: Any) -> Arrays:
    """The columns that follow from those of a block."""
    return {
        column.name: column.source(arrays, point, truth_loss)
        for column in COLUMNS
        if column.is_of(point, derived=True)
    }


def seed_rows(
    varying: Sequence[dict[str, Any]], grid: Sequence[Arrays]
) -> tuple[list[str], list[list[Any]]]:
    """Header and one row per grid point and seed for results.csv; blank where a column is not."""
    there = {name for arrays in grid for name in arrays}
    shown = [(c.name, c.cell) for c in COLUMNS if c.cell is not None and c.name in there]
    rows = [
        [
            *map(cell, settings.values()),
            seed,
            *(write(arrays[name][seed]) if name in arrays else "" for name, write in shown),
        ]
        for settings, arrays in zip(varying, grid, strict=True)
        for seed in range(len(arrays["loss"]))
    ]
    return [*varying[0], "seed", *(name for name, _ in shown)], rows


def point_summary(
    varying: dict[str, Any], arrays: Arrays, truth_loss: float | None, shape: dict[str, Any]
) -> dict[str, Any]:
    """What summary.json says about one grid point."""
    good = is_good(arrays["status"])
    out: dict[str, Any] = {"settings": dict(varying), "num_seeds": len(good), "shape": shape}
    if truth_loss is not None:
        out["truth_loss"] = truth_loss
    for column in COLUMNS:
        if column.name in arrays:
            out |= column.summarize(arrays[column.name], good)
    return out
