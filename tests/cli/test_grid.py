"""The grid of a config: lists that span a product, lists that go together, and refusals."""

from pathlib import Path

import pytest
import tomli_w
from studies import refused

from gemjax.cli.study import config


def build(**tables):
    return config.build({"truth": {"kind": "ring"}, **tables}, Path("study.toml"))


def values(loaded, *keys):
    return [tuple(point.value(key) for key in keys) for point in loaded.points]


def test_lists_in_target_span_the_grid():
    loaded = build(target={"num_samples": [100, 200], "seed": [0, 3], "kind": "samples"})
    assert values(loaded, "target.num_samples", "target.seed") == [
        (100, 0), (100, 3), (200, 0), (200, 3),
    ]  # fmt: skip
    assert loaded.varying[2] == {"target.num_samples": 200, "target.seed": 0}


def test_kinds_of_target_in_one_grid():
    loaded = build(target={"kind": ["samples", "population"], "num_samples": 50})
    assert values(loaded, "target.kind") == [("samples",), ("population",)]


def test_seeds_of_the_sweep_span_the_grid():
    loaded = build(sweep={"seed": [4, 9], "num_seeds": 2})
    assert values(loaded, "sweep.seed", "sweep.num_seeds") == [(4, 2), (9, 2)]
    assert [point["sweep.seed"] for point in loaded.varying] == [4, 9]


def test_the_order_of_points_is_the_tables_own():
    """Settings are the same in whatever order they are written: so must the points be, whose
    numbers are the names of pieces."""
    written = {"num_iterations": [10, 20], "step_size": [0.5, 1.0]}
    turned = dict(reversed(written.items()))
    assert build(solver=written).computed == build(solver=turned).computed
    assert build(solver=written).points == build(solver=turned).points
    assert build(solver=written).varying == build(solver=turned).varying


def test_a_pair_goes_together():
    loaded = build(
        truth={"kind": "ring", "num_components": [2, 3], "separation": [4.0, 6.0]},
        model={"num_components": [5, 9]},
        grid={"zip": [["model.num_components", "truth.num_components"]]},
    )
    keys = ("truth.num_components", "truth.separation", "model.num_components")
    # The pair stands where its first key in the order of the tables does, whatever zip says first.
    assert values(loaded, *keys) == [(2, 4, 5), (2, 6, 5), (3, 4, 9), (3, 6, 9)]
    assert tuple(loaded.varying[0]) == keys


def test_three_keys_go_together_and_two_groups_span():
    loaded = build(
        truth={"kind": "ring", "num_components": [2, 3], "separation": [4.0, 6.0]},
        target={"num_samples": [10, 20], "seed": [0, 1]},
        model={"num_components": [5, 9]},
        grid={
            "zip": [
                ["truth.num_components", "target.num_samples", "model.num_components"],
                ["truth.separation", "target.seed"],
            ]
        },
    )
    keys = ("truth.num_components", "target.num_samples", "model.num_components",
            "truth.separation", "target.seed")  # fmt: skip
    assert values(loaded, *keys) == [
        (2, 10, 5, 4, 0), (2, 10, 5, 6, 1), (3, 20, 9, 4, 0), (3, 20, 9, 6, 1),
    ]  # fmt: skip


def test_lists_that_are_values_go_together():
    loaded = build(
        truth={"kind": "ring", "num_components": [2, 3], "weights": [[1, 1], [1, 1, 2]]},
        grid={"zip": [["truth.num_components", "truth.weights"]]},
    )
    assert values(loaded, "truth.weights") == [((1, 1),), ((1, 1, 2),)]


PAIR = [["truth.separation", "model.num_components"]]
LISTS = {"truth": {"separation": [4.0, 5.0]}, "model": {"num_components": [3, 5]}}
BAD_PAIRS = [
    (
        LISTS | {"model": {"num_components": [3, 5, 7]}, "grid": {"zip": PAIR}},
        ("one length", "truth.separation has 2", "model.num_components has 3"),
    ),
    (
        LISTS | {"model": {"num_components": 3}, "grid": {"zip": PAIR}},
        ("truth.separation with model.num_components", "no list"),
    ),
    (
        LISTS | {"target": {"seed": [0, 1]}, "grid": {"zip": [*PAIR, ["target.seed", PAIR[0][0]]]}},
        ("each key once", "truth.separation", "twice"),
    ),
    (LISTS | {"grid": {"zip": [["truth.separation", "model.num_component"]]}},
     ("unknown key model.num_component", "did you mean 'model.num_components'")),
    (
        LISTS | {"grid": {"zip": [["truth.separation", "study.title"]]}},
        ("unknown key study.title",),
    ),
    (LISTS | {"grid": {"zip": "truth.separation"}}, ("grid.zip must be a list",)),
    (LISTS | {"grid": {"zip": ["truth.separation"]}}, ("grid.zip must be a list",)),
    (LISTS | {"grid": {"zip": [[1, 2]]}}, ("grid.zip must be a string",)),
    (LISTS | {"grid": {"product": []}}, ("unknown key grid.product; known are zip",)),
    (LISTS | {"grid": []}, ("grid must be a table",)),
]  # fmt: skip
BAD_LISTS = [
    ({"target": {"num_samples": []}}, ("target.num_samples is an empty list",)),
    ({"target": {"num_samples": [10, 0]}}, ("target.num_samples must be at least 1, got 0",)),
    ({"target": {"num_samples": [10, [20]]}}, ("target.num_samples must be an integer",)),
    ({"sweep": {"seed": [0, -1]}}, ("sweep.seed must be at least 0, got -1",)),
    ({"report": {"reach": [1e-3, 1e-4]}}, ("report.reach must be a number", "lists span a grid")),
    (
        {"target": {"kind": ["file", "samples"], "path": "x.csv"}},
        ('target.kind = "file" does not go with samples',),
    ),
    (
        {"target": {"kind": "file", "path": ["x.csv", "y.csv"]}},
        ("target.path must be the same at all grid points",),
    ),
    (
        {"model": {"num_components": [*range(1, 400)]}, "target": {"seed": [*range(400)]}},
        ("target.seed, model.num_components span 159,600 grid points, more than 100,000",),
    ),
]
BAD_SHOWN = [
    ({"figure": [{"kind": "sucess"}]}, ("figure.kind must be one of", "success", "heat", "map")),
    ({"figure": [{"x": "n"}]}, ("figure.kind is needed in every [[figure]]",)),
    ({"figure": {"kind": "success"}}, ("figure must be tables [[figure]]",)),
    ({"figure": [{"kind": "scaling", "law": "cubic"}]}, ("figure.law must be one of", "gaussian")),
    (
        {"finding": [{"measure": "mean"}]},
        ("finding.measure must be one of", "rate", "median", "over coverage"),
    ),
    ({"finding": [{"least": 0.5}]}, ("finding.measure is needed in every [[finding]]",)),
    ({"finding": [{"measure": "slope", "law": "log"}]}, ("finding.law must be one of", "power")),
    ({"finding": [{"measure": "rate", "at_least": 1}]}, ("unknown key finding.at_least",)),
    (
        {"finding": [{"measure": "rate", "where": {"truth": {"dim": {"x": 1}}}}]},
        ("where: truth.dim must be a value",),
    ),
    ({"study": {"titel": "x"}}, ("unknown key study.titel; did you mean 'title'",)),
    ({"study": "x"}, ("study must be a table [study]",)),
]


@pytest.mark.parametrize(("tables", "words"), [*BAD_PAIRS, *BAD_LISTS, *BAD_SHOWN])
def test_bad_grids_are_one_line(tables, words, tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text(tomli_w.dumps({"truth": {}, **tables}))
    refused(capsys, ["run", path, "--out", tmp_path / "out"], "study.toml", *words)
    assert not (tmp_path / "out").exists()
