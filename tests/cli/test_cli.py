"""The two commands as a user meets them: what they write, and what they say to bad input."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import gemjax
from gemjax import cli

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
[truth]
kind = "ring"
separation = 6.0
[target]
num_samples = 300
[model]
num_components = [3, 5]
[solver]
num_iterations = 12
[sweep]
num_seeds = 9
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def data(tmp_path):
    """Two clusters of noise 5 around 1000 and 1100, and a column of weights."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(1000, 5, 60), rng.normal(1100, 5, 30)])
    table = np.column_stack([x, rng.normal(3, 5, 90), np.where(x < 1050, 1.0, 4.0)])
    path = tmp_path / "data.csv"
    np.savetxt(path, table, delimiter=",", header="x,y,w", comments="")
    return path


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def fails(capsys, arguments, *words):
    """Exit code 2, nothing on stdout, one line on stderr with all the words."""
    capsys.readouterr()
    assert cli.main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gemjax: ")
    assert captured.err.count("\n") == 1, captured.err
    for word in words:
        assert str(word) in captured.err


def test_run(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["run", str(study), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "2 grid points" in captured.out
    assert "stagnated" in captured.out
    assert captured.err == ""  # no progress where there is no terminal
    table = rows(out / "results.csv")
    assert [(r["model.num_components"], r["seed"]) for r in table] == [
        (str(n), str(s)) for n in (3, 5) for s in range(9)
    ]
    summary = json.loads((out / "summary.json").read_text())
    for point, n in zip(summary["points"], ("3", "5"), strict=True):
        mine = [r for r in table if r["model.num_components"] == n]
        assert point["num_recovered"] == sum(int(r["recovered"]) for r in mine)
        outcomes = [r["outcome"] for r in mine]
        assert point["outcomes"] == {name: outcomes.count(name) for name in set(outcomes)}
        assert outcomes.count("recovered") == point["num_recovered"]
        low, high = point["success_interval_95"]
        assert low <= point["success_rate"] <= high
    assert {"jax", "device", "wall_seconds", "gemjax"} <= summary.keys()
    with np.load(out / "history.npz") as history:
        assert history["history_loss_1"].shape == (9, 12)
        assert history["means_1"].shape == (9, 5, 2)
    names = sorted(p.name for p in (out / "figures").iterdir())
    assert names == ["loss.png", "outcomes.png", "success.png"]
    # What was resolved is a config, and gives the same results.
    again = tmp_path / "again"
    command = ["run", str(out / "config.toml"), "--out", str(again), "--no-figures"]
    assert cli.main(command) == 0
    assert (again / "results.csv").read_bytes() == (out / "results.csv").read_bytes()
    assert not (again / "figures").exists()


def test_batch_size_does_not_change_results(study, tmp_path):
    found = []
    for batch in (1, 3):
        out = tmp_path / f"out{batch}"
        change = f"sweep.batch_size={batch}"
        double = 'target.dtype="float64"'
        command = ["run", str(study), "--out", str(out), "--set", change, "--set", double]
        assert cli.main([*command, "--no-figures"]) == 0
        found.append([float(r["loss"]) for r in rows(out / "results.csv")])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-8)


def test_population_study_with_reach_and_weights(tmp_path):
    path, out = tmp_path / "study.toml", tmp_path / "out"
    path.write_text(
        '[truth]\nkind="ring"\nseparation=[3.0, 5.0]\n[target]\nkind="population"\nnum_nodes=32\n'
        '[model]\nnum_components=6\ninit="from_mixture"\n[solver]\nnum_iterations=60\n'
        "[sweep]\nnum_seeds=2\n[report]\nreach=0.05\nweights=true\n"
    )
    assert cli.main(["run", str(path), "--out", str(out)]) == 0
    names = {p.name for p in (out / "figures").iterdir()}
    assert names == {"loss.png", "iterations.png", "weights-0.png", "weights-1.png"}
    assert all(1 <= int(r["iterations"]) <= 60 for r in rows(out / "results.csv"))


@pytest.mark.slow
def test_study_with_escape_and_certificates(study, tmp_path):
    out = tmp_path / "out"
    settings = ["report.certificate=true", "solver.escape=true", "escape.every=5"]
    more = [word for setting in settings for word in ("--set", setting)]
    assert cli.main(["run", str(study), "--out", str(out), "--no-figures", *more]) == 0
    certified = {"num_insertions", "npmle_gap", "npmle_usable", "birth_gain", "birth_optimal"}
    table = rows(out / "results.csv")
    assert certified <= table[0].keys()
    found = json.loads((out / "summary.json").read_text())["points"]
    assert sum(p["num_birth_optimal"] for p in found) == sum(int(r["birth_optimal"]) for r in table)
    assert sum(p["num_insertions"] for p in found) == sum(int(r["num_insertions"]) for r in table)
    assert all(point["birth_price"] > 0 for point in found)


def test_fit(data, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["fit", data, "--components", "6", "--scale", "5", "--columns", "x,y", "--out", out]
    assert cli.main([str(a) for a in [*command, "--labels", "--responsibilities", "--escape"]]) == 0
    printed = capsys.readouterr().out
    assert "heaviest of 6" in printed
    assert "certificate: birth-optimal" in printed
    summary = json.loads((out / "summary.json").read_text())
    found = summary["certificate"]
    assert found["birth_optimal"] is True
    assert 0 <= found["birth_gain"] <= found["birth_price"]
    assert f"gains {found['birth_gain']:.2g} nats per point" in printed
    assert 900 < found["npmle_at"][0] < 1200  # in the data's own units
    assert summary["num_insertions"] == 0
    table = rows(out / "components.csv")
    assert list(table[0]) == ["x", "y", "weight"]
    weights = np.array([float(r["weight"]) for r in table])
    assert (np.diff(weights) <= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    x = np.array([float(r["x"]) for r in table])
    low = x < 1050
    assert weights[low].sum() == pytest.approx(2 / 3, abs=0.01)
    assert weights[low] @ x[low] / weights[low].sum() == pytest.approx(1000, abs=3)
    assert weights[~low] @ x[~low] / weights[~low].sum() == pytest.approx(1100, abs=3)
    labels = np.array([int(r["label"]) for r in rows(out / "labels.csv")])
    assert (low[labels[:60]]).all()
    assert not low[labels[60:]].any()
    posterior = np.load(out / "responsibilities.npy")
    assert posterior.shape == (90, 6)
    np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=1e-5)
    assert (posterior.argmax(axis=1) == labels).all()
    names = {p.name for p in (out / "figures").iterdir()}
    assert names == {"components.png", "convergence.png"}


def test_fit_loss_is_that_of_the_data_in_its_own_units(data, tmp_path):
    out = tmp_path / "out"
    command = ["fit", data, "--components", "4", "--scale", "5", "--columns", "x", "--out", out]
    double = ["--precision", "float64", "--no-figures", "--no-certificate"]
    assert cli.main([str(a) for a in [*command, *double]]) == 0
    table = np.loadtxt(out / "components.csv", delimiter=",", skiprows=1)
    x = np.loadtxt(data, delimiter=",", skiprows=1)[:, 0]
    z = (x[:, None] - table[None, :, 0]) / 5
    density = np.exp(-0.5 * z**2) @ table[:, 1] / (5 * np.sqrt(2 * np.pi))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["loss_nats_per_point"] == pytest.approx(-np.log(density).mean(), abs=1e-6)


def test_fit_weights_count_as_repeated_rows(data, tmp_path):
    x, y, w = np.loadtxt(data, delimiter=",", skiprows=1).T
    np.save(tmp_path / "repeated.npy", np.repeat(np.column_stack([x, y]), w.astype(int), axis=0))
    losses = []
    more = ["--components", "1", "--scale", "5", "--precision", "float64", "--no-figures"]
    more.append("--no-certificate")
    for i, file in enumerate([[data, "--weights", "w"], [tmp_path / "repeated.npy"]]):
        out = tmp_path / f"out{i}"
        assert cli.main([str(a) for a in ["fit", *file, *more, "--out", out]]) == 0
        losses.append(json.loads((out / "summary.json").read_text())["loss_nats_per_point"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_fit_keeps_the_best_of_several_starts(data, tmp_path):
    out = tmp_path / "out"
    command = ["fit", data, "--components", "2", "--scale", "5", "--seeds", "3", "--out", out]
    more = ["--columns", "x", "--no-figures", "--no-certificate"]
    assert cli.main([str(a) for a in [*command, *more]]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["loss_nats_per_point"] == pytest.approx(min(summary["losses_of_seeds"]))
    assert summary["losses_of_seeds"][summary["best_seed"]] == min(summary["losses_of_seeds"])


def test_bad_input_to_fit(data, tmp_path, capsys):
    out = ["--out", tmp_path / "out"]
    more = ["--components", 2, *out]
    fails(capsys, ["fit", tmp_path / "nothing.csv", *more], "nothing.csv: no such file")
    fails(capsys, ["fit", data, *out], "--components")
    fails(capsys, ["fit", data, "--components", 0, *out], "--components must be at least 1, got 0")
    fails(capsys, ["fit", data, "--components", 2.5, *out], "--components", "integer")
    fails(capsys, ["fit", data, *more, "--scale", 0], "--scale must be positive and finite, got 0")
    fails(capsys, ["fit", data, *more, "--step-size", -1], "--step-size must be positive")
    fails(capsys, ["fit", data, *more, "--init", "spectral"], "--init spectral needs --rank")
    fails(capsys, ["fit", data, *more, "--init", "magic"], "magic")
    fails(capsys, ["fit", data, *more, "--columns", "z"], "no column 'z'; there are x, y, w")
    fails(capsys, ["fit", data, *more, "--weights", "y"], "non-negative")
    fails(capsys, ["fit", data, *more, "--colums", "x"], "--colums")
    (tmp_path / "flat.csv").write_text("a,b\n1,7\n2,7\n")
    fails(capsys, ["fit", tmp_path / "flat.csv", *more], "'b' is constant (7)")
    (tmp_path / "ragged.csv").write_text("a,b\n1,7\n2\n")
    fails(capsys, ["fit", tmp_path / "ragged.csv", *more], "line 3 has 1 fields")
    (tmp_path / "empty.csv").write_text("")
    fails(capsys, ["fit", tmp_path / "empty.csv", *more], "the file is empty")
    assert not (tmp_path / "out").exists()


def test_bad_input_to_run(study, tmp_path, capsys):
    out = ["--out", tmp_path / "out"]
    fails(capsys, ["run", tmp_path / "nothing.toml", *out], "nothing.toml: no such file")
    fails(capsys, ["run", study, *out, "--set", "solver.step=1"], study, "'step_size'")
    fails(capsys, ["run", study, *out, "--set", "sweep.num_seeds=[1,2]"], "sweep.num_seeds")
    fails(capsys, ["run", study, *out, "--set", 'target.kind="file"'], "target.path is needed")
    missing = ["--set", 'target.kind="file"', "--set", 'target.path="gone.csv"']
    fails(capsys, ["run", study, *out, *missing], "gone.csv: no such file")
    fails(capsys, ["walk"], "walk")
    assert not (tmp_path / "out").exists()


def test_another_run_is_not_overwritten(study, data, tmp_path, capsys):
    out = tmp_path / "out"
    run = ["run", study, "--out", out, "--no-figures", "--set", "sweep.num_seeds=1"]
    assert cli.main([str(a) for a in run]) == 0
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    fails(capsys, run, out, "holds another run", "--force")
    fails(capsys, ["fit", data, "--components", 2, "--out", out], "holds another run")
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert cli.main([str(a) for a in [*run, "--force"]]) == 0


def test_foreign_and_unwritable_folders_are_refused(study, tmp_path, capsys):
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter1.txt").write_text("precious")
    for more in ([], ["--force"]):
        fails(capsys, ["run", study, "--out", foreign, *more], foreign, "did not write")
    assert (foreign / "chapter1.txt").read_text() == "precious"
    fails(capsys, ["run", study, "--out", study], "is a file, not a folder")
    # A folder cannot be made below a file, not even by root.
    fails(capsys, ["run", study, "--out", study / "sub"], "cannot be written")


def test_figures_without_matplotlib(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fails(capsys, ["run", study, "--out", tmp_path / "out"], "gemjax[plot]", "--no-figures")


def test_version_and_help(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"gemjax {gemjax.__version__}\n"
    for command in ("run", "fit"):
        assert cli.main([command, "--help"]) == 0
        assert "Example: gemjax" in capsys.readouterr().out


def test_ctrl_c_leaves_no_result(study, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "gemjax.cli", "run", str(study), "--out", str(out)]
    longer = ["--set", "solver.num_iterations=4000", "--set", "sweep.num_seeds=400"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [*command, *longer], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("pieces/*.npz")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.count("\n") == 1, errors
    assert list(out.glob("pieces/*.npz"))
    for name in ("results.csv", "summary.json", "history.npz"):
        assert not (out / name).exists()
    assert not list(out.rglob(".*"))  # no half-written files


def test_the_library_does_not_need_the_extras():
    code = (
        "import sys\n"
        "for name in ('typer', 'rich', 'tomli_w', 'matplotlib', 'sklearn', 'cvxpy'):\n"
        "    sys.modules[name] = None\n"
        "import gemjax as gj\n"
        "gj.fit(gj.GradientEM(), gj.empirical([1.0, 2.0]), gj.make_mixture([1.0]),"
        " num_iterations=1)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
