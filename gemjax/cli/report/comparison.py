"""Two runs side by side: do success, losses and iterations differ, seed by seed?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gemjax.cli.files.boundary import InputError, brief
from gemjax.cli.record import Record
from gemjax.cli.report import estimates, words
from gemjax.cli.report.canvas import COLOURS, label_of, new_figure, tidy
from gemjax.cli.report.estimates import Estimate
from gemjax.cli.report.selection import constants_of, same
from gemjax.cli.results import Arrays, is_good


@dataclasses.dataclass(frozen=True)
class Question:
    """What two runs are compared by: A against B, paired by seed.

    Attributes:
      title: in words, with what says that there is no difference.
      columns: that both must have.
      none: the value of no difference.
      estimate: from the arrays of both, of the seeds they share.
    """

    title: str
    columns: tuple[str, ...]
    none: float
    estimate: Callable[[Arrays, Arrays], Estimate]


@dataclasses.dataclass(frozen=True)
class Answer:
    """One question at one grid point that both runs have."""

    question: Question
    setting: dict[str, Any]
    estimate: Estimate

    @property
    def verdict(self) -> str:
        """In words: whether they differ."""
        low, high, none = self.estimate.low, self.estimate.high, self.question.none
        if self.estimate.value is None or low is None or high is None:
            return "unknown"
        return "higher" if low > none else "lower" if high < none else "no difference seen"


def _success(arrays: Arrays) -> np.ndarray:
    return arrays["recovered"] & is_good(arrays["status"])


def _losses(a: Arrays, b: Arrays) -> Estimate:
    good = is_good(a["status"]) & is_good(b["status"])
    return estimates.shift(a["loss"][good], b["loss"][good])


QUESTIONS = (
    Question("success rate, A - B", ("recovered", "status"), 0.0,
             lambda a, b: estimates.difference(_success(a), _success(b))),
    Question("final loss, A - B (nats per point)", ("loss", "status"), 0.0, _losses),
    Question("iterations to the excess loss, A / B", ("iterations",), 1.0,
             lambda a, b: estimates.ratio(a["iterations"] * 1.0, b["iterations"] * 1.0)),
    Question("iterations run, A / B", ("num_iterations",), 1.0,
             lambda a, b: estimates.ratio(a["num_iterations"] * 1.0, b["num_iterations"] * 1.0)),
)  # fmt: skip


def compare(a: Record, b: Record) -> list[Answer]:
    """All that can be asked of the grid points that both runs have."""
    answers = []
    for setting, mine, other in _matched(a, b):
        count = min(len(mine["loss"]), len(other["loss"]))
        mine, other = ({k: v[:count] for k, v in arrays.items()} for arrays in (mine, other))
        for question in QUESTIONS:
            if {*question.columns} <= mine.keys() & other.keys():
                answers.append(Answer(question, setting, question.estimate(mine, other)))
    return answers


_TABLES = ("truth", "target", "model", "solver", "escape", "sweep")


def differing(a: Record, b: Record) -> list[str]:
    """What is the same all over each run, but not the same in both: "truth.dim: 2 in A, 10 in B".

    What varies in either is no constant, and grid points are matched by it. An earlier version did
    not tell its constants.
    """
    mine, other = constants_of(a), constants_of(b)
    if not mine or not other:
        return []
    varying = {key for record in (a, b) for key in record.summary["points"][0]["settings"]}
    keys = [
        key
        for key in dict.fromkeys([*mine, *other])
        if key.partition(".")[0] in _TABLES and key not in varying
    ]
    return [
        f"{key}: {_value(mine.get(key))} in A, {_value(other.get(key))} in B"
        for key in keys
        if not same(mine.get(key), other.get(key))
    ]


def _value(of: Any) -> str:
    return brief(words.value(of), 40)


def _matched(a: Record, b: Record) -> list[tuple[dict[str, Any], Arrays, Arrays]]:
    """Grid points with the same values of the settings that vary in both runs."""
    mine, other = ([point["settings"] for point in record.summary["points"]] for record in (a, b))
    common = [key for key in mine[0] if key in other[0]]
    if len(mine) == len(other) == 1:
        common = []
    places: dict[str, list[int]] = {}
    for index, settings in enumerate(other):
        places.setdefault(repr([settings[key] for key in common]), []).append(index)
    found, taken = [], set()
    for index, settings in enumerate(mine):
        key = repr([settings[name] for name in common])
        if key in taken or len(places.get(key, [])) > 1:
            raise InputError(
                f"{a.folder} and {b.folder}: several grid points agree in all that varies in both "
                f"({', '.join(common) or 'nothing'}), so that it is not clear which to compare"
            )
        taken.add(key)
        if key in places:
            shown = {name: settings[name] for name in common}
            found.append((shown, a.grid[index], b.grid[places[key][0]]))
    if not found:
        raise InputError(
            f"{a.folder} and {b.folder}: no grid point in common: {brief(mine[0], 80)} ... and "
            f"{brief(other[0], 80)} ..."
        )
    return found


def table(answers: list[Answer]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of text."""
    header = ["grid point", "what", "pairs", "found", "95 % interval", "p", "A is"]
    rows = []
    for answer in answers:
        found = answer.estimate
        rows.append([
            label_of(answer.setting) or "all", answer.question.title, str(found.count),
            words.number(found.value), words.interval(found.low, found.high),
            words.number(found.p_value), answer.verdict,
        ])  # fmt: skip
    return header, rows


def picture(answers: list[Answer], a: Path, b: Path) -> Figure:
    """Every estimate with its interval, a panel per question, beside the line of no difference."""
    asked = [q for q in QUESTIONS if any(answer.question is q for answer in answers)]
    labels = list(dict.fromkeys(label_of(answer.setting) or "all" for answer in answers))
    figure = new_figure(2.5 + 4.5 * len(asked), 1.8 + 0.4 * len(labels))
    panels = figure.subplots(1, len(asked), sharey=True, squeeze=False)[0]
    for panel, question in zip(panels, asked, strict=True):
        panel.axvline(question.none, color="0.5", lw=1)
        if question.none == 1.0:
            panel.set_xscale("log")
        for answer in answers:
            found = answer.estimate
            if answer.question is not question or found.value is None:
                continue
            height = labels.index(label_of(answer.setting) or "all")
            ends = [found.value if end is None else end for end in (found.low, found.high)]
            differs = answer.verdict in ("higher", "lower")
            colour = COLOURS[1] if differs else COLOURS[0]
            panel.plot(ends, [height, height], "-", color=colour, lw=2)
            panel.plot([found.value], [height], "o", color=colour, markersize=7)
        panel.set_xlabel(question.title)
        panel.set_yticks(range(len(labels)), labels)
        panel.set_ylim(len(labels) - 0.5, -0.5)
    figure.suptitle(
        f"A = {brief(a.name, 40)}, B = {brief(b.name, 40)}: paired by seed, 95 % intervals",
        fontsize=14,
    )
    tidy(figure)
    return figure
