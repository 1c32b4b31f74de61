"""scripts/benchmark.py runs, its contenders agree and its files are well-formed; not its speed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
PAGE = ROOT / "docs" / "performance.md"


def run(*arguments):
    """A plain process: the suite's strict settings are not the script's."""
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )


def tables_in(text):
    """Lists of rows, each a list of cells."""
    blocks = [b.strip().splitlines() for b in text.split("\n\n") if b.strip().startswith("|")]
    return [[line.strip("|").split("|") for line in block] for block in blocks]


def test_two_suites_write_json_and_only_their_blocks(tmp_path):
    page, numbers = tmp_path / "performance.md", tmp_path / "numbers.json"
    page.write_text(PAGE.read_text())
    done = run(
        SCRIPTS / "benchmark.py", "--suite", "estep,sweep", "--quick", "--cores", "1",
        "--json", numbers, "--write", page,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(numbers.read_text())
    assert {"date", "commit", "versions", "cpu", "cores", "device"} <= set(report["provenance"])
    assert report["provenance"]["cores"] == 1
    e_step, sweep = report["suites"]["estep"], report["suites"]["sweep"]
    for row in e_step["rows"]:
        assert max(row["differences"].values()) <= 1e-4
        times = dict(row["nanoseconds"])
        assert "median" in times.pop("of which one weight step")  # a difference of two times
        assert all(x["median"] > 0 for x in (*times.values(), *row["ratios"].values()))
    for row in sweep["rows"]:
        assert max(row["loss_differences"].values()) <= 1e-5
        assert set(row["ratios"]) < set(row["seconds"])

    written, original = page.read_text(), PAGE.read_text()
    for suite in ("estep", "sweep"):
        marks = f"<!-- benchmark:{suite} -->", f"<!-- /benchmark:{suite} -->"
        block = written.partition(marks[0])[2].partition(marks[1])[0]
        tables = tables_in(block)
        assert tables
        assert all(len({len(row) for row in table}) == 1 for table in tables)
        before, _, rest = original.partition(marks[0])
        original = before + marks[0] + block + marks[1] + rest.partition(marks[1])[2]
    assert written == original


@pytest.mark.slow
def test_the_gpu_suite_runs_tiny_and_is_refused_without_a_gpu():
    code = """
import json
from benchmarks import gpu
result = gpu.measure_all()
print(json.dumps({"text": gpu.markdown(result), "errors": result["errors"]}))
"""
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert max(found["errors"].values()) < 1e-3
    assert len(tables_in(found["text"])) == 2
    done = run(SCRIPTS / "benchmark.py", "--suite", "gpu", "--quick")
    assert done.returncode != 0
    assert "needs a GPU" in done.stderr


@pytest.mark.parametrize("arguments", [["--suite", "speed"], ["--cores", "0"]])
def test_bad_arguments_are_refused(arguments):
    done = run(SCRIPTS / "benchmark.py", "--quick", *arguments)
    assert done.returncode != 0
    assert arguments[-1] in done.stderr
