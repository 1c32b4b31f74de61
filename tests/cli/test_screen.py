"""The screen of `gemjax fit`: it fits, says what the numbers say, and escapes what a user wrote."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from gemjax.cli import scaling
from gemjax.cli.files.boundary import InputError
from gemjax.cli.files.whole import SUMMARIES, wrong
from gemjax.cli.report import screen

FAMILIES = ("EII", "VII", "EEI", "VVI", "EEE", "VVV")


def summary_of(names, m, **more):
    """The summary of m clusters, as finished."""
    d = len(names)
    centres = np.arange(m * d).reshape(m, d) * 1234.5678
    families = [
        {"family": name, "num_components": m, "best_criterion": 100.0 + 7 * i, "levels": []}
        for i, name in enumerate(FAMILIES)
    ]
    clusters = [
        {"cluster": c, "num_rows": 100, "share": 1 / m, "num_components": 1,
         "centre": centre.tolist(), "standard_deviation": [1.0] * d}
        for c, centre in enumerate(centres)
    ]  # fmt: skip
    return {
        "data": "folder/table.csv", "columns": names, "reading": ["as it is"], "num_rows": 100 * m,
        "num_rows_used": 100 * m, "is_weighted": False, "is_sampled": False,
        "scaling": {"is_scaled": True, "ratio": 1e6}, "family": "EII", "status": "OK",
        "components_asked_for": None, "doubtful_below": 0.9, "agree": True, "criterion": 100.0,
        "clusters": clusters, "families": families, "num_clusters": m, "num_components": m,
        "certificate": {"birth_optimal": False, "birth_at": [1234.5678] * d}, "num_doubtful": 7,
        "num_born": 0, "num_by_height": m, "device": "cpu: cpu", "wall_seconds": 1.0, **more,
    }  # fmt: skip


def said(summary):
    assert wrong(json.loads(json.dumps(summary)), SUMMARIES["clusters"]) == ""
    lines = screen.lines(summary, Path("runs/table"))
    assert max(map(cell_len, lines)) <= 80
    assert len(lines) < 60
    assert all(line.isprintable() for line in lines)
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize(
    "names",
    [
        ["x"],
        ["length [cm]", "[/red]"],
        [f"a rather long name of column {i}" for i in range(16)],
        ["高さ" * 20, "a\nb", "cost $_$"],
    ],
)
def test_it_fits_on_a_screen_whatever_the_columns_are_called(names):
    for m in (1, 3, 40):
        text = said(summary_of(names, m))
        assert f"{m} CLUSTER" in text
        assert ("[/red]" in text) == ("[/red]" in names)
    if len(names) > 3:
        assert "in the 3 of 16 columns that differ most" in text
        assert "and 30 more with 3,000 rows" in text


def test_columns_that_tell_clusters_apart_are_those_shown():
    summary = summary_of([f"c{i}" for i in range(8)], 2)
    for one in summary["clusters"]:
        one["centre"] = [0.0] * 8
    for column in (1, 4, 6):
        summary["clusters"][1]["centre"][column] = 5.0
    lines = screen.lines(summary, Path("runs"))
    (head,) = (line for line in lines if line.startswith("  cluster "))
    assert head.split() == ["cluster", "rows", "share", "c1", "c4", "c6"]


@pytest.mark.parametrize(
    ("centres", "shown"),
    [
        ([7.99, -0.001], ["7.99", "0.00"]),
        ([7.99e-12, -1.3e-13], ["7.99e-12", "-1.30e-13"]),
        ([7.99e-305, 0.0], ["7.99e-305", "0.00e+00"]),
        ([7.99e15, -3e9], ["7.99e+15", "-3.00e+09"]),
        ([1e9 + 3, 1e9], ["1000000003.00", "1000000000.00"]),
        ([1 + 2e-8, 1], ["1.00000002e+00", "1.00000000e+00"]),
        ([0.0, 0.0], ["0.00", "0.00"]),
    ],
)
def test_numbers_have_the_digits_that_tell_clusters_apart(centres, shown):
    summary = summary_of(["x"], 2)
    for one, centre in zip(summary["clusters"], centres, strict=True):
        one["centre"] = [centre]
    lines = screen.lines(summary, Path("runs"))
    head = next(i for i, line in enumerate(lines) if line.startswith("  cluster "))
    assert [line.split()[-1] for line in lines[head + 1 : head + 3]] == shown


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "2 as well."),
        ({"num_by_height": 5, "agree": False}, "There may be more groups"),
        ({"num_by_height": 1, "agree": False}, "Look at the picture"),
        ({"num_components": 4, "num_by_height": 4}, "some overlap without a gap"),
        ({"num_components": 4, "agree": False}, "2, the number of clusters, as well"),
        ({"num_components": 4, "agree": False}, "2 wide components beneath several of them"),
        ({"status": "FLOORED"}, "WARNING"),
        ({"num_born": 1}, "1 component too rare for the sample"),
        ({"num_rows": 210}, "200 of 210 rows"),
        ({"is_weighted": True}, "weighted"),
        ({}, "7 rows between clusters"),
        ({}, "all of the 5 others"),
        ({}, "is worse (by 7.0"),
        ({}, "round, all of one size once the columns are scaled"),
    ],
)
def test_what_is_said_of_how_sure_it_is(more, words):
    summary = summary_of(["x", "y"], 2) | more
    assert words in said(summary)


def test_scales_are_robust_and_of_columns_of_many_kinds_alone():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1000, 2)) * [2.0, 3.0] + [1e8, 0]
    alike = scaling.of_points(points, None)
    assert not alike.is_scaled
    assert alike.scale[0] == alike.scale[1] == pytest.approx(6**0.5, rel=0.1)
    np.testing.assert_allclose(alike.to_data(alike.to_model(points)), points, rtol=1e-12)
    apart = points * [1.0, 100.0]
    apart[:5] = 1e12  # far points change no quartile
    of_many = scaling.of_points(apart, None)
    assert of_many.is_scaled
    np.testing.assert_allclose(of_many.scale, [2, 300], rtol=0.1)
    once = np.ones(1000)
    np.testing.assert_allclose(scaling.of_points(apart, once).scale, of_many.scale, rtol=0.02)


def test_a_column_that_is_mostly_one_value_is_scaled_by_its_deviation():
    column = np.zeros(100)
    column[:10] = 5.0
    found = scaling.of_points(np.column_stack([column, np.arange(100.0)]), None)
    assert found.scale[0] == found.spreads[0] == pytest.approx(column.std())
    with pytest.raises(InputError, match="column 2"):
        scaling.of_points(np.column_stack([column, np.ones(100)]), None)
    with pytest.raises(InputError, match="single row"):
        scaling.of_points(np.ones((1, 2)), None)
