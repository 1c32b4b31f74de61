"""What others do to the folder and to the data while gemjax is at work there."""

import json
import shutil

import numpy as np
import pytest
from marks import mostly_slow
from studies import SHORT, command, fails, same_results

from gemjax import cli
from gemjax.cli import case
from gemjax.cli.process.progress import Display

KEPT, GONE, AGAIN = "go on with --resume", "nothing is kept in", "starts the run again"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study and the folder of its undisturbed run."""
    place = tmp_path_factory.mktemp("meanwhile")
    (place / "study.toml").write_text(SHORT)
    assert cli.main(command(place / "study.toml", place / "whole")) == 0
    return place / "study.toml", place / "whole"


@pytest.fixture
def after_a_piece(monkeypatch):
    """Takes what is to happen once, between two pieces of a run or two steps of a fit."""

    def set_up(happens):
        left = [happens]

        def show(display, done, *more):
            if done and left:
                left.pop()()

        monkeypatch.setattr(Display, "show", show)

    return set_up


def replaced(out):
    """Another run's folder in the place of this one."""
    out.rename(out.with_name("away"))
    out.mkdir()
    (out / "manifest.json").write_text('{"program": "gemjax", "command": "run"}')
    (out / "gemjax.lock").touch()


def lock_replaced(out):
    (out / "gemjax.lock").unlink()
    (out / "gemjax.lock").write_text("mine")


HAPPENS = {
    "removed": (shutil.rmtree, GONE),
    "renamed": (lambda out: out.rename(out.with_name("away")), GONE),
    "replaced": (replaced, GONE),
    "pieces removed": (lambda out: shutil.rmtree(out / "pieces"), AGAIN),
    "piece removed": (lambda out: (out / "pieces/point-0000-seed-000000.npz").unlink(), KEPT),
    "lock removed": (lambda out: (out / "gemjax.lock").unlink(), KEPT),
    "lock replaced": (lock_replaced, KEPT),
}


@pytest.mark.parametrize("name", HAPPENS)
def test_advice_is_by_the_state_of_the_folder(whole, tmp_path, capsys, after_a_piece, name):
    study, out = whole[0], tmp_path / "out"
    happens, advice = HAPPENS[name]
    after_a_piece(lambda: happens(out))
    fails(capsys, 1, command(study, out), out, advice)
    out = next((path for path in [tmp_path / "away"] if path.exists()), out)
    assert cli.main(command(study, out, "--resume")) == 0
    same_results(out, whole[1])


@pytest.mark.parametrize("left", [True, False])
def test_a_lost_manifest_is_put_back(whole, tmp_path, capsys, after_a_piece, left):
    study, out = whole[0], tmp_path / "out"

    def happens():
        (out / "manifest.json").unlink()
        if left:
            raise KeyboardInterrupt

    after_a_piece(happens)
    if left:
        fails(capsys, 130, command(study, out), out, KEPT)
    assert cli.main(command(study, out, *["--resume"] * left)) == 0
    assert json.loads((out / "manifest.json").read_text())["command"] == "run"
    same_results(out, whole[1])


OF_A_FILE = """
[target]
kind = "file"
path = "data.npy"
on_disk = {}
[model]
num_components = [2, 3]
[solver]
num_iterations = 3
[sweep]
num_seeds = 9
"""


@pytest.fixture
def numbers(tmp_path):
    path = tmp_path / "data.npy"
    np.save(path, np.random.default_rng(0).normal(size=(50, 2)))
    return path


@pytest.mark.parametrize(
    ("on_disk", "how"), mostly_slow([("true", "changed"), ("false", "removed")], 1)
)
def test_data_changed_in_mid_run(numbers, tmp_path, capsys, after_a_piece, on_disk, how):
    study, out, before = tmp_path / "study.toml", tmp_path / "out", numbers.read_bytes()
    study.write_text(OF_A_FILE.format(on_disk))
    changes = {"changed": lambda: np.save(numbers, np.ones((70, 2))), "removed": numbers.unlink}
    after_a_piece(changes[how])
    fails(capsys, 1, command(study, out), numbers, "has changed since", "put it back", KEPT)
    numbers.write_bytes(before)
    assert cli.main(command(study, out, "--resume")) == 0
    assert cli.main(command(study, tmp_path / "whole")) == 0
    same_results(out, tmp_path / "whole")


def fit(path, out, *more):
    words = [
        "--components",
        2,
        "--scale",
        1,
        "--iterations",
        40,
        "--no-figures",
        "--no-certificate",
        *more,
    ]
    return [str(a) for a in ["fit", path, "--out", out, *words]]


def test_data_changed_in_mid_fit(numbers, tmp_path, capsys, after_a_piece):
    out = tmp_path / "out"
    after_a_piece(lambda: np.save(numbers, np.load(numbers) + 1))
    fails(capsys, 1, fit(numbers, out, "--on-disk"), numbers, "has changed", "there is no result")
    assert not (out / "summary.json").exists()


def test_data_changed_while_they_are_read(data, tmp_path, capsys, monkeypatch):
    """Weights are read after the points; what is read once is safe from then on."""
    read, out = case.read_weighted, tmp_path / "out"

    def slowly(*arguments):
        found = read(*arguments)
        data.write_text("x,y,w\n1,2,3\n4,5,6\n")
        return found

    monkeypatch.setattr(case, "read_weighted", slowly)
    fails(capsys, 1, fit(data, out, "--weights", "w"), data, "has changed", "there is no result")
    assert not out.exists()
