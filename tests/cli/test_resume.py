"""`gemjax run --resume`: whatever ended a run, it goes on to the same bytes."""

import fcntl
import json
import os
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from studies import SHORT, command, fails, finished, one_line, same_results

import gemjax as gj
from gemjax import cli
from gemjax.cli.files import write


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(SHORT)
    return path


class PowerCutError(BaseException):
    """The process ends here; nothing gets to tidy up."""


@pytest.mark.parametrize("written", range(9))  # manifest, config, 4 pieces, 2 results, summary
def test_cut_at_every_write(study, tmp_path, monkeypatch, written):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert cli.main(command(study, whole, "--resume")) == 0  # with nothing to resume
    replace, left = os.replace, written

    def cut(source, target):
        nonlocal left
        if left == 0:
            raise PowerCutError
        left -= 1
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        with pytest.raises(PowerCutError):
            cli.main(command(study, out))
    assert len(list(out.rglob(".*.tmp"))) == 1  # as a killed process leaves it
    assert cli.main(command(study, out, "--resume")) == 0
    same_results(out, whole)
    assert not list(out.rglob(".*"))


def test_resume_of_a_finished_run_does_nothing(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(command(study, out)) == 0
    table = capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert cli.main(command(study, out, "--resume")) == 0
    assert capsys.readouterr().out == table
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    # Missing figures are drawn, from the pieces there are.
    done, results = finished(out), (out / "results.csv").read_bytes()
    draw = [a for a in command(study, out, "--resume") if a != "--no-figures"]
    assert cli.main(draw) == 0
    assert (out / "figures" / "loss.png").exists()
    assert finished(out) == done
    assert (out / "results.csv").read_bytes() == results


def test_what_may_not_be_resumed(study, tmp_path, capsys):
    out = tmp_path / "out"
    fails(capsys, 2, command(study, out, "--resume", "--force"), "--resume", "--force", "choose")
    assert cli.main(command(study, out)) == 0
    fails(capsys, 2, command(study, out), "another run", "--force")
    (out / "summary.json").unlink()
    fails(capsys, 2, command(study, out), "unfinished run", "--resume", "--force")
    changes = ["--set", "solver.step_size=0.25", "--set", "model.rank=2", "--resume"]
    fails(
        capsys, 2, command(study, out, *changes),
        "solver.step_size: 0.5 in that run, 0.25 now", "model.rank: not set in that run, 2 now",
        out,
    )  # fmt: skip
    grid = ["--set", "truth.separation=[4, 5]", "--resume"]
    fails(capsys, 2, command(study, out, *grid), "[4.0, 6.0] in that run, [4.0, 5.0] now")
    batch = ["--set", "sweep.batch_size=2", "--resume"]
    fails(capsys, 2, command(study, out, *batch), "sweep.batch_size: not set")
    assert cli.main(command(study, out, "--resume")) == 0
    np.save(tmp_path / "data.npy", np.arange(20.0))
    fit = [
        "fit",
        tmp_path / "data.npy",
        "--components",
        "2",
        "--scale",
        "1",
        "--out",
        tmp_path / "fit",
    ]
    assert cli.main([str(a) for a in [*fit, "--no-figures", "--no-certificate"]]) == 0
    fails(capsys, 2, command(study, tmp_path / "fit", "--resume"), "nothing that --resume")


def test_changed_data_is_refused(tmp_path, capsys):
    data, path, out = tmp_path / "data.npy", tmp_path / "study.toml", tmp_path / "out"
    path.write_text(
        '[target]\nkind="file"\npath="data.npy"\n[model]\nnum_components=2\n'
        "[solver]\nnum_iterations=3\n[sweep]\nnum_seeds=2\n"
    )
    points = np.random.default_rng(0).normal(size=(50, 2))
    np.save(data, points)
    assert cli.main(command(path, out)) == 0
    assert cli.main(command(path, out, "--resume")) == 0
    np.save(data, points + 1)
    fails(capsys, 2, command(path, out, "--resume"), "data.npy", "changed", "--force")
    data.unlink()
    fails(capsys, 2, command(path, out, "--resume"), "data.npy: no such file")


def test_one_process_at_a_time(study, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with open(out / "gemjax.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for more in ([], ["--resume"], ["--force"]):
            fails(capsys, 2, command(study, out, *more), out, "another process")
    assert cli.main(command(study, out)) == 0


def test_damaged_pieces_are_computed_again(study, tmp_path, capsys):
    out, whole = tmp_path / "out", tmp_path / "whole"
    for folder in (out, whole):
        assert cli.main(command(study, folder)) == 0
    (out / "summary.json").unlink()
    first, second, third, fourth = sorted((out / "pieces").iterdir())
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    second.write_bytes(b"")
    third.write_bytes(second.read_bytes())
    with np.load(fourth) as arrays:
        np.savez(fourth, **{name: arrays[name] for name in arrays.files if name != "loss"})
    capsys.readouterr()
    assert cli.main(command(study, out, "--resume")) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"gemjax: {path}: damaged or another's; it is computed again"
        for path in (first, second, third, fourth)
    ]
    same_results(out, whole)


def test_more_seeds_per_piece_do_not_change_a_started_run(study, tmp_path, monkeypatch):
    out, whole = tmp_path / "out", tmp_path / "whole"
    for folder in (out, whole):
        assert cli.main(command(study, folder)) == 0
    (out / "summary.json").unlink()
    (out / "pieces" / "point-0001-seed-000000.npz").unlink()
    monkeypatch.setattr("gemjax.cli.study.run._SEEDS_PER_PIECE", {"cpu": 3})
    before = finished(out)
    assert cli.main(command(study, out, "--resume")) == 0
    assert before.items() <= finished(out).items()
    assert len(finished(out)) == 4
    same_results(out, whole)
    assert json.loads((out / "summary.json").read_text())["num_seeds_read_back"] == 10


def test_other_versions_are_told(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(command(study, out)) == 0
    (out / "summary.json").unlink()
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["made_by"]["jax"] = "0.0.1"
    (out / "manifest.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    assert cli.main(command(study, out, "--resume")) == 0
    one_line(capsys.readouterr().err, "jax", "0.0.1", "rounding")


def test_a_lost_device(study, tmp_path, capsys, monkeypatch):
    def lost(*arguments, **options):
        raise jax.errors.JaxRuntimeError("INTERNAL: device 0 has fallen off the bus\nand more")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(gj, "sweep", lost)
        fails(capsys, 1, command(study, out), "off the bus; ", out, "--resume")
    assert cli.main(command(study, out, "--resume")) == 0


def test_signal_handlers_are_restored(study, tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert cli.main(command(study, tmp_path / "out")) == 0
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


def test_fit_on_a_full_disk(tmp_path, capsys, monkeypatch):
    np.save(tmp_path / "data.npy", np.arange(20.0))

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write.os, "fsync", full)
    out = tmp_path / "out"
    fit = [
        "fit",
        tmp_path / "data.npy",
        "--components",
        "2",
        "--scale",
        "1",
        "--out",
        out,
        "--no-figures",
    ]
    fit.append("--no-certificate")
    fails(capsys, 1, [str(a) for a in fit], out, "No space left on device", "no result")
    assert not list(out.rglob(".*"))
