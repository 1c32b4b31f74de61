"""Figures and findings that a run cannot have are refused before it begins."""

from pathlib import Path

import pytest
from studies import refused

from gemjax.cli.files.boundary import InputError
from gemjax.cli.study import config, shipped
from gemjax.cli.study.shown import check_shown


def check(report=None, **shown):
    tables = {"truth": {"separation": [3.0, 4.0]}, "report": report or {}, **shown}
    check_shown(config.build(tables, Path("study.toml")))


FIGURES = [
    ({"kind": "success", "x": "truth.separatoin"}, "did you mean 'truth.separation'"),
    ({"kind": "success", "y": "loss"}, "y = 'loss' is not there"),
    ({"kind": "success", "theory": "covrage"}, "theory must be a number, or"),
    ({"kind": "curves", "theory": "coverage"}, "theory must be a number, or"),
    ({"kind": "curves", "y": "rms_distance"}, "y = 'rms_distance' is not there"),
    ({"kind": "curves", "window": [5]}, r"window must be .* got \[5.0\]"),
    ({"kind": "curves", "window": [9, 1]}, "window must be a first and a last iteration"),
    ({"kind": "heat"}, "by, the setting of its rows, is needed"),
    ({"kind": "heat", "by": ["truth.sep"]}, "by = 'truth.sep' is not there"),
    ({"kind": "weights"}, "need report.follow = true"),
    ({"kind": "paths"}, "need report.follow = true"),
    ({"kind": "map"}, "needs report.starts = true"),
    ({"kind": "scaling"}, "y = 'iterations' is not there"),
    ({"kind": "distribution", "y": "outcome"}, "y = 'outcome' is not there"),
    ({"kind": "outcomes", "where": {"truth": {"dimm": 2}}}, "where = 'truth.dimm' is not there"),
    ({"kind": "outcomes", "where": {"outcome": "lost"}}, "where: outcome = 'lost' is not there"),
    ({"kind": "outcomes", "where": {"case": "a"}}, "where = 'case' is not there"),
]
FINDINGS = [
    ({"measure": "rate", "y": "excess_loss"}, "y = 'excess_loss' is not there"),
    ({"measure": "median", "y": "recovered"}, "y = 'recovered' is not there"),
    ({"measure": "median", "y": "status"}, "y = 'status' is not there"),
    ({"measure": "difference"}, "compares with against"),
    ({"measure": "ratio", "y": "loss", "where": {"n": 3}, "against": {"n": 3}}, "compares with"),
    ({"measure": "slope", "y": "loss"}, "x, a setting, is needed"),
    ({"measure": "smallest"}, "x, a setting, is needed"),
    ({"measure": "rate", "level": 2.0}, "level must be a share"),
    ({"measure": "rate", "least": 0.9, "most": 0.1}, "least must be at most most, got 0.9 and 0.1"),
    ({"measure": "ratio", "y": "loss", "against_y": "lss"}, "against_y = 'lss' is not there"),
]


@pytest.mark.parametrize(
    ("kind", "table", "message"),
    [("figure", *case) for case in FIGURES] + [("finding", *case) for case in FINDINGS],
)
def test_what_cannot_be_shown_is_refused(kind, table, message):
    with pytest.raises(InputError, match=rf"\[\[{kind}\]\] 1: .*{message}"):
        check(**{kind: [table]})


def test_what_can_be_shown_is_not():
    report = {"reach": 0.1, "follow": True, "path": True, "moments": 2, "starts": True}
    figures = [
        {"kind": "success", "x": "n/(m log m)", "by": ["truth.dim"], "theory": "coverage"},
        {"kind": "success", "y": "outcome.one-fits-many", "x": "truth.separation"},
        *({"kind": kind} for kind in ("outcomes", "curves", "scaling", "weights", "paths", "map")),
        {"kind": "curves", "y": "moments", "theory": -2, "window": [1, 300]},
        {"kind": "heat", "x": "N", "by": ["truth.separation", "d"]},
        {"kind": "distribution", "y": "moment2_iteration"},
    ]
    findings = [
        {"measure": "rate", "where": {"covered": True, "outcome": ["recovered", "collapsed"]}},
        {"measure": "slope", "x": "iteration", "y": "excess_loss"},
        {"measure": "ratio", "y": "moment2_iteration", "against_y": "moment1_iteration"},
        {"measure": "difference", "where": {"d": 2}, "against": {"truth": {"separation": 3.0}}},
        {"measure": "smallest", "x": "truth.separation", "level": 0.5},
        {"measure": "over coverage"},
    ]
    check(report, figure=figures, finding=findings)
    with pytest.raises(InputError, match="moment3_iteration"):
        check(report, figure=[{"kind": "distribution", "y": "moment3_iteration"}])


@pytest.mark.parametrize("name", shipped.configs())
def test_shipped_studies_can_be_shown_in_every_size(name):
    path = shipped.configs()[name]
    sizes = [None, "fast", "large"] if "[fast]" in path.read_text(encoding="utf-8") else [None]
    for size in sizes:
        check_shown(config.load(path, size=size))


def test_nothing_is_made_before(tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text('[truth]\n[[figure]]\nkind = "heat"\n')
    refused(capsys, ["run", path, "--out", tmp_path / "out"], path, "[[figure]] 1", "by")
    assert not (tmp_path / "out").exists()
