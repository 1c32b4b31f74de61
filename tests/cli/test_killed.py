"""Processes of `gemjax run` that are ended from outside, and go on to the same bytes."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from studies import ONE, finished, one_line, same_results

ROOT = Path(__file__).resolve().parents[2]
# Pieces of a tenth of a second, many of them: something to kill.
LONG = """
[truth]
kind = "ring"
separation = 6.0
[target]
num_samples = 300
[model]
num_components = [3, 5]
[solver]
num_iterations = 1000
record_every = 10
[sweep]
num_seeds = 144
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A study, the environment to run it in, and the folder of its uninterrupted run."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "study.toml").write_text(LONG)
    run(folder, "whole").check_returncode()
    return folder


def start(folder, out, *more, **options):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-m", "gemjax.cli", "run", folder / "study.toml"]
    command += ["--out", folder / out, "--no-figures", *ONE, *more]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True, **options,
    )  # fmt: skip


def run(folder, out, *more, **options):
    process = start(folder, out, *more, **options)
    _, errors = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, None, errors)


def wait_for_a_piece(process, out):
    before = finished(out)
    while finished(out) == before and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_ten_times(place):
    out, chance = place / "killed", random.Random(0)
    for attempt in range(10):
        before = finished(out)
        process = start(place, "killed", "--resume")
        if attempt % 2:  # anywhere, most often before the first piece
            time.sleep(chance.uniform(0, 4))
        else:
            wait_for_a_piece(process, out)
            time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert before.items() <= finished(out).items()  # nothing is lost, nothing done twice
    before = finished(out)
    assert before
    done = run(place, "killed", "--resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert before.items() <= finished(out).items()
    same_results(out, place / "whole")
    assert not list(out.rglob(".*"))


@pytest.mark.slow
def test_sigterm_finishes_the_piece(place):
    out = place / "terminated"
    process = start(place, "terminated")
    wait_for_a_piece(process, out)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    one_line(errors, "terminated", out, "--resume")
    assert not (out / "results.csv").exists()
    before = finished(out)
    assert before
    assert run(place, "terminated", "--resume").returncode == 0
    assert before.items() <= finished(out).items()
    same_results(out, place / "whole")


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_the_piece(place):
    hours = ["--set", "solver.num_iterations=20000000", "--set", "solver.record_every=1000000"]
    process = start(place, "stopped", *hours)
    while not (place / "stopped" / "pieces").exists():
        time.sleep(0.05)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    one_line(errors, "stopped", place / "stopped", "--resume")


@pytest.mark.slow
def test_full_disk(place):
    out = place / "full"
    sizes = [path.stat().st_size for path in (place / "whole").glob("pieces/*.npz")]
    room = (min(sizes) + max(sizes)) // 2  # pieces of 3 components fit, those of 5 do not

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    done = run(place, "full", preexec_fn=limit)
    assert done.returncode == 1
    one_line(done.stderr, out / "pieces" / "point-0001-seed-000000.npz", "too large", "--resume")
    assert not list(out.rglob(".*"))
    before = finished(out)
    assert len(before) == 18
    done = run(place, "full", "--resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert before.items() <= finished(out).items()
    same_results(out, place / "whole")
