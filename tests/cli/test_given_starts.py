"""Starts that a config gives: means first, noise on them, and weights."""

from pathlib import Path

import jax
import numpy as np
import pytest
import tomli_w
from studies import refused

from gemjax.cli import case
from gemjax.cli.study import config

MEANS = [[-4.0, 0.5], [4.0, 0.25]]


def built(seeds=1, **model):
    tables = {
        "truth": {"kind": "ring"},
        "target": {"num_samples": 50, "dtype": "float64"},
        "model": model,
        "sweep": {"num_seeds": seeds},
    }
    return case.build(config.build(tables, Path("study.toml")).points[0], Path())


def test_given_means_come_first_and_the_start_draws_the_rest():
    made = built(num_components=5, means=MEANS, init="from_target")
    points = {tuple(point) for point in np.asarray(made.target.points)}
    starts = [np.asarray(made.start(seed).means) for seed in range(3)]
    for means in starts:
        np.testing.assert_array_equal(means[:2], MEANS)
        assert len({tuple(mean) for mean in means[2:]} & points) == 3
    assert not np.array_equal(starts[0][2:], starts[1][2:])
    np.testing.assert_array_equal(made.start(0).weights, [0.2] * 5)


def test_all_means_given():
    made = built(num_components=2, means=MEANS)
    for seed in range(2):
        np.testing.assert_array_equal(made.start(seed).means, MEANS)


def test_jitter_is_normal_noise_of_each_seed():
    made = built(num_components=3, means=MEANS, jitter=0.5)
    starts = jax.vmap(lambda seed: made.init(jax.random.key(seed), made.target, 3))(np.arange(2000))
    noise = np.asarray(starts.means)[:, :2] - np.array(MEANS)
    assert np.unique(noise).size == noise.size
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=5 * 0.5 / 2000**0.5)
    np.testing.assert_allclose(noise.std(axis=0), 0.5, rtol=5 / 4000**0.5)
    correlation = np.corrcoef(noise.reshape(2000, 4).T) - np.eye(4)
    assert np.abs(correlation).max() < 5 / 2000**0.5


def test_given_weights():
    np.testing.assert_allclose(
        built(num_components=2, weights=[1, 3]).start(0).weights, [0.25, 0.75]
    )
    made = built(num_components=2, means=MEANS, weights=[0, 2.0])
    np.testing.assert_allclose(made.start(0).weights, [0, 1])


def test_weights_alone_leave_the_means_as_they_are():
    with_weights = built(num_components=2, weights=[1, 3]).start(4)
    np.testing.assert_array_equal(with_weights.means, built(num_components=2).start(4).means)


def test_lists_of_given_starts_span_the_grid():
    model = {"num_components": 2, "means": [MEANS, MEANS[::-1]], "weights": [[1, 1], [1, 3]]}
    loaded = config.build({"truth": {}, "model": model}, Path("study.toml"))
    assert [point.model.weights for point in loaded.points] == [(1, 1), (1, 3)] * 2
    assert loaded.points[2].model.means == tuple(map(tuple, MEANS[::-1]))


BAD = [
    ({"num_components": 1, "means": MEANS}, ("model.means has 2 entries", "num_components = 1")),
    ({"means": [[1.0, 2.0], [1.0]]}, ("model.means must all have the same length",)),
    ({"means": [[1.0], [2.0]]}, ("model.means have dimension 1 and the data have 2",)),
    ({"means": [1.0, 2.0]}, ("model.means must be a list",)),
    ({"means": [["a", 2.0]]}, ("model.means must be a number",)),
    ({"means": []}, ("model.means is an empty list",)),
    ({"means": [[1e30, 0.0]]}, ("model.means must be between", "float32")),
    ({"jitter": -0.1}, ("model.jitter must be at least 0",)),
    ({"num_components": 3, "weights": [0.5, 0.5]}, ("model.weights must have 3 entries",)),
    ({"num_components": 2, "weights": [-1, 2]}, ("model.weights must be non-negative",)),
    ({"num_components": 2, "weights": [0, 0]}, ("model.weights must be non-negative and not all",)),
]


@pytest.mark.parametrize(("model", "words"), BAD)
def test_bad_starts_are_one_line(model, words, tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text(tomli_w.dumps({"truth": {}, "target": {"num_samples": 50}, "model": model}))
    refused(capsys, ["run", path, "--out", tmp_path / "out", "--no-figures"], "study.toml", *words)
    assert not (tmp_path / "out").exists()
