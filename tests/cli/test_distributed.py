"""`gemjax run` over devices and over processes: the same files, whoever computes them."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from gemjax import cli
from gemjax.cli.files.read import InputError
from gemjax.cli.process import devices

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
[truth]
kind = "ring"
separation = 6.0
[target]
num_samples = 300
[model]
num_components = 3
[solver]
num_iterations = 3000
record_every = 100
[sweep]
num_seeds = 83
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def start(study, out, *more, index=None, address=None):
    """`gemjax run` as a process; with an index, as one of two."""
    environment = {
        **os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(out.parent / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip
    command = [sys.executable, "-m", "gemjax.cli", "run", str(study), "--out", str(out)]
    command += ["--no-figures", *more]
    if index is not None:
        environment |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
        environment["JAX_PROCESS_ID"] = str(index)
        command += ["--distributed", "--devices", "1"]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def start_two(study, out, *more):
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        address = f"localhost:{listener.getsockname()[1]}"
    return [start(study, out, *more, index=i, address=address) for i in range(2)]


def finish(*processes):
    ends = [process.communicate(timeout=240) for process in processes]
    return [process.returncode for process in processes], ends


@pytest.mark.slow
def test_two_processes_stop_together_and_end_with_the_files_of_one(study, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    codes, ends = finish(start(study, alone, "--devices", "2"))
    assert codes == [0], ends
    processes = start_two(study, together)
    deadline = time.monotonic() + 120
    while not list(together.glob("pieces/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGTERM)  # a scheduler may tell only one of them
    codes, ends = finish(*processes)
    assert codes == [75, 75], ends
    assert not (together / "results.csv").exists()
    codes, ends = finish(*start_two(study, together, "--resume"))
    assert codes == [0, 0], ends
    assert (together / "results.csv").read_bytes() == (alone / "results.csv").read_bytes()
    assert "1 grid point" in ends[0][0]
    assert "1 grid point" not in ends[1][0]  # the second process writes and prints nothing


def test_distributed_without_a_cluster(study, tmp_path):
    process = start(study, tmp_path / "out", "--distributed")
    codes, ends = finish(process)
    assert codes == [2]
    assert "srun or mpirun" in ends[0][1]


def test_a_platform_that_is_not_there_is_an_error(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["run", str(study), "--out", str(out), "--devices", "tpu"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("gemjax: --devices tpu: JAX finds no tpu here, only ")
    assert captured.err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("request_", ["", "0", "gpu:0", "gpu:x", "3x", "xpu", ":", "2:2"])
def test_requests_that_mean_nothing(request_):
    with pytest.raises(InputError, match=r"must be a count, one of cpu, gpu, tpu, or both"):
        devices.choose(request_)


def test_more_devices_than_there_are():
    with pytest.raises(InputError, match=r"--devices 64: there are \d+ \w+ devices, fewer than 64"):
        devices.choose("64")


def test_seeds_go_first():
    shapes = [devices.mesh(jax.devices()[:2], num_seeds).shape for num_seeds in (1, 2, 100)]
    assert [(s["seed"], s["data"]) for s in shapes] == [(1, 2), (2, 1), (2, 1)]
