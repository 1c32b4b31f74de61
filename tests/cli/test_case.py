"""One case: its settings are the library's, and its fits agree with the library's own."""

import dataclasses
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest

import gemjax as gj
from gemjax.cli import case, fitting, paths, results
from gemjax.cli.files.read import InputError
from gemjax.cli.study import config
from gemjax.cli.study.settings import TABLES


def build(**tables):
    tables = {"truth": {"kind": "ring"}, "target": {"num_samples": 200}, **tables}
    for name in ("target", "solver", "model"):
        tables.setdefault(name, {})
    tables["target"]["dtype"] = "float64"
    return case.build(config.build(tables, Path("study.toml")).points[0], Path())


def test_defaults_and_limits_are_the_librarys():
    for name, owner in (("solver", gj.GradientEM), ("escape", gj.Escape)):
        fields = {field.name: field for field in dataclasses.fields(TABLES[name])}
        shared = [f for f in dataclasses.fields(owner) if f.name in fields]
        assert len(shared) >= 5
        for field in shared:
            assert fields[field.name].default == field.default
            assert fields[field.name].metadata == field.metadata
    solver, expected = build().solver, gj.GradientEM()
    for field in dataclasses.fields(expected):
        assert getattr(solver, field.name) == getattr(expected, field.name)


def test_what_is_followed_is_the_fit():
    """They stop after every other iteration: the rule's state must go on."""
    solver = {"num_iterations": 7, "record_every": 2, "mean_rule": "overrelaxed"}
    made = build(model={"num_components": 4}, solver=solver)
    followed = paths.followed(made)
    weights, means = followed["followed_weights"], followed["followed_means"]
    fit = gj.fit(made.solver, made.target, made.start(0), num_iterations=6)
    assert weights.shape == (4, 4)
    np.testing.assert_allclose(weights[0], 0.25)
    np.testing.assert_array_equal(means[0], made.start(0).means)
    np.testing.assert_allclose(weights[-1], fit.mixture.weights, rtol=1e-12)
    np.testing.assert_allclose(means[-1], fit.mixture.means, rtol=1e-12)


@pytest.mark.parametrize("tolerance", [{}, {"tolerance": 1e-4}])
def test_the_best_of_fits_in_segments_is_that_of_a_sweep(tolerance):
    settings = {"num_iterations": 43, "mean_rule": "em", "step_size": 1.0, **tolerance}
    made = build(model={"num_components": 3}, solver=settings, sweep={"num_seeds": 4})
    shown = []
    fit, seed, losses = fitting.fit_best(made, lambda done, total: shown.append((done, total)))
    found = fitting.fit_block(made, 0, 4, None, 1)
    np.testing.assert_allclose(losses, found.loss, rtol=1e-9)
    assert seed == np.argmin(found.loss)
    assert fit.num_iterations == found.fit.num_iterations[seed]
    assert (fit.status == gj.Status.CONVERGED) == bool(tolerance)
    assert shown[0] == (0, 172)
    assert all(before[0] < after[0] for before, after in itertools.pairwise(shown))
    if not tolerance:
        assert shown[-1] == (172, 172)


@pytest.mark.slow
def test_an_escape_leaves_time_to_settle_however_the_fit_is_cut():
    settings = {"num_iterations": 60, "mean_rule": "em", "step_size": 1.0, "escape": True}
    made = build(
        truth={"kind": "explicit", "means": [[-3.0], [3.0], [12.0]]},
        model={"num_components": 3, "init": "from_mixture"},
        solver=settings,
        escape={"every": 5},
        sweep={"num_seeds": 3},
    )
    _, _, losses = fitting.fit_best(made, lambda *_: None)
    found = fitting.fit_block(made, 0, 3, None, 1)
    np.testing.assert_allclose(losses, found.loss, rtol=1e-9)


def test_columns_say_which_arrays_a_block_leaves():
    made = build(report={"certificate": True}, solver={"num_iterations": 4, "tolerance": 0.0})
    arrays = results.arrays_of(fitting.fit_block(made, 0, 2, None, 1), made.point)
    assert results.fits(arrays, 2, made.point)
    assert not results.fits(arrays, 3, made.point)
    assert not results.fits({k: v for k, v in arrays.items() if k != "loss"}, 2, made.point)
    assert not results.fits(arrays | {"means": arrays["means"][:, :-1]}, 2, made.point)
    for name, array in arrays.items():
        assert not results.fits(arrays | {name: array[:1]}, 2, made.point), name


def test_a_start_that_cannot_be_is_told_before_the_work():
    with pytest.raises(
        InputError, match='init = "spectral": rank must be at most the dimension d = 2'
    ):
        build(model={"init": "spectral", "rank": 3})
    with pytest.raises(InputError, match='init = "tensor": rank must be at most the number of'):
        build(model={"init": "tensor", "rank": 3, "num_components": 2})
    means = np.asarray(build(model={"init": "spectral", "rank": 1}).start(0).means)
    assert np.linalg.matrix_rank(means - means[0], tol=1e-6) == 1


def test_every_kind_of_truth_and_start(tmp_path):
    for kind in gj.truth.KINDS:
        truth = {"kind": kind, "separation": 5.0}
        assert build(truth=truth).truth.means.shape == (3, 2)
    for init in gj.initialize.STARTS:
        more = {"rank": 2} if init in ("spectral", "tensor") else {}
        assert build(model={"init": init} | more).start(1).means.shape == (7, 2)


def test_units_lead_back_to_the_file(tmp_path):
    points = 1e3 + 50 * np.random.default_rng(0).normal(size=(40, 2))
    np.save(tmp_path / "data.npy", points)
    target = {"kind": "file", "path": "data.npy", "scale": 5.0, "dtype": "float64"}
    for on_disk in (False, True):
        tables = {"target": target | {"on_disk": on_disk}}
        point = config.build(tables, tmp_path / "study.toml").points[0]
        made = case.build(point, tmp_path)
        np.testing.assert_allclose(made.units.to_data(made.target.read(slice(None))[0]), points)
        np.testing.assert_allclose(made.target.read(slice(None))[0].mean(axis=0), 0, atol=1e-9)


def test_a_column_of_weights(tmp_path):
    (tmp_path / "data.csv").write_text("x,w\n0,1\n10,3\n")
    tables = {"target": {"kind": "file", "path": "data.csv", "weights": "w", "dtype": "float64"}}
    made = case.build(config.build(tables, tmp_path / "study.toml").points[0], tmp_path)
    assert made.columns == ["x"]
    np.testing.assert_allclose(made.target.weights, [0.25, 0.75])
    assert jax.numpy.abs(made.target.weights @ made.target.points).max() < 1e-12
