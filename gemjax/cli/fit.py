"""`gemjax fit`: one data file, fitted from one or several starts, in the data's own units."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import gemjax as gj
from gemjax.cli import case, fitting, model, record, results
from gemjax.cli.case import Case
from gemjax.cli.files import folder
from gemjax.cli.files.boundary import InputError, asking
from gemjax.cli.files.watch import Watch
from gemjax.cli.files.write import jsonable, own_name, replacing, write_csv
from gemjax.cli.process import devices
from gemjax.cli.record import Record
from gemjax.cli.study import cost
from gemjax.cli.study.config import Config

_ROWS = 16_384  # points per block when labels or responsibilities are written


def run(
    config: Config, out: Path, *, force: bool, labels: bool, responsibilities: bool,
    chosen: list[jax.Device], draw: record.Draw | None, on_progress: Callable[[int, int], None],
    tell: Callable[[str], None],
) -> Record:  # fmt: skip
    """Fits the one case of `config`, writes the folder `out` and returns its record."""
    begun, point = time.perf_counter(), config.points[0]
    manifest = {"command": "fit", "config": config.computed}
    folder.check(out, manifest, force=force)
    data = str(point.target.path)
    with asking(data):
        cost.check([point], out, 1, on_cpu=True)
    if point.target.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    watch, on_disk = Watch(config.folder / data), point.target.on_disk
    with watch.kept():
        at = case.build(point, config.folder, data)
        for line in at.told:
            tell(f"{data}: {line}")
    densities = at.target.shape[0] * point.model.num_components
    disk = float(densities) * np.dtype(point.target.dtype).itemsize if responsibilities else 0.0
    on_cpu = jax.default_backend() == "cpu"
    with asking(data):
        cost.check([point], out, 1, on_cpu=on_cpu, shape=at.target.shape, disk=disk, tell=tell)
    with watch.kept(on_disk):
        mesh = None if on_disk else devices.data_mesh(chosen, densities)
        fit, best_seed, losses = fitting.fit_best(at, on_progress, mesh)
    if int(fit.status) == gj.Status.DIVERGED:
        raise InputError(f"{data}: the fit diverged: {gj.Status.DIVERGED.message}")
    order = np.argsort(-fit.mixture.log_weights, kind="stable")
    mixture = dataclasses.replace(
        fit.mixture, means=fit.mixture.means[order], log_weights=fit.mixture.log_weights[order]
    )
    with watch.kept(on_disk):  # as a block of one seed
        found = fitting.assess(at, jax.tree.map(lambda leaf: leaf[None], fit))
    arrays = results.arrays_of(found, point)
    components, told = record.in_units(at, mixture.means, arrays["weights"][0, order])
    losses = losses or found.loss.tolist()
    summary = _summary(at, found, components["weights"], best_seed, losses) | told
    with folder.claim(out, manifest, force=force):
        table = np.column_stack([components["means"], components["weights"]])
        rows = [[f"{value:.9g}" for value in row] for row in table]
        header = [*at.columns, own_name("weight", at.columns)]
        write_csv(out / "components.csv", header, rows)
        jax.config.update("jax_enable_x64", True)
        scale = np.full(at.target.shape[1], at.units.scale)
        in_units = model.moved(mixture, at.units.offset, scale)
        model.save(out / record.MODEL, model.Model(in_units, at.columns))
        with watch.kept(on_disk):
            if labels or responsibilities:
                _write_assignments(at, mixture, out, labels, responsibilities)
        return record.finish(Record(out, "fit", summary), [arrays], components, draw, begun)


def _summary(
    at: Case, found: fitting.Found, weights: np.ndarray, best_seed: int, losses: list[float]
) -> dict[str, Any]:
    """What summary.json says, in the data's units."""
    (N, d), point, fit = at.target.shape, at.point, found.fit
    summary = {
        "data": point.target.path,
        "num_points": N,
        "dim": d,
        "num_components": point.model.num_components,
        "scale": point.target.scale,
        "num_active": int((weights >= point.solver.active_weight * weights.max()).sum()),
        "loss_nats_per_point": float(at.units.loss_to_data(float(found.loss[0]))),
        "duality_gap": jsonable(fit.history.duality_gap[0, -1]),
        "gradient_norm": jsonable(fit.history.gradient_norm[0, -1]),
        "num_iterations": int(fit.num_iterations[0]),
        "best_seed": best_seed,
        "losses_of_seeds": [jsonable(at.units.loss_to_data(float(loss))) for loss in losses],
        "status": gj.Status(int(fit.status[0])).name,
    }
    if at.escape is not None:
        summary["num_insertions"] = int(fit.num_insertions[0])
    if found.certificate is not None:
        summary["certificate"] = _certificate(at, found.certificate)
    return summary


def _certificate(at: Case, found: gj.Certificate) -> dict[str, Any]:
    """A certificate of one fit as numbers, its places in the data's units."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(found):
        if field.name == "birth_covariance":  # the identity, here
            continue
        value = np.asarray(getattr(found, field.name))[0]
        if value.ndim:
            values[field.name] = at.units.to_data(value).tolist()
        else:
            values[field.name] = jsonable(value) if value.dtype.kind == "f" else value.item()
    # The loss is there already, in the data's units.
    del values["loss"]
    return values


def _write_assignments(
    at: Case, mixture: gj.Mixture, out: Path, labels: bool, responsibilities: bool
) -> None:
    """Writes what a component's points are.

    labels.csv has per point its row of the file, from 1, and that of components.csv, from 0;
    responsibilities.npy is (N, n).
    """
    N, n = at.target.shape[0], len(mixture.means)
    nearest = np.empty(N, np.int64)
    with contextlib.ExitStack() as files:
        table = None
        if responsibilities:
            # Written in turn, not through a memory map: on a full disk that kills the process.
            temporary = files.enter_context(replacing(out / "responsibilities.npy"))
            table = files.enter_context(open(temporary, "wb"))
            header = {"descr": np.dtype(at.target.dtype).str, "fortran_order": False}
            np.lib.format.write_array_header_1_0(table, {**header, "shape": (N, n)})
        for first in range(0, N, _ROWS):
            rows = slice(first, first + _ROWS)
            block = np.asarray(gj.responsibilities(mixture, at.judge.read(rows)[0]))
            nearest[rows] = block.argmax(axis=1)
            if table is not None:
                table.write(block.tobytes())
    if labels:
        numbers = np.arange(N) if at.rows is None else at.rows
        pairs = zip((numbers + 1).tolist(), nearest.tolist(), strict=True)
        write_csv(out / "labels.csv", ["row", "label"], pairs)
