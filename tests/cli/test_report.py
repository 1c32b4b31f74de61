"""Rows, summaries and intervals."""

import numpy as np
import pytest
from scipy.stats import binomtest

from gemjax.cli import results
from gemjax.cli.report.tables import run_table


@pytest.mark.parametrize(("hits", "trials"), [(0, 32), (21, 32), (32, 32), (1, 1), (700, 1024)])
def test_wilson_against_scipy(hits, trials):
    expected = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(results.wilson(hits, trials), expected, atol=1e-12)


def test_wilson_published():
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263.
    np.testing.assert_allclose(results.wilson(81, 263), (0.2553, 0.3662), atol=5e-5)


def test_reached():
    history = np.array([[3.0, 1.5, 1.05], [3.0, 2.0, 1.5], [1.0, 1.0, 1.0]])
    assert results.reached(history, 1.0, 0.1, 5).tolist() == [15, 0, 5]


ARRAYS = {
    "status": np.array([0, 1, 0, 0]),
    "loss": np.array([1.5, np.inf, 1.0, 2.0]),
    "excess_loss": np.array([0.5, np.inf, 0.0, 1.0]),
    "duality_gap": np.array([1e-6, np.inf, 2e-6, 3e-6]),
    "recovered": np.array([True, True, True, False]),
    "mean_error": np.array([0.01, 0.02, 0.03, np.inf]),
    "weight_error": np.array([0.0, 0.0, 0.0, 0.3]),
    "stray_mass": np.zeros(4),
    "num_active": np.array([3, 3, 4, 2]),
    "outcome": np.array([0, 7, 0, 1]),
    "most_served": np.array([1, 1, 1, 2]),
    "most_sharing": np.ones(4, int),
    "num_missed": np.array([0, 0, 0, 1]),
    "surplus_mass": np.zeros(4),
    "idle_mass": np.zeros(4),
    "spread": np.array([1.0, 1.0, 1.0, 0.7]),
    "iterations": np.array([7, 0, 9, 0]),
}


def test_seed_rows():
    header, rows = results.seed_rows([{"model.num_components": 7}], [ARRAYS])
    assert all(len(row) == len(header) for row in rows)
    first = dict(zip(header, rows[0], strict=True))
    assert first["model.num_components"] == 7
    assert (first["seed"], first["status"], first["loss"]) == (0, "OK", "1.5")
    assert (first["excess_loss"], first["recovered"], first["iterations"]) == ("0.5", 1, 7)
    assert dict(zip(header, rows[1], strict=True))["status"] == "DIVERGED"
    last = dict(zip(header, rows[3], strict=True))
    assert last["iterations"] == ""
    assert [row[header.index("outcome")] for row in rows] == [
        "recovered", "diverged", "recovered", "one-fits-many",
    ]  # fmt: skip
    assert (last["most_served"], last["num_missed"], last["spread"]) == (2, 1, "0.7")


def test_point_summary_counts_a_diverged_seed_as_a_failure():
    summary = results.point_summary({}, ARRAYS, 1.0, {})
    assert (summary["num_recovered"], summary["num_diverged"]) == (2, 1)
    assert summary["success_rate"] == 0.5
    assert summary["median_loss"] == 1.5
    assert summary["best_loss"] == 1.0
    assert (summary["num_reached"], summary["median_iterations"]) == (2, 8)


def test_outcomes_in_the_summary_and_the_table():
    summary = results.point_summary({}, ARRAYS, 1.0, {})
    assert summary["outcomes"] == {"recovered": 2, "one-fits-many": 1, "diverged": 1}
    failed = results.point_summary({}, ARRAYS | {"outcome": np.array([6, 1, 6, 0])}, 1.0, {})
    good = results.point_summary({}, ARRAYS | {"outcome": np.zeros(4, int)}, 1.0, {})
    header, rows = run_table([failed, good])
    column = header.index("failures")
    assert [row[column] for row in rows] == ["2 collapsed, 1 one-fits-many", ""]
    assert "failures" not in run_table([good])[0]
    del good["outcomes"]  # as an earlier version wrote it
    header, rows = run_table([good])
    assert len(header) == len(rows[0])


def test_summary_of_nothing_but_failures():
    arrays = {
        "status": np.array([1]),
        "loss": np.array([np.inf]),
        "duality_gap": np.array([np.inf]),
    }
    summary = results.point_summary({}, arrays, None, {})
    assert summary["median_loss"] is None
    header, rows = run_table([summary])
    assert len(header) == len(rows[0])
    assert "none" in rows[0]
