"""The commands as a user meets them: what they say to bad input, and what they leave alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from studies import refused

import gemjax
from gemjax import cli

ROOT = Path(__file__).resolve().parents[2]


def test_bad_input_to_fit(data, tmp_path, capsys):
    out = ["--out", tmp_path / "out"]
    more = ["--components", 2, "--scale", 1, *out]
    refused(capsys, ["fit", tmp_path / "nothing.csv", *more], "nothing.csv: no such file")
    refused(capsys, ["fit", data, "--scale", 1, *out], "--scale needs --components")
    refused(
        capsys, ["fit", data, "--components", 0, *out], "--components must be at least 1, got 0"
    )
    refused(capsys, ["fit", data, "--components", 2.5, *out], "--components", "integer")
    refused(capsys, ["fit", data, *more, "--scale", 0], "--scale must be greater than 0, got 0")
    refused(capsys, ["fit", data, *more, "--step-size", -1], "--step-size must be greater than 0")
    refused(capsys, ["fit", data, *more, "--init", "spectral"], "--init spectral needs --rank")
    refused(capsys, ["fit", data, *more, "--init", "magic"], "magic")
    refused(capsys, ["fit", data, *more, "--rank", 1], "--rank is for --init spectral or tensor")
    refused(capsys, ["fit", data, *more, "--step-size", 2], "--step-size must be at most 1", "em")
    refused(
        capsys, ["fit", data, *more, "--init", "from_mixture"], "[truth]", "--init from_mixture"
    )
    refused(capsys, ["fit", data, *more, "--tolerance", -1], "--tolerance must be at least 0")
    few = ["fit", data, "--components", 1, "--scale", 1, *out, "--escape"]
    refused(capsys, few, "--escape needs --components of at least 2, got 1")
    short = ["fit", data, *more, "--escape", "--iterations", 49]
    refused(capsys, short, "25 must be at most half of --iterations 49")
    refused(capsys, ["fit", data, *more, "--columns", "z"], "no column 'z'; there are x, y, w")
    refused(capsys, ["fit", data, *more, "--weights", "y"], "non-negative")
    refused(capsys, ["fit", data, *more, "--colums", "x"], "--colums")
    (tmp_path / "flat.csv").write_text("a,b\n1,7\n2,7\n")
    both = ["--columns", "a,b"]
    refused(capsys, ["fit", tmp_path / "flat.csv", *more, *both], "'b' is constant (7)")
    (tmp_path / "ragged.csv").write_text("a,b\n1,7\n2\n")
    refused(capsys, ["fit", tmp_path / "ragged.csv", *more], "line 3 has 1 field where")
    (tmp_path / "empty.csv").write_text("")
    refused(capsys, ["fit", tmp_path / "empty.csv", *more], "the file is empty")
    assert not (tmp_path / "out").exists()


def test_bad_input_to_run(study, tmp_path, capsys):
    out = ["--out", tmp_path / "out"]
    refused(capsys, ["run", tmp_path / "nothing.toml", *out], "nothing.toml: no such file")
    refused(capsys, ["run", study, *out, "--set", "solver.step=1"], study, "'step_size'")
    refused(capsys, ["run", study, *out, "--set", "sweep.num_seeds=[1,2]"], "sweep.num_seeds")
    refused(capsys, ["run", study, *out, "--set", 'target.kind="file"'], "target.path is needed")
    missing = ["--set", 'target.kind="file"', "--set", 'target.path="gone.csv"']
    refused(capsys, ["run", study, *out, *missing], "gone.csv: no such file")
    refused(capsys, ["walk"], "walk")
    assert not (tmp_path / "out").exists()


def test_another_run_is_not_overwritten(study, data, tmp_path, capsys):
    out = tmp_path / "out"
    run = ["run", study, "--out", out, "--no-figures", "--set", "sweep.num_seeds=1"]
    assert cli.main([str(a) for a in run]) == 0
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    refused(capsys, run, out, "holds another run", "--force")
    refused(capsys, ["fit", data, "--components", 2, "--out", out], "holds another run")
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert cli.main([str(a) for a in [*run, "--force"]]) == 0


def test_foreign_and_unwritable_folders_are_refused(study, tmp_path, capsys):
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter1.txt").write_text("precious")
    for more in ([], ["--force"]):
        refused(capsys, ["run", study, "--out", foreign, *more], foreign, "did not write")
    assert (foreign / "chapter1.txt").read_text() == "precious"
    refused(capsys, ["run", study, "--out", study], "is a file, not a folder")
    # A folder cannot be made below a file, not even by root.
    refused(capsys, ["run", study, "--out", study / "sub"], "cannot be written")


def test_figures_without_matplotlib(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(capsys, ["run", study, "--out", tmp_path / "out"], "gemjax[plot]", "--no-figures")


def test_version_and_help(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"gemjax {gemjax.__version__}\n"
    for command in ("run", "fit"):
        assert cli.main([command, "--help"]) == 0
        assert "Example: gemjax" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_leaves_no_result(study, tmp_path, number, code):
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
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code
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
