"""Configs: the grid, the defaults, and one clear line for everything that is wrong."""

import re
from pathlib import Path

import pytest
import tomli_w

from gemjax.cli.files.read import InputError
from gemjax.cli.study import config, settings, values

ROOT = Path(__file__).resolve().parents[2]


def build(**tables):
    return config.build({"truth": {}, **tables}, Path("study.toml"))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda p: p.stem)
def test_shipped_configs_load_and_resolve_to_themselves(path, tmp_path):
    loaded = config.load(path)
    again = tmp_path / "config.toml"
    again.write_text(tomli_w.dumps(loaded.resolved))
    assert config.load(again).points == loaded.points


def test_grid_is_the_product_in_order():
    loaded = build(truth={"separation": [4, 6.0], "dim": 3}, model={"num_components": [3, 7, 20]})
    assert [(p.truth.separation, p.model.num_components) for p in loaded.points] == [
        (4, 3), (4, 7), (4, 20), (6, 3), (6, 7), (6, 20),
    ]  # fmt: skip
    assert loaded.varying[1] == {"truth.separation": 4.0, "model.num_components": 7}
    assert loaded.resolved["truth"]["separation"] == [4.0, 6.0]


def test_lists_that_are_values():
    loaded = build(truth={"weights": [0.2, 0.3, 0.5]})
    assert loaded.points[0].truth.weights == (0.2, 0.3, 0.5)
    loaded = build(truth={"weights": [[0.2, 0.3, 0.5], [1, 1, 1]]})
    assert [p.truth.weights for p in loaded.points] == [(0.2, 0.3, 0.5), (1, 1, 1)]
    loaded = build(truth={"kind": "explicit", "means": [[-3.0], [3.0], [12.0]]})
    assert len(loaded.points) == 1


def test_overrides(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[truth]\n[model]\nnum_components = 7\n")
    loaded = config.load(
        path, ("model.num_components=[2,3]", "model.init=plus_plus", "sweep.num_seeds = 5")
    )
    assert [p.model.num_components for p in loaded.points] == [2, 3]
    assert loaded.points[0].model.init == "plus_plus"
    assert loaded.points[0].sweep.num_seeds == 5
    with pytest.raises(InputError, match=r"--set solver: must have the form table.key=value"):
        config.load(path, ("solver",))


BAD = [
    ({"solvr": {}}, r"unknown table \[solvr\]; did you mean 'solver'"),
    ({"solver": {"step": 1}}, "unknown key solver.step; did you mean 'step_size'"),
    ({"solver": 3}, r"solver must be a table \[solver\], got 3"),
    ({"solver": {"step_size": 0}}, "solver.step_size must be greater than 0, got 0.0"),
    ({"solver": {"step_size": [0.5, -1]}}, "solver.step_size must be greater than 0, got -1.0"),
    ({"solver": {"step_size": float("inf")}}, "solver.step_size must be a finite number"),
    ({"solver": {"weight_rule": "newtn"}}, "solver.weight_rule must be one of mirror"),
    ({"solver": {"mean_rule": "polyak"}}, 'solver.mean_rule = "polyak" needs .* got .* "samples"'),
    ({"solver": {"monotone": 1}}, "solver.monotone must be true or false, got 1"),
    ({"solver": {"escape": True}, "model": {"num_components": 1}}, "at least 2, got 1"),
    ({"solver": {"escape": True, "num_iterations": 49}}, "escape.every = 25 must be at most half"),
    ({"escape": {"every": 0}}, "escape.every must be at least 1, got 0"),
    ({"solver": {"num_iterations": 2.5}}, "solver.num_iterations must be an integer, got 2.5"),
    ({"solver": {"num_iterations": 3, "record_every": 4}}, "record_every = 4 is more than"),
    ({"model": {"num_components": 0}}, "model.num_components must be at least 1, got 0"),
    ({"model": {"num_components": True}}, "model.num_components must be an integer, got True"),
    ({"model": {"num_components": []}}, "model.num_components is an empty list"),
    ({"model": {"init": "spectral"}}, "needs model.rank"),
    ({"model": {"init": "tensor"}}, "needs model.rank"),
    ({"sweep": {"num_seeds": [1, 2]}}, r"must be an integer, got \[1, 2\] \(lists span a grid in"),
    ({"target": {"kind": "file"}}, "target.path is needed"),
    ({"target": {"on_disk": True}}, 'target.on_disk needs target.kind = "file"'),
    (
        {
            "target": {"kind": "file", "path": "x.npy", "on_disk": True},
            "model": {"init": "plus_plus"},
        },
        'target.on_disk goes with neither .* got model.init = "plus_plus"',
    ),
    ({"truth": {"num_components": 4, "dim": 2}}, "too many for a simplex in truth.dim = 2"),
    ({"truth": {"kind": "ring", "dim": 1}}, "truth.dim must be at least 2 for a ring"),
    ({"truth": {"kind": "explicit"}}, "truth.means is needed"),
    ({"truth": {"kind": "explicit", "means": [[1.0], [1.0, 2.0]]}}, "all have the same length"),
    ({"truth": {"weights": [0.5, 0.5]}}, "truth.weights must have 3 entries"),
    ({"truth": {"weights": [0, 0, 0]}}, "non-negative and not all zero"),
]


@pytest.mark.parametrize(("tables", "message"), BAD)
def test_bad_configs_name_file_key_and_value(tables, message):
    with pytest.raises(InputError, match=message) as error:
        build(**tables)
    assert str(error.value).startswith("study.toml: ")


def test_the_documentation_names_every_key():
    text = (ROOT / "docs" / "configs.md").read_text(encoding="utf-8")
    for table, fields in values.FIELDS.items():
        (row,) = (
            (line for line in text.split("\n") if re.match(rf"\| `\[+{table}\]+`", line))
            if (table != "grid")
            else (text,)
        )
        assert all(f"`{key}`" in row or f"`{key} = " in row for key in fields), table
    for name in (*settings.FIGURES, *settings.MEASURES, *settings.LAWS):
        assert name in text


def test_a_truth_is_needed_for_draws():
    with pytest.raises(InputError, match=r'\[truth\] is needed for target.kind = "samples"'):
        config.build({}, Path("study.toml"))


def test_bad_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        config.load(tmp_path / "nothing.toml")
    (tmp_path / "bad.toml").write_text("[truth\n")
    with pytest.raises(InputError, match="not valid TOML"):
        config.load(tmp_path / "bad.toml")
