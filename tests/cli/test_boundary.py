"""What can fail outside of the program ends in one line; what is a user's own is left alone."""

import errno
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from studies import SHORT, command, one_line, refused, same_results

from gemjax import cli
from gemjax.cli.files.boundary import brief
from gemjax.cli.files.read import read_arrays
from gemjax.cli.files.write import finite, write_csv
from gemjax.cli.report import figures
from gemjax.cli.report.canvas import plain

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("boundary")
    (place / "study.toml").write_text(SHORT)
    assert cli.main(command(place / "study.toml", place / "whole")) == 0
    return place / "study.toml", place / "whole"


@pytest.fixture
def folder(finished, tmp_path):
    """A config, and a copy of its finished run."""
    shutil.copytree(finished[1], tmp_path / "out")
    return finished[0], tmp_path / "out"


MINE = [
    "mine/.notes.tmp", ".own.tmp", ".results.csv.mine.tmp", "mine.txt", "pieces/mine/thesis.txt",
    "pieces/.x.tmp", "pieces/point.npz", "figures/mine.png", "figures/.loss.png.tmp",
]  # fmt: skip
OURS = [
    ".results.csv.abcd12_z.tmp", ".manifest.json.abcdefgh.tmp", "figures/.loss.png.abcdefgh.tmp",
    "pieces/.point-0000-seed-000000.npz.abcdefgh.tmp",
]  # fmt: skip


@pytest.mark.parametrize("how", ["--force", "--resume"])
def test_only_what_gemjax_made_is_removed(folder, finished, how):
    study, out = folder
    (out / "summary.json").unlink()
    old = ["pieces/point-0007-seed-000000.npz", "figures/loss.png"] * (how == "--force")
    for name in MINE + OURS + old:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("precious")
    (out / ".folder.tmp").mkdir()
    assert cli.main(command(study, out, how)) == 0
    assert all((out / name).read_text() == "precious" for name in MINE)
    assert (out / ".folder.tmp").is_dir()
    assert not any((out / name).exists() for name in OURS + old)
    same_results(out, finished[1])


@pytest.mark.parametrize("how", ["--force", "--resume"])
@pytest.mark.parametrize("name", ["figures", "pieces", "gemjax.lock"])
def test_links_in_the_place_of_ours(folder, tmp_path, capsys, how, name):
    study, out = folder
    away = tmp_path / "away"
    away.mkdir()
    shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(away if name != "gemjax.lock" else away / "new")
    refused(capsys, command(study, out, how), out / name, "link")
    assert not list(away.iterdir())


@pytest.mark.parametrize(
    "name", ["results.csv", "summary.json", "manifest.json", "pieces/point-0000-seed-000000.npz"]
)
def test_a_folder_in_the_place_of_a_file(folder, capsys, name):
    study, out = folder
    (out / name).unlink()
    (out / name).mkdir()
    for how in ("--force", "--resume"):
        refused(capsys, command(study, out, how), out / name, "is a folder")


def test_every_figure_has_a_name_that_is_removed(finished):
    from gemjax.cli.files.folder import is_own

    source = Path(figures.__file__).read_text(encoding="utf-8")
    names = re.findall('yield "([a-z]+)|name = "([a-z]+)', source)
    names = [first or second for first, second in names]
    assert len(names) >= 6
    configured = [f"{number}-{kind}" for number, kind in enumerate(figures.KINDS, 1)]
    every = [*names, *configured, "weights-12"]
    assert all(is_own("figures", f"{name}.png") for name in every)
    assert not is_own("figures", "mine.png")


@pytest.mark.parametrize("name", ["results.csv", "history.npz"])
@pytest.mark.parametrize("edit", [lambda b: b"", lambda b: b[:-9], lambda b: b[:-9] + b"x" * 9])
def test_results_are_put_together_again(folder, finished, capsys, name, edit):
    study, out = folder
    (out / name).write_bytes(edit((out / name).read_bytes()))
    assert cli.main(command(study, out, "--resume")) == 0
    one_line(capsys.readouterr().err, out, "damaged or missing")
    same_results(out, finished[1])


EDITS = {
    "status": lambda a: a["status"] + 77, "batch": lambda a: a["batch"].astype(str),
    "loss": lambda a: a["loss"] * np.nan, "means": lambda a: a["means"].astype(np.float64),
    "weights": lambda a: -a["weights"], "recovered": lambda a: a["recovered"].astype(int),
    "outcome": lambda a: a["outcome"] + 8, "history_loss": lambda a: np.float32(0),
    "origin": lambda a: a["origin"][::-1], "followed_weights": lambda a: a["weights"],
}  # fmt: skip


@pytest.mark.parametrize("name", [*EDITS, "another's"])
def test_pieces_of_another_content_are_computed_again(folder, finished, capsys, name):
    study, out = folder
    (out / "summary.json").unlink()
    path = out / "pieces" / "point-0000-seed-000000.npz"
    if name in EDITS:
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **arrays | {name: EDITS[name](arrays)})
    else:
        shutil.copy(out / "pieces" / "point-0001-seed-000000.npz", path)
    assert cli.main(command(study, out, "--resume")) == 0
    one_line(capsys.readouterr().err, path, "damaged or another's")
    same_results(out, finished[1])


RECORDS = [
    {"data_sha256": None}, {"data_sha256": "0"}, {"seeds_per_piece": None}, {"seeds_per_piece": 0},
    {"seeds_per_piece": "x"}, {"seeds_per_piece": True}, {"made_by": 3}, {"config": []},
    {"config": {"model": 3}}, {"config": None},
]  # fmt: skip


@pytest.mark.parametrize("change", RECORDS)
def test_a_manifest_is_whole_or_refused(folder, capsys, change):
    study, out = folder
    manifest = json.loads((out / "manifest.json").read_text())
    manifest |= change
    if None in change.values():
        del manifest[next(iter(change))]
    (out / "manifest.json").write_text(json.dumps(manifest))
    refused(capsys, command(study, out, "--resume"), out, "manifest.json is damaged", *change)


@pytest.mark.parametrize("text", ["", '{"program": "gemj', "[]", "[" * 5000, '{"a": NaN}'])
def test_damaged_records(folder, capsys, text):
    study, out = folder
    for name in ("summary.json", "manifest.json"):
        (out / name).write_text(text)
        for arguments in (command(study, out, "--resume"), ["draw", out]):
            refused(capsys, arguments, out, name, "damaged")
    refused(capsys, command(study, out, "--force"), "manifest.json is damaged")


@pytest.mark.parametrize("text", ["{}", '{"format": 1}', '{"format": 1, "points": [{}]}'])
def test_a_summary_is_whole_or_refused(folder, capsys, text):
    study, out = folder
    (out / "summary.json").write_text(text)
    refused(capsys, command(study, out, "--resume"), out / "summary.json", "damaged", "remove it")


def fit(path, *more):
    out = path.parent / "fitted"
    return [
        "fit",
        path,
        "--components",
        "2",
        "--scale",
        "1",
        "--iterations",
        "2",
        "--out",
        out,
        *more,
    ]


LARGE = [("1e39", []), ("1e19", []), ("1e300", []), ("1e160", ["--precision", "float64"])]


@pytest.mark.parametrize(("number", "more"), LARGE)
def test_values_too_large_for_the_precision(tmp_path, capsys, number, more):
    path = tmp_path / "data.csv"
    path.write_text(f"x,y\n1,2\n\n3,{number}\n5,6\n")
    refused(capsys, fit(path, *more), path, "line 4, column 'y'", "too large for float")
    np.save(tmp_path / "data.npy", np.array([[1.0, 2.0], [3.0, float(number)], [5.0, 6.0]]))
    refused(capsys, fit(tmp_path / "data.npy", "--on-disk", *more), "row 2, column 'x2'")


SETTINGS = [
    "solver.step_size=1e39", "solver.step_size=1e-46", "truth.weights=[1e-320, 1, 1]",
    "truth.separation=1e30", "solver.weight_tolerance=" + "1" * 400, "sweep.seed=" + "1" * 5000,
    "sweep.seed=4294967296", "truth.means=" + "[" * 2000, "model.num_components=2147483648",
    "model.num_components=2147483647", "sweep.num_seeds=2147483647", "truth.dim=2147483647",
    "target.num_samples=2147483647", "solver.num_iterations=2147483647", "model.init=\"a\\nb\"",
    'solver."a\nb"=1', "solver." + "a" * 5000 + "=1", "model.num_components=" + str([2] * 100_001),
]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting[:30])
def test_settings_that_cannot_be(study, tmp_path, capsys, setting):
    key = setting.partition("=")[0].split('"')[0][:30]
    refused(capsys, command(study, tmp_path / "out", "--set", setting), study, key.split(".")[1])
    assert not (tmp_path / "out").exists()


def test_only_ordinary_files_are_read(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.npy")
    for path in (Path("/dev/zero"), tmp_path, tmp_path / "pipe.npy"):
        refused(capsys, ["run", path], path, "cannot be read")
        refused(capsys, ["fit", path, "--components", 2, "--scale", 1], path, "cannot be read")
    refused(capsys, fit(tmp_path / "pipe.npy", "--on-disk"), "cannot be read")
    (tmp_path / "long.toml").write_bytes(b"#" * 2**21)
    refused(capsys, ["run", tmp_path / "long.toml"], "longer")


def test_a_file_that_unpacks_to_a_huge_one(tmp_path, capsys):
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress(b"\n" * 2**27, 1))
    refused(capsys, fit(path), path, "unpacks to more than")
    path = tmp_path / "data.npz"
    np.savez_compressed(path, np.zeros((2**23, 2)))
    refused(capsys, fit(path), path, "unpacks to more than")
    assert read_arrays(path) is None


@pytest.mark.parametrize("key", ["a", '"a,"', "'=' "])
def test_keys_of_many_parts(tmp_path, capsys, key):
    path = tmp_path / "study.toml"
    for text in ("{} = 1", "[{}]", "x = {{ {} = 1 }}"):
        path.write_text(text.format(".".join([key] * 100_000)))
        refused(capsys, ["run", path], path, "a key of more than 64 parts")


def test_places_that_cannot_be(study, tmp_path, capsys):
    for name in ("a" * 300, "/".join(["b" * 100] * 60)):
        refused(capsys, command(study, tmp_path / name), "--out", "too long")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    refused(capsys, command(study, tmp_path / "dangling"), "link to nothing")
    refused(capsys, command(study, tmp_path / "out", "--devices", "²"), "--devices")


def test_names_are_text(tmp_path, capsys):
    path = tmp_path / "data[b].csv"
    path.write_text("x [/b],$y_{$\n" + "".join(f"{i},{i * i}\n" for i in range(9)))
    assert cli.main([str(a) for a in fit(path, "--no-certificate")]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "x [/b]" in captured.out
    assert (tmp_path / "fitted" / "figures" / "components.png").exists()
    assert plain("$a$\n") == r"\$a\$\n"
    write_csv(path, ["=1+1", "-x", "-1.5"], [])
    assert path.read_text() == "'=1+1,'-x,-1.5\n"


def test_a_failure_to_draw_is_no_failure(study, tmp_path, capsys, monkeypatch):
    def fail(record):
        raise RuntimeError("no ink\nleft")

    monkeypatch.setattr(figures, "draw", fail)
    out = tmp_path / "out"
    arguments = ["run", study, "--out", out, "--set", "sweep.num_seeds=1", "--devices", "1"]
    assert cli.main([str(a) for a in arguments]) == 0
    one_line(capsys.readouterr().err, "complete", "no ink", f"gemjax draw {out}")
    assert (out / "summary.json").exists()
    refused(capsys, ["draw", out], out, "no ink")


def test_a_failure_to_print_is_no_failure(folder, capsys):
    study, out = folder
    program = [sys.executable, "-m", "gemjax.cli"]
    resume = [*program, *command(study, out, "--resume")]
    found = {}
    for name, shell in {
        "full": '"$@" > /dev/full', "closed": '"$@" >&-',
        "piped": '"$@" | true; exit ${PIPESTATUS[0]}',
    }.items():  # fmt: skip
        words = ["bash", "-c", shell, "bash", *resume]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        found[name] = done.returncode, done.stderr
    assert found["closed"] == found["piped"] == (0, "")
    code, errors = found["full"]
    assert code == 0
    one_line(errors, "complete", out, os.strerror(errno.ENOSPC))
    alone = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (alone.returncode, alone.stderr) == (2, "")
    silent = ["bash", "-c", '"$@" 2>&-', "bash", *program, "run", "none.toml"]
    assert subprocess.run(silent, cwd=ROOT, capture_output=True, check=False).returncode == 2


def test_texts_are_brief():
    assert brief("a\nb\x1b") == r"a\nb\x1b"
    assert len(brief("a" * 10_000)) <= 300
    assert finite({"a": [1.0, float("nan"), {"b": float("inf")}]}) == {
        "a": [1.0, None, {"b": None}]
    }
