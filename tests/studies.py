"""What the tests of `gemjax run` share: a short study, its command line, and what must hold."""

import csv

import numpy as np

from gemjax import cli

SHORT = """
[truth]
kind = "ring"
separation = [4.0, 6.0]
[target]
num_samples = 100
[model]
num_components = 4
[solver]
num_iterations = 5
[sweep]
num_seeds = 9
[report]
reach = 0.5
follow = true
"""


ONE = ("--devices", "1")  # eight seeds per piece, whatever the machine


def command(path, out, *more):
    return [str(a) for a in ["run", path, "--out", out, "--no-figures", *ONE, *more]]


def fails(capsys, code, arguments, *words):
    capsys.readouterr()
    assert cli.main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    one_line(captured.err, *words)


def finished(out):
    """Every finished piece, and what tells whether it has been written again."""
    stats = {path.name: path.stat() for path in out.glob("pieces/*.npz")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def same_results(left, right):
    assert (left / "results.csv").read_bytes() == (right / "results.csv").read_bytes()
    with np.load(left / "history.npz") as mine, np.load(right / "history.npz") as other:
        assert mine.files == other.files
        for name in mine.files:
            np.testing.assert_array_equal(mine[name], other[name], strict=True)


def one_line(errors, *words):
    assert errors.startswith("gemjax: ")
    assert errors.count("\n") == 1, errors
    for word in words:
        assert str(word) in errors


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def refused(capsys, arguments, *words):
    """Bad input: exit code 2 and one line with all the words."""
    fails(capsys, 2, [str(a) for a in arguments], *words)
