"""What a run tells while it is under way, and what a terminal shows of it."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from gemjax.cli.process.progress import Progress
from gemjax.cli.study import config
from gemjax.cli.study import run as running

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
[truth]
kind = "ring"
separation = [6.0, 9.0]
[target]
kind = "population"
num_nodes = 16
[model]
num_components = 3
init = "from_mixture"
[solver]
num_iterations = 60
mean_rule = "em"
[sweep]
num_seeds = 20
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def run(path, out, *, resume=False, on_piece):
    told = []
    record = running.run(
        config.load(path), out, force=False, resume=resume, chosen=jax.devices()[:1], draw=None,
        on_piece=on_piece, tell=told.append,
    )  # fmt: skip
    assert told == []
    return record


class EnoughError(Exception):
    pass


@pytest.mark.slow
def test_progress_of_a_run_and_of_its_resumption(study, tmp_path):
    first, second = [], []

    def stop_at_28(record):
        first.append(record)
        if record.seeds == 28:
            raise EnoughError

    with pytest.raises(EnoughError):
        run(study, tmp_path / "out", on_piece=stop_at_28)
    finished = run(study, tmp_path / "out", resume=True, on_piece=second.append)
    assert [r.seeds for r in first] == [0, 8, 16, 20, 28]
    assert [r.seeds for r in second] == [28, 36, 40]
    assert {r.total_seeds for r in first + second} == {40}
    # Before its first piece a process knows no rate; what was read back does not count.
    for records in (first, second):
        assert records[0].rate is None
        assert records[0].seconds_left is None
    for record in second[1:]:
        iterations = 60 * (record.seeds - 28)
        spent = iterations / record.rate
        assert record.seconds_left == pytest.approx(
            spent * (40 - record.seeds) / (record.seeds - 28)
        )
    rates = [point["success_rate"] for point in finished.summary["points"]]
    assert 0 < rates[0] < 1
    assert 0 < rates[1] < 1
    assert first[0].success is None
    assert first[3].success == first[3].point_success == rates[0]
    assert second[-1].point_success == rates[1]
    assert second[-1].success == pytest.approx(sum(rates) / 2)


def test_note():
    assert Progress(0, 40, None, None, None, None).note == ""
    assert Progress(8, 40, 12345.6, 3725.4, None, None).note == ("12,346 it/s, 1:02:05 left")
    assert Progress(8, 40, None, None, 0.5, 0.75).note == ("recovered 0.50 here, 0.75 overall")


@pytest.mark.slow
def test_bar_on_a_terminal(study, tmp_path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gemjax.cli", "run", study, "--no-figures"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TERM": "xterm", "COLUMNS": "140"}
    process = subprocess.Popen(
        [*command, "--out", tmp_path / "out"],
        cwd=ROOT,
        env=environment,
        stderr=theirs,
        stdout=subprocess.PIPE,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # how a terminal says that nobody writes to it any more
            break
    os.close(ours)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"2 grid points" in output
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    last = [line for line in re.split(r"[\r\n]+", text) if line.strip()][-1]
    assert re.search(
        r"^seeds .* 40/40 .* it/s, 0:00:00 left, recovered \d\.\d\d here, \d\.\d\d overall", last
    )
