"""One grid point of a config as arrays: truth, target, starts, solver; and a block of seeds."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gemjax._assess.certificate import Certificate, certificate
from gemjax._assess.diagnosis import Diagnosis, diagnose
from gemjax._assess.recovery import Recovery, recovery
from gemjax._base.records import Fit, Mixture, Target
from gemjax._em.insertion import Escape, prepare
from gemjax._em.loop import advance, start
from gemjax._em.seeds import Init, default_batch_size, sweep
from gemjax._em.solver import ClassicalEM, GradientEM, classical_em, loss
from gemjax._model import starts as initialize
from gemjax._model import truths as truth
from gemjax._model.mixture import make_mixture, sample
from gemjax._model.quadrature import empirical, population
from gemjax._points.file_target import FileTarget
from gemjax.cli.files.files import InputError, check_points, open_file_target, read_points
from gemjax.cli.study.config import Point, TruthTable


@dataclasses.dataclass(frozen=True)
class Problem:
    """What all seeds of a grid point share. `offset` and `scale` lead back to the file's units."""

    truth: Mixture | None
    target: Target | FileTarget
    truth_loss: float | None
    columns: list[str]
    offset: np.ndarray
    scale: float
    init: Init
    solver: GradientEM | ClassicalEM
    escape: Escape | None


def build(point: Point, folder: Path) -> Problem:
    """The problem of a grid point; paths are relative to `folder`."""
    dtype = jnp.dtype(point.target.dtype)
    true = None if point.truth is None else _truth(point.truth, dtype)
    target, columns, offset = _target(point, true, folder)
    if true is not None and true.means.shape[1] != target.shape[1]:
        raise InputError(
            f"truth has dimension {true.means.shape[1]}, the data of {point.target.path} "
            f"{target.shape[1]}; they must agree"
        )
    truth_loss = None if true is None else float(loss(true, target))
    return Problem(
        truth=true,
        target=target,
        truth_loss=truth_loss,
        columns=columns,
        offset=offset,
        scale=point.target.scale if point.target.kind == "file" else 1.0,
        init=_init(point, true),
        solver=_solver(point, truth_loss),
        escape=_escape(point),
    )


def _truth(table: TruthTable, dtype: Any) -> Mixture:
    weights = None if table.weights is None else jnp.asarray(table.weights, dtype)
    if table.kind == "explicit":
        return make_mixture(jnp.asarray(table.means, dtype), weights)
    separation = jnp.asarray(table.separation, dtype)
    shape = (table.num_components, table.dim, separation, weights)
    if table.kind == "random":
        return truth.random(jax.random.key(table.seed), *shape)
    builders = {"simplex": truth.simplex, "ring": truth.ring, "grid": truth.grid}
    return builders[table.kind](*shape)


def _target(
    point: Point, true: Mixture | None, folder: Path
) -> tuple[Target | FileTarget, list[str], np.ndarray]:
    table = point.target
    if table.kind == "file":
        assert table.path is not None  # checked with the config
        path = folder / table.path
        if table.on_disk:
            found, columns = open_file_target(path, table.scale, table.dtype, centred=true is None)
            return found, columns, np.array(found.offset)
        points, columns = read_points(path, table.columns)
        check_points(path, points, columns)
        # With a truth the data are in its coordinates; without one they are centred.
        offset = points.mean(axis=0) if true is None else np.zeros(points.shape[1])
        scaled = (points - offset) / table.scale
        return empirical(jnp.asarray(scaled, table.dtype)), columns, offset
    assert true is not None  # checked with the config
    d = true.means.shape[1]
    columns, offset = [f"x{i + 1}" for i in range(d)], np.zeros(d)
    if table.kind == "population":
        return population(true, num_nodes=table.num_nodes), columns, offset
    draws = sample(jax.random.key(table.seed), true, table.num_samples)
    return empirical(draws), columns, offset


def _init(point: Point, true: Mixture | None) -> Init:
    model = point.model
    if model.init == "from_mixture":
        return lambda key, target, n: initialize.from_mixture(key, true, n)  # type: ignore[arg-type]
    if model.init == "spectral":
        return partial(initialize.spectral, rank=model.rank)  # type: ignore[arg-type]
    return initialize.plus_plus if model.init == "plus_plus" else initialize.from_target


def _solver(point: Point, truth_loss: float | None) -> GradientEM | ClassicalEM:
    table = point.solver
    if table.method == "classical_em":
        return classical_em(active_weight=table.active_weight)
    return GradientEM(
        table.step_size,
        table.weight_step_size,
        table.weight_tolerance,
        weight_steps=table.weight_steps,
        weight_rule=table.weight_rule,
        mean_rule=table.mean_rule,
        monotone=table.monotone,
        # In the population limit, of which the config makes sure, nothing is better than the truth.
        optimal_loss=truth_loss if table.mean_rule == "polyak" else None,
        active_weight=table.active_weight,
    )


def _escape(point: Point) -> Escape | None:
    if not point.solver.escape:
        return None
    table = point.escape
    return Escape(
        search_key(point.sweep.seed),
        table.price,
        table.stall,
        every=table.every,
        num_starts=table.num_starts,
        num_steps=table.num_steps,
    )


def search_key(seed: int) -> jax.Array:
    """For searches; no start has this number."""
    return jax.random.fold_in(jax.random.key(seed), np.uint32(2**32 - 1))


def chosen_batch(problem: Problem, point: Point, num_seeds: int) -> int:
    """Seeds to fit side by side on a device that has `num_seeds`: the config's or `sweep`'s."""
    default = default_batch_size(num_seeds, problem.target.shape[0], point.model.num_components)
    return min(point.sweep.batch_size or default, num_seeds)


def seed_size(problem: Problem, point: Point) -> tuple[int, ...]:
    """The counts that a seed's memory grows with: N, d, n and what is recorded."""
    solver = point.solver
    records = solver.num_iterations // solver.record_every
    return (*problem.target.shape, point.model.num_components, records)


_FITTED = (
    "status",
    "loss",
    "duality_gap",
    "means",
    "weights",
    "history_loss",
    "history_duality_gap",
    "history_gradient_norm",
    "history_num_active",
    "num_insertions",
)

_JUDGED = tuple(f.name for record in (Recovery, Diagnosis) for f in dataclasses.fields(record))


_CERTIFIED = ("npmle_gap", "npmle_usable", "birth_gain", "birth_price", "birth_optimal")


def array_names(point: Point) -> tuple[str, ...]:
    """Of the arrays that `run_block` returns."""
    judged = () if point.truth is None else _JUDGED
    return _FITTED + judged + (_CERTIFIED if point.report.certificate else ())


def run_block(
    problem: Problem,
    point: Point,
    first_seed: int,
    num_seeds: int,
    mesh: Mesh | None,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """Fits a block of seeds; arrays with a leading axis of seeds, by name."""
    fits = sweep(
        jax.random.key(point.sweep.seed),
        problem.solver,
        problem.target,
        num_seeds=num_seeds,
        num_components=point.model.num_components,
        num_iterations=point.solver.num_iterations,
        record_every=point.solver.record_every,
        init=problem.init,
        batch_size=batch_size,
        mesh=mesh,
        first_seed=first_seed,
        escape=problem.escape,
    )
    _wait(fits)
    # What several processes computed together, each now goes on with by itself.
    fits = jax.tree.map(np.asarray, fits)
    arrays = (
        fits.status,
        _losses(fits.mixture, problem.target),
        fits.history.duality_gap[:, -1],
        fits.mixture.means,
        fits.mixture.weights,
        fits.history.loss,
        fits.history.duality_gap,
        fits.history.gradient_norm,
        fits.history.num_active,
        fits.num_insertions,
    )
    out = dict(zip(_FITTED, arrays, strict=True))
    if problem.truth is not None:
        for record in _judge(fits, problem.truth):
            out |= {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    if point.report.certificate:
        found = _certify(fits.mixture, problem.target, search_key(point.sweep.seed))
        _wait(found)
        out |= {name: getattr(found, name) for name in _CERTIFIED}
    return {name: np.asarray(array) for name, array in out.items()}


def _wait(arrays: Fit | Certificate) -> None:
    """Until the device is done. Python hears Ctrl-C between these naps, but not inside JAX."""
    while not all(leaf.is_ready() for leaf in jax.tree.leaves(arrays)):
        time.sleep(0.002)


@jax.jit
def _losses(mixtures: Mixture, target: Target | FileTarget) -> jax.Array:
    return jax.lax.map(lambda mixture: loss(mixture, target), mixtures)


@jax.jit
def _judge(fits: Fit, truth: Mixture) -> tuple[Recovery, Diagnosis]:
    over_seeds = (0, None)
    return (
        jax.vmap(recovery, in_axes=over_seeds)(fits.mixture, truth),
        jax.vmap(diagnose, in_axes=(*over_seeds, 0))(fits.mixture, truth, fits.status),
    )


@jax.jit
def _certify(mixtures: Mixture, target: Target | FileTarget, key: jax.Array) -> Certificate:
    return jax.lax.map(lambda mixture: certificate(mixture, target, key), mixtures)


def follow_weights(problem: Problem, point: Point) -> np.ndarray:
    """(T // record_every + 1, n) weights of the first seed, from the start on."""
    key = jax.random.fold_in(jax.random.key(point.sweep.seed), 0)
    mixture = problem.init(key, problem.target, point.model.num_components)
    weights = [np.asarray(mixture.weights)]
    every = point.solver.record_every
    solver, data = problem.solver.prepare(problem.target, mixture)
    carry, way, T = start(solver, mixture), None, point.solver.num_iterations
    if problem.escape is not None:
        way = prepare(problem.escape, problem.target, point.model.num_components, T)
    for _ in range(T // every):
        carry, _ = advance(solver, data, carry, every, every, way)
        weights.append(np.asarray(carry.state.mixture.weights))
    return np.stack(weights)
