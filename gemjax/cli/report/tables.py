"""What a finished run or fit prints, from its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gemjax.cli.record import Record
from gemjax.cli.results import cell

_MOST_SHOWN = 10  # components


def show(record: Record) -> None:
    """Prints the table and the lines of a record."""
    summary = record.summary
    end = f"{summary['wall_seconds']:.0f} s on {summary['device']}; results in {record.folder}"
    if record.command == "run":
        points = summary["points"]
        name = summary.get("source", "study")  # an earlier version did not say
        _print(f"{name}: {len(points)} grid point{'s' * (len(points) > 1)}", *run_table(points))
        print(end)
        return
    inserted, columns = summary.get("num_insertions"), summary["components"]["columns"]
    if {"means", "weights"} <= record.components.keys():
        pairs = zip(record.components["means"], record.components["weights"], strict=True)
        rows = [[*(f"{v:.6g}" for v in mean), f"{weight:.4f}"] for mean, weight in pairs]
        title = f"{Path(summary['data']).name}: the heaviest of {len(rows)} components"
        _print(title, [*columns, "weight"], rows[:_MOST_SHOWN])
    print(
        f"loss {summary['loss_nats_per_point']:.6f} nats per point, "
        f"{summary['num_active']} components with weight"
        f"{f', {inserted} inserted on the way' if inserted else ''}; {end}"
    )
    if "certificate" in summary:
        advice = "try --escape" if inserted is None else "try more --iterations or components"
        print("\n".join(certificate_lines(summary["certificate"], columns, advice)))


def run_table(points: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of text, from what summary.json says about each grid point."""
    first = points[0]
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        key.split(".")[1]: lambda point, key=key: str(cell(point["settings"][key]))  # type: ignore[misc]
        for key in first["settings"]
    }
    columns["seeds"] = lambda point: str(point["num_seeds"])
    if "success_rate" in first:
        columns["recovered"] = lambda point: f"{point['success_rate']:.2f}"
        columns["95 % interval"] = lambda point: "{:.2f} to {:.2f}".format(
            *point["success_interval_95"]
        )
        columns["excess loss"] = lambda point: _number(point["median_excess_loss"], ".2e")
        columns["active"] = lambda point: _number(point["median_num_active"], "g")
    else:
        columns["loss, median"] = lambda point: _number(point["median_loss"], ".6f")
        columns["loss, best"] = lambda point: _number(point["best_loss"], ".6f")
    if "median_num_iterations" in first:
        columns["iterations run"] = lambda point: _number(point["median_num_iterations"], "g")
    if "num_reached" in first:
        columns["reached"] = lambda point: str(point["num_reached"])
        columns["iterations"] = lambda point: _number(point["median_iterations"], "g")
    if "num_birth_optimal" in first:
        columns["birth-optimal"] = lambda point: (
            f"{point['num_birth_optimal'] / point['num_seeds']:.2f}"
        )
    if any(map(_failures, points)):
        columns["failures"] = _failures
    if any(point["num_diverged"] for point in points) and "success_rate" not in first:
        columns["diverged"] = lambda point: str(point["num_diverged"])
    return list(columns), [[write(point) for write in columns.values()] for point in points]


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


def _failures(point: dict[str, Any]) -> str:
    """ "7 one-fits-many, 4 collapsed", most frequent first; an earlier version counted none."""
    outcomes = point.get("outcomes", {}).items()
    failed = [(count, name) for name, count in outcomes if name != "recovered"]
    return ", ".join(f"{count} {name}" for count, name in sorted(failed, reverse=True))


def _number(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)


def _print(title: str, header: list[str], rows: list[list[str]]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    table = Table(title=title)
    for name in header:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
