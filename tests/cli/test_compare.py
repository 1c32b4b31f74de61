"""`gemjax compare`: two runs, matched and paired, against SciPy on results.csv."""

import csv
import json
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from scipy.stats import binomtest, wilcoxon
from studies import command, one_line, refused, rows

from gemjax import cli
from gemjax.cli import record as records
from gemjax.cli.files.boundary import InputError
from gemjax.cli.record import Record
from gemjax.cli.report import comparison

STUDY = """
[truth]
kind = "ring"
separation = 4.0
[target]
num_samples = 60
[model]
num_components = {n}
[solver]
step_size = {step}
num_iterations = 10
escape = {escape}
[escape]
every = 5
stall = 10.0
[sweep]
num_seeds = 8
seed = {seed}
[report]
reach = 0.1
tolerance = 0.8
"""


def made(folder, name, n=3, escape="false", seed=0, step="1.0"):
    path = folder / f"{name}.toml"
    path.write_text(STUDY.format(n=n, escape=escape, seed=seed, step=step))
    assert cli.main(command(path, folder / name)) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Finished runs, which tests only read."""
    found = tmp_path_factory.mktemp("runs")
    made(found, "three")
    made(found, "four", n=4)
    made(found, "steps", step="[0.5, 1.0]")
    made(found, "others", step="[1.0, 0.25]")
    made(found, "escape", escape="true")
    made(found, "reseeded", seed=5)
    return found


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """By default the picture goes into runs/ of the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(folder, a, b):
    """Answers, by what was asked, at the only grid point."""
    with records.opened(folder / a) as mine, records.opened(folder / b) as other:
        return {answer.question.columns[0]: answer for answer in comparison.compare(mine, other)}


def column(folder, name, key):
    return np.array([float(row[key] or "nan") for row in rows(folder / name / "results.csv")])


@pytest.mark.parametrize(("a", "b"), [("three", "four"), ("three", "escape")])
def test_estimates_against_scipy(folder, a, b):
    found = compared(folder, a, b)
    mine, other = (column(folder, name, "recovered") for name in (a, b))
    estimate = found["recovered"].estimate
    assert estimate.value == pytest.approx(mine.mean() - other.mean())
    up, down = int((mine > other).sum()), int((mine < other).sum())
    assert estimate.p_value == (binomtest(up, up + down).pvalue if up + down else 1)
    mine, other = (column(folder, name, "loss") for name in (a, b))
    by = np.where(np.isclose(mine, other, rtol=1e-6), 0, mine - other)  # of float32
    estimate = found["loss"].estimate
    # The losses in results.csv have nine digits.
    digits = 1e-8 * np.abs(mine).max()
    assert estimate.value == pytest.approx(np.median(by), rel=1e-4, abs=digits)
    assert estimate.count == 8
    assert estimate.p_value == pytest.approx(wilcoxon(by[by != 0]).pvalue)
    ratio = column(folder, a, "iterations") / column(folder, b, "iterations")
    ratio = ratio[~np.isnan(ratio)]
    estimate = found["iterations"].estimate
    assert estimate.count == len(ratio)
    if len(ratio):
        assert estimate.value == pytest.approx(np.exp(np.median(np.log(ratio))))


def test_turned_around_it_is_the_same(folder):
    """Differences change their sign, ratios are inverted, and higher is lower."""
    turned = {"higher": "lower", "lower": "higher"}
    one, other = compared(folder, "three", "four"), compared(folder, "four", "three")
    assert one.keys() == other.keys() == {"recovered", "loss", "iterations"}
    for name, answer in one.items():
        back = other[name]
        assert back.verdict == turned.get(answer.verdict, answer.verdict)
        assert back.estimate.p_value == pytest.approx(answer.estimate.p_value)
        ends = np.array([answer.estimate.value, answer.estimate.low, answer.estimate.high])
        ends = 1 / ends if name == "iterations" else -ends
        found = back.estimate.value, back.estimate.high, back.estimate.low
        np.testing.assert_allclose(found, ends, atol=1e-12)


def test_the_table_and_the_picture(folder, elsewhere, capsys):
    assert cli.main(["compare", str(folder / "three"), str(folder / "four")]) == 0
    captured = capsys.readouterr()
    one_line(captured.err, "differ in model.num_components: 3 in A, 4 in B")
    assert "final loss" in captured.out
    picture = Path("runs") / "three-against-four.png"
    assert f"picture in {picture}" in captured.out
    assert matplotlib.image.imread(elsewhere / picture).ndim == 3


def lines_of(panel):
    """(x, y) of the points, and of the intervals."""
    drawn = [(*map(np.asarray, line.get_data()), line) for line in panel.lines[1:]]
    points = [(x[0], y[0]) for x, y, line in drawn if line.get_marker() == "o"]
    return points, [(x[0], x[1]) for x, y, line in drawn if line.get_marker() != "o"]


def shifted(record, settings):
    """The same record, its grid points with other settings."""
    other = Record(record.folder, "run", json.loads(json.dumps(record.summary)))
    for point, value in zip(other.summary["points"], settings, strict=True):
        point["settings"]["solver.step_size"] = value
    return other


def test_the_picture_holds_the_estimates(folder):
    with records.opened(folder / "steps") as record:  # each grid point against the other one
        answers = comparison.compare(record, shifted(record, (1.0, 0.5)))
    figure = comparison.picture(answers, folder / "steps", folder / "steps")
    questions = list(dict.fromkeys(answer.question.title for answer in answers))
    assert [panel.get_xlabel() for panel in figure.axes] == questions
    for panel in figure.axes:
        asked = [a.estimate for a in answers if a.question.title == panel.get_xlabel()]
        points, intervals = lines_of(panel)
        assert points == [(estimate.value, height) for height, estimate in enumerate(asked)]
        assert intervals == [(estimate.low, estimate.high) for estimate in asked]


def test_only_what_both_have_is_matched(folder):
    """The step size of 1.0, which is the second in one and the first in the other."""
    with records.opened(folder / "steps") as mine, records.opened(folder / "others") as other:
        answers = comparison.compare(mine, other)
    assert {answer.setting["solver.step_size"] for answer in answers} == {1.0}
    for answer in answers:
        # They are the same fits.
        assert answer.estimate.value == answer.question.none
        assert answer.verdict == "no difference seen"


def test_all_that_is_the_same_is_matched(folder):
    with records.opened(folder / "steps") as record:
        answers = comparison.compare(record, shifted(record, (0.5, 1.0)))
    assert [answer.setting["solver.step_size"] for answer in answers[::3]] == [0.5, 1.0]
    assert all(answer.estimate.value == answer.question.none for answer in answers)


def test_no_grid_point_in_common(folder):
    with records.opened(folder / "steps") as record:
        other = shifted(record, (0.125, 0.25))
        with pytest.raises(InputError, match=r"no grid point in common: .*0\.5.* and .*0\.125"):
            comparison.compare(record, other)


def test_what_varies_in_one_alone_is_not_clear(folder, capsys):
    refused(
        capsys, ["compare", folder / "steps", folder / "three"],
        "steps", "three", "several grid points agree", "nothing",
    )  # fmt: skip


def test_other_seeds_are_told(folder, capsys):
    arguments = ["compare", str(folder / "three"), str(folder / "reseeded"), "--no-figures"]
    assert cli.main(arguments) == 0
    one_line(capsys.readouterr().err, "differ in sweep.seed: 0 in A, 5 in B", "by number only")


def test_what_cannot_be_compared(folder, tmp_path, capsys):
    a = folder / "three"
    refused(capsys, ["compare", a, folder / "three" / "." / ""], "are one folder")
    refused(capsys, ["compare", a, tmp_path / "gone"], tmp_path / "gone")
    np.save(tmp_path / "data.npy", np.arange(20.0))
    fit = ["fit", tmp_path / "data.npy", "--components", "2", "--scale", "1"]
    fit += ["--out", tmp_path / "fit"]
    assert cli.main([str(f) for f in [*fit, "--no-figures", "--no-certificate"]]) == 0
    refused(capsys, ["compare", a, tmp_path / "fit"], tmp_path / "fit", "is a fit")
    refused(capsys, ["compare", tmp_path / "fit", a], tmp_path / "fit", "is a fit")


def test_where_the_picture_may_be(folder, tmp_path, capsys):
    arguments = ["compare", folder / "three", folder / "four", "--picture"]
    refused(capsys, [*arguments, "x.pdf"], "x.pdf", "must end in .png")
    refused(capsys, [*arguments, "gone/x.png"], "gone/x.png", "folder does not exist")
    taken = tmp_path / "x.png"
    taken.write_text("mine")
    refused(capsys, [*arguments, "x.png"], "x.png", "is there already", "--force")
    assert taken.read_text() == "mine"
    assert cli.main([str(a) for a in [*arguments, "x.png", "--force"]]) == 0
    assert taken.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "folder.png").mkdir()
    refused(capsys, [*arguments, "folder.png", "--force"], "folder.png", "is there already")


@pytest.mark.parametrize(
    "damage",
    [
        lambda summary: summary.pop("points"),
        lambda summary: summary["points"].append({}),
        lambda summary: summary["points"][0].pop("settings"),
        lambda summary: summary.update(points=[]),
        lambda summary: summary["points"].append(summary["points"][0] | {"settings": {"x": 1}}),
        lambda summary: summary["points"][0].update(settings=3),
    ],
)
def test_a_damaged_summary_is_one_line(folder, tmp_path, capsys, damage):
    shutil.copytree(folder / "three", tmp_path / "bad")
    path = tmp_path / "bad" / "summary.json"
    summary = json.loads(path.read_text())
    damage(summary)
    path.write_text(json.dumps(summary))
    for pair in ((folder / "four", tmp_path / "bad"), (tmp_path / "bad", folder / "four")):
        refused(capsys, ["compare", *pair, "--no-figures"], tmp_path / "bad")


def test_csv_agrees_with_the_arrays(folder):
    """What the comparison reads is what results.csv says."""
    with open(folder / "three" / "results.csv", newline="") as file:
        told = [row["recovered"] == "1" for row in csv.DictReader(file)]
    with records.opened(folder / "three") as record:
        assert record.grid[0]["recovered"].tolist() == told
