"""A device with too little memory, as a run meets it."""

import csv
import json

import jax
import numpy as np
import pytest
from studies import SHORT, command, fails

import gemjax as gj
from gemjax import cli
from gemjax.cli.process.memory import Batches


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(SHORT)
    return path


def test_a_batch_that_fits_holds_for_what_is_as_large():
    batches = Batches()
    batches.remember((1000, 20), 4)
    batches.remember((2000, 20), 2)
    assert batches.limit((1000, 10), 8) == 8
    assert batches.limit((999, 50), 8) == 8
    assert batches.limit((1000, 20), 8) == 4
    assert batches.limit((3000, 30), 8) == 2
    assert batches.limit((3000, 30), 1) == 1


def limited(monkeypatch, largest):
    """A device whose memory holds `largest` seeds; returns the batches that were tried."""
    sweep, tried = gj.sweep, []

    def small(*arguments, batch_size, **options):
        tried.append(batch_size)
        if batch_size > largest:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")
        return sweep(*arguments, batch_size=batch_size, **options)

    monkeypatch.setattr(gj, "sweep", small)
    return tried


def test_out_of_memory_halves_the_batch(study, tmp_path, capsys, monkeypatch):
    out, whole = tmp_path / "out", tmp_path / "whole"
    batch = ["--set", "sweep.batch_size=8"]
    assert cli.main(command(study, whole, *batch)) == 0
    tried = limited(monkeypatch, 2)
    capsys.readouterr()
    assert cli.main(command(study, out, *batch)) == 0
    assert capsys.readouterr().err.splitlines() == [
        "gemjax: out of memory with 8 seeds at a time; going on with 4",
        "gemjax: out of memory with 4 seeds at a time; going on with 2",
    ]
    assert tried == [8, 4, 2, 1, 2, 1]  # held from then on; the second piece has one seed
    points = json.loads((out / "summary.json").read_text())["points"]
    assert [(p["batch_size"], p["halved_batch_size"]) for p in points] == [(2, 2), (2, 2)]
    points = json.loads((whole / "summary.json").read_text())["points"]
    assert [(p["batch_size"], p["halved_batch_size"]) for p in points] == [(8, None), (8, None)]
    losses = []
    for folder in (out, whole):
        with open(folder / "results.csv", newline="") as file:
            losses.append([float(row["loss"]) for row in csv.DictReader(file)])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    # A resumed run remembers what fitted.
    (out / "summary.json").unlink()
    (out / "pieces" / "point-0001-seed-000000.npz").unlink()
    tried.clear()
    assert cli.main(command(study, out, *batch, "--resume")) == 0
    assert tried == [2]


def test_out_of_memory_with_one_seed(study, tmp_path, capsys, monkeypatch):
    limited(monkeypatch, 0)
    words = ("out of memory", "fewer components or points", "float32")
    fails(capsys, 1, command(study, tmp_path / "out"), *words)
