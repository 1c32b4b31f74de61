"""Weights at fixed means: `solve_weights` against first-order rules, and a conic solver.

Mirror descent and EM's multiplicative update run on the same stored densities with the package's
own kernel, two products over the table per step, and stop at a duality gap of 1e-4; Newton's
steps go on to 1e-8 (in float32 to 8e-6, where rounding begins). The conic solver, Clarabel through
cvxpy, is asked at the smallest size only.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gemjax as gj
from benchmarks import measure
from gemjax._model.statistics import duality_gap, ratios
from gemjax._weights.sequential import least_tolerance
from gemjax._weights.solve import _lay_out

TITLE = "Weights solved to optimality"
NEWTON = "solve_weights to 1e-8"
FIRST_ORDER = {
    "mirror descent to 1e-4": "mirror",
    "multiplicative EM to 1e-4": "multiplicative",
}
CONIC = "Clarabel (cvxpy)"
# N, n, dtype; the first one is the conic solver's.
PROBLEMS = ((2_000, 50, "float64"), (100_000, 100, "float32"), (100_000, 100, "float64"))
QUICK_PROBLEMS = ((200, 10, "float64"),)


def run(quick: bool) -> dict[str, Any]:
    rounds = 1 if quick else 5
    rows = [
        _one(N, n, dtype, rounds, conic=i == 0)
        for i, (N, n, dtype) in enumerate(QUICK_PROBLEMS if quick else PROBLEMS)
    ]
    return {"rows": rows}


def _one(N: int, n: int, dtype: str, rounds: int, conic: bool) -> dict[str, Any]:
    with jax.enable_x64(dtype == "float64"):
        table = jnp.asarray(_table(N, n), dtype)
        newton = jax.jit(gj.solve_weights)
        contenders: dict[str, Any] = {NEWTON: lambda: newton(table)}
        for name, rule in FIRST_ORDER.items():
            contenders[name] = functools.partial(_first_order, table, rule)
        solution = newton(table)
        found = {name: contenders[name]() for name in FIRST_ORDER}
        losses = {name: float(_loss(table, weights)) for name, (weights, _, _) in found.items()}
        for name, value in losses.items():
            # Both are within their gaps of the same minimum.
            measure.require_agreement(name, abs(value - float(solution.loss)), 1e-4 + 1e-5)
        if conic:
            contenders[CONIC] = functools.partial(_conic, np.asarray(table))
        seconds = measure.interleave(contenders, rounds, 0.0)
        steps = {NEWTON: int(solution.num_steps)}
        steps |= {name: int(found[name][1]) for name in FIRST_ORDER}
        gaps = {NEWTON: float(solution.duality_gap)}
        gaps |= {name: float(found[name][2]) for name in FIRST_ORDER}
        least = max(1e-8, least_tolerance(table.dtype))
        return {
            "problem": [N, n, dtype],
            "tolerance": least,
            "steps": steps,
            "gaps": gaps,
            "milliseconds": {
                name: measure.spread([1e3 * x for x in values]) for name, values in seconds.items()
            },
            "ratios": {
                name: measure.ratio(seconds, name, NEWTON) for name in contenders if name != NEWTON
            },
        }


def _table(N: int, n: int) -> np.ndarray:
    """Log densities of unit Gaussians at n points of a cloud of 30 clusters in the plane."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, 2)) * 6
    points = centres[rng.integers(30, size=N)] + rng.normal(size=(N, 2))
    return -0.5 * ((points[:, None] - points[None, :n]) ** 2).sum(axis=-1)


@functools.partial(jax.jit, static_argnums=1)
def _first_order(table: jax.Array, rule: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Weights, steps and gap of a first-order rule at a gap of 1e-4."""
    N, n = table.shape
    stored = _lay_out(table, jnp.full((N,), 1 / N, table.dtype))

    def step(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        log_weights, r, count = carry
        log_weights = gj.rules.WEIGHT_RULES[rule]().step(log_weights, r)
        return log_weights, ratios(stored, log_weights), count + 1

    def going(carry: tuple[jax.Array, ...]) -> jax.Array:
        return (duality_gap(carry[1]) > 1e-4) & (carry[2] < 100_000)

    log_weights = jnp.full((n,), -np.log(n), table.dtype)
    start = (log_weights, ratios(stored, log_weights), jnp.int32(0))
    log_weights, r, count = jax.lax.while_loop(going, step, start)
    return jnp.exp(log_weights), count, duality_gap(r)


def _loss(table: jax.Array, weights: jax.Array) -> jax.Array:
    return -jnp.mean(jax.scipy.special.logsumexp(table, b=weights[None], axis=1))


def _conic(table: np.ndarray) -> None:
    import cvxpy

    pi = cvxpy.Variable(table.shape[1], nonneg=True)
    scaled = np.exp(table - table.max(axis=1, keepdims=True))
    objective = cvxpy.sum(cvxpy.log(scaled @ pi)) / len(table)
    cvxpy.Problem(cvxpy.Maximize(objective), [cvxpy.sum(pi) == 1]).solve(cvxpy.CLARABEL)


def markdown(result: dict[str, Any]) -> str:
    rows = result["rows"]
    header = [f"N = {N:,}, n = {n}, {dtype}" for N, n, dtype in (row["problem"] for row in rows)]
    names = list(dict.fromkeys(name for row in rows for name in row["milliseconds"]))

    def lines(field: str, digits: int) -> list[list[str]]:
        return [
            [name, *(measure.cell(row[field].get(name), digits=digits) for row in rows)]
            for name in names
            if any(name in row[field] for row in rows)
        ]

    counts = [
        [
            name,
            *(
                f"{row['steps'][name]:,} ({row['gaps'][name]:.0e})" if name in row["steps"] else ""
                for row in rows
            ),
        ]
        for name in names
        if name in rows[0]["steps"]
    ]
    return "\n\n".join(
        [
            measure.table(["milliseconds", *header], lines("milliseconds", 1)),
            measure.table(["steps (gap reached)", *header], counts),
            measure.table(["time over solve_weights, round by round", *header], lines("ratios", 1)),
        ]
    )
