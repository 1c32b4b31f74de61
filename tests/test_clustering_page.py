"""docs/clustering.md: its code runs, and its script counts what the page says that it counts."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("clustering")


@pytest.mark.slow
def test_the_code_runs():
    page = (ROOT / "docs" / "clustering.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "2"  # short and long eruptions


def labelled_as(script, label, found):
    """Groups, and an answer with these labels."""
    data = script.Labelled("", np.zeros((len(label), 1)), np.array(label))
    return data, script.Answer(np.array(found), None, "", "", 1.0)


@pytest.mark.parametrize(
    ("label", "found", "missed", "rand"),
    [
        ([0, 0, 1, 1, 2], [5, 5, 3, 3, 0], "0", "1.00"),
        ([0, 0, 0, 1, 2], [0, 0, 0, 0, 1], "1", None),  # the single 1 went to the three 0
        ([0, 0, 0, 1], [0, 1, 2, 2], "1", None),  # in pieces, and a tie goes to the first
        ([0, 1, 2], [0, 0, 0], "2", "0.00"),
    ],
)
def test_missed_groups_and_rand_index(script, label, found, missed, rand):
    data, answer = labelled_as(script, label, found)
    assert script.missed(data, answer) == missed
    assert rand in (None, script.rand(data, answer))


def test_clusters_take_the_colours_of_their_groups(script):
    data, answer = labelled_as(script, [0, 0, 1, 1, 1], [7, 7, 2, 2, 4])
    renamed = script.renamed(answer.label, data)
    np.testing.assert_array_equal(renamed[:4], [0, 0, 1, 1])
    assert renamed[4] > 1  # the rest of a group that is in pieces: black


def test_numbers_that_bic_tries_have_the_right_one(script):
    assert script.numbers(None) == [*range(1, 10)]
    assert script.numbers(12) == [*range(1, 19)]
    many = script.numbers(100)
    assert 100 in many
    assert (many[0], many[-1]) == (1, 150)
    assert len(many) <= 13
