"""`gemjax fit`: one data file, fitted from one or several starts, in the data's own units."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._assess.certificate import certificate
from gemjax._base.records import Mixture, Status, Target
from gemjax._em.insertion import Escape, prepare
from gemjax._em.loop import advance, start
from gemjax._em.solver import GradientEM, loss
from gemjax._model import starts as initialize
from gemjax._model.mixture import responsibilities
from gemjax._model.quadrature import empirical
from gemjax._points.file_target import FileTarget
from gemjax.cli.files import folder
from gemjax.cli.files.files import (
    InputError,
    check_points,
    jsonable,
    open_file_target,
    read_points,
    replacing,
    some_rows,
    write_csv,
    write_json,
)
from gemjax.cli.report import tables as report
from gemjax.cli.study.case import search_key

_ACTIVE_WEIGHT = 1e-3  # GradientEM's default
_DRAWN_OF_FILE = 20_000
_ROWS = 16_384  # points per block when labels or responsibilities are written


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line asks for; see `gemjax fit --help`."""

    data: Path
    out: Path
    components: int
    scale: float
    columns: tuple[str, ...] | None
    weights: str | None
    on_disk: bool
    init: str
    rank: int | None
    seed: int
    seeds: int
    iterations: int
    solver: GradientEM
    escape: bool
    certificate: bool
    precision: str
    labels: bool
    responsibilities: bool
    force: bool


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished fit in the data's own units, heaviest component first.

    Of a file on disk, `points` are only some.
    """

    points: np.ndarray
    point_weights: np.ndarray
    columns: list[str]
    means: np.ndarray
    weights: np.ndarray
    history: dict[str, np.ndarray]
    summary: dict[str, Any]


def run(
    options: Options,
    *,
    draw: Callable[[Path, Result, float], None] | None,
    on_progress: Callable[[int, int], None],
) -> Result:
    """Fits and writes the folder `options.out`; summary.json comes last."""
    start = time.perf_counter()
    manifest = {"command": "fit"}
    folder.check(options.out, manifest, force=options.force)
    if options.precision == "float64":
        jax.config.update("jax_enable_x64", True)
    target, offset, columns = _target(options)
    found = _best(options, target, on_progress)
    mixture, history, status, insertions, best_seed, losses = found
    if status != Status.OK:
        raise InputError(f"the fit diverged: {Status(status).message}")

    order = np.argsort(-np.asarray(mixture.weights), kind="stable")
    mixture = Mixture(mixture.means[order], mixture.log_weights[order])
    # Rounding leaves the weights of a float32 fit a few 1e-7 from summing to one.
    weights = np.asarray(mixture.weights, np.float64)
    weights = weights / weights.sum()
    means = np.asarray(mixture.means, np.float64) * options.scale + offset
    d = target.shape[1]
    final = float(loss(mixture, target))
    summary = {
        "data": str(options.data),
        "num_points": target.shape[0],
        "dim": d,
        "num_components": options.components,
        "scale": options.scale,
        "num_active": int((weights >= _ACTIVE_WEIGHT).sum()),
        "loss_nats_per_point": final + d * float(np.log(options.scale)),
        "duality_gap": jsonable(history["duality_gap"][-1]),
        "gradient_norm": jsonable(history["gradient_norm"][-1]),
        "num_iterations": options.iterations,
        "best_seed": best_seed,
        "losses_of_seeds": [jsonable(v + d * np.log(options.scale)) for v in losses],
        "status": Status(status).name,
    }
    if options.escape:
        summary["num_insertions"] = insertions
    if options.certificate:
        summary["certificate"] = _certificate(options, mixture, target, offset)
    points, point_weights = some_rows(target, _DRAWN_OF_FILE)
    points = points * options.scale + offset
    result = Result(points, point_weights, columns, means, weights, history, summary)
    with folder.claim(options.out, manifest, force=options.force):
        _write(options, result, mixture, target, draw)
        summary |= report.provenance() | {"wall_seconds": round(time.perf_counter() - start, 3)}
        write_json(options.out / "summary.json", summary)
    return result


def _target(options: Options) -> tuple[Target | FileTarget, np.ndarray, list[str]]:
    """The data centred and scaled, the offset that was taken off, and the names of columns."""
    if options.on_disk:
        found, columns = open_file_target(
            options.data, options.scale, options.precision, centred=True
        )
        return found, np.array(found.offset), columns
    points, weights, columns = _read(options)
    offset = np.average(points, axis=0, weights=weights)
    scaled = jnp.asarray((points - offset) / options.scale, options.precision)
    return empirical(scaled, jnp.asarray(weights, options.precision)), offset, columns


def _read(options: Options) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Points, their weights, and the names of the columns; checked."""
    path = options.data
    points, columns = read_points(path, options.columns)
    weights = np.ones(len(points))
    if options.weights is not None:
        table, names = read_points(path, [options.weights])
        weights = table[:, 0]
        if options.columns is None:
            kept = [i for i, name in enumerate(columns) if name != names[0]]
            points, columns = points[:, kept], [columns[i] for i in kept]
            if not columns:
                raise InputError(f"{path}: only the weights' column is left")
        bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
        if len(bad):
            raise InputError(
                f"{path}: row {bad[0] + 1}, weight {weights[bad[0]]}: weights must be "
                "finite and non-negative"
            )
        if weights.sum() <= 0:
            raise InputError(f"{path}: the weights in {options.weights!r} are all zero")
    check_points(path, points, columns)
    return points, weights, columns


def _best(
    options: Options, target: Target | FileTarget, on_progress: Callable[[int, int], None]
) -> tuple[Mixture, dict[str, np.ndarray], int, int, int, list[float]]:
    """The start with the lowest final loss, and all losses.

    Of the start: mixture, history, status, insertions and its number. Each start runs in several
    calls, so that progress can be shown and Ctrl-C is heard.
    """
    inits: dict[str, Any] = {
        "from_target": initialize.from_target,
        "plus_plus": initialize.plus_plus,
        "spectral": partial(initialize.spectral, rank=options.rank or 1),
    }
    init = inits[options.init]
    segment = max(1, options.iterations // 20)
    lengths = [segment] * (options.iterations // segment)
    if options.iterations % segment:
        lengths.append(options.iterations % segment)
    total = options.iterations * options.seeds
    best: tuple[Mixture, dict[str, np.ndarray], int, int, int] | None = None
    losses: list[float] = []
    way = None
    if options.escape:
        escape = Escape(search_key(options.seed))
        way = prepare(escape, target, options.components, options.iterations)
    on_progress(0, total)
    for seed in range(options.seeds):
        key = jax.random.fold_in(jax.random.key(options.seed), seed)
        mixture = init(key, target, options.components)
        solver, data = options.solver.prepare(target, mixture)
        carry, parts, done = start(solver, mixture), [], 0
        for length in lengths:
            carry, part = advance(solver, data, carry, length, 1, way)
            mixture, status = carry.state.mixture, int(carry.status)
            parts.append(part)
            done += length
            on_progress(seed * options.iterations + done, total)
            if status != Status.OK:
                break
        final = float(loss(mixture, target)) if status == Status.OK else float("inf")
        losses.append(final)
        names = ("loss", "duality_gap", "gradient_norm", "num_active")
        history = {k: np.concatenate([np.asarray(getattr(p, k)) for p in parts]) for k in names}
        if best is None or final < min(losses[:-1]):
            best = (mixture, history, status, int(carry.watch.insertions), seed)
    assert best is not None  # there is at least one start
    return (*best, losses)


def _certificate(
    options: Options, mixture: Mixture, target: Target | FileTarget, offset: np.ndarray
) -> dict[str, Any]:
    """A certificate for summary.json, its places in the data's own units."""
    found = certificate(mixture, target, search_key(options.seed))
    values: dict[str, Any] = {}
    for field in dataclasses.fields(found):
        value = np.asarray(getattr(found, field.name))
        if value.ndim:
            values[field.name] = (value.astype(np.float64) * options.scale + offset).tolist()
        else:
            values[field.name] = jsonable(value) if value.dtype.kind == "f" else value.item()
    # The loss is there already, in the data's own units.
    del values["loss"]
    return values


def _write(
    options: Options,
    result: Result,
    mixture: Mixture,
    target: Target | FileTarget,
    draw: Callable[[Path, Result, float], None] | None,
) -> None:
    out = options.out
    rows = [
        [*(f"{v:.9g}" for v in mean), f"{weight:.9g}"]
        for mean, weight in zip(result.means, result.weights, strict=True)
    ]
    write_csv(out / "components.csv", [*result.columns, "weight"], rows)
    if options.labels or options.responsibilities:
        _write_assignments(options, mixture, target)
    if draw is not None:
        (out / "figures").mkdir()
        draw(out / "figures", result, options.scale)


def _write_assignments(options: Options, mixture: Mixture, target: Target | FileTarget) -> None:
    """labels.csv: per point the row (from 0) of components.csv; responsibilities.npy: (N, n)."""
    N, n = target.shape[0], options.components
    labels = np.empty(N, np.int64)
    posterior = jax.jit(responsibilities)
    with contextlib.ExitStack() as files:
        table = None
        if options.responsibilities:
            # Written in turn, not through a memory map: on a full disk that kills the process.
            temporary = files.enter_context(replacing(options.out / "responsibilities.npy"))
            table = files.enter_context(open(temporary, "wb"))
            header = {"descr": np.dtype(options.precision).str, "fortran_order": False}
            np.lib.format.write_array_header_1_0(table, {**header, "shape": (N, n)})
        for first in range(0, N, _ROWS):
            rows = slice(first, first + _ROWS)
            points = target.read(rows)[0] if isinstance(target, FileTarget) else target.points[rows]
            block = np.asarray(posterior(mixture, points))
            labels[first : first + _ROWS] = block.argmax(axis=1)
            if table is not None:
                table.write(block.tobytes())
    if options.labels:
        write_csv(options.out / "labels.csv", ["label"], [[label] for label in labels.tolist()])
