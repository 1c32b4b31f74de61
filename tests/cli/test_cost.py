"""What takes days is told, what finds no room is refused, before any work."""

from types import SimpleNamespace

import numpy as np
import pytest
from studies import command

from gemjax import cli
from gemjax.cli import fitting
from gemjax.cli.files.boundary import InputError
from gemjax.cli.study import config, cost

LONG = [
    {"solver": {"num_iterations": 10**6, "record_every": 10**6}, "sweep": {"num_seeds": 5000}},
    {"solver": {"weight_steps": 2**31 - 1}}, {"solver": {"monotone": True, "weight_steps": 10**6}},
    {"target": {"num_samples": 2}, "solver": {"weight_steps": 10**9}},
    {"target": {"num_samples": 2}, "solver": {"num_iterations": 2**31 - 1, "record_every": 10**9}},
    {"solver": {"escape": True, "num_iterations": 10**5, "record_every": 1000},
     "escape": {"every": 1, "num_starts": 10**4, "num_steps": 10**9}},
]  # fmt: skip


@pytest.mark.parametrize("tables", LONG, ids=range(len(LONG)))
def test_what_takes_days_is_told(tmp_path, tables):
    points, told = config.build({"truth": {}, **tables}, None).points, []
    cost.check(points, tmp_path / "a" / "b", 8, on_cpu=True, tell=told.append)
    assert len(told) == 1
    assert "days of work" in told[0]


@pytest.mark.parametrize("rule", ["newton", "fixed"])
def test_weight_steps_that_are_not_taken_are_not_counted(tmp_path, rule):
    solver = {"weight_rule": rule, "weight_steps": 2**31 - 1}
    points, told = config.build({"truth": {}, "solver": solver}, None).points, []
    cost.check(points, tmp_path, 8, on_cpu=True, tell=told.append)
    assert not told


def test_what_finds_no_disk_is_refused(tmp_path, monkeypatch):
    points = config.build({"truth": {}, **LONG[0]}, None).points
    monkeypatch.setattr(cost.shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"results take .* free"):
        cost.check(points, tmp_path, 8, on_cpu=True)


def test_the_work_on_a_file_is_counted_by_its_size(tmp_path, capsys, monkeypatch):
    data, study = tmp_path / "data.npy", tmp_path / "study.toml"
    np.save(data, np.arange(1000.0))
    study.write_text('[target]\nkind = "file"\npath = "data.npy"\n[solver]\nweight_steps = 1\n')
    monkeypatch.setattr(cost, "_RATE", {True: 1.0})

    def begin(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "fit_block", begin)
    assert cli.main(command(study, tmp_path / "out")) == 130
    told, _ = capsys.readouterr().err.splitlines()
    assert "days of work" in told
