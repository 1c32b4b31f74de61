"""`gemjax fit`: what it writes and says."""

import json

import numpy as np
import pytest
from studies import rows

from gemjax import cli
from gemjax.cli.process import devices


def test_fit(data, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["fit", data, "--components", "6", "--scale", "5", "--columns", "x,y", "--out", out]
    assert cli.main([str(a) for a in [*command, "--labels", "--responsibilities", "--escape"]]) == 0
    printed = capsys.readouterr().out
    assert "heaviest of 6" in printed
    assert "certificate: birth-optimal" in printed
    summary = json.loads((out / "summary.json").read_text())
    found = summary["certificate"]
    assert found["birth_optimal"] is True
    assert 0 <= found["birth_gain"] <= found["birth_price"]
    assert f"gains {found['birth_gain']:.2g} nats per point" in printed
    assert 900 < found["npmle_at"][0] < 1200  # in the data's own units
    assert summary["num_insertions"] == 0
    table = rows(out / "components.csv")
    assert list(table[0]) == ["x", "y", "weight"]
    weights = np.array([float(r["weight"]) for r in table])
    assert (np.diff(weights) <= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    x = np.array([float(r["x"]) for r in table])
    low = x < 1050
    assert weights[low].sum() == pytest.approx(2 / 3, abs=0.01)
    assert weights[low] @ x[low] / weights[low].sum() == pytest.approx(1000, abs=3)
    assert weights[~low] @ x[~low] / weights[~low].sum() == pytest.approx(1100, abs=3)
    labels = np.array([int(r["label"]) for r in rows(out / "labels.csv")])
    assert (low[labels[:60]]).all()
    assert not low[labels[60:]].any()
    posterior = np.load(out / "responsibilities.npy")
    assert posterior.shape == (90, 6)
    np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=1e-5)
    assert (posterior.argmax(axis=1) == labels).all()
    names = {p.name for p in (out / "figures").iterdir()}
    assert names == {"components.png", "convergence.png"}


def test_fit_loss_is_that_of_the_data_in_its_own_units(data, tmp_path):
    out = tmp_path / "out"
    command = ["fit", data, "--components", "4", "--scale", "5", "--columns", "x", "--out", out]
    double = ["--precision", "float64", "--no-figures", "--no-certificate"]
    assert cli.main([str(a) for a in [*command, *double]]) == 0
    table = np.loadtxt(out / "components.csv", delimiter=",", skiprows=1)
    x = np.loadtxt(data, delimiter=",", skiprows=1)[:, 0]
    z = (x[:, None] - table[None, :, 0]) / 5
    density = np.exp(-0.5 * z**2) @ table[:, 1] / (5 * np.sqrt(2 * np.pi))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["loss_nats_per_point"] == pytest.approx(-np.log(density).mean(), abs=1e-6)


@pytest.mark.slow
def test_fit_weights_count_as_repeated_rows(data, tmp_path):
    x, y, w = np.loadtxt(data, delimiter=",", skiprows=1).T
    np.save(tmp_path / "repeated.npy", np.repeat(np.column_stack([x, y]), w.astype(int), axis=0))
    losses = []
    more = ["--components", "1", "--scale", "5", "--precision", "float64", "--no-figures"]
    more.append("--no-certificate")
    for i, file in enumerate([[data, "--weights", "w"], [tmp_path / "repeated.npy"]]):
        out = tmp_path / f"out{i}"
        assert cli.main([str(a) for a in ["fit", *file, *more, "--out", out]]) == 0
        losses.append(json.loads((out / "summary.json").read_text())["loss_nats_per_point"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


@pytest.mark.slow
def test_fit_keeps_the_best_of_several_starts(data, tmp_path):
    out = tmp_path / "out"
    command = ["fit", data, "--components", "2", "--scale", "5", "--seeds", "3", "--out", out]
    more = ["--columns", "x", "--no-figures", "--no-certificate"]
    assert cli.main([str(a) for a in [*command, *more]]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["loss_nats_per_point"] == pytest.approx(min(summary["losses_of_seeds"]))
    assert summary["losses_of_seeds"][summary["best_seed"]] == min(summary["losses_of_seeds"])


def test_fit_stops_at_a_tolerance(data, tmp_path):
    out = tmp_path / "out"
    command = ["fit", data, "--components", "2", "--scale", "5", "--columns", "x", "--out", out]
    more = ["--tolerance", "1e-4", "--no-certificate", "--precision", "float64"]
    assert cli.main([str(a) for a in [*command, *more]]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "CONVERGED"
    assert 1 < summary["num_iterations"] < 100
    assert (out / "figures" / "convergence.png").exists()


def test_points_spread_over_devices(data, tmp_path, monkeypatch):
    """The numbers are those of one device; 90 points are too few for it, unless one insists."""
    found = {}
    for least, count in ((2**19, "2"), (1, "2"), (1, "1")):
        monkeypatch.setattr(devices, "_WORTH_SPREADING", least)
        out = tmp_path / f"{least}-{count}"
        command = ["fit", data, "--components", "4", "--scale", "5", "--no-certificate"]
        command += ["--iterations", "40", "--precision", "float64", "--no-figures"]
        command += ["--devices", count, "--out", out]
        assert cli.main([str(a) for a in command]) == 0
        found[least, count] = rows(out / "components.csv")
    first, *others = found.values()
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert [float(x) for x in a.values()] == pytest.approx([float(x) for x in b.values()])
