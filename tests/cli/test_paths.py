"""What is measured along a fit: against a loop over single iterations, and in NumPy."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

import gemjax as gj
from gemjax.cli import case, derived, paths
from gemjax.cli.study import config

NUM, EVERY, SEEDS, ORDERS = 7, 2, 2, 3


def built(d, kind="gradient"):
    tables = {
        "truth": {"kind": "grid" if d == 1 else "ring", "dim": d, "num_components": 2 + (d > 1),
                  "separation": 3.0},
        "target": {"num_samples": 60, "dtype": "float64"},
        "model": {"num_components": 4},
        "solver": {"num_iterations": NUM, "record_every": EVERY, "mean_rule": kind},
        "report": {"path": True, "moments": ORDERS},
    }  # fmt: skip
    return case.build(config.build(tables, Path("study.toml")).points[0], Path())


def moment(means, weights, order):
    """Σ π_i μ_i ⊗ … ⊗ μ_i, entry by entry."""
    total = 0.0
    for mean, weight in zip(means, weights, strict=True):
        tensor = np.array(1.0)
        for _ in range(order):
            tensor = np.multiply.outer(tensor, mean)
        total = total + weight * tensor
    return total


def measured(mixture, truth):
    """RMS distance, stray mass at a quarter of the separation, and how far moments are."""
    means, weights, true = (np.asarray(a) for a in (mixture.means, mixture.weights, truth.means))
    apart = min(np.linalg.norm(a - b) for i, a in enumerate(true) for b in true[:i])
    nearest = [min(np.linalg.norm(mean - other) for other in true) for mean in means]
    rms = sum(w * far**2 for w, far in zip(weights, nearest, strict=True)) ** 0.5
    stray = sum(w for w, far in zip(weights, nearest, strict=True) if far > apart / 4)
    moments = [
        np.linalg.norm(moment(means, weights, k) - moment(true, np.asarray(truth.weights), k))
        for k in range(1, ORDERS + 1)
    ]
    return [rms, stray, *moments]


def one_more(made, fit):
    """Without the history, whose every length would compile anew."""
    fit = gj.fit(made.solver, made.target, fit, num_iterations=1)
    return dataclasses.replace(fit, history=jax.tree.map(lambda leaf: leaf[:0], fit.history))


@pytest.mark.parametrize(("d", "kind"), [(1, "gradient"), (2, "overrelaxed")])
def test_a_path_is_that_of_single_iterations(d, kind):
    """One iteration at a time, as a fit that goes on: "overrelaxed" has a state to lose."""
    made = built(d, kind)
    starts = [made.start(seed) for seed in range(SEEDS)]
    path = paths.along(made, jax.tree.map(lambda *leaves: np.stack(leaves), *starts))
    assert path.moments.shape == (SEEDS, NUM // EVERY, ORDERS)
    for seed, fit in enumerate(starts):
        expected = []
        for step in range(1, NUM + 1):
            fit = one_more(made, fit)
            if step % EVERY == 0:
                expected.append(measured(fit.mixture, made.truth))
        found = np.column_stack([path.rms_distance[seed], path.stray_mass[seed],
                                 path.moments[seed]])  # fmt: skip
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_no_moments_where_none_are_asked_for():
    made = built(1)
    report = dataclasses.replace(made.point.report, moments=0)
    made = dataclasses.replace(made, point=dataclasses.replace(made.point, report=report))
    path = paths.along(made, jax.tree.map(lambda leaf: np.asarray(leaf)[None], made.start(0)))
    assert path.moments is None
    assert path.rms_distance.shape == (1, NUM // EVERY)


def test_smallest_separation():
    assert paths.smallest_separation(gj.make_mixture([[0.0], [5.0], [7.0]])) == 2
    assert paths.smallest_separation(gj.make_mixture([[0.0]])) is None
    assert paths.smallest_separation(gj.make_mixture([[0.0], [0.0]])) is None


def point(**tables):
    return config.build({"truth": {}, **tables}, Path("study.toml")).points[0]


def test_entry_against_a_loop():
    rng = np.random.default_rng(0)
    T, every = 9, 5
    stray = np.where(rng.random((40, T)) < 0.3, 0.5, 0.001)
    stray[0], stray[1], stray[2, -1] = 0, 1, 1  # always inside, never, at the end outside
    arrays = {"history_stray_mass": stray, "history_loss": rng.normal(size=(40, T))}
    at = point(solver={"num_iterations": T * every, "record_every": every})
    iterations, losses = derived.entry(arrays, at)
    for seed in range(40):
        entered = next((t for t in range(T) if (stray[seed, t:] <= 0.01).all()), None)
        if entered is None:
            assert (iterations[seed], np.isnan(losses[seed])) == (0, True)
        else:
            assert iterations[seed] == (entered + 1) * every
            assert losses[seed] == arrays["history_loss"][seed, entered]


def test_moments_are_reached_as_a_loop_says():
    rng = np.random.default_rng(1)
    T, every, orders = 8, 3, 2
    away = 10.0 ** rng.uniform(-4, 0, size=(30, T, orders))
    away[0] = 0  # equal from the first
    arrays = {"history_moments": away, "status": np.zeros(30, int)}
    at = point(solver={"num_iterations": T * every, "record_every": every},
               report={"moments": orders})  # fmt: skip
    for order in range(1, orders + 1):
        found = derived.moment(arrays, at, None, order)
        for seed in range(30):
            path = away[seed, :, order - 1]
            hits = [t for t in range(T) if path[t] <= 0.01 * path[0]]
            assert found[seed] == ((hits[0] + 1) * every if hits else 0)


def test_largest_rise_against_a_loop():
    losses = np.random.default_rng(2).normal(size=(20, 6)).cumsum(axis=1)
    losses[0] = np.arange(6)[::-1]
    for row, rise in zip(losses, derived.largest_rise(losses), strict=True):
        assert rise == max(0, *(row[t + 1] - row[t] for t in range(5)))
    assert derived.largest_rise(losses[:, :1]).tolist() == [0] * 20
