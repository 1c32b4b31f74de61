"""What [report] asks for: columns where they are asked for, blanks elsewhere, and going on."""

import json
import shutil

import numpy as np
import pytest
from studies import command, finished, one_line, rows, same_results

import gemjax as gj
from gemjax import cli

STUDY = """
[truth]
kind = "ring"
separation = 4.0
[target]
num_samples = 60
[model]
num_components = 4
[solver]
num_iterations = 6
record_every = 2
[sweep]
num_seeds = 4
[[case]]
name = "all"
report = { path = true, follow = true, starts = true, moments = 2, reach = 0.5 }
[[case]]
name = "none"
[[case]]
name = "other seeds"
sweep.seed = 1
[[figure]]
kind = "success"
[[finding]]
measure = "rate"
where = { case = "all" }
"""
ASKED = {
    "entry_iteration", "entry_loss", "moment1_iteration", "moment2_iteration", "covered",
    "iterations",
}  # fmt: skip
KEPT = {
    "history_rms_distance", "history_stray_mass", "history_moments", "start_means",
    "followed_weights", "followed_means",
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run; tests copy it."""
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "study.toml"
    path.write_text(STUDY)
    assert cli.main(command(path, folder / "out")) == 0
    return folder / "out"


@pytest.fixture
def copy(whole, tmp_path):
    """The config and the folder of a run to go on with."""
    (tmp_path / "study.toml").write_text(STUDY)
    shutil.copytree(whole, tmp_path / "out")
    return tmp_path / "study.toml", tmp_path / "out"


def test_flags_make_columns_and_blanks(whole):
    table = rows(whole / "results.csv")
    assert table[0].keys() >= ASKED
    assert {"rms_distance", "num_distinct", "largest_rise"} <= table[0].keys()
    for row in table:
        assert all(row[name] != "" for name in ("rms_distance", "num_distinct", "largest_rise"))
        if row["case"] != "all":
            assert {row[name] for name in ASKED} == {""}
        else:
            assert row["covered"] in ("0", "1")
            # An iteration has its loss, and none where it did not happen.
            assert (row["entry_iteration"] == "") == (row["entry_loss"] == "nan")
            assert row["entry_iteration"] in ("", "2", "4", "6")
    assert len(table) == 12


def test_flags_keep_arrays(whole):
    with np.load(whole / "history.npz") as arrays:
        names = {name for name in arrays.files if not name.startswith("settings")}
        assert {f"{name}_0" for name in KEPT} <= names
        assert not {f"{name}_1" for name in KEPT} & names
        assert arrays["history_moments_0"].shape == (4, 3, 2)
        assert arrays["followed_means_0"].shape == (4, 4, 2)
        assert arrays["start_means_0"].shape == (4, 4, 2)
        # The path of the seed that is followed is that of the means that are kept.
        weights, means = arrays["followed_weights_0"][1:], arrays["followed_means_0"][1:]
        truth = arrays["truth_means_0"]
        nearest = np.linalg.norm(means[:, :, None] - truth, axis=-1).min(axis=-1)
        rms = np.sqrt((weights * nearest**2).sum(axis=1))
        np.testing.assert_allclose(arrays["history_rms_distance_0"][0], rms, rtol=1e-5)
        np.testing.assert_allclose(arrays["start_means_0"][0], arrays["followed_means_0"][0])


def test_covered_against_the_starts(whole):
    """Whether each true mean is the nearest of some start, by hand."""
    found = [row["covered"] for row in rows(whole / "results.csv") if row["case"] == "all"]
    with np.load(whole / "history.npz") as arrays:
        truth = arrays["truth_means_0"]
        expected = [
            {min(range(3), key=lambda j: np.linalg.norm(mean - truth[j])) for mean in start}
            for start in arrays["start_means_0"]
        ]
    assert found == [str(int(served == {0, 1, 2})) for served in expected]
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["points"][0]["num_covered"] == found.count("1")


def test_going_on_ends_with_the_same_bytes(copy, whole, capsys):
    path, out = copy
    (out / "summary.json").unlink()
    pieces = sorted((out / "pieces").iterdir())
    pieces[1].unlink()
    content = bytearray(pieces[0].read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    pieces[0].write_bytes(content)
    capsys.readouterr()
    assert cli.main(command(path, out, "--resume")) == 0
    one_line(capsys.readouterr().err, pieces[0], "damaged")
    same_results(out, whole)
    assert json.loads((out / "summary.json").read_text())["num_seeds_read_back"] == 4


@pytest.mark.parametrize("missing", ["history_moments", "start_means", "followed_means", "covered"])
def test_a_piece_without_what_is_asked_for_is_computed_again(copy, whole, capsys, missing):
    path, out = copy
    (out / "summary.json").unlink()
    first = min((out / "pieces").iterdir())
    with np.load(first) as arrays:
        np.savez(first, **{name: arrays[name] for name in arrays.files if name != missing})
    capsys.readouterr()
    assert cli.main(command(path, out, "--resume")) == 0
    one_line(capsys.readouterr().err, first, "damaged")
    same_results(out, whole)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (('kind = "success"', 'kind = "outcomes"\ntitle = "How"'), "figures"),
        (('measure = "rate"', 'measure = "median"\ny = "loss"'), "findings"),
        (("[truth]", '[study]\ntitle = "New"\n[truth]'), "study"),
    ],
)
def test_what_is_shown_changes_without_computing(copy, whole, monkeypatch, change, key):
    path, out = copy
    path.write_text(STUDY.replace(*change))
    pieces = finished(out)
    monkeypatch.setattr(gj, "sweep", lambda *a, **k: pytest.fail("something is computed"))
    assert cli.main(command(path, out, "--resume")) == 0
    assert finished(out) == pieces
    same_results(out, whole)
    before = json.loads((whole / "summary.json").read_text())
    after = json.loads((out / "summary.json").read_text())
    assert (before["num_seeds_read_back"], after["num_seeds_read_back"]) == (0, 12)
    assert {name for name in ("figures", "findings", "study") if before[name] != after[name]} == {
        key
    }
