"""What derivatives of a fit cost beside the fit itself, in time and in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import gemjax as gj
from benchmarks import measure, problems

TITLE = "Derivatives"
PRIMAL = "the fit alone"
# name -> settings of `GradientEM`
SOLVERS = {
    "default": {},
    "fixed weights": {"weight_rule": "fixed"},
    '"newton"': {"weight_rule": "newton"},
}


def run(quick: bool) -> dict[str, Any]:
    shape, T, rounds = ((20_000, 10, 20), 50, 7) if not quick else ((300, 2, 5), 3, 2)
    N, d, n = shape
    target = problems.sample(N, d)
    start = problems.start(target, n)
    solvers = dict(list(SOLVERS.items())[: 1 if quick else None])
    rows = {name: _one_solver(target, start, T, rounds, s) for name, s in solvers.items()}
    return {"shape": shape, "iterations": T, "rows": rows}


def _one_solver(
    target: gj.Target, start: gj.Mixture, T: int, rounds: int, settings: dict[str, Any]
) -> dict[str, Any]:
    def loss(step: jax.Array, points: jax.Array) -> jax.Array:
        solver = gj.GradientEM(step, **settings)
        moved = gj.Target(points, target.weights)
        return gj.fit(solver, moved, start, num_iterations=T).history.loss[-1]

    step = jnp.asarray(0.5, target.points.dtype)
    functions: dict[str, Callable[..., Any]] = {
        PRIMAL: loss,
        "forward mode, step_size": lambda s, x: jax.jvp(
            lambda s: loss(s, x), (s,), (jnp.ones_like(s),)
        ),
        "reverse mode, step_size": jax.value_and_grad(loss),
        "reverse mode, points": jax.value_and_grad(loss, argnums=1),
    }
    compiled = {
        name: jax.jit(function).lower(step, target.points).compile()
        for name, function in functions.items()
    }
    _, forward = compiled["forward mode, step_size"](step, target.points)
    _, reverse = compiled["reverse mode, step_size"](step, target.points)
    measure.require_agreement(
        "reverse mode", measure.disagreement([reverse], [forward]), tolerance=1e-2
    )
    contenders = {
        name: lambda call=call: call(step, target.points) for name, call in compiled.items()
    }
    seconds = measure.interleave(contenders, rounds, least=0.0)
    return {
        name: {
            "seconds": measure.spread(seconds[name]),
            "ratio": measure.ratio(seconds, name, PRIMAL),
            "mebibytes": call.memory_analysis().temp_size_in_bytes / 2**20,
        }
        for name, call in compiled.items()
    }


def markdown(result: dict[str, Any]) -> str:
    header = [
        f"{problems.label(*result['shape'])}, T = {result['iterations']}, float32",
        "weights", "seconds", "over the fit alone", "memory, MiB",
    ]  # fmt: skip
    rows = [
        [
            name,
            solver,
            measure.cell(row["seconds"], digits=3),
            "" if name == PRIMAL else measure.cell(row["ratio"]),
            f"{row['mebibytes']:.1f}",
        ]
        for solver, table in result["rows"].items()
        for name, row in table.items()
    ]
    return measure.table(header, rows)
