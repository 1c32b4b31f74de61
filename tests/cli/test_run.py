"""`gemjax run`: what it writes and says."""

import json

import numpy as np
import pytest
from studies import rows

from gemjax import cli


def test_run(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["run", str(study), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "2 grid points" in captured.out
    assert "stagnated" in captured.out
    assert captured.err == ""  # no progress where there is no terminal
    table = rows(out / "results.csv")
    assert [(r["model.num_components"], r["seed"]) for r in table] == [
        (str(n), str(s)) for n in (3, 5) for s in range(9)
    ]
    summary = json.loads((out / "summary.json").read_text())
    for point, n in zip(summary["points"], ("3", "5"), strict=True):
        mine = [r for r in table if r["model.num_components"] == n]
        assert point["num_recovered"] == sum(int(r["recovered"]) for r in mine)
        outcomes = [r["outcome"] for r in mine]
        assert point["outcomes"] == {name: outcomes.count(name) for name in set(outcomes)}
        assert outcomes.count("recovered") == point["num_recovered"]
        low, high = point["success_interval_95"]
        assert low <= point["success_rate"] <= high
    assert {"jax", "device", "wall_seconds", "gemjax"} <= summary.keys()
    with np.load(out / "history.npz") as history:
        assert history["history_loss_1"].shape == (9, 12)
        assert history["means_1"].shape == (9, 5, 2)
    names = sorted(p.name for p in (out / "figures").iterdir())
    assert names == ["loss.png", "outcomes.png", "success.png"]
    # What was resolved is a config, and gives the same results.
    again = tmp_path / "again"
    command = ["run", str(out / "config.toml"), "--out", str(again), "--no-figures"]
    assert cli.main(command) == 0
    assert (again / "results.csv").read_bytes() == (out / "results.csv").read_bytes()
    assert not (again / "figures").exists()


@pytest.mark.slow
def test_batch_size_does_not_change_results(study, tmp_path):
    found = []
    for batch in (1, 3):
        out = tmp_path / f"out{batch}"
        change = f"sweep.batch_size={batch}"
        double = 'target.dtype="float64"'
        command = ["run", str(study), "--out", str(out), "--set", change, "--set", double]
        assert cli.main([*command, "--no-figures"]) == 0
        found.append([float(r["loss"]) for r in rows(out / "results.csv")])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-8)


@pytest.mark.slow
def test_population_study_with_reach_and_weights(tmp_path):
    path, out = tmp_path / "study.toml", tmp_path / "out"
    path.write_text(
        '[truth]\nkind="ring"\nseparation=[3.0, 5.0]\n[target]\nkind="population"\nnum_nodes=32\n'
        '[model]\nnum_components=6\ninit="from_mixture"\n[solver]\nnum_iterations=60\n'
        "[sweep]\nnum_seeds=2\n[report]\nreach=0.05\nfollow=true\n"
    )
    assert cli.main(["run", str(path), "--out", str(out)]) == 0
    names = {p.name for p in (out / "figures").iterdir()}
    assert names == {"loss.png", "iterations.png", "weights-0.png", "weights-1.png"}
    assert all(1 <= int(r["iterations"]) <= 60 for r in rows(out / "results.csv"))


@pytest.mark.slow
def test_study_with_escape_and_certificates(study, tmp_path):
    out = tmp_path / "out"
    settings = ["report.certificate=true", "solver.escape=true", "escape.every=5"]
    more = [word for setting in settings for word in ("--set", setting)]
    assert cli.main(["run", str(study), "--out", str(out), "--no-figures", *more]) == 0
    certified = {"num_insertions", "npmle_gap", "npmle_usable", "birth_gain", "birth_optimal"}
    table = rows(out / "results.csv")
    assert certified <= table[0].keys()
    found = json.loads((out / "summary.json").read_text())["points"]
    assert sum(p["num_birth_optimal"] for p in found) == sum(int(r["birth_optimal"]) for r in table)
    assert sum(p["num_insertions"] for p in found) == sum(int(r["num_insertions"]) for r in table)
    assert all(point["birth_price"] > 0 for point in found)


def test_seeds_that_converge_are_successes(study, tmp_path, capsys):
    found = {}
    for name, more in (("all", []), ("some", ["--set", "solver.tolerance=1e-3"])):
        out = tmp_path / name
        command = ["run", study, "--out", out, "--no-figures", "--set", "target.dtype=float64"]
        settings = ["--set", "solver.num_iterations=60", "--set", "sweep.num_seeds=3", *more]
        assert cli.main([str(a) for a in [*command, *settings]]) == 0
        found[name] = rows(out / "results.csv")
    assert "iterations run" in capsys.readouterr().out
    assert "num_iterations" not in found["all"][0]
    assert {row["status"] for row in found["all"]} == {"OK"}
    assert {row["status"] for row in found["some"]} == {"CONVERGED"}
    assert all(1 < int(row["num_iterations"]) < 60 for row in found["some"])
    points = json.loads((tmp_path / "some" / "summary.json").read_text())["points"]
    for point, n in zip(points, ("3", "5"), strict=True):
        mine = [row for row in found["some"] if row["model.num_components"] == n]
        assert point["num_diverged"] == 0
        assert point["num_recovered"] == sum(int(row["recovered"]) for row in mine)
        assert point["median_loss"] is not None
