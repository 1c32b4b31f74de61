"""`gemjax draw`: what a folder holds is enough for its figures and its table."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from studies import SHORT, command, refused

from gemjax import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A finished run with a truth, one on data, and a finished fit; with what each printed."""
    place = tmp_path_factory.mktemp("drawn")
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(1000, 5, 60), rng.normal(1100, 5, 30)])
    np.savetxt(place / "data.csv", points, header="speed", comments="")
    (place / "truth.toml").write_text(SHORT)
    (place / "data.toml").write_text(
        '[target]\nkind="file"\npath="data.csv"\nscale=5.0\n[model]\nnum_components=[2, 3]\n'
        "[solver]\nnum_iterations=5\n[sweep]\nnum_seeds=2\n"
    )
    fit = ["fit", place / "data.csv", "--components", "3", "--scale", "5", "--iterations", "20"]
    return place, {
        "truth": [a for a in command(place / "truth.toml", place / "truth") if a[:4] != "--no"],
        "data": [a for a in command(place / "data.toml", place / "data") if a[:4] != "--no"],
        "fit": [str(a) for a in [*fit, "--out", place / "fit"]],
    }


@pytest.fixture(params=["truth", "data", "fit"])
def finished(request, folders, tmp_path, capsys):
    """A copy of a finished folder, and what it printed."""
    place, commands = folders
    out = place / request.param
    if not out.exists():
        assert cli.main(commands[request.param]) == 0
        (out / "printed.txt").write_text(capsys.readouterr().out.replace(str(out), "FOLDER"))
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    return copy, (copy / "printed.txt").read_text()


PICTURES = {
    "truth": {"loss", "outcomes", "iterations", "weights-0", "weights-1"},
    "data": {"loss", "components"},
    "fit": {"convergence", "components"},
}


def pictures(out):
    return {path.stem: path.read_bytes() for path in (out / "figures").iterdir()}


def drawn_again(out, capsys):
    """The pictures, drawn into a folder without any, and what is printed."""
    shutil.rmtree(out / "figures")
    capsys.readouterr()
    assert cli.main(["draw", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return pictures(out), captured.out.replace(str(out), "FOLDER")


def change(path, edit):
    """Edits a JSON file or the arrays of an .npz file."""
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))
        return
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    edit(content)
    np.savez(path, **content)


def test_the_same_pictures_and_the_same_table(finished, capsys, request):
    out, printed = finished
    before = pictures(out)
    assert before.keys() == PICTURES[request.node.callspec.params["finished"]]
    assert drawn_again(out, capsys) == (before, printed)


@pytest.mark.parametrize("finished", ["data"], indirect=True)
def test_another_process_draws_the_same(finished):
    """This one computes in float64, that one in float32."""
    out, _ = finished
    before = pictures(out)
    shutil.rmtree(out / "figures")
    subprocess.run([sys.executable, "-m", "gemjax.cli", "draw", out], cwd=ROOT, check=True)
    assert pictures(out) == before


def test_what_a_later_version_adds_is_left_alone(finished, capsys):
    out, printed = finished
    before = pictures(out)

    def more(content):
        content["invented"] = np.arange(3).tolist()
        content["invented_0"] = np.arange(3).tolist()
        for entry in [*content.get("points", []), content.get("components", {})]:
            if isinstance(entry, dict):
                entry["invented"] = {"a": 1}

    for path in (*out.glob("*.json"), *out.glob("*.npz")):
        change(path, more)
    assert drawn_again(out, capsys) == (before, printed)


def test_what_is_missing_is_not_drawn(finished, capsys):
    out, _ = finished
    before = pictures(out)
    (out / "components.npz").unlink(missing_ok=True)
    missing = ("outcome", "followed_weights", "history_gradient_norm", "iterations")

    def less(content):
        for name in list(content):
            if name.rpartition("_")[0] in missing:
                del content[name]

    change(out / "history.npz", less)
    after, _ = drawn_again(out, capsys)
    assert after == {name: before[name] for name in before if name == "loss"}


def test_folders_that_hold_no_result(finished, tmp_path, capsys):
    out, _ = finished
    draw = ["draw", out]
    refused(capsys, ["draw", tmp_path / "nowhere"], tmp_path / "nowhere", "no finished result")
    assert not (tmp_path / "nowhere").exists()
    change(out / "summary.json", lambda content: content.update(format=2))
    refused(capsys, draw, out, "has format 2", "up to 1")
    change(out / "summary.json", lambda content: content.pop("format"))
    refused(capsys, draw, out, "an earlier gemjax")
    change(out / "summary.json", lambda content: content.update(format=1))
    (out / "history.npz").write_bytes(b"half")
    refused(capsys, draw, out / "history.npz: damaged")
    (out / "summary.json").unlink()
    refused(capsys, draw, out, "no finished result")
    (out / "manifest.json").unlink()
    refused(capsys, draw, out, "no finished result")
