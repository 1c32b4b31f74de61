"""Cases of a config, its sizes, and the config that a run leaves behind."""

from pathlib import Path

import pytest
import tomli_w
from studies import refused

from gemjax.cli.files.boundary import InputError
from gemjax.cli.study import config, shipped

ONE, TWO = {"name": "one"}, {"name": "two"}


def build(**tables):
    return config.build({"truth": {"kind": "ring"}, **tables}, Path("study.toml"))


def values(loaded, *keys):
    return [tuple(point.value(key) for key in keys) for point in loaded.points]


def test_cases_are_a_union_of_grids():
    loaded = build(
        solver={"num_iterations": 9, "step_size": [0.5, 1.0]},
        case=[
            ONE | {"model": {"num_components": [3, 5]}},
            TWO | {"solver": {"step_size": 0.25}, "target": {"kind": "population"}},
        ],
    )
    keys = ("case", "model.num_components", "solver.step_size", "target.kind")
    assert values(loaded, *keys) == [
        ("one", 3, 0.5, "samples"), ("one", 3, 1.0, "samples"),
        ("one", 5, 0.5, "samples"), ("one", 5, 1.0, "samples"),
        ("two", 7, 0.25, "population"),
    ]  # fmt: skip
    assert {point.solver.num_iterations for point in loaded.points} == {9}


def test_what_varies_in_any_case_is_told_of_all():
    loaded = build(case=[ONE | {"model": {"num_components": [3, 5]}}, TWO])
    assert [*loaded.varying] == [
        {"case": "one", "model.num_components": 3},
        {"case": "one", "model.num_components": 5},
        {"case": "two", "model.num_components": 7},
    ]


def test_a_single_case_has_its_name():
    assert [*build(case=[ONE]).varying] == [{"case": "one"}]


def test_a_case_pairs_by_itself():
    """The config's own pairs hold in the cases that say nothing of pairs."""
    lists = {"truth": {"separation": [4.0, 6.0]}, "model": {"num_components": [3, 5]}}
    pair = {"grid": {"zip": [["truth.separation", "model.num_components"]]}}
    keys = ("case", "truth.separation", "model.num_components")
    together = [(4, 3), (6, 5)]
    product = [(4, 3), (4, 5), (6, 3), (6, 5)]
    loaded = build(case=[ONE | lists, TWO | lists | pair])
    assert values(loaded, *keys) == [("one", *v) for v in product] + [("two", *v) for v in together]
    loaded = build(**pair, case=[ONE | lists, TWO | lists | {"grid": {"zip": []}}])
    assert values(loaded, *keys) == [("one", *v) for v in together] + [("two", *v) for v in product]


def test_a_case_has_a_sweep_and_a_report():
    loaded = build(
        sweep={"num_seeds": 4, "seed": 1},
        case=[ONE, TWO | {"sweep": {"num_seeds": 2}, "report": {"path": True, "reach": 0.1}}],
    )
    keys = ("sweep.num_seeds", "sweep.seed", "report.path", "report.reach")
    assert values(loaded, *keys) == [(4, 1, False, None), (2, 1, True, 0.1)]


def test_a_truth_in_every_case_alone():
    cases = [ONE | {"truth": {"dim": 2}}, TWO | {"truth": {"dim": 3}}]
    loaded = config.build({"case": cases}, Path("study.toml"))
    assert values(loaded, "truth.dim") == [(2,), (3,)]
    cases = [ONE | {"truth": {}}, TWO | {"target": {"kind": "file", "path": "x.csv"}}]
    with pytest.raises(InputError, match='"file" does not go with samples in one grid'):
        config.build({"case": cases}, Path("study.toml"))


BAD = [
    ({"case": [{"model": {}}]}, ("case.name must be a text of a line, got None",)),
    ({"case": [{"name": ""}]}, ("case.name must be a text of a line, got ''",)),
    ({"case": [{"name": 3}]}, ("case.name must be a text of a line, got 3",)),
    ({"case": [{"name": "a\nb"}]}, ("case.name must be a text of a line",)),
    ({"case": [{"name": "a" * 61}]}, ("case.name must be a text of a line",)),
    ({"case": [ONE, ONE]}, ("case.name must be different in each, got 'one' twice",)),
    ({"case": []}, ("case must be tables [[case]], got []",)),
    ({"case": {"name": "one"}}, ("case must be tables [[case]]",)),
    ({"case": ["one"]}, ("case must be tables [[case]]",)),
    ({"case": [ONE | {"modle": {}}]}, ("case 'one': unknown table modle", "mean 'model'")),
    ({"case": [ONE | {"figure": {}}]}, ("case 'one': unknown table figure",)),
    ({"case": [ONE | {"model": 3}]}, ("case 'one': model must be a table, got 3",)),
    ({"case": [ONE | {"model": {"componets": 3}}]}, ("unknown key model.componets",)),
    ({"case": [ONE | {"model": {"num_components": 0}}]}, ("model.num_components", "at least 1")),
    ({"case": [ONE | {"grid": {"zip": [["truth.sep"]]}}]}, ("grid.zip: unknown key truth.sep",)),
    ({"case": [ONE | {"report": {"path": 1}}]}, ("report.path must be true or false",)),
    (
        {"case": [ONE | {"target": {"kind": "file", "path": "x.csv"}}, TWO]},
        ('target.kind = "file" does not go with samples in one grid',),
    ),
    ({"fast": 3}, ("fast must be a table [fast], got 3",)),
]


@pytest.mark.parametrize(("tables", "words"), BAD)
def test_bad_cases_are_one_line(tables, words, tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text(tomli_w.dumps({"truth": {}} | tables))
    refused(capsys, ["run", path, "--out", tmp_path / "out"], "study.toml", *words)
    assert not (tmp_path / "out").exists()


def loaded_in(tmp_path, size, **tables):
    path = tmp_path / "study.toml"
    path.write_text(tomli_w.dumps({"truth": {"kind": "ring"}, **tables}))
    return config.load(path, (), size)


def test_a_size_changes_keys_and_keeps_the_others(tmp_path):
    tables = {
        "sweep": {"num_seeds": 32, "seed": 5},
        "fast": {"sweep": {"num_seeds": 2}, "solver": {"num_iterations": 3}},
        "large": {"sweep": {"num_seeds": 999}},
    }
    keys = ("sweep.num_seeds", "sweep.seed", "solver.num_iterations")
    for size, expected in ((None, (32, 5, 300)), ("fast", (2, 5, 3)), ("large", (999, 5, 300))):
        loaded = loaded_in(tmp_path, size, **tables)
        assert values(loaded, *keys) == [expected]
        assert not loaded.resolved.keys() & {"fast", "large"}


def test_cases_of_a_size_replace_the_cases(tmp_path):
    tables = {
        "solver": {"num_iterations": 50},
        "case": [ONE, TWO, {"name": "three"}],
        "fast": {"case": [TWO | {"model": {"num_components": 2}}], "solver": {"num_iterations": 5}},
    }
    loaded = loaded_in(tmp_path, "fast", **tables)
    keys = ("case", "model.num_components", "solver.num_iterations")
    assert values(loaded, *keys) == [("two", 2, 5)]


@pytest.mark.parametrize("size", config.SIZES)
def test_a_size_that_is_not_there(size, tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text("[truth]\n")
    words = f"--{size} needs a table [{size}] of changes"
    refused(capsys, ["run", path, f"--{size}", "--out", tmp_path / "out"], words)


def test_a_bad_change_in_a_size(tmp_path):
    for changes, words in (
        ({"nonsense": {"x": 1}}, r"unknown table \[nonsense\]"),
        ({"solver": 3}, r"solver must be a table \[solver\], got 3"),
        ({"solver": {"num_iterations": 0}}, "solver.num_iterations must be at least 1"),
    ):
        with pytest.raises(InputError, match=words):
            loaded_in(tmp_path, "fast", fast=changes)


def sizes_of(path):
    text = path.read_text()
    return [None, *(size for size in config.SIZES if f"\n[{size}]\n" in text)]


SHIPPED = [(path, size) for path in shipped.configs().values() for size in sizes_of(path)]


@pytest.mark.parametrize(("path", "size"), SHIPPED, ids=lambda v: getattr(v, "stem", str(v)))
def test_a_resolved_config_is_the_config(path, size, tmp_path):
    loaded = config.load(path, (), size)
    again = tmp_path / path.name
    again.write_text(tomli_w.dumps(loaded.resolved))
    twice = config.load(again)
    assert twice.points == loaded.points
    assert twice.varying == loaded.varying
    assert twice.shown == loaded.shown
    assert twice.computed == loaded.computed
    assert twice.resolved == loaded.resolved


def test_where_is_the_same_nested_or_dotted(tmp_path):
    text = '[truth]\n[[finding]]\nmeasure = "rate"\n[[figure]]\nkind = "heat"\n'
    found = []
    for where in (
        'where = { "truth.dim" = 3, "truth.separation" = [1, 2], case = "a" }',
        'where = { truth = { dim = 3, separation = [1, 2] }, case = "a" }',
        'where = { truth.dim = 3, truth.separation = [1, 2], case = "a" }',
        '[figure.where]\ntruth.dim = 3\ncase = "a"\n"truth.separation" = [1, 2]',
    ):
        path = tmp_path / "study.toml"
        path.write_text(text + where)
        found.append(config.load(path).shown["figures"][0]["where"])
    assert found[0] == {"truth.dim": 3, "truth.separation": [1, 2], "case": "a"}
    assert all(where == found[0] for where in found)
