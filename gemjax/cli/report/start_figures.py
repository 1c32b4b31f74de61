"""Which start leads where: seeds by where they start, coloured by what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

import gemjax as gj
from gemjax.cli.files.boundary import InputError
from gemjax.cli.record import Record
from gemjax.cli.report import words
from gemjax.cli.report.canvas import (
    COLOURS,
    OUTCOME_COLOURS,
    is_wide,
    label_of,
    legend,
    new_panels,
    title_of,
)
from gemjax.cli.report.panels import spread
from gemjax.cli.report.selection import (
    Part,
    check_known,
    check_number,
    constants_of,
    parts_of,
    select,
    split,
    values_of,
    varied,
)
from gemjax.cli.report.series import Spec
from gemjax.cli.results import outcome_name


def start_map(record: Record, spec: Spec) -> Figure:
    """Seeds in the plane of the first two starting coordinates that differ between them.

    Each grid point has a panel of its own: the same seeds start alike at all of them.
    """
    y = spec.get("y") or "outcome"
    by = list(spec.get("by") or ())
    check_known(parts_of(record), y, "y")
    if y != "outcome":
        check_number(y)
    there = [part for part in select(record, spec.get("where")) if "start_means" in part.arrays]
    maps = [(values, piece) for part in there for values, piece in split(part, by)]
    if not maps:
        raise InputError('kind = "map": no grid point selected has kept its starts')
    shown = spread(maps)
    cut = f" ({len(shown)} of {len(maps)} panels)" if len(maps) > len(shown) else ""
    title = title_of(spec, f"{words.capitalized(words.brief_measure(y))} by start") + cut
    titles = _titles(shown, by, varied([part for _, part in maps]), constants_of(record))
    figure, axes = new_panels(titles, title, sharex=True, sharey=True)
    every = np.concatenate([values_of(part, y) for _, part in maps])
    norm = _norm(every) if every.dtype != bool and y != "outcome" else None
    for panel, (_, part) in zip(axes, shown, strict=True):
        starts, found = part.arrays["start_means"][part.seeds], values_of(part, y)
        at, labels = _free(starts)
        _truth_lines(panel, part, starts.shape[-1], len(labels))
        size = float(np.clip(6e3 / len(at), 4, 40))
        for told, colour, mask in _classes(found, y, norm):
            ramp = {"c": colour, "norm": norm, "cmap": "viridis"}
            fill = {"color": colour} if isinstance(colour, str) else ramp
            panel.scatter(*at[mask].T, s=size, lw=0.5, edgecolor="0.4", label=told, **fill)
        panel.set(xlabel=labels[0], ylabel=labels[1] if len(labels) > 1 else "")
    if norm is not None:
        figure.colorbar(ScalarMappable(norm, "viridis"), ax=axes, label=words.measure(y))
    legend(figure, axes)
    return figure


def _titles(
    shown: Sequence[tuple[tuple, Part]], by: Sequence[str], settings: Sequence[str],
    constants: dict[str, Any],
) -> list[str]:  # fmt: skip
    """Of each map: its values of `by`, then the settings that tell its grid point from others."""
    return [
        label_of(
            {key: value for key, value in zip(by, values, strict=True) if key not in constants}
            | {key: part.facts.get(key) for key in settings}
        )
        for values, part in shown
    ]


def _norm(values: np.ndarray) -> Normalize:
    there = values[np.isfinite(values)]
    if not len(there):
        return Normalize(0, 1)
    return (LogNorm if is_wide(there, 100) else Normalize)(there.min(), there.max())


def _classes(values: np.ndarray, y: str, norm: Normalize | None) -> list[tuple[Any, Any, Any]]:
    """Label, colour and seeds of what a legend tells apart; one class where there is a ramp."""
    if norm is not None:
        there = np.isfinite(values)
        lost = [("no value", "0.8", ~there)] if not there.all() else []
        return [*lost, (None, values[there], there)]
    if y == "outcome":
        return [(outcome_name(code), OUTCOME_COLOURS[gj.Outcome(int(code))], values == code)
                for code in np.unique(values)]  # fmt: skip
    told = words.brief_measure(y)
    return [(f"no {told}", COLOURS[1], ~values), (told, COLOURS[0], values)]


def _free(starts: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The first two coordinates of (S, n, d) starts that differ between seeds, with labels."""
    S, n, d = starts.shape
    flat = starts.reshape(S, n * d)
    free = np.flatnonzero(np.ptp(flat, axis=0) > 0)[:2]
    if not len(free):
        free = np.arange(1)
    labels = [f"start of mean {i // d + 1}" + (f", coordinate {i % d + 1}" if d > 1 else "")
              for i in free]  # fmt: skip
    at = flat[:, free]
    if len(free) == 1:  # spread upwards, so that seeds can be told apart
        at = np.column_stack([at, np.arange(S) * 0.6180339887498949 % 1])
    return at, labels


def _truth_lines(panel: Any, part: Part, d: int, axes: int) -> None:
    """The true means on both axes, for d = 1."""
    if d > 1 or "truth_means" not in part.arrays:
        return
    for mean in part.arrays["truth_means"][:, 0]:
        panel.axvline(mean, color="0.4", lw=1, ls=":", zorder=0)
        if axes > 1:
            panel.axhline(mean, color="0.4", lw=1, ls=":", zorder=0)
