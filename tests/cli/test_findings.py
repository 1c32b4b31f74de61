"""Findings: what is measured of which seeds, and whether it is as theory says."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from gemjax.cli.files.boundary import InputError
from gemjax.cli.record import Record
from gemjax.cli.report import estimates, words
from gemjax.cli.report.findings import evaluate

S, T = 40, 50
HITS = {3: 10, 7: 34, 20: 40}  # of 40, per number of components


def evaluated(*findings):
    """Of a study with three clusters and a loss of n⁻¹ T⁻² above the truth's."""
    points, grid = [], []
    for n, hits in HITS.items():
        shape = {"n": n, "m": 3, "d": 2, "truth_weights": [0.5, 0.25, 0.25], "separation": 4.0}
        settings = {"model.num_components": n}
        point = {"settings": settings, "shape": shape, "record_every": 2, "truth_loss": 1.0}
        points.append(json.loads(json.dumps(point)))
        time = 2 * (np.arange(T) + 1.0)
        excess = np.linspace(1, 2, S)[:, None] / n * time**-2
        grid.append({
            "status": np.zeros(S, int), "recovered": np.arange(S) < hits,
            "iterations": np.full(S, 100 // n), "zero": np.zeros(S), "history_loss": 1 + excess,
            "excess_loss": excess[:, -1],
        })  # fmt: skip
    record = Record(Path("nowhere"), "run", {"points": points, "findings": [*findings]})
    record.__dict__["grid"] = grid
    return evaluate(record)


def test_rate():
    spec = {"name": "exact", "says": "mostly fails", "measure": "rate", "y": "success",
            "where": {"n": 3}, "most": 0.5}  # fmt: skip
    (found,) = evaluated(spec)
    low, high = binomtest(10, 40).proportion_ci(0.95, method="wilson")
    assert (found.name, found.says, found.found) == ("exact", "mostly fails", "0.25")
    assert found.estimate.low == pytest.approx(low)
    assert found.interval == f"{low:.3f} to {high:.3f}"
    assert (found.expected, found.agrees) == ("at most 0.5", "yes")
    assert "n = 3" in found.measured


@pytest.mark.parametrize(
    ("least", "most", "agrees", "expected"),
    [
        (0.1, 0.5, "yes", "between 0.1 and 0.5"),
        (0.5, None, "no", "at least 0.5"),
        (None, 0.1, "no", "at most 0.1"),
        (0.25, None, "open", "at least 0.25"),
        (0.2, 0.3, "open", "between 0.2 and 0.3"),
        (0.25, 0.25, "open", "exactly 0.25"),
        (None, None, "—", ""),
    ],
)
def test_agreement_is_that_of_the_whole_interval(least, most, agrees, expected):
    spec = {"measure": "rate", "where": {"n": 3}, "least": least, "most": most}
    (found,) = evaluated(spec)
    assert (found.agrees, found.expected) == (agrees, expected)


def test_each_by_is_a_finding():
    found = evaluated({"name": "success", "measure": "rate", "by": ["n"]})
    assert [f.name for f in found] == [f"success (n = {n})" for n in HITS]
    assert [f.estimate.value for f in found] == [k / S for k in HITS.values()]


def test_slopes():
    law = {"measure": "slope", "y": "excess_loss", "x": "n", "law": "power"}
    time = {"measure": "slope", "x": "iteration", "window": [10, 90], "least": -2.1, "most": -1.9}
    over_n, in_time, none = evaluated(law, {**time, "where": {"n": 7}}, {**time, "window": [0, 3]})
    np.testing.assert_allclose(
        (over_n.estimate.value, over_n.estimate.low, over_n.estimate.high), -1, rtol=1e-6
    )
    assert in_time.estimate.value == pytest.approx(-2)
    assert (in_time.agrees, in_time.estimate.count) == ("yes", S)
    assert (none.found, none.agrees) == ("none", "open")


def test_comparisons():
    more = {"where": {"n": 20}, "against": {"n": 3}}
    share, faster = evaluated(
        {"measure": "difference", "y": "success", "least": 0.5, **more},
        {"measure": "ratio", "y": "iterations", "most": 0.5, **more},
    )
    assert share.estimate.value == pytest.approx(30 / 40)
    assert share.agrees == "yes"
    assert "p < 0.0001" in share.note
    assert "against n = 3" in share.measured
    assert faster.estimate.value == pytest.approx(5 / 33)
    assert faster.agrees == "yes"


def test_smallest():
    spec = {"measure": "smallest", "x": "n", "level": 0.8, "where": {}}
    found, none = evaluated(spec, {**spec, "where": {"n": 3}, "most": 10})
    # 34 of 40 may be less than 0.8, and 10 of 40 surely is.
    estimate = found.estimate
    assert (estimate.value, estimate.low, estimate.high) == (7, 7, 20)
    assert (none.estimate.value, none.found, none.agrees) == (math.inf, "∞", "no")


def test_over_coverage():
    one, every = evaluated(
        {"measure": "over coverage", "where": {"n": 7}}, {"measure": "over coverage"}
    )
    coverage = {n: estimates.coverage((0.5, 0.25, 0.25), n) for n in HITS}
    low, high = binomtest(34, 40).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(
        (one.estimate.value, one.estimate.low, one.estimate.high),
        np.array([34 / 40, low, high]) - coverage[7],
    )
    expected = np.mean([HITS[n] / S - coverage[n] for n in HITS])
    assert every.estimate.value == pytest.approx(expected)
    assert every.estimate.count == 3 * S
    assert every.estimate.high - every.estimate.low < high - low


@pytest.mark.parametrize(
    "spec",
    [
        {"measure": "rate"}, {"measure": "median", "y": "iterations"}, {"measure": "over coverage"},
        {"measure": "slope", "y": "iterations", "x": "n"}, {"measure": "slope", "x": "iteration"},
        {"measure": "smallest", "x": "n"}, {"measure": "difference", "against": {"n": 3}},
        {"measure": "ratio", "y": "iterations", "against": {"n": 3}},
    ],
)  # fmt: skip
def test_nothing_to_measure(spec):
    for bounds in ({"least": 1}, {}):
        (found,) = evaluated({**spec, "where": {"n": 99}, **bounds})
        assert (found.found, found.interval) == ("none", "none")
        assert found.agrees == "not in this size"
    # Here there are grid points, and no seeds.
    for bounds, agrees in (({"least": 1}, "open"), ({}, "—")):
        (found,) = evaluated({**spec, "where": {"n": 7, "iterations": -1}, **bounds})
        assert (found.found, found.agrees) == ("none", agrees)


@pytest.mark.parametrize("measure", ["difference", "ratio"])
def test_nothing_to_compare_with(measure):
    y = "success" if measure == "difference" else "iterations"
    (found,) = evaluated({"measure": measure, "y": y, "against": {"n": 99}, "least": 1})
    assert found.agrees == "not in this size"


@pytest.mark.parametrize("measure", ["slope", "ratio"])
def test_nothing_but_zeros(measure):
    spec = {"y": "zero", "x": "n", "against": {"n": 3}, "where": {"n": [7]}}
    (found,) = evaluated({**spec, "measure": measure, "least": 1})
    assert (found.found, found.agrees) == ("none", "open")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"measure": "mean"}, "measure = 'mean': is unknown; known are rate, median"),
        ({"measure": "slope", "x": "n", "law": "cubic"}, "law = 'cubic'"),
        ({"measure": "difference"}, "needs against"),
        ({"measure": "smallest"}, "needs x"),
        ({"measure": "rate", "y": "iterations"}, "true or false"),
        ({"measure": "rate", "where": {"size": 3}}, "where = 'size'"),
    ],
)
def test_what_is_wrong_is_told_with_the_name(spec, said):
    with pytest.raises(InputError, match=r"^finding broken: ") as error:
        evaluated({"name": "broken", **spec})
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"measure": "median", "y": "zero"}, "median zero"),
        ({"measure": "median", "y": "iterations"}, "median number of iterations"),
        ({"measure": "ratio", "y": "iterations", "against_y": "zero"},
         "ratio of iterations to zero"),
        ({"where": {"recovered": True, "n": [3, 7]}},
         "rate of success: recovered = yes, n = 3 or 7"),
    ],
)  # fmt: skip
def test_what_was_measured_in_words(spec, told):
    (found,) = evaluated(spec)
    assert found.measured == told


def test_columns_in_words():
    assert words.median("num_distinct") == "median number of distinct components"
    assert words.setting("solver.escape", False) == "escape = no"
    assert words.setting("solver.monotone", True) == "monotone = yes"


@pytest.mark.parametrize("measure", ["median", "ratio", "slope", "rate"])
@pytest.mark.parametrize("y", ["outcome", "status"])
def test_names_are_no_numbers(measure, y):
    with pytest.raises(InputError, match=rf'y = "{y}": is a name, not a number; outcome\.NAME'):
        evaluated({"measure": measure, "y": y, "x": "n", "against": {"n": 3}})


def test_no_findings():
    assert evaluated() == []
