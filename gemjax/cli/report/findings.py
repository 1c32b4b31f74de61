"""What a study measures beside what theory says of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gemjax.cli.files.boundary import InputError, brief
from gemjax.cli.record import Record
from gemjax.cli.report import estimates, words
from gemjax.cli.report.estimates import LAWS, NOTHING, Estimate
from gemjax.cli.report.selection import check_number, on_grid, select, values_of
from gemjax.cli.report.series import Line, Spec, curves, lines, pairs
from gemjax.cli.results import wilson

ABSENT = "not in this size"  # as --fast leaves grid points out
_LEVEL = 0.9  # of the success rate, for "smallest"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was measured.

    Attributes:
      name: short, as the config has it.
      says: theory's words for it.
      measured: what was measured, of which seeds.
      estimate: what came out; its value is None where the selection holds nothing to measure.
      expected: what theory says of the value, "" if nothing.
      agrees: "yes" if the whole interval is as expected, "no" if none of it is, else "open"; "—" if
        nothing is expected, and `ABSENT` if the run has no grid point that it is of.
    """

    name: str
    says: str
    measured: str
    estimate: Estimate
    expected: str
    agrees: str

    @property
    def found(self) -> str:
        """The value as text."""
        return words.number(self.estimate.value)

    @property
    def interval(self) -> str:
        """The interval as text, with what has to be said about it."""
        return words.interval(self.estimate.low, self.estimate.high)

    @property
    def note(self) -> str:
        """The interval's note and the test's p-value, "" if there is neither."""
        p = self.estimate.p_value
        told = "" if p is None else f"p = {words.number(p)}" if p >= 1e-4 else "p < 0.0001"
        return ", ".join(text for text in (self.estimate.note, told) if text)


def evaluate(record: Record) -> list[Finding]:
    """The findings that the config asks for, one for each combination of its `by`."""
    found = []
    for index, spec in enumerate(record.summary.get("findings") or ()):
        try:
            for by, estimate in _measured(record, spec):
                label = ", ".join(words.setting(key, value) for key, value in by.items())
                made = _finding(spec, estimate, label)
                if not all(on_grid(record, spec.get(key)) for key in ("where", "against")):
                    made = dataclasses.replace(made, agrees=ABSENT)
                found.append(made)
        except InputError as error:
            name = brief(spec.get("name") or index + 1, 60)
            raise InputError(f"finding {name}: {error}") from None
    return found


def _measured(record: Record, spec: Spec) -> list[tuple[dict[str, Any], Estimate]]:
    """The estimate for each `by`."""
    measure, level = spec.get("measure") or "rate", spec.get("level") or _LEVEL
    check_number(spec.get("y") or "success")
    check_number(spec.get("against_y") or "success")
    if measure in _PAIRED:
        return [({}, _paired(record, spec, measure))]
    if measure == "over coverage":
        return [({}, _over_coverage(record, spec))]
    if measure == "slope" and spec.get("x") == "iteration":
        low, high = spec.get("window") or (0, math.inf)
        found = [
            (series.by, estimates.slope_in_time(series.time, series.y, (low, high)))
            for series in curves(record, spec)
        ]
        return found or [({}, NOTHING)]
    ways: dict[str, Callable[[Line], Estimate]] = {
        "rate": lambda line: estimates.rate(_flags(line.y)),
        "median": lambda line: estimates.median(line.y.astype(np.float64)),
        "slope": lambda line: estimates.slope(
            line.x, line.y.astype(np.float64), line.seeds, _law(spec)
        ),
        "rms slope": lambda line: estimates.rms_slope(
            line.x, line.y.astype(np.float64), line.seeds, _law(spec)
        ),
        "smallest": lambda line: estimates.smallest(line.x, _flags(line.y), level),
    }
    if measure not in ways:
        known = ", ".join([*ways, *_PAIRED, "over coverage"])
        raise InputError(f"measure = {brief(repr(measure), 60)}: is unknown; known are {known}")
    if measure in _OVER_X and not spec.get("x"):
        raise InputError(f'measure = "{measure}" needs x, a setting')
    plain = spec if measure in _OVER_X else {**spec, "x": None}
    return [(line.by, ways[measure](line)) for line in lines(record, plain)] or [({}, NOTHING)]


def _law(spec: Spec) -> str:
    law = spec.get("law") or "power"
    if law not in LAWS:
        raise InputError(f"law = {brief(repr(law), 60)}: is unknown; known are {', '.join(LAWS)}")
    return law


def _flags(y: np.ndarray) -> np.ndarray:
    if y.dtype != bool:
        raise InputError("a rate needs a y that is true or false, such as success")
    return y


_OVER_X = ("slope", "rms slope", "smallest")
_PAIRED = {"difference": estimates.difference, "ratio": estimates.ratio}


def _paired(record: Record, spec: Spec, measure: str) -> Estimate:
    if not (spec.get("against") or spec.get("against_y")):
        raise InputError(
            f'measure = "{measure}" needs against, a selection like where, or against_y, a column'
        )
    a, b = pairs(record, spec)
    if not len(a):
        return NOTHING
    if measure == "difference":
        return _PAIRED[measure](_flags(a), _flags(b))
    return _PAIRED[measure](a.astype(np.float64), b.astype(np.float64))


def coverage_at(shape: dict[str, Any]) -> float | None:
    """Probability that a grid point's start, n draws from the truth, has hit every cluster."""
    n, m = shape.get("n"), shape.get("m")
    weights = shape.get("truth_weights") or ([1 / m] * m if m else None)
    return None if not weights or not n else estimates.coverage(tuple(weights), n)


def _over_coverage(record: Record, spec: Spec) -> Estimate:
    """Success rate less the probability of coverage, averaged over the seeds.

    The interval is that of the rate: Wilson's at each grid point, their distances added up as those
    of independent errors are (Zou and Donner 2008).
    """
    value = below = above = 0.0
    points = []
    for part in select(record, spec.get("where")):
        expected = coverage_at(part.facts)
        if expected is not None and "recovered" in part.columns:
            points.append((values_of(part, "success"), expected))
    count = sum(len(hits) for hits, _ in points)
    if not count:
        return NOTHING
    for hits, expected in points:
        share, size = len(hits) / count, hits.mean()
        low, high = wilson(int(hits.sum()), len(hits))
        value += share * (size - expected)
        below += (share * (size - low)) ** 2
        above += (share * (high - size)) ** 2
    value = float(value)
    return Estimate(value, value - math.sqrt(below), value + math.sqrt(above), count)


def _finding(spec: Spec, estimate: Estimate, label: str) -> Finding:
    least, most = spec.get("least"), spec.get("most")
    name = spec.get("name") or spec.get("measure") or "rate"
    return Finding(
        f"{name} ({label})" if label else name, spec.get("says") or "", _told(spec, label),
        estimate, _expected(least, most), _agrees(estimate, least, most),
    )  # fmt: skip


def _told(spec: Spec, label: str) -> str:
    """What is measured, in words."""
    measure, x = spec.get("measure") or "rate", words.short(spec.get("x") or "")
    name = spec.get("y") or ("excess_loss" if x == "iteration" else "success")
    y, other = words.brief_measure(name), spec.get("against_y")
    to = f" to {words.brief_measure(other)}" if other else ""
    if measure == "slope" and x == "iteration":
        window = spec.get("window")
        between = f", iterations {words.interval(*window)}" if window else ""
        told = f"slope of log {y} over log iteration{between}"
    else:
        law = LAWS.get(spec.get("law") or "power", ("", ""))[1].format(x=x)
        told = {
            "rate": f"rate of {y}",
            "median": words.median(name),
            "slope": f"slope of log {y} over {law}",
            "rms slope": f"slope of the log root mean square of {y} over {law}",
            "smallest": f"smallest {x} with rate of {y} at least {spec.get('level') or _LEVEL:g}",
            "over coverage": "rate of success less the probability that n draws from the truth "
            "reach all clusters",
        }.get(measure, f"{measure} of {y}{to}")
    kept = [text for text in (words.selection(spec.get("where")), label) if text]
    against = spec.get("against")
    versus = f" against {words.selection(against)}" if against else ""
    return told + (": " if kept or versus else "") + ", ".join(kept) + versus


def _expected(least: float | None, most: float | None) -> str:
    if least is None:
        return "" if most is None else f"at most {words.number(most)}"
    if most is None:
        return f"at least {words.number(least)}"
    if least == most:
        return f"exactly {words.number(least)}"
    return f"between {words.number(least)} and {words.number(most)}"


def _agrees(estimate: Estimate, least: float | None, most: float | None) -> str:
    if least is None and most is None:
        return "—"
    if estimate.low is None or estimate.high is None:
        return "open"
    lower, upper = (-math.inf if least is None else least), (math.inf if most is None else most)
    if lower <= estimate.low and estimate.high <= upper:
        return "yes"
    return "no" if estimate.high < lower or estimate.low > upper else "open"
