"""What may spoil clusters is told: values far from all others, and clusters without width."""

from pathlib import Path

import jax
import numpy as np
import pytest
from rich.cells import cell_len

import gemjax as gj
from gemjax.cli import doubts, scaling
from gemjax.cli.files.dataset import Table
from gemjax.cli.report import screen
from tests.cli.test_screen import summary_of

RNG = np.random.default_rng(0)
LABEL = np.repeat([0, 1], 100)
CLUSTERS = 8.0 * LABEL[:, None] + RNG.normal(size=(200, 3))


def table_of(points):
    names = ["a", "b", "c"][: points.shape[1]]
    rows = np.arange(len(points))
    return Table(points, None, names, rows, rows + 2, len(points), [], "line")


def far(points):
    return doubts.odd_values(table_of(points), scaling.of_points(points, None))


def test_a_slip_of_the_pen_and_a_code_are_far_from_all_others():
    assert far(CLUSTERS) == []
    points = CLUSTERS.copy()
    points[7, 0] = 1e6
    points[[20, 30, 40], 2] = -999
    first, second = far(points)
    assert (first["column"], first["value"], first["num_rows"]) == ("a", 1e6, 1)
    assert first["first"] == "line 9"
    assert (second["column"], second["value"], second["num_rows"]) == ("c", -999, 3)
    assert second["first"] == "line 22"
    gap = (CLUSTERS[:, 2].min() + 999) / scaling.of_points(points, None).spreads[2]
    assert second["spreads"] == pytest.approx(gap, rel=0.01)


def test_a_value_that_many_rows_have_is_none_of_these():
    points = CLUSTERS.copy()
    points[:40, 2] = -500
    assert far(points) == []


@pytest.mark.parametrize(
    ("values", "code", "is_told"),
    [
        (RNG.normal(20, 2, 200), -1.0, True),
        (RNG.normal(60_000, 20_000, 200).clip(3_000), -999.0, True),
        (RNG.normal(40, 8, 200).round().clip(18, 69), 99.0, True),
        (RNG.integers(18, 99, 200), 99.0, False),  # as old as that
        (RNG.normal(0, 2, 200), -1.0, False),
        (RNG.normal(20, 2, 200), 9.0, False),  # may be a count
    ],
)
def test_codes_for_missing_values(values, code, is_told):
    points = np.c_[CLUSTERS[:, 0], np.where(np.arange(200) % 8 == 3, code, values)]
    assert [(one["column"], one["value"]) for one in far(points)] == [("b", code)] * is_told


def test_several_of_them_at_one_end():
    points = CLUSTERS.copy()
    points[[1, 2], 1] = [5e6, 5.4e7]
    points[4:10, 2], points[10:20, 2] = -9999, -999
    found = [(one["column"], one["value"]) for one in far(points)]
    assert found == [("b", 5.4e7), ("b", 5e6), ("c", -9999), ("c", -999)]


def test_one_warning_where_a_code_is_the_cause():
    one = {"column": "t", "value": -1.0, "num_rows": 41, "first": "line 2", "spreads": 9.0}
    narrow = {"columns": ["t"], "num_rows": 41, "num_different_rows": 41, "num_different_values": 1}
    more = {"status": "FLOORED", "without_width": narrow, "odd_values": [one]}
    lines = " ".join(screen.lines(summary_of(["u", "t"], 2, **more), Path("out")))
    assert lines.count("WARNING") == 1
    assert "--components" not in lines
    assert "--drop-missing" in lines


def test_what_was_given_is_not_advised():
    narrow = {"columns": ["t"], "num_rows": 41, "num_different_rows": 41, "num_different_values": 1}
    more = {"status": "FLOORED", "without_width": narrow, "components_asked_for": 2}
    lines = " ".join(screen.lines(summary_of(["u", "t"], 2, **more), Path("out")))
    assert "leave it out with --columns." in lines


def narrow(points, family):
    found = gj.select(gj.empirical(points), jax.random.key(0), families=(family,), num_components=2)
    label = np.asarray(found.predict(points))
    units = scaling.of_points(points, None)
    return found, doubts.without_width(table_of(points), units, found, label)


@pytest.mark.parametrize(
    ("family", "spoil", "columns", "distinct", "values"),
    [
        ("VVI", lambda x: x * [1, 1, 0], {"c"}, 100, 1),
        ("VVV", lambda x: x @ [[1, 0, 1], [0, 1, 1], [0, 0, 0]], set("abc"), 100, 100),
        ("VVV", lambda x: 0 * x, None, 1, 1),
    ],
)
def test_where_a_cluster_has_no_width(family, spoil, columns, distinct, values):
    points = CLUSTERS.copy()
    points[:100] = spoil(points[:100])
    found, told = narrow(points, family)
    assert found.status == gj.Status.FLOORED
    assert columns is None or set(told["columns"]) == columns
    assert told["num_rows"] == 100
    assert told["num_different_rows"] == distinct
    assert told["num_different_values"] == values


@pytest.mark.parametrize(
    ("found", "family", "names", "words", "never"),
    [
        ((["c"], 17, 17, 1), "VVI", 3, "no width along c, where it has 1 different value. Do not "
         "trust the number of clusters; leave it out with --columns, or give", "diag"),
        ((["b", "a"], 30, 30, 30), "VVV", 3, "a cluster of 30 rows columns follow from each other: "
         "b, a. Do not trust the number of clusters; leave one of them out with --columns, or take "
         "a form along the columns with --family diag, or give", "value"),
        ((["b", "a"], 30, 30, 30), "EEI", 3, "follow from each other", "diag"),
        ((["a"], 40, 3, 3), "EII", 3, "no width: only 3 of its rows are different. Do not trust "
         "the number of clusters; drop rows that repeat others, or give", "--columns"),
        ((["a"], 40, 40, 40), "VII", 1, "40 different values. Do not trust the number of "
         "clusters; give their number with --components.", "--columns"),
    ],
)  # fmt: skip
def test_the_warning_names_columns_and_only_what_helps(found, family, names, words, never):
    keys = ("columns", "num_rows", "num_different_rows", "num_different_values")
    more = {"status": "FLOORED", "family": family,
            "without_width": dict(zip(keys, found, strict=True))}  # fmt: skip
    lines = screen.lines(summary_of(["a", "b", "c"][:names], 2, **more), Path("out"))
    assert max(map(cell_len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    warning = text[text.index("WARNING") : text.index("How sure")]
    assert words in warning
    assert never not in warning


def test_far_values_are_named_with_their_places():
    one = {"column": "u", "value": 1e6, "num_rows": 1, "first": "line 2", "spreads": 9e5}
    other = {"column": "v", "value": -999.0, "num_rows": 17, "first": "line 27", "spreads": 99.0}
    lines = screen.lines(summary_of(["u", "v"], 2, odd_values=[one, other]), Path("out"))
    text = " ".join(" ".join(lines).split())
    assert "u = 1e+06 (line 2), v = -999 (17 rows, first line 27)." in text
