"""`gemjax fit` without a scale: the clusters of a table, their form, and whose each row is."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

import gemjax as gj
from gemjax.cli import found, model, record, scaling
from gemjax.cli.files import folder
from gemjax.cli.files.boundary import InputError, asking
from gemjax.cli.files.dataset import Table
from gemjax.cli.files.read import READING, digest, read_weighted
from gemjax.cli.files.watch import Watch
from gemjax.cli.files.write import write_csv
from gemjax.cli.model import Assigned, Model
from gemjax.cli.record import Record
from gemjax.cli.results import Arrays
from gemjax.cli.study.settings import TargetTable

_aside = ThreadPoolExecutor(1)
_MOST_DRAWN = 400_000  # coordinates
_NAP = 0.02  # seconds, after which Ctrl-C is heard
# What the library's arguments are called on the command line.
_OPTIONS = {
    "num_components": "--components", "families": "--family", "criterion": "--criterion",
    "key": "--seed", "target": "the table", "points": "rows", "dimension": "column",
    "dimensions": "columns",
}  # fmt: skip
_ARGUMENT = re.compile(rf"\b({'|'.join(_OPTIONS)})\b")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How clusters are looked for: as `gj.select`."""

    components: int | None = None
    families: tuple[str, ...] | None = None
    criterion: str = "bicc"
    seed: int = 0
    precision: str = "float64"


def run(
    data: Path, reading: TargetTable, settings: Settings, out: Path, *, force: bool,
    draw: record.Draw | None, tell: Callable[[str], None],
) -> Record:  # fmt: skip
    """Finds the clusters of a table, writes the folder `out` and returns its record."""
    begun, where = time.perf_counter(), str(data)
    told = {name: getattr(reading, name) for name in READING}
    config = {"table": {"path": where, **told}, "clusters": dataclasses.asdict(settings)}
    manifest = {"command": "clusters", "config": config}
    folder.check(out, manifest, force=force)
    # Points may be float32: what is said about them is computed in float64.
    jax.config.update("jax_enable_x64", True)
    watch = Watch(data)
    with watch.kept():
        table = read_weighted(data, reading)
        fingerprint = digest(data)
    with asking(where):
        units = scaling.of_points(table.points, table.weights)
        selection = _select(table, units, settings)
    if int(selection.status) == gj.Status.DIVERGED:
        raise InputError(f"{where}: the fit diverged: {gj.Status.DIVERGED.message}")
    if not np.isfinite(selection.criterion):
        by = "" if table.weights is None else ", weighted,"
        raise InputError(
            f"{where}: {len(table.points)} rows{by} of {len(table.names)} columns are too few to "
            "tell clusters by"
        )
    in_data = model.in_data_units(selection, units)
    result = Model(in_data, table.names)
    assigned = model.assign(result, table.points)
    summary = found.summary(where, table, settings, units, in_data, assigned)
    summary["data_sha256"] = fingerprint
    with folder.claim(out, manifest, force=force):
        write_csv(out / "components.csv", *found.components(result))
        write_csv(out / "labels.csv", found.LABELS, _labels(table, assigned))
        model.save(out / record.MODEL, result)
        drawn = _drawn(table, assigned)
        return record.finish(Record(out, "clusters", summary), [], drawn, draw, begun)


def _select(table: Table, units: scaling.Scaling, settings: Settings) -> gj.Selection:
    """The selection among scaled points."""
    points = units.to_model(table.points).astype(settings.precision)
    weights = None if table.weights is None else table.weights.astype(settings.precision)

    def select() -> gj.Selection:
        selection = gj.select(
            gj.empirical(points, weights), jax.random.key(settings.seed),
            families=settings.families, num_components=settings.components,
            criterion=settings.criterion,
        )  # fmt: skip
        return jax.block_until_ready(selection)

    with _named():
        future = _aside.submit(select)
        while not future.done():  # Python hears Ctrl-C between naps, but not inside JAX
            time.sleep(_NAP)
        return future.result()


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Messages of the library speak of options in the place of its arguments."""
    try:
        yield
    except (ValueError, TypeError) as error:
        said = _ARGUMENT.sub(lambda match: _OPTIONS[match[0]], str(error))
        raise InputError(said.split("\n")[0]) from error


def _labels(table: Table, assigned: Assigned) -> Iterator[Sequence[Any]]:
    """A line per row of the file, numbered from 1; empty where a row was left out."""
    lines: list[Sequence[Any]] = [(row, "", "") for row in range(1, table.num_rows + 1)]
    told = zip(table.rows.tolist(), assigned.label.tolist(), assigned.probability, strict=True)
    for row, label, probability in told:
        lines[row] = (row + 1, label, f"{probability:.6f}")
    return iter(lines)


def _drawn(table: Table, assigned: Assigned) -> Arrays:
    """The points of the pictures and their clusters: not more than one can see."""
    N, d = table.points.shape
    step = -(-N // max(record.MOST_DRAWN, _MOST_DRAWN // d))
    arrays = {"points": table.points[::step], "labels": assigned.label[::step]}
    if table.weights is not None:
        arrays["point_weights"] = table.weights[::step]
    return arrays
