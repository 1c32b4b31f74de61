"""One case: the data as arrays and how they are fitted, for `gemjax fit` and `gemjax run` alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gemjax as gj
from gemjax.cli.files.boundary import InputError, asking
from gemjax.cli.files.read import check_range, open_target, read_weighted
from gemjax.cli.files.sheet import column_names
from gemjax.cli.study.settings import GridPoint, TargetTable, TruthTable, start_settings


@dataclasses.dataclass(frozen=True)
class Case:
    """A grid point as arrays: what all its seeds share.

    `judge` is what final losses are of: the target, or a sample where that is a stream. `units`
    lead from the file's units to those of the target, and back.
    """

    point: GridPoint
    truth: gj.Mixture | None
    truth_loss: float | None
    target: gj.Target | gj.FileTarget | gj.Stream
    judge: gj.Target | gj.FileTarget
    columns: list[str]
    units: gj.Units
    init: Callable[[jax.Array, Any, int], gj.Mixture]
    solver: gj.Solver
    escape: gj.Escape | None
    where: str = "the config"
    told: tuple[str, ...] = ()  # what was decided about the file
    rows: np.ndarray | None = None  # (N,) the points' numbers among its rows, where some are not

    @property
    def key(self) -> jax.Array:
        """Of which all starts are drawn."""
        return jax.random.key(self.point.sweep.seed)

    @property
    def search_key(self) -> jax.Array:
        """For searches; no start has this number."""
        return jax.random.fold_in(self.key, np.uint32(2**32 - 1))

    @property
    def seed_size(self) -> tuple[int, ...]:
        """The counts that a seed's memory grows with: N, d, n and what is recorded."""
        return (*self.target.shape, self.point.model.num_components, self.point.num_records)

    def batch_size(self, num_seeds: int) -> int:
        """Seeds to fit side by side on a device that has `num_seeds`: the config's or `sweep`'s."""
        default = gj.default_batch_size(num_seeds, *self.seed_size[::2])
        return min(self.point.sweep.batch_size or default, num_seeds)

    def start(self, seed: int) -> gj.Mixture:
        """Where `sweep` starts this seed."""
        key = jax.random.fold_in(self.key, np.uint32(seed))
        return self.init(key, self.target, self.point.model.num_components)


def build(point: GridPoint, folder: Path, where: str = "the config") -> Case:
    """The case of a grid point; paths are relative to `folder`, and messages say `where`."""
    with asking(where):
        return _build(point, folder, where)


def _build(point: GridPoint, folder: Path, where: str) -> Case:
    dtype = jnp.dtype(point.target.dtype)
    truth = None if point.truth is None else _truth(point.truth, dtype)
    target, columns, units, told, rows = _target(point.target, truth, folder)
    given = point.model.means
    if given is not None and len(given[0]) != target.shape[1]:
        raise InputError(
            f"model.means have dimension {len(given[0])} and the data have {target.shape[1]}"
        )
    if truth is not None and truth.means.shape[1] != target.shape[1]:
        raise InputError(
            f"[truth] has dimension {truth.means.shape[1]}, the data of {point.target.path} "
            f"{target.shape[1]}; they must agree: see truth.dim, truth.means, target.columns"
        )
    if isinstance(target, gj.Stream):
        assert truth is not None  # checked with the config
        key = jax.random.key(point.target.seed)
        judge: Any = gj.empirical(gj.sample(key, truth, point.target.num_samples))
    else:
        judge = target
    truth_loss = None if truth is None else float(gj.loss(truth, judge))
    case = Case(
        point, truth, truth_loss, target, judge, columns, units, _init(point.model, truth, dtype),
        _solver(point.solver, truth_loss), None, where, told, rows,
    )  # fmt: skip
    with asking(f'model.init = "{point.model.init}"'):
        jax.eval_shape(lambda: case.start(0))
    if not point.solver.escape:
        return case
    every = point.escape.every
    # Whoever fits in several calls says when the last insertion may be; it settles for `every`.
    last = point.solver.num_iterations - every
    escape = gj.Escape(case.search_key, **_chosen(gj.Escape, point.escape), last=last)
    return dataclasses.replace(case, escape=escape)


def _chosen(owner: type, table: Any) -> dict[str, Any]:
    """The settings of a record of the library, as a table has them."""
    names = (field.name for field in dataclasses.fields(owner))
    return {name: getattr(table, name) for name in names if hasattr(table, name)}


def _truth(table: TruthTable, dtype: Any) -> gj.Mixture:
    weights = None if table.weights is None else jnp.asarray(table.weights, dtype)
    if table.kind == "explicit":
        return gj.make_mixture(jnp.asarray(table.means, dtype), weights)
    key = [jax.random.key(table.seed)] if table.kind == "random" else []
    separation = jnp.asarray(table.separation, dtype)
    make: Any = gj.truth.KINDS[table.kind]
    return make(*key, table.num_components, table.dim, separation, weights)


def _target(
    table: TargetTable, truth: gj.Mixture | None, folder: Path
) -> tuple[
    gj.Target | gj.FileTarget | gj.Stream, list[str], gj.Units, tuple[str, ...], np.ndarray | None
]:  # fmt: skip
    """What is fitted, its columns' names, its units; what was decided about the file, and rows."""
    # With a truth the data are in its coordinates; without one they are centred.
    centred = truth is None
    target: gj.Target | gj.FileTarget | gj.Stream
    if table.kind == "file":
        assert table.path is not None  # checked with the config
        path = folder / table.path
        if table.on_disk:
            target = open_target(path, table.scale, table.dtype, centred=centred)
            return target, column_names(target.shape[1]), target.units, (), None
        data = read_weighted(path, table)
        points, weights, columns = data.points, data.weights, data.names
        offset = np.average(points, axis=0, weights=weights) if centred else np.zeros(len(columns))
        units = gj.Units(offset, table.scale)
        heft = None if weights is None else jnp.asarray(weights, table.dtype)
        with np.errstate(over="ignore"):
            inside = units.to_model(points)
        check_range(path, data, inside, table.dtype)
        target = gj.empirical(inside.astype(table.dtype), heft)
        rows = data.rows if len(data.rows) < data.num_rows else None
        return target, columns, units, tuple(data.told[1:]), rows
    assert truth is not None  # checked with the config
    if table.kind == "population":
        target = gj.population(truth, num_nodes=table.num_nodes)
    elif table.kind == "stream":
        key = jax.random.fold_in(jax.random.key(table.seed), 1)
        target = gj.stream(key, truth, table.num_samples)
    else:
        target = gj.empirical(gj.sample(jax.random.key(table.seed), truth, table.num_samples))
    d = target.shape[1]
    return target, column_names(d), gj.Units(np.zeros(d), 1.0), (), None


def _init(
    table: Any, truth: gj.Mixture | None, dtype: Any
) -> Callable[[jax.Array, Any, int], gj.Mixture]:
    start: Any = gj.initialize.STARTS[table.init]
    more = {name: getattr(table, name) for name in start_settings(table.init)}
    drawn = partial(start, **more) if more else start
    if table.init == "from_mixture":
        drawn = lambda key, _, n: start(key, truth, n)  # noqa: E731
    if table.means is None is table.weights:
        return drawn
    given = jnp.zeros((0, 0), dtype) if table.means is None else jnp.asarray(table.means, dtype)
    jitter = jnp.asarray(table.jitter, dtype)
    weights = None if table.weights is None else jnp.asarray(table.weights, dtype)

    def init(key: jax.Array, target: Any, n: int) -> gj.Mixture:
        if not len(given):
            return gj.make_mixture(drawn(key, target, n).means, weights)
        key, noise = jax.random.split(key)
        means = given + jitter * jax.random.normal(noise, given.shape, dtype)
        if n > len(given):
            means = jnp.concatenate([means, drawn(key, target, n - len(given)).means])
        return gj.make_mixture(means, weights)

    return init


def _solver(table: Any, truth_loss: float | None) -> gj.Solver:
    if table.method == "classical_em":
        return gj.classical_em(active_weight=table.active_weight)
    # In the population limit, of which the config makes sure, nothing is better than the truth.
    least = truth_loss if table.mean_rule == "polyak" else None
    return gj.GradientEM(**_chosen(gj.GradientEM, table), optimal_loss=least)
