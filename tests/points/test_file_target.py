"""Points that stay in a file: exact statistics, draws, and errors that name the row."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

import gemjax as gj
from gemjax import cli

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(301, 3)) * 2
WEIGHTS = RNG.uniform(size=301)
CUT = gj.Blocking(block_size=16, copied_bytes=5000)  # chunks of 96 points


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "points.npy", POINTS)
    np.save(tmp_path / "weights.npy", WEIGHTS)
    return tmp_path / "points.npy", tmp_path / "weights.npy"


@pytest.mark.parametrize("solver", [gj.GradientEM(blocking=CUT), gj.classical_em(blocking=CUT)])
def test_a_fit_is_that_of_the_points_in_memory(files, solver):
    offset, scale = [1.0, 2.0, 3.0], 0.5
    on_disk = gj.from_npy(*files, offset=offset, scale=scale, dtype="float64")
    target = gj.empirical((POINTS - offset) / scale, WEIGHTS)
    start = gj.initialize.from_target(jax.random.key(0), target, 4)
    a = gj.fit(solver, on_disk, start, num_iterations=4)
    b = gj.fit(type(solver)(), target, start, num_iterations=4)
    np.testing.assert_allclose(a.mixture.means, b.mixture.means, rtol=1e-11)
    np.testing.assert_allclose(a.history.loss, b.history.loss, rtol=1e-13)
    expected = float(gj.loss(a.mixture, target))
    assert gj.loss(a.mixture, on_disk) == pytest.approx(expected, rel=1e-13)
    assert on_disk.radius >= np.linalg.norm(target.points - on_disk.centre[None], axis=1).max()


def test_other_number_types_and_one_dimension(tmp_path):
    for dtype in (np.float32, np.int16):
        np.save(tmp_path / "x.npy", (POINTS[:, 0] * 10).astype(dtype))
        on_disk = gj.from_npy(tmp_path / "x.npy", dtype="float64")
        target = gj.empirical((POINTS[:, 0] * 10).astype(dtype).astype(float))
        start = gj.make_mixture([-5.0, 5.0])
        assert gj.loss(start, on_disk) == pytest.approx(float(gj.loss(start, target)), rel=1e-12)


def test_draws_are_distinct_points_by_weight(files):
    on_disk = gj.from_npy(files[0], dtype="float64")
    start = gj.initialize.from_target(jax.random.key(1), on_disk, 301)
    np.testing.assert_allclose(np.sort(start.means, axis=0), np.sort(POINTS, axis=0))
    again = gj.initialize.from_target(jax.random.key(1), on_disk, 301)
    np.testing.assert_array_equal(start.means, again.means)
    with pytest.raises(ValueError, match="n must be at most the 301 points of a file, got 302"):
        gj.initialize.from_target(jax.random.key(1), on_disk, 302)


def test_draws_follow_the_weights(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(4.0))
    np.save(tmp_path / "w.npy", np.array([0.0, 1.0, 2.0, 7.0]))
    on_disk = gj.from_npy(tmp_path / "x.npy", tmp_path / "w.npy", dtype="float64")
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = jax.jit(lambda key: gj.initialize.from_target(key, on_disk, 1).means[0, 0])
    drawn = np.asarray(jax.lax.map(draw, keys)).astype(int)
    shares = np.bincount(drawn, minlength=4) / 2000
    assert shares[0] == 0
    np.testing.assert_allclose(shares[1:], [0.1, 0.2, 0.7], atol=0.04)


def test_sweep_over_seeds_and_devices(files):
    on_disk = gj.from_npy(files[0], dtype="float64")
    settings = {"num_seeds": 3, "num_components": 4, "num_iterations": 3}
    solver = gj.GradientEM(blocking=CUT)
    alone = gj.sweep(jax.random.key(0), solver, on_disk, **settings)
    assert len({float(v) for v in alone.history.loss[:, 0]}) == 3
    devices = np.array(jax.devices()[:2])
    spread = gj.sweep(jax.random.key(0), solver, on_disk, mesh=Mesh(devices, ("seed",)), **settings)
    np.testing.assert_allclose(alone.mixture.means, spread.mixture.means, rtol=1e-12)
    # Reads for two devices of one process would wait for each other, if rarely: one does it all.
    assert len(spread.mixture.means.sharding.device_set) == 1
    mesh = Mesh(devices.reshape(1, 2), ("seed", "data"))
    with pytest.raises(TypeError, match='cannot be spread over the axis "data"'):
        gj.sweep(jax.random.key(0), solver, on_disk, mesh=mesh, **settings)


@pytest.mark.slow
def test_settings_are_differentiable(files):
    on_disk = gj.from_npy(files[0], dtype="float64")
    target, start = gj.empirical(POINTS), gj.make_mixture(POINTS[:3])

    def final(step, data):
        solver = gj.GradientEM(step, weight_step_size=0.05, blocking=CUT)
        return gj.fit(solver, data, start, num_iterations=3).history.loss[-1]

    expected = float(jax.grad(final)(0.5, target))
    assert jax.grad(final)(0.5, on_disk) == pytest.approx(expected, rel=1e-10)


def test_bad_files(tmp_path, files):
    def bad(match, array, weights=None, error=ValueError, **settings):
        np.save(tmp_path / "bad.npy", array)
        if weights is not None:
            np.save(tmp_path / "heft.npy", weights)
            weights = tmp_path / "heft.npy"
        with pytest.raises(error, match=match):
            gj.from_npy(tmp_path / "bad.npy", weights, **settings)

    hole = POINTS.copy()
    hole[200, 1] = np.nan
    bad("bad.npy: must be finite, got nan at row 200; drop", hole)
    bad(r"must hold shape \(N, d\) or \(N,\), got \(2, 2, 2\)", np.zeros((2, 2, 2)))
    bad("must hold shape", np.zeros((0, 2)))
    bad("must be a .npy file of real numbers, holds <U1", np.array(["a", "b"]))
    bad(r"heft.npy: must hold shape \(301,\), got \(3,\)", POINTS, np.ones(3))
    bad("must be finite and non-negative, got -1.0 at row 1", np.ones(3), np.array([1.0, -1, 2]))
    bad("must not all be zero", np.ones(3), np.zeros(3))
    bad("scale must be positive and finite, got 0.0", POINTS, scale=0.0)
    bad(r"scale must be one number for a file, got shape \(3, 3\)", POINTS, scale=np.eye(3))
    bad(r"offset must be \(3,\) finite numbers", POINTS, offset=[1.0])
    bad("dtype must be float32 or float64", POINTS, error=TypeError, dtype="int32")
    (tmp_path / "text.npy").write_text("1,2\n")
    with pytest.raises(ValueError, match=r"text.npy: not a .npy file of numbers"):
        gj.from_npy(tmp_path / "text.npy")
    with pytest.raises(FileNotFoundError):
        gj.from_npy(tmp_path / "nothing.npy")


def test_a_far_off_sample_keeps_its_digits_in_float32(tmp_path):
    points = 1e6 + RNG.normal(size=(500, 1))
    np.save(tmp_path / "far.npy", points)
    on_disk = gj.from_npy(tmp_path / "far.npy", offset=[1e6])
    centred = gj.empirical(points - 1e6)
    start = gj.make_mixture(jnp.float32([0.5]))
    expected = float(gj.loss(gj.make_mixture([0.5]), centred))
    assert gj.loss(start, on_disk) == pytest.approx(expected, rel=1e-6)


def rows(path):
    return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)


def test_gemjax_fit_of_a_file_on_disk(tmp_path):
    points = 1e4 + 30 * np.repeat([[0.0, 0.0], [10.0, 0.0]], 200, axis=0)
    points = points + 3 * RNG.normal(size=points.shape)
    np.save(tmp_path / "data.npy", points)
    command = ["fit", str(tmp_path / "data.npy"), "--components", "4", "--scale", "3", "--labels"]
    more = ["--responsibilities", "--iterations", "30", "--seed", "3"]
    out = tmp_path / "out"
    assert cli.main([*command, *more, "--on-disk", "--out", str(out)]) == 0
    table = rows(out / "components.csv")
    left = table[:, 0] < 10150
    for side, centre in ((left, points[:200].mean(axis=0)), (~left, points[200:].mean(axis=0))):
        mass = table[side, 2].sum()
        assert mass == pytest.approx(0.5, abs=1e-3)
        np.testing.assert_allclose(table[side, 2] @ table[side, :2] / mass, centre, atol=0.05)
    labels = rows(out / "labels.csv")[:, 1].astype(int)
    assert left[labels[:200]].all()
    assert not left[labels[200:]].any()
    assert np.load(out / "responsibilities.npy").shape == (400, 4)
    summary = json.loads((out / "summary.json").read_text())
    z = (points[:, None] - table[None, :, :2]) / 3
    density = np.exp(-0.5 * (z**2).sum(axis=2)) @ table[:, 2] / (2 * np.pi * 9)
    assert summary["loss_nats_per_point"] == pytest.approx(-np.log(density).mean(), abs=1e-4)
    assert summary["num_points"] == 400
    assert (out / "figures" / "components.png").exists()


def test_a_target_on_disk_in_a_config(tmp_path):
    np.save(tmp_path / "data.npy", POINTS)
    found = {}
    for mode in ("true", "false"):
        path, out = tmp_path / f"{mode}.toml", tmp_path / mode
        path.write_text(
            f'[target]\nkind="file"\npath="data.npy"\nscale=2.0\ndtype="float64"\non_disk={mode}\n'
            f'[model]\nnum_components=1\n[solver]\nmean_rule="em"\nstep_size=1.0\n'
            # One seed on two devices: the points of a file cannot be spread.
            "num_iterations=3\n[sweep]\nnum_seeds=1\n"
        )
        assert cli.main(["run", str(path), "--out", str(out), "--no-figures"]) == 0
        found[mode] = rows_of(out / "results.csv", "loss")
    # One component forgets where it started.
    np.testing.assert_allclose(found["true"], found["false"], rtol=1e-9)


def rows_of(path, column):
    with open(path, newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--columns", "1"], "--on-disk goes with neither --columns"),
        (["--init", "plus_plus"], "--on-disk goes with neither"),
    ],
)
def test_what_cannot_stay_on_disk(more, message, files, capsys):
    command = ["fit", str(files[0]), "--components", "2", "--scale", "1", "--on-disk", *more]
    assert cli.main(command) == 2
    assert message in capsys.readouterr().err


def test_only_npy_files_stay_on_disk(tmp_path, capsys):
    (tmp_path / "data.csv").write_text("1\n2\n")
    command = ["fit", str(tmp_path / "data.csv"), "--components", "2", "--scale", "1", "--on-disk"]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "data.csv: only a .npy file can stay on disk" in capsys.readouterr().err
    hole = POINTS.copy()
    hole[7, 0] = np.inf
    np.save(tmp_path / "hole.npy", hole)
    command[1] = str(tmp_path / "hole.npy")
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "must be finite, got inf at row 7" in capsys.readouterr().err
