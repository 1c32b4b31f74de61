"""What `gemjax fit` says of clusters on one screen, in the words of who has the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.cells import cell_len, chop_cells, set_cell_size

from gemjax.cli.files.boundary import brief
from gemjax.cli.files.sheet import counted
from gemjax.cli.report.warnings import listed, warnings

_WIDTH = 79
_MOST_CLUSTERS = 10
_NAME = 14  # cells of a column's name in the table
_MOST_DIGITS = 6  # of its numbers, after the point
_PICTURES = {
    "clusters": "the rows and their clusters",
    "criteria": "how good other numbers of components are",
    "tree": "which components were merged, and at what cost",
}
# Per family its words for several columns, and for one.
FORMS = {
    "EII": ("round, all of one size", "all of one width"),
    "VII": ("round, each of its own size", "each of its own width"),
    "EEI": ("stretched along the columns, all alike", "all of one width"),
    "VVI": ("stretched along the columns, each of its own form", "each of its own width"),
    "EEE": ("ellipses in any direction, all alike", "all of one width"),
    "VVV": ("ellipses in any direction, each of its own form", "each of its own width"),
}


def form_of(family: str, d: int) -> str:
    """A family in words."""
    return FORMS[family][d == 1]


def lines(summary: dict[str, Any], folder: Path) -> list[str]:
    """The screen, from summary.json; no line is longer than 79 cells, but for the folder's name."""
    told = [*_read(summary), "", *_found(summary), "", "How sure"]
    told += [line for item in _sure(summary) for line in _wrapped(item, "- ", "  ")]
    return [*told, "", *_results(summary, folder)]


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    """Lines of at most so many cells: of some alphabets a letter takes two."""
    out, line = [], first
    for word in text.split():
        for part in chop_cells(word, _WIDTH - len(rest)):
            gap = "" if line in (first, rest) else " "
            if cell_len(line + gap + part) > _WIDTH:
                out.append(line)
                line, gap = rest, ""
            line += gap + part
    return [*out, line]


def _read(summary: dict[str, Any]) -> list[str]:
    """What was read."""
    used, rows, reading = (summary[key] for key in ("num_rows_used", "num_rows", "reading"))
    data = brief(Path(summary["data"]).name, 40)
    out = _wrapped(f"{data}: {brief(reading[0], 300)}", "", "  ")
    for line in reading[1:]:
        out += _wrapped(brief(line, 300), "  ", "  ")
    of = "" if used == rows else f", {used:,} of {rows:,} rows"
    weighted = ", weighted" * summary["is_weighted"]
    out += _wrapped(f"Looked at {listed(summary['columns'])}{of}{weighted}.", "  ", "  ")
    scaling = summary["scaling"]
    if scaling["is_scaled"]:
        out += _wrapped(
            f"The columns' spreads differ {_times(scaling['ratio'])}, so that each was divided by "
            "its own to look for clusters. All results are in the file's units.", "  ", "  ",
        )  # fmt: skip
    return out


def _found(summary: dict[str, Any]) -> list[str]:
    """The clusters: how many, how large, where, of what form."""
    d, n = len(summary["columns"]), summary["num_components"]
    m = summary["num_clusters"]
    out = [counted(m, "cluster").upper()]
    out += _table(summary)
    form = form_of(summary["family"], d)
    units = " once the columns are scaled" if summary["scaling"]["is_scaled"] else ""
    units = units if summary["family"] in ("EII", "VII") and d > 1 else ""
    if n == m:
        many = "Each is one Gaussian component" if m > 1 else "It is one Gaussian component"
        out += _wrapped(f"{many}: {form}{units}.")
    else:
        what = "Groups that are not Gaussian take several; those without a gap are one cluster."
        under = sum(one["num_components"] for one in summary["clusters"])
        if under < n:
            what += f" {counted(n - under, 'wide component')} beneath several of them " \
                    f"belong{'s' * (n - under == 1)} to none."  # fmt: skip
        out += _wrapped(f"They are described by {n} Gaussian components: {form}{units}. {what}")
    for text in warnings(summary):
        out += _wrapped(text)
    return out


def _table(summary: dict[str, Any]) -> Iterator[str]:
    """Sizes and centres of the first clusters, in the columns that tell them apart the most."""
    clusters, names = summary["clusters"], summary["columns"]
    centres = np.array([one["centre"] for one in clusters])
    widths = np.array([one["standard_deviation"] for one in clusters])
    share = np.array([one["share"] for one in clusters])
    share = share / share.sum()
    room = (_WIDTH - 26) // (_NAME + 2)
    apart = share @ (centres - share @ centres) ** 2 / np.maximum(share @ widths**2, 1e-300)
    shown = sorted(np.argsort(-apart, kind="stable")[:room].tolist())
    cells = [_cell(brief(names[i], _NAME - 2)) for i in shown]
    yield f"{'':2}cluster{'rows':>9}{'share':>8}" + "".join(f"  {cell}" for cell in cells)
    for one in clusters[:_MOST_CLUSTERS]:
        values = _aligned(centres[:, shown], one["cluster"])
        yield (
            f"{'':2}{one['cluster']:>7}{one['num_rows']:>9,}{one['share']:>8.1%}"
            + "".join(f"  {value:>{_NAME}}" for value in values)
        )
    left = len(clusters) - _MOST_CLUSTERS
    if left > 0:
        rest = sum(one["num_rows"] for one in clusters[_MOST_CLUSTERS:])
        yield f"{'':2}and {left} more with {rest:,} rows: see components.csv"
    some = len(shown) < len(names)
    what = f"centres, in the {len(shown)} of {len(names)} columns that differ most" * some
    cut = "; ".join(brief(names[i], 60) for i in shown)
    cut = f": {cut}" * any(cell_len(brief(names[i], 60)) > _NAME for i in shown)
    yield from _wrapped(f"({what or 'centres'}{cut})", "  ", "  ")


def _aligned(centres: np.ndarray, row: int) -> list[str]:
    """A row's numbers with the digits that tell the clusters of a column apart."""
    out = []
    for column in centres.T:
        least = np.ptp(column) if len(column) > 1 and np.ptp(column) > 0 else abs(column[0]) or 1.0
        digits = int(max(0, 2 - np.floor(np.log10(least))))
        fixed = min(digits, _MOST_DIGITS)
        texts = [f"{round(x, fixed) + 0.0:.{fixed}f}" for x in column]  # -0.0 + 0.0 is 0.0
        if digits > fixed or max(map(len, texts)) > _NAME:
            more = int(np.clip(np.ceil(np.log10(np.max(np.abs(column)) / least)) + 2, 2, 8))
            texts = [f"{x:.{more}e}" for x in column]
        out.append(texts[row])
    return out


def _cell(name: str) -> str:
    """A name in as many cells as the table has for it, at its right."""
    if cell_len(name) > _NAME:
        name = set_cell_size(name, _NAME - 1).rstrip() + "…"
    return " " * (_NAME - cell_len(name)) + name


def _sure(summary: dict[str, Any]) -> Iterator[str]:
    """What speaks for the answer, and what against it."""
    used, doubtful, below = (
        summary[key] for key in ("num_rows_used", "num_doubtful", "doubtful_below")
    )
    if summary["num_clusters"] > 1:
        yield (
            f"Rows: {used - doubtful:,} of {used:,} belong to their cluster with a probability of "
            f"{below:g} or more"
            + (f"; {counted(doubtful, 'row')} between clusters." if doubtful else ".")
        )
    if summary["components_asked_for"] is None:
        yield _second_opinion(summary)
        if len(summary["families"]) > 1:
            yield _other_forms(summary)
    elif len(summary["families"]) > 1:
        yield _other_forms(summary)
    found = summary["certificate"]
    if found["birth_optimal"]:
        yield "One component more: a search everywhere found none that would pay for itself."
    else:
        pairs = zip(summary["columns"], found["birth_at"], strict=True)
        at = listed([f"{brief(name, 30)} = {value:.4g}" for name, value in pairs], 3)
        yield f"One component more would pay for itself, near {at}."
    born = summary["num_born"]
    if born:
        yield (
            f"{counted(born, 'component')} too rare for the sample that was looked at first "
            f"{'was' if born == 1 else 'were'} found among all rows."
        )


def _second_opinion(summary: dict[str, Any]) -> str:
    """Where merging becomes expensive, beside what the criterion chose."""
    n, m = summary["num_components"] - summary["num_born"], summary["num_clusters"]
    jump = summary["num_by_height"]
    first = "Second opinion (where merging groups becomes expensive): "
    if jump == m:
        return first + (f"{m} as well." if n == m else f"{m}, the number of clusters, as well.")
    if summary["agree"]:
        return first + f"{jump}, the number of components; some overlap without a gap."
    if jump > max(m, n):
        return first + (
            f"{jump}. There may be more groups than so few rows can show; more rows would tell."
        )
    return first + (
        f"{jump}. Look at the picture: small groups beside large ones are real, pieces of one "
        "group that touch are not."
    )


def _other_forms(summary: dict[str, Any]) -> str:
    """Whether components of other forms would be as many, and how close the next of them is."""
    d, own, families = len(summary["columns"]), summary["family"], summary["families"]
    n = summary["num_components"] - summary["num_born"]
    others = [one for one in families if one["family"] != own and one["best_criterion"] is not None]
    if not others:
        return "Forms: no other one could be fitted."
    alike = sum(one["num_components"] == n for one in others)
    chosen = next(one for one in families if one["family"] == own)["best_criterion"]
    next_ = min(others, key=lambda one: one["best_criterion"])
    worse = next_["best_criterion"] - (chosen if chosen is not None else summary["criterion"])
    weight = "clearly worse" if worse > 10 else "worse" if worse > 2 else "nearly as good"
    told = ""
    if summary["components_asked_for"] is None:
        many = "all" if alike == len(others) else alike or "none"
        told = f"{many} of the {len(others)} others would take {n} components too. "
        if len(others) == 1:
            told = ""
    return (
        f"Forms: {told}The next best, {form_of(next_['family'], d)} "
        f"({next_['num_components']}), is {weight} (by {worse:.1f}; 2 is little, 10 is clear)."
    )


def _results(summary: dict[str, Any], folder: Path) -> list[str]:
    """What to look at."""
    device, seconds = summary["device"], summary["wall_seconds"]
    files = {f"figures/{name}.png": what for name, what in _PICTURES.items()}
    files = {name: what for name, what in files.items() if (folder / name).exists()}
    files |= {
        "labels.csv": "each row's cluster, and how sure that is",
        "components.csv": "centres, spreads and weights (and all in summary.json)",
    }
    return [
        f"Results in {brief(folder, 200)} ({seconds:.0f} s on {device})",
        *(f"  {name:22}{what}" for name, what in files.items()),
        f"New rows: gemjax predict {brief(folder, 200)} NEW.csv",
    ]


def _times(ratio: float) -> str:
    return f"{ratio:.0f}-fold" if ratio < 1e4 else f"{ratio:.0e}-fold"
