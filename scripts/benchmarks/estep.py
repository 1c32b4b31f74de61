"""The E-step against its floor, and against the forms it replaces.

The floor is the work that no E-step can do without, measured in the same run on blocks of the same
size: two matrix products and one exponential per point and component. Two rows between the floor
and the E-step show what the rest is spent on. All but NumPy run several times within one
computation, as in a fit, so that neither the call nor fresh memory is timed.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

import gemjax as gj
from benchmarks import forms, measure, problems
from benchmarks.numpy_em import NumpyEM

TITLE = "The E-step"
ITERATION = "one iteration, K = 10"
WEIGHT_STEP = "of which one weight step"
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
    looped = forms.looped
    e_steps = {
        "gemjax E-step": lambda: looped(forms.gemjax_e_step, mixture, blocks),
        "[N, n] softmax in JAX": lambda: looped(forms.textbook_e_step, mixture, target.points),
        "NumPy E-step": lambda: numpy_em.e_step(*numpy_mixture),
    }
    expected = e_steps["NumPy E-step"]()
    differences = {name: measure.disagreement(f(), expected) for name, f in e_steps.items()}
    for name, difference in differences.items():
        measure.require_agreement(name, difference, 1e-4)
    # Small means, so that the floor's exponentials neither overflow nor underflow.
    small, points = (
        gj.Mixture(0.1 * mixture.means, mixture.log_weights),
        forms.floor_blocks(target, n),
    )
    shift = jnp.full((points.shape[0], points.shape[2]), 0.5, points.dtype)
    kept = jnp.ones((n, N), points.dtype)
    full, longer = _solver(10), _solver(20)
    contenders = {
        "floor as written": lambda: looped(forms.floor, small, points),
        "tight floor": lambda: looped(forms.tight_floor, small, points, shift),
        "floor and maximum": lambda: looped(forms.floor_and_maximum, small, points),
        "floor, maximum and density": lambda: looped(
            forms.floor_maximum_and_density, small, points
        ),
        **e_steps,
        ITERATION: lambda: looped(forms.gemjax_iteration, mixture, full, blocks),
        "K = 20": lambda: looped(forms.gemjax_iteration, mixture, longer, blocks),
        "two products with kept densities": lambda: looped(
            forms.floor_of_weight_steps, small, kept
        ),
    }
    seconds = measure.interleave(contenders, rounds, least)
    for name in contenders.keys() - {"NumPy E-step"}:
        seconds[name] = [x / forms.LOOPS for x in seconds[name]]
    # A difference of times: among noise, at tiny sizes, it may be below zero.
    pairs = zip(seconds[ITERATION], seconds.pop("K = 20"), strict=True)
    seconds[WEIGHT_STEP] = [(b - a) / 10 for a, b in pairs]
    return {
        "shape": [N, d, n],
        "nanoseconds": {
            name: measure.spread([1e9 * x / (N * n) for x in values])
            for name, values in seconds.items()
        },
        "ratios": {name: measure.ratio(seconds, *pair) for name, pair in RATIOS.items()},
        "differences": differences,
    }


def _solver(weight_steps: int) -> gj.GradientEM:
    return gj.GradientEM(weight_tolerance=0.0, weight_steps=weight_steps)


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
