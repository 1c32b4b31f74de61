"""Derivatives of where a fit ends, against central differences of the same ends."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gemjax as gj
from gemjax.cli import case, sensitivity
from gemjax.cli.paths import smallest_separation
from gemjax.cli.sensitivity import Knobs
from gemjax.cli.study import config

SEEDS, T, H = 3, 8, 1e-5


def built(n, target):
    tables = {
        "truth": {"kind": "ring", "separation": 3.0, "weights": [0.2, 0.3, 0.5]},
        "target": {"dtype": "float64", **target},
        "model": {"num_components": n, "init": "from_mixture"},
        "solver": {"num_iterations": T, "weight_steps": 2, "weight_step_size": 0.3},
        "report": {"sensitivity": True},
    }
    return case.build(config.build(tables, Path("study.toml")).points[0], Path())


SAMPLES = {"num_samples": 40, "seed": 3}
POPULATION = {"kind": "population", "num_nodes": 6}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "target"),
    [
        (5, SAMPLES),
        pytest.param(3, SAMPLES, marks=pytest.mark.slow),
        pytest.param(3, POPULATION, marks=pytest.mark.slow),
        pytest.param(5, POPULATION, marks=pytest.mark.slow),
    ],
)
def test_all_derivatives_against_differences(n, target):
    made = built(n, target)
    starts = [made.start(seed) for seed in range(SEEDS)]
    found = sensitivity.of_seeds(made, jax.tree.map(lambda *leaves: np.stack(leaves), *starts))
    separation = jnp.asarray(smallest_separation(made.truth))
    static = (T, made.point.target.kind == "samples", made.point.target.num_samples,
              made.point.target.num_nodes)  # fmt: skip
    ends = jax.jit(
        functools.partial(sensitivity.ends, made.solver.as_arrays(jnp.float64), made.truth,
                          separation, jax.random.key(made.point.target.seed), static=static)
    )  # fmt: skip

    for seed, start in enumerate(starts):
        at = Knobs(jnp.float64(made.solver.step_size), jnp.float64(0.3), separation, start.means)
        # The target that is made anew in there is the case's own.
        fit = gj.fit(made.solver, made.target, start, num_iterations=T).mixture
        end = gj.loss(fit, made.target), gj.recovery(fit, made.truth).rms_distance
        np.testing.assert_allclose(ends(start=start, knobs=at), end, rtol=1e-10)

        def slopes(name, step, start=start, at=at):
            """Of the loss and of the error, along a change of one knob."""
            value = getattr(at, name)
            up = ends(start=start, knobs=at._replace(**{name: value + step}))
            down = ends(start=start, knobs=at._replace(**{name: value - step}))
            return np.array([float(a - b) for a, b in zip(up, down, strict=True)]) / (2 * H)

        expected = {name: slopes(name, H) for name in Knobs._fields[:3]}
        entries = np.eye(start.means.size).reshape(-1, *start.means.shape)
        each = np.array([slopes("start", H * entry) for entry in entries])
        expected["start"] = np.linalg.norm(each, axis=0)
        for name in Knobs._fields:
            told = [getattr(part, name)[seed] for part in found]
            np.testing.assert_allclose(told, expected[name], rtol=1e-5, atol=1e-8, err_msg=name)
            assert np.abs(expected[name]).max() > 1e-6, name  # there is something to compare
