"""What a finished run or fit prints, from its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from gemjax.cli.files.boundary import brief
from gemjax.cli.record import Record
from gemjax.cli.report import screen, words
from gemjax.cli.results import cell

_MOST_SHOWN, _MOST_COLUMNS = 10, 4  # components, and their coordinates


def show(record: Record) -> None:
    """Prints the table and the lines of a record."""
    summary = record.summary
    if record.command == "clusters":
        print("\n".join(screen.lines(summary, record.folder)))
        return
    end = f"{summary['wall_seconds']:.0f} s on {summary['device']}; results in {record.folder}"
    if record.command == "run":
        points = summary["points"]
        name = summary.get("source", "study")  # an earlier version did not say
        show_table(f"{name}: {len(points)} grid point{'s' * (len(points) > 1)}", *run_table(points))
        print(end)
        return
    inserted, columns = summary.get("num_insertions"), summary["components"]["columns"]
    if {"means", "weights"} <= record.components.keys():
        pairs = zip(record.components["means"], record.components["weights"], strict=True)
        rows = [[*(f"{v:.6g}" for v in mean), f"{weight:.4f}"] for mean, weight in pairs]
        title = f"{brief(Path(summary['data']).name, 60)}: the heaviest of {len(rows)} components"
        names, left = [brief(name, 40) for name in columns], len(columns) - _MOST_COLUMNS
        if left > 0:  # they would be cut in a terminal
            names = [*(brief(name, 12) for name in columns[:_MOST_COLUMNS]), f"{left} more"]
            rows = [[*row[:_MOST_COLUMNS], "...", row[-1]] for row in rows]
        show_table(title, [*names, "weight"], rows[:_MOST_SHOWN])
    print(
        f"loss {_number(summary['loss_nats_per_point'], '.6f')} nats per point, "
        f"{summary['num_active']} components with weight"
        f"{f', {inserted} inserted on the way' if inserted else ''}; {end}"
    )
    if "certificate" in summary:
        advice = "try --escape" if inserted is None else "try more --iterations or components"
        print("\n".join(certificate_lines(summary["certificate"], columns, advice)))


# Of losses only differences tell, far behind the first digits.
_LOSS = "{:.6f}"
# Header, key in `_told`, how it is written.
_COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("seeds", "num_seeds", str),
    ("recovered", "success_rate", words.number),
    ("95 % interval", "success_interval_95", lambda ends: words.interval(*ends)),
    ("excess loss", "median_excess_loss", words.number),
    ("active", "median_num_active", words.number),
    ("loss, median", "median_loss", _LOSS.format),
    ("loss, best", "best_loss", _LOSS.format),
    ("iterations run", "median_num_iterations", words.number),
    ("reached", "num_reached", str),
    ("iterations", "median_iterations", words.number),
    ("birth-optimal", "share_birth_optimal", words.number),
    ("failures", "failures", str),
    ("diverged", "num_diverged", str),
)
# Of the columns whose name alone does not tell.
MEANINGS = {
    "active": "median number of components with weight",
    "reached": "number of seeds that reach the excess loss report.reach",
    "iterations": "the median of what those take",
}


def run_table(points: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of text, from what summary.json says about each grid point."""
    points = [_told(point) for point in points]
    hidden = {key for key in ("failures", "num_diverged") if not any(p.get(key) for p in points)}
    if any("success_rate" in point for point in points):
        hidden |= {"median_loss", "best_loss", "num_diverged"}
    there = set().union(*points) - hidden
    shown = [c for c in _COLUMNS if c[1] in there]
    settings = points[0]["settings"]
    short = [key.rpartition(".")[2] for key in settings]
    names = [s if short.count(s) == 1 else key for key, s in zip(settings, short, strict=True)]
    rows = [
        ["" if (v := point["settings"].get(key)) is None else _setting(v) for key in settings]
        + ["none" if point.get(key) is None else told(point[key]) for _, key, told in shown]
        for point in points
    ]
    return [*names, *(name for name, _, _ in shown)], rows


def _setting(value: Any) -> str:
    """As results.csv has it, but a flag in the words of the legends."""
    return words.value(value) if isinstance(value, bool) else str(cell(value))


def _told(point: dict[str, Any]) -> dict[str, Any]:
    """A grid point with what follows from its summary."""
    outcomes = point.get("outcomes", {}).items()  # an earlier version counted none
    failed = sorted(((k, name) for name, k in outcomes if name != "recovered"), reverse=True)
    told = {"failures": ", ".join(f"{count} {name}" for count, name in failed)}
    if "num_birth_optimal" in point:
        told["share_birth_optimal"] = point["num_birth_optimal"] / point["num_seeds"]
    return point | told


def certificate_lines(found: dict[str, Any], columns: Sequence[str], advice: str) -> list[str]:
    """What a certificate, a dict as in summary.json, says to a user; `advice` if it is not good."""
    pairs = zip(columns, found["birth_at"], strict=True)
    place = ", ".join(
        f"{brief(name, 40)} = {_number(x, '.5g')}" for name, x in list(pairs)[:_MOST_COLUMNS]
    )
    place += ", ..." * (len(columns) > _MOST_COLUMNS)
    verdict = "birth-optimal" if found["birth_optimal"] else f"not birth-optimal, {advice}"
    usable = ""
    if not found["npmle_usable"]:
        few = _number(found["npmle_points"])
        usable = f" (of no use: {few} far point{'s' * (few != '1')} make it up)"
    gain, price, weights, npmle = (
        _number(found[key]) for key in ("birth_gain", "birth_price", "duality_gap", "npmle_gap")
    )
    return [
        f"certificate: {verdict}",
        f"  one more component, best at {place}: gains {gain} nats per point, its price is {price} "
        f"({found['birth_agreed']} of {found['num_starts']} searches agree)",
        f"  other weights at these means: at most {weights}",
        f"  any mixture of any size: at most {npmle}{usable}",
    ]


def _number(value: float | None, form: str = ".2g") -> str:
    """A number of a summary, which has None for one that is not finite."""
    return "none" if value is None else format(value, form)


def show_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Prints a table of text."""
    plain: Any = {"markup": False, "emoji": False}  # names are the user's own
    console = Console(**plain)
    if not console.is_terminal:
        console = Console(width=160, **plain)
    table = Table(*(Column(name, justify="right") for name in header), title=title)
    for row in rows:
        table.add_row(*row)
    console.print(table)
