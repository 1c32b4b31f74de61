"""Every block of code in the README runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gemjax as gj

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
BASH = [code for language, code in BLOCKS if language == "bash"]


@pytest.mark.parametrize("code", PYTHON)
def test_python_block_runs(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_all_blocks_are_accounted_for():
    assert len(PYTHON) == 4
    assert [code.split("&&")[-1].split()[:2] for code in BASH] == [
        [".venv/bin/gemjax", "run"],
        [".venv/bin/python", "-m"],
        ["gemjax", "fit"],
    ]
    assert BASH[0].split()[-3:] == ["run", "exact_vs_over", "--fast"]
    assert (ROOT / "configs" / "exact_vs_over.toml").exists()


def test_toml_block_runs(tmp_path):
    (study,) = (code for language, code in BLOCKS if language == "toml")
    (tmp_path / "my.toml").write_text(study, encoding="utf-8")
    changes = ["--set", "sweep.num_seeds=2", "--set", "solver.num_iterations=5"]
    command = [sys.executable, "-m", "gemjax.cli", "run", "my.toml", *changes]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "my" / "figures" / "1-success.png").exists()


def test_bash_fit_block_runs(tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    table = rng.normal(size=(200, 2)) * 0.3
    np.savetxt(tmp_path / "data.csv", table, delimiter=",", header="x,y", comments="")
    arguments = BASH[2].split()[1:]
    command = [sys.executable, "-m", "gemjax.cli", *arguments, "--no-figures"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "data" / "labels.csv").exists()


def test_every_public_name_has_a_doctest():
    modules = (gj.convert, gj.covariance, gj.hermite, gj.initialize, gj.rules, gj.truth)
    for module in (gj, *modules):
        names = [n for n in vars(module) if not n.startswith("_")]
        things = {n: getattr(module, n) for n in getattr(module, "__all__", names)}
        ours = {n: x for n, x in things.items() if getattr(x, "__module__", "")[:6] == "gemjax"}
        assert ours
        for name, thing in ours.items():
            assert ">>>" in (thing.__doc__ or ""), name
