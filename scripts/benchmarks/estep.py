"""The E-step against its floor, and against the forms it replaces.

The floor is the work that no E-step can do without, measured in the same run on blocks of the same
size: two matrix products and one exponential per point and component.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gemjax as gj
from benchmarks import forms, measure, problems
from benchmarks.numpy_em import NumpyEM

TITLE = "The E-step"
ITERATION = "one iteration, K = 10"
RATIOS = {
    "E-step / floor": ("gemjax E-step", "floor as written"),
    "E-step / tight floor": ("gemjax E-step", "tight floor"),
    "iteration / E-step": (ITERATION, "gemjax E-step"),
    "NumPy / E-step": ("NumPy E-step", "gemjax E-step"),
    "[N, n] softmax / E-step": ("[N, n] softmax in JAX", "gemjax E-step"),
}


def run(quick: bool) -> dict[str, Any]:
    rounds, least = (2, 0.0) if quick else (15, 0.05)
    shapes = problems.QUICK_SHAPES if quick else problems.SHAPES
    return {"rows": [_one_shape(*shape, rounds, least) for shape in shapes]}


def _one_shape(N: int, d: int, n: int, rounds: int, least: float) -> dict[str, Any]:
    target = problems.sample(N, d)
    mixture = problems.start(target, n)
    numpy_em = NumpyEM(np.asarray(target.points), n)
    numpy_mixture = (np.asarray(mixture.means), np.asarray(mixture.log_weights))
    blocks = forms.blocks_of(target, n)
    e_steps = {
        "gemjax E-step": lambda: forms.gemjax_e_step(mixture, blocks),
        "[N, n] softmax in JAX": lambda: forms.textbook_e_step(mixture, target.points),
        "NumPy E-step": lambda: numpy_em.e_step(*numpy_mixture),
    }
    expected = e_steps["NumPy E-step"]()
    differences = {name: measure.disagreement(f(), expected) for name, f in e_steps.items()}
    for name, difference in differences.items():
        measure.require_agreement(name, difference, 1e-4)
    # Small means, so that the floor's exponentials neither overflow nor underflow.
    means, points = 0.1 * mixture.means, forms.floor_blocks(target, n)
    shift = jnp.full((points.shape[0], points.shape[2]), 0.5, points.dtype)
    seconds = measure.interleave(
        {
            "floor as written": lambda: forms.floor(means, points),
            "tight floor": lambda: forms.tight_floor(means, points, shift),
            ITERATION: _iteration(target, mixture),
            **e_steps,
        },
        rounds,
        least,
    )
    pairs = N * n
    return {
        "shape": [N, d, n],
        "nanoseconds": {
            name: measure.spread([1e9 * x / pairs for x in values])
            for name, values in seconds.items()
        },
        "ratios": {name: measure.ratio(seconds, *pair) for name, pair in RATIOS.items()},
        "differences": differences,
    }


def _iteration(target: gj.Target, mixture: gj.Mixture) -> Callable[[], Any]:
    solver, data = gj.GradientEM(weight_tolerance=0.0).prepare(target, mixture)
    step = jax.jit(lambda solver, state, data: solver.step(state, data))
    state = solver.init(mixture)
    return lambda: step(solver, state, data)


def markdown(result: dict[str, Any]) -> str:
    rows = result["rows"]
    shapes = [problems.label(*row["shape"]) for row in rows]

    def lines(field: str) -> list[list[str]]:
        return [
            [name, *(measure.cell(row[field][name]) for row in rows)] for name in rows[0][field]
        ]

    worst = max(x for row in rows for x in row["differences"].values())
    return "\n\n".join(
        [
            measure.table(["ns per point and component", *shapes], lines("nanoseconds")),
            measure.table(["ratio, round by round", *shapes], lines("ratios")),
            f"Largest relative difference between the E-steps: {worst:.0e}.",
        ]
    )
