"""From the arrays of a run to rows, summaries and tables."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import gemjax
from gemjax._assess.diagnosis import Outcome
from gemjax._base.records import Status
from gemjax.cli.files.files import jsonable

_RECOVERY = ("recovered", "mean_error", "weight_error", "stray_mass", "num_active")
_ESCAPED = ("num_insertions", "npmle_gap", "npmle_usable", "birth_gain", "birth_optimal")
_NUMBERS = ("most_served", "most_sharing", "num_missed", "surplus_mass", "idle_mass", "spread")


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a success rate (Wilson 1927)."""
    z = 1.959963984540054
    p, spread = successes / trials, z * z / trials
    centre = (p + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (p * (1 - p) + spread / 4)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def reached(history_loss: np.ndarray, floor: float, reach: float, every: int) -> np.ndarray:
    """(S,) first recorded iteration with excess loss <= reach, 0 where there is none."""
    hit = history_loss - floor <= reach
    return np.where(hit.any(axis=1), (hit.argmax(axis=1) + 1) * every, 0)


def seed_rows(
    varying: dict[str, Any], arrays: dict[str, np.ndarray], truth_loss: float | None
) -> tuple[list[str], list[list[Any]]]:
    """Header and one row per seed for results.csv."""
    header = [*varying, "seed", "status", "loss"]
    header += [] if truth_loss is None else ["excess_loss"]
    has_truth = "recovered" in arrays
    header += ["duality_gap", *([*_RECOVERY, "outcome", *_NUMBERS] if has_truth else [])]
    escaped = [name for name in _ESCAPED if name in arrays]
    header += escaped
    header += ["iterations"] if "iterations" in arrays else []
    rows = []
    for s in range(len(arrays["loss"])):
        row: list[Any] = [_cell(value) for value in varying.values()]
        row += [s, Status(int(arrays["status"][s])).name, _cell(arrays["loss"][s])]
        row += [] if truth_loss is None else [_cell(arrays["loss"][s] - truth_loss)]
        row.append(_cell(arrays["duality_gap"][s]))
        if has_truth:
            row += [_cell(arrays[name][s]) for name in _RECOVERY]
            row.append(outcome_name(arrays["outcome"][s]))
            row += [_cell(arrays[name][s]) for name in _NUMBERS]
        row += [_cell(arrays[name][s]) for name in escaped]
        if "iterations" in arrays:
            row.append(int(arrays["iterations"][s]) or "")
        rows.append(row)
    return header, rows


def outcome_name(code: Any) -> str:
    """As in results.csv: one-fits-many."""
    return Outcome(int(code)).name.lower().replace("_", "-")


def outcome_counts(codes: np.ndarray) -> dict[str, int]:
    """Number of seeds per outcome that occurred, by name."""
    found, counts = np.unique(codes, return_counts=True)
    return {outcome_name(c): int(k) for c, k in zip(found, counts, strict=True)}


def _cell(value: Any) -> Any:
    if isinstance(value, np.bool_ | bool):
        return int(value)
    if isinstance(value, np.integer | int | str):
        return value
    if isinstance(value, tuple | list):
        return " ".join(str(_cell(v)) for v in value)
    return f"{float(value):.9g}"


def point_summary(
    varying: dict[str, Any], arrays: dict[str, np.ndarray], truth_loss: float | None
) -> dict[str, Any]:
    """What summary.json says about one grid point."""
    S = len(arrays["loss"])
    good = arrays["status"] == Status.OK
    losses = arrays["loss"][good]
    out: dict[str, Any] = {
        "settings": dict(varying),
        "num_seeds": S,
        "num_diverged": int((~good).sum()),
        "median_loss": _median(losses),
        "best_loss": jsonable(losses.min()) if len(losses) else None,
        "median_duality_gap": _median(arrays["duality_gap"][good]),
    }
    if truth_loss is not None:
        out["truth_loss"] = truth_loss
        out["median_excess_loss"] = _median(losses - truth_loss)
    if "recovered" in arrays:
        successes = int((arrays["recovered"] & good).sum())
        low, high = wilson(successes, S)
        out |= {
            "num_recovered": successes,
            "success_rate": successes / S,
            "success_interval_95": [low, high],
            "outcomes": outcome_counts(arrays["outcome"]),
            "median_mean_error": _median(arrays["mean_error"][good]),
            "median_num_active": _median(arrays["num_active"][good]),
        }
    if "num_insertions" in arrays:
        out["num_insertions"] = int(arrays["num_insertions"].sum())
    if "birth_optimal" in arrays:
        out |= {
            "num_birth_optimal": int(arrays["birth_optimal"].sum()),
            "largest_birth_gain": jsonable(arrays["birth_gain"].max()),
            "birth_price": jsonable(arrays["birth_price"][0]),
            "num_npmle_usable": int(arrays["npmle_usable"].sum()),
            "median_npmle_gap": _median(arrays["npmle_gap"]),
        }
    if "iterations" in arrays:
        hits = arrays["iterations"][arrays["iterations"] > 0]
        out["num_reached"] = len(hits)
        out["median_iterations"] = _median(hits)
    return out


def _median(values: np.ndarray) -> float | None:
    return jsonable(np.median(values)) if len(values) else None


def provenance() -> dict[str, Any]:
    """Where and with what a result is computed."""
    device = jax.devices()[0]
    return {
        "gemjax": gemjax.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": f"{device.platform}: {device.device_kind}",
        "num_devices": jax.device_count(),
    }


def table(summaries: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The table that a run prints at its end: header and rows of text."""
    keys = [key.split(".")[1] for key in summaries[0]["settings"]]
    header = [*keys, "seeds"]
    has_truth, has_reach = "success_rate" in summaries[0], "num_reached" in summaries[0]
    header += ["recovered", "95 % interval"] if has_truth else []
    header += ["excess loss", "active"] if has_truth else ["loss, median", "loss, best"]
    header += ["reached", "iterations"] if has_reach else []
    certified = "num_birth_optimal" in summaries[0]
    header += ["birth-optimal"] if certified else []
    # The summary of a run by an earlier version may hold no outcomes.
    failures = [_failures(summary.get("outcomes", {})) for summary in summaries]
    header += ["failures"] if any(failures) else []
    diverged = any(summary["num_diverged"] for summary in summaries) and not has_truth
    header += ["diverged"] if diverged else []
    rows = []
    for summary, failed in zip(summaries, failures, strict=True):
        row = [str(_cell(v)) for v in summary["settings"].values()] + [str(summary["num_seeds"])]
        if has_truth:
            low, high = summary["success_interval_95"]
            row += [f"{summary['success_rate']:.2f}", f"{low:.2f} to {high:.2f}"]
            row += [_number(summary["median_excess_loss"], ".2e")]
            row += [_number(summary["median_num_active"], "g")]
        else:
            row += [_number(summary["median_loss"], ".6f"), _number(summary["best_loss"], ".6f")]
        if has_reach:
            row += [str(summary["num_reached"]), _number(summary["median_iterations"], "g")]
        if certified:
            row.append(f"{summary['num_birth_optimal'] / summary['num_seeds']:.2f}")
        if any(failures):
            row.append(failed)
        if diverged:
            row.append(str(summary["num_diverged"]))
        rows.append(row)
    return header, rows


def certificate_lines(found: dict[str, Any], columns: Sequence[str], advice: str) -> list[str]:
    """What a certificate, a dict as in summary.json, says to a user; `advice` if it is not good."""
    place = ", ".join(f"{c} = {x:.5g}" for c, x in zip(columns, found["birth_at"], strict=True))
    verdict = "birth-optimal" if found["birth_optimal"] else f"not birth-optimal, {advice}"
    usable = ""
    if not found["npmle_usable"]:
        usable = f" (of no use: {found['npmle_points']:.2g} far points make it up)"
    return [
        f"certificate: {verdict}",
        f"  one more component, best at {place}: gains {found['birth_gain']:.2g} nats per point, "
        f"its price is {found['birth_price']:.2g} "
        f"({found['birth_agreed']} of {found['num_starts']} searches agree)",
        f"  other weights at these means: at most {found['duality_gap']:.2g}",
        f"  any mixture of any size: at most {found['npmle_gap']:.2g}{usable}",
    ]


def _failures(outcomes: dict[str, int]) -> str:
    """ "7 one-fits-many, 4 collapsed", most frequent first."""
    failed = [(count, name) for name, count in outcomes.items() if name != "recovered"]
    return ", ".join(f"{count} {name}" for count, name in sorted(failed, reverse=True))


def _number(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)
