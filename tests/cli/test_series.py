"""Which grid points and seeds a figure or finding is of, and what goes against what."""

from pathlib import Path

import numpy as np
import pytest

import gemjax as gj
from gemjax.cli.files.boundary import InputError
from gemjax.cli.record import Record
from gemjax.cli.report import comparison, series
from gemjax.cli.report.selection import select, values_of

OK, DIVERGED = int(gj.Status.OK), int(gj.Status.DIVERGED)


@pytest.fixture
def record():
    """m = 2 and 3, n = 4 and 8, two data seeds: eight points with three seeds; the last diverged.

    The loss of seed s at grid point i is 10 i + s, over a truth's of 1.
    """
    points, grid = [], []
    for m in (2, 3):
        for n in (8, 4):
            for data in (0, 1):
                i = len(points)
                settings = {
                    "truth.num_components": m, "model.num_components": n, "target.seed": data,
                    "solver.mean_rule": "em" if m == 2 else "gradient", "solver.escape": n == 8,
                    "truth.weights": [1.0] * m,
                }  # fmt: skip
                shape = {"n": n, "m": m, "d": 1, "separation": 4.0, "truth_weights": [1 / m] * m}
                points.append(
                    {"settings": settings, "shape": shape, "record_every": 1 + data,
                     "truth_loss": 1.0}
                )  # fmt: skip
                loss = 10.0 * i + np.arange(3.0)
                grid.append({
                    "status": np.array([OK, OK, DIVERGED]), "loss": loss,
                    "recovered": np.array([True, False, True]),
                    "covered": np.array([True, False, True]), "outcome": np.array([0, 1, 7]),
                    "iterations": np.array([5, 0, 9]), "means": np.zeros((3, n, 1)),
                    "history_loss": loss[:, None] + np.array([3.0, 2.0, 1.0, 0.0]),
                })  # fmt: skip
    record = Record(Path("nowhere"), "run", {"points": points})
    record.__dict__["grid"] = grid
    return record


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (None, [*range(8)]),
        ({"truth.num_components": 2.0}, [0, 1, 2, 3]),
        ({"m": 3, "model.num_components": [8, 16]}, [4, 5]),
        ({"solver.mean_rule": "em", "target.seed": 1}, [1, 3]),
        ({"solver.escape": False}, [2, 3, 6, 7]),
        ({"solver.escape": 0}, []),  # a flag is no number
        ({"truth.weights": [1, 1, 1]}, [4, 5, 6, 7]),
        ({"n/m": 4}, [0, 1]),
        ({"n": 5}, []),
    ],
)
def test_where_keeps_grid_points(record, where, kept):
    assert [part.index for part in select(record, where)] == kept


@pytest.mark.parametrize(
    ("where", "seeds"),
    [
        ({"covered": True}, [0, 2]),
        ({"covered": False}, [1]),
        ({"outcome": "one-fits-many"}, [1]),
        ({"outcome": ["recovered", "diverged"]}, [0, 2]),
        ({"iterations": 5}, [0]),
        ({"covered": True, "outcome": "diverged"}, [2]),
    ],
)
def test_where_keeps_seeds(record, where, seeds):
    assert all(part.seeds.tolist() == seeds for part in select(record, where))


def test_values(record):
    part = select(record, None)[1]
    nan = np.nan
    for y, expected in {
        "success": [True, False, False], "covered": [True, False, False],
        "outcome.diverged": [False, False, True], "loss": [10, 11, nan],
        "iterations": [5, nan, nan],
    }.items():  # fmt: skip
        np.testing.assert_array_equal(values_of(part, y), expected)


def test_lines_pool_what_is_not_named(record):
    low, high = series.lines(record, {"x": "n", "y": "loss", "by": ["m"]})
    assert (low.by, high.by) == ({"m": 2}, {"m": 3})
    assert low.places.tolist() == [4, 8]
    np.testing.assert_array_equal(low.at(8), [0, 1, np.nan, 10, 11, np.nan])
    np.testing.assert_array_equal(high.at(4), [60, 61, np.nan, 70, 71, np.nan])
    # A seed is the same at both n, and another with other data.
    assert low.seeds[low.x == 4].tolist() == low.seeds[low.x == 8].tolist()
    assert len(set(low.seeds.tolist())) == 6


def test_x(record):
    line, *_ = series.lines(record, {"x": "n/(m log m)", "where": {"m": 3}})
    np.testing.assert_allclose(line.places, np.array([4, 8]) / (3 * np.log(3)))
    (rules,) = series.lines(record, {"x": "solver.mean_rule", "y": "loss"})
    assert rules.names == ("em", "gradient")
    assert np.nanmax(rules.at(0)) == 31
    (flags,) = series.lines(record, {"x": "covered"})
    assert (flags.names, flags.at(1).sum(), flags.at(0).sum()) == (("no", "yes"), 8, 0)
    (outcomes,) = series.lines(record, {"x": "outcome", "y": "covered"})
    assert set(outcomes.names) == {"recovered", "one-fits-many", "diverged"}
    (column,) = series.lines(record, {"x": "loss", "y": "iterations"})
    assert len(column.x) == 16  # that of diverged seeds is none


def test_a_single_cluster_has_no_m_log_m(record):
    for point in record.summary["points"][:4]:
        point["shape"]["m"] = 1
    (line,) = series.lines(record, {"x": "n/(m log m)"})
    assert set(line.points.tolist()) == {4, 5, 6, 7}


def test_by_a_column(record):
    found = series.lines(record, {"x": "n", "by": ["covered", "m"]})
    assert [tuple(line.by.values()) for line in found] == [(False, 2), (False, 3), (True, 2), (True, 3)]  # fmt: skip  # noqa: E501
    assert not found[0].y.any()
    assert found[2].y.sum() == 4


def test_curves_meet_at_shared_iterations(record):
    low, _ = series.curves(record, {"by": ["m"], "where": {"n": 8}})
    assert low.time.tolist() == [2, 4]
    # Records 2 and 4 of the first data, 1 and 2 of the other; less the truth's loss.
    expected = [[1, -1], [2, 0], [12, 11], [13, 12]]
    np.testing.assert_allclose(low.y, expected)
    (loss,) = series.curves(record, {"y": "loss", "where": {"n": 8, "m": 2, "target.seed": 0}})
    np.testing.assert_allclose(loss.y, [[3, 2, 1, 0], [4, 3, 2, 1]])


def test_pairs_match_settings_and_seeds(record):
    spec = {"y": "loss", "where": {"n": 8, "m": 3}, "against": {"n": 4, "m": 3}}
    a, b = series.pairs(record, spec)
    nan = np.nan
    np.testing.assert_array_equal(a, [40, 41, nan, 50, 51, nan])
    np.testing.assert_array_equal(b, [60, 61, nan, 70, 71, nan])
    # What varies in both has to match: m and the data.
    a, b = series.pairs(record, {**spec, "where": {"n": 8}, "against": {"n": 4}})
    np.testing.assert_allclose((b - a)[~np.isnan(a)], 20)
    only = {"where": {"n": 8, "covered": True}, "against": {"n": 4}}
    a, b = series.pairs(record, {**spec, **only})
    np.testing.assert_array_equal(b[~np.isnan(b)], [20, 30, 60, 70])
    assert len(series.pairs(record, {**spec, "against": {"n": 5}})[0]) == 0
    with pytest.raises(InputError, match="several partners"):
        series.pairs(record, {**spec, "where": {"n": 8}})


def test_unknown_names(record):
    for spec, said in (
        ({"where": {"model.size": 3}}, ["where = 'model.size'", "model.num_components", "covered"]),
        ({"y": "sucess"}, ["y = 'sucess'", "success"]),
        ({"x": "separtion"}, ["x = 'separtion'", "separation"]),
        ({"by": ["q"]}, ["by = 'q'", "known are"]),
        ({"y": "means"}, ["y = 'means'"]),
    ):
        with pytest.raises(InputError) as error:
            series.lines(record, spec)
        assert all(text in str(error.value) for text in said)
    with pytest.raises(InputError, match="followed are loss"):
        series.curves(record, {"y": "momnts"})


def test_what_is_the_same_all_over_is_a_fact(record):
    constants = {"truth.dim": 2, "sweep.num_seeds": 3, "solver.mean_rule": "constant"}
    record.summary["constants"] = constants
    assert len(select(record, {"truth.dim": 2})) == 8
    assert select(record, {"truth.dim": [3, 4]}) == []
    assert len(select(record, {"solver.mean_rule": "em"})) == 4  # what varies is as it varies
    (line,) = series.lines(record, {"x": "truth.dim", "by": ["sweep.num_seeds"]})
    assert (line.by, line.places.tolist()) == ({}, [2])
    (curve,) = series.curves(record, {"by": ["truth.dim"]})
    assert curve.by == {}


def test_an_unknown_name_is_told_with_the_nearest_one_and_all_others(record):
    record.summary["constants"] = {"truth.dim": 2, "solver.num_iterations": 9}
    for spec, near in (
        ({"x": "truth.dmi"}, "truth.dim"), ({"by": ["covred"]}, "covered"), ({"y": "los"}, "loss"),
        ({"where": {"model.num_component": 3}}, "model.num_components"),
    ):  # fmt: skip
        with pytest.raises(InputError) as error:
            series.lines(record, spec)
        told = str(error.value)
        assert f"is unknown; did you mean {near!r}?" in told
        assert "..." not in told
        names = ["covered", "iterations", "outcome", "success"]
        names += [] if "y" in spec else ["n/(m log m)", "truth.weights", "config.toml"]
        assert all(name in told for name in names)


def test_constants_that_differ_between_two_runs(record):
    other = Record(Path("elsewhere"), "run", {**record.summary})
    record.summary["constants"] = {
        "truth.dim": 2, "solver.monotone": True, "solver.step_size": 0.5, "report.reach": 1e-3,
        "sweep.num_seeds": 3, "truth.kind": "ring",
    }  # fmt: skip
    assert comparison.differing(record, other) == []  # an earlier version's
    other.summary["constants"] = {
        "truth.dim": 10, "solver.monotone": False, "solver.step_size": 0.5, "report.reach": 1e-6,
        "sweep.num_seeds": 3.0, "model.init": "tensor", "target.seed": 4,
    }  # fmt: skip
    assert comparison.differing(record, other) == [
        "truth.dim: 2 in A, 10 in B", "solver.monotone: yes in A, no in B",
        "truth.kind: ring in A, none in B", "model.init: none in A, tensor in B",
    ]  # fmt: skip


def test_iterations_of_what_did_not_happen(record):
    part = select(record, None)[0]
    part.arrays["moment2_iteration"] = np.array([4, 0, 8])
    np.testing.assert_array_equal(values_of(part, "moment2_iteration"), [4, np.nan, np.nan])


def test_a_record_of_an_earlier_version(record):
    for point in record.summary["points"]:
        del point["shape"]
    low, _ = series.lines(record, {"x": "n/m", "by": ["m"]})
    assert low.places.tolist() == [2, 4]
