"""`gemjax fit` without options and `gemjax predict`: what they write is true of the table."""

import csv
import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from studies import refused, rows

import gemjax as gj
from gemjax import cli

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["weight", "cost $_$ [/red]"]  # one is gemjax's own, the other no markup of anybody's
CENTRES = np.array([[1e7, 0.0], [1e7 + 9, 0.0], [1e7, 900.0]])
SIZES = (40, 30, 20)
MISSING = (3, 50)
FAMILIES = {"EII", "VII", "EEI", "VVI", "EEE", "VVV"}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three clusters far from the origin, in columns of different units; two rows with a gap."""
    path = tmp_path_factory.mktemp("clusters") / "table.csv"
    noise = np.random.default_rng(0).normal(size=(90, 2)) * [1.0, 100.0]
    points = np.repeat(CENTRES, SIZES, axis=0) + noise
    lines = [[f"{a:.6f}", f"{b:.6f}"] for a, b in points]
    for row in MISSING:
        lines.insert(row, ["NA", "5"])
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([NAMES, *lines])
    return path, points


@pytest.fixture(scope="module")
def fitted(table):
    """The folder of a fit."""
    path, _ = table
    out = path.parent / "fit"
    assert cli.main(["fit", str(path), "--drop-missing", "--out", str(out)]) == 0
    return out


@pytest.fixture
def summary(fitted):
    return json.loads((fitted / "summary.json").read_text())


def kept(labels):
    """The rows of labels.csv that were looked at, and their numbers."""
    return [row for row in labels if row["label"]], [int(row["row"]) for row in labels]


def test_every_row_has_its_cluster(fitted):
    labels = rows(fitted / "labels.csv")
    found, numbers = kept(labels)
    assert numbers == [*range(1, 93)]
    assert [int(row["row"]) - 1 for row in labels if not row["label"]] == [*MISSING]
    assert [int(row["label"]) for row in found] == np.repeat([0, 1, 2], SIZES).tolist()
    assert all(0.9 < float(row["probability"]) <= 1 for row in found)


def test_components_are_those_of_the_groups_in_the_tables_units(table, fitted):
    _, points = table
    found = rows(fitted / "components.csv")
    assert list(found[0]) == ["cluster", "gemjax_weight", *NAMES, *(f"sd_{name}" for name in NAMES)]
    ends = np.cumsum([0, *SIZES])
    for i, row in enumerate(found):
        own = points[ends[i] : ends[i + 1]]
        values = np.array([float(row[name]) for name in NAMES])
        np.testing.assert_allclose(values, own.mean(axis=0), rtol=1e-9, atol=0.01)
        assert float(row["gemjax_weight"]) == pytest.approx(SIZES[i] / 90, abs=1e-4)
    within = np.concatenate([points[a:b] - points[a:b].mean(0) for a, b in pairwise(ends)])
    spread = [float(found[0][f"sd_{name}"]) for name in NAMES]
    np.testing.assert_allclose(spread / within.std(axis=0), 1, atol=0.1)


def test_losses_are_of_the_density_in_the_tables_units(table, fitted, summary):
    _, points = table
    density = 0.0
    for row in rows(fitted / "components.csv"):
        mean = [float(row[name]) for name in NAMES]
        variances = [float(row[f"sd_{name}"]) ** 2 for name in NAMES]
        density += float(row["gemjax_weight"]) * multivariate_normal(mean, variances).pdf(points)
    assert summary["loss_nats_per_point"] == pytest.approx(-np.log(density).mean(), abs=1e-4)


def test_the_summary_holds_what_was_chosen_from(summary):
    assert (summary["num_clusters"], summary["num_components"]) == (3, 3)
    assert (summary["num_rows"], summary["num_rows_used"]) == (92, 90)
    assert summary["scaling"]["is_scaled"]
    assert [one["num_rows"] for one in summary["clusters"]] == [*SIZES]
    assert {one["family"] for one in summary["families"]} == FAMILIES
    best = {one["family"]: one["best_criterion"] for one in summary["families"]}
    assert min(best, key=best.get) == summary["family"]
    for one in summary["families"]:
        sizes = [level["num_components"] for level in one["levels"]]
        assert sizes == sorted(sizes)


def test_the_model_is_a_selection_in_the_tables_units(fitted):
    found = gj.load(fitted / "model.npz")
    mean = np.asarray(found.mixture.means)[0]
    np.testing.assert_allclose(mean, CENTRES[0], atol=60)
    assert np.load(fitted / "model.npz")["names"].tolist() == NAMES


def pictures(out):
    return {path.stem: path.read_bytes() for path in (out / "figures").iterdir()}


def test_draw_draws_the_same(fitted, tmp_path, capsys):
    before = pictures(fitted)
    assert before.keys() == {"clusters", "criteria", "tree"}
    copy = tmp_path / "copy"
    shutil.copytree(fitted, copy)
    shutil.rmtree(copy / "figures")
    done = subprocess.run(
        [sys.executable, "-m", "gemjax.cli", "draw", copy], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert pictures(copy) == before
    assert "3 CLUSTERS" in done.stdout
    assert all(f"figures/{name}.png" in done.stdout for name in before)
    assert "cost $_$ [/red]" in done.stdout


def test_damage_is_told_in_a_line(fitted, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(fitted, copy)
    (copy / "model.npz").write_bytes((copy / "model.npz").read_bytes()[:1500])
    refused(capsys, ["draw", copy], copy / "model.npz")
    refused(capsys, ["predict", copy, fitted.parent / "table.csv", "--out", tmp_path / "p.csv"],
            copy / "model.npz")  # fmt: skip
    assert not (tmp_path / "p.csv").exists()


def test_predict_matches_columns_by_name(table, fitted, tmp_path, capsys):
    _, points = table
    with open(tmp_path / "new.csv", "w", newline="") as file:
        new = [[f"{b:.6f}", "?", f"{a:.6f}"] for a, b in [*points, [1e7 + 1e3, 0.0]]]
        csv.writer(file).writerows([[NAMES[1], "what", NAMES[0]], *new])
    assert cli.main(["predict", str(fitted), str(tmp_path / "new.csv"), "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert captured.err == ""
    assert told["num_rows_of_labels"][0] == SIZES[0]
    found = rows(tmp_path / "new-labels.csv")
    known, _ = kept(rows(fitted / "labels.csv"))
    for mine, theirs in zip(found, known, strict=False):
        assert (mine["label"], mine["probability"]) == (theirs["label"], theirs["probability"])
    rank = np.array([float(row["density_rank"]) for row in found])
    assert rank[-1] == 0
    assert abs(np.median(rank[:-1]) - 0.5) < 0.15
    log = np.array([float(row["log_density"]) for row in found[:-1]])
    loss = json.loads((fitted / "summary.json").read_text())["loss_nats_per_point"]
    assert -log.mean() == pytest.approx(loss, abs=1e-6)


def test_predict_never_replaces_a_file_unasked(table, fitted, tmp_path, capsys):
    path, _ = table
    place = tmp_path / "labels.csv"
    place.write_text("mine")
    command = ["predict", fitted / "model.npz", path, "--drop-missing", "--out", place]
    refused(capsys, command, place, "is there already", "--force")
    assert place.read_text() == "mine"
    refused(capsys, [*command[:-1], path, "--force"], "is the table itself")
    refused(capsys, [*command[:-1], tmp_path / "a.txt"], "must end in .csv")
    refused(capsys, [*command[:-1], tmp_path / "no" / "a.csv"], "does not exist")
    assert cli.main([str(a) for a in [*command, "--force", "--quiet"]]) == 0
    assert capsys.readouterr().out == ""
    mine = [list(row.values())[:3] for row in rows(place)]
    assert mine == [list(row.values()) for row in rows(fitted / "labels.csv")]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n3,5\n")
    refused(capsys, ["predict", fitted, tmp_path / "other.csv"], "no column 'weight'")
    refused(capsys, ["predict", tmp_path, path], tmp_path, "holds no model.npz")
    refused(capsys, [*command[:-1], tmp_path, "--force"], "is a folder, not a file")


def test_predict_names_only_options_that_it_has(table, fitted, tmp_path, capsys):
    text = table[0].read_text().splitlines()
    for name, cell in {"gap": "", "text": "3 kg", "other": "abc"}.items():
        place = tmp_path / f"{name}.csv"
        place.write_text("\n".join([*text[:40], ",".join([cell] * text[0].count(",")) + ","]))
        assert cli.main(["predict", str(fitted), str(place)]) == 2
        said = capsys.readouterr().err
        assert "--columns" not in said
        assert "(or 1 to" not in said


def test_a_fit_of_known_noise_predicts_its_components(table, tmp_path, capsys):
    path, _ = table
    out = tmp_path / "known"
    more = ["--scale", 1, "--components", 2, "--columns", "1", "--drop-missing", "--no-certificate"]
    command = ["fit", path, *more, "--no-figures", "--labels", "--precision", "float64"]
    assert cli.main([str(a) for a in [*command, "--out", out, "--json"]]) == 0
    assert json.loads(capsys.readouterr().out)["num_components"] == 2
    assert list(rows(out / "components.csv")[0]) == ["weight", "gemjax_weight"]
    place = tmp_path / "p.csv"
    new = ["predict", out, path, "--drop-missing", "--out", place, "--quiet"]
    assert cli.main([str(a) for a in new]) == 0
    found, _ = kept(rows(place))
    told = [(row["row"], row["label"]) for row in rows(out / "labels.csv")]
    assert [(row["row"], row["label"]) for row in found] == told


def test_options_of_one_case_are_refused_in_the_other(table, tmp_path, capsys):
    path, _ = table
    out = ["--out", tmp_path / "out"]
    refused(capsys, ["fit", path, *out, "--escape"], "--escape", "add --scale")
    refused(capsys, ["fit", path, *out, "--no-certificate"], "--no-certificate", "add --scale")
    known = ["fit", path, *out, "--scale", 1, "--components", 2]
    refused(capsys, [*known, "--family", "EII"], "--family", "leave it out")
    refused(capsys, [*known, "--criterion", "bic"], "--criterion", "leave it out")
    refused(capsys, ["fit", path, *out, "--scale", 1], "--scale needs --components")
    assert not (tmp_path / "out").exists()


def test_bad_settings_are_told_by_their_options(table, fitted, tmp_path, capsys):
    path, _ = table
    command = ["fit", path, "--drop-missing", "--out", tmp_path / "out"]
    refused(capsys, [*command, "--family", "blob"], "--family", "'blob'")
    refused(capsys, [*command, "--family", "EEE,tied"], "--family")
    refused(capsys, [*command, "--components", 60], "--components must be at most half")
    refused(capsys, [*command, "--components", 0], "--components must be at least 1, got 0")
    refused(capsys, [*command, "--criterion", "aic"], "--criterion", "'aic'")
    refused(capsys, [*command, "--seed", -1], "--seed must be at least 0")
    refused(capsys, [*command[:-1], fitted], "holds another run", "--force")
    refused(capsys, ["fit", path, "--out", tmp_path / "out"], "--drop-missing")
    (tmp_path / "one.csv").write_text("x,y\n1,2\n")
    refused(capsys, ["fit", tmp_path / "one.csv", "--out", tmp_path / "out"], "single row")
    assert not (tmp_path / "out").exists()
