"""A sweep over seeds against careful and plain NumPy, and `vmap` of the textbook iteration.

All draw the same starts from the same keys within the time measured, run the same iterations,
and must end at the same losses. Without early stop every iteration does all its weight steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import gemjax as gj
from benchmarks import forms, measure, problems
from benchmarks.numpy_em import NumpyEM, plain_fit

TITLE = "A sweep over seeds"
STEP_SIZE, WEIGHT_STEPS = 0.5, 10
# Seeds side by side under `vmap`: more need memory and gain nothing.
VMAP_BATCH = 32


def run(quick: bool) -> dict[str, Any]:
    # (seeds, iterations, weight tolerance, rounds)
    settings = [(32, 20, 0.0, 7), (32, 60, 1e-6, 5), (1024, 2, 0.0, 3)]
    N, d, n = 20_000, 10, 20
    if quick:
        settings, (N, d, n) = [(3, 4, 0.0, 2), (3, 40, 1e-3, 2)], (500, 3, 5)
    target = problems.sample(N, d)
    return {"shape": [N, d, n], "rows": [_one_setting(target, n, *s) for s in settings]}


def _one_setting(
    target: gj.Target, n: int, seeds: int, iterations: int, tolerance: float, rounds: int
) -> dict[str, Any]:
    key = jax.random.key(3)
    starts = _starts(key, target, n, seeds)
    contenders = {
        "gemjax.sweep": lambda: gj.sweep(
            key,
            gj.GradientEM(STEP_SIZE, 1.0, tolerance, weight_steps=WEIGHT_STEPS),
            target,
            num_seeds=seeds,
            num_components=n,
            num_iterations=iterations,
        ).history.loss[:, -1],
        "careful NumPy": _numpy(target, n, starts, iterations, tolerance, plain=False),
        "plain NumPy": _numpy(target, n, starts, iterations, tolerance, plain=True),
        "vmap of [N, n] softmax": _textbook(target, starts, iterations, tolerance),
    }
    expected = np.asarray(contenders["gemjax.sweep"]())
    differences = {
        name: float(np.max(np.abs(np.asarray(f()) - expected))) for name, f in contenders.items()
    }
    for name, difference in differences.items():
        measure.require_agreement(name, difference, 1e-3)
    seconds = measure.interleave(contenders, rounds, least=0.0)
    return {
        "seeds": seeds,
        "iterations": iterations,
        "weight_tolerance": tolerance,
        "seconds": {name: measure.spread(values) for name, values in seconds.items()},
        "ratios": {
            name: measure.ratio(seconds, name, "gemjax.sweep")
            for name in contenders
            if name != "gemjax.sweep"
        },
        "loss_differences": differences,
    }


def _starts(key: jax.Array, target: gj.Target, n: int, seeds: int) -> Callable[[], gj.Mixture]:
    """The starts that `gemjax.sweep` draws, drawn anew at each call."""

    @jax.jit
    def draw(key: jax.Array, target: gj.Target) -> gj.Mixture:
        def one(seed: jax.Array) -> gj.Mixture:
            return gj.initialize.from_target(jax.random.fold_in(key, seed), target, n)

        return jax.lax.map(one, jax.numpy.arange(seeds, dtype=jax.numpy.int32))

    return lambda: draw(key, target)


def _numpy(
    target: gj.Target,
    n: int,
    starts: Callable[[], gj.Mixture],
    iterations: int,
    tolerance: float,
    *,
    plain: bool,
) -> Callable[[], np.ndarray]:
    points = np.asarray(target.points)
    fit = functools.partial(
        functools.partial(plain_fit, points) if plain else NumpyEM(points, n).fit,
        num_iterations=iterations,
        step_size=STEP_SIZE,
        weight_steps=WEIGHT_STEPS,
        weight_tolerance=tolerance,
    )

    def sweep() -> np.ndarray:
        mixtures = starts()
        pairs = zip(np.asarray(mixtures.means), np.asarray(mixtures.log_weights), strict=True)
        return np.array([fit(*pair) for pair in pairs])

    return sweep


def _textbook(
    target: gj.Target, starts: Callable[[], gj.Mixture], iterations: int, tolerance: float
) -> Callable[[], jax.Array]:
    @jax.jit
    def fit(mixtures: gj.Mixture, points: jax.Array) -> jax.Array:
        def iterate(mixture: gj.Mixture, _: None) -> tuple[gj.Mixture, jax.Array]:
            return forms.textbook_iteration(
                mixture,
                points,
                step_size=STEP_SIZE,
                weight_steps=WEIGHT_STEPS,
                weight_tolerance=tolerance,
            )

        def one(mixture: gj.Mixture) -> jax.Array:
            return jax.lax.scan(iterate, mixture, length=iterations)[1][-1]

        if mixtures.means.shape[0] <= VMAP_BATCH:
            return jax.vmap(one)(mixtures)
        return jax.lax.map(one, mixtures, batch_size=VMAP_BATCH)

    return lambda: fit(starts(), target.points)


def markdown(result: dict[str, Any]) -> str:
    rows = []
    for row in result["rows"]:
        pairs = row["seeds"] * row["iterations"] * result["shape"][0] * result["shape"][2]
        stop = f"below {row['weight_tolerance']:.0e}" if row["weight_tolerance"] else "never"
        for name, seconds in row["seconds"].items():
            rows.append(
                [
                    f"S = {row['seeds']:,}, T = {row['iterations']}",
                    stop,
                    name,
                    measure.cell(seconds),
                    measure.cell(seconds, 1e9 / pairs),
                    measure.cell(row["ratios"].get(name)),
                    f"{row['loss_differences'][name]:.0e}",
                ]
            )
    header = [
        problems.label(*result["shape"]), "weight steps stop", "contender", "seconds",
        "ns per point, component and iteration", "times gemjax", "largest difference of a loss",
    ]  # fmt: skip
    return measure.table(header, rows)
