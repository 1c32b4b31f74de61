"""Whether the settings of a grid point make sense together: what no single key can tell."""

from __future__ import annotations

from collections.abc import Sequence

from gemjax.cli.files.boundary import InputError, shown
from gemjax.cli.files.read import READING
from gemjax.cli.study.settings import GridPoint, TruthTable, start_settings

_STARTS_ON_DISK = ("from_mixture", "from_target")
_NEED_POINTS = ("plus_plus", "spectral", "tensor")
_OF_A_FILE = ("path", *READING, "on_disk")


def check_point(point: GridPoint) -> None:
    """Refuses a grid point that cannot be computed."""
    truth, solver, report = point.truth, point.solver, point.report
    every, init = point.escape.every, f'model.init = "{point.model.init}"'
    _check_target(point)
    _refuse(point.model.init == "from_mixture" and truth is None, f"a [truth] is needed for {init}")
    for name, setting in start_settings(point.model.init).items():
        missing = getattr(point.model, name) is None and setting.default is setting.empty
        _refuse(missing, f"{init} needs model.{name}")
    given = len(point.model.means or ())
    _refuse(
        given > point.model.num_components,
        f"model.means has {given} entries, more than model.num_components = "
        f"{point.model.num_components}",
    )
    uneven = len(set(map(len, point.model.means or ()))) > 1
    _refuse(uneven, "model.means must all have the same length")
    _check_weights("model", point.model.weights, point.model.num_components)
    steps = f"solver.num_iterations = {solver.num_iterations}"
    recorded = f"solver.record_every = {solver.record_every} is more than {steps}"
    _refuse(solver.record_every > solver.num_iterations, recorded)
    few = "solver.escape needs model.num_components of at least 2, got 1"
    _refuse(solver.escape and point.model.num_components < 2, few)
    late = f"escape.every = {every} must be at most half of {steps}"
    _refuse(solver.escape and 2 * every > solver.num_iterations, late)
    asked = {"reach": report.reach is not None, "path": report.path,
             "moments": report.moments,
             "starts": report.starts, "sensitivity": report.sensitivity}  # fmt: skip
    for name, there in asked.items():
        _refuse(bool(there) and truth is None, f"report.{name} compares with a [truth]")
    _refuse(
        report.sensitivity and (solver.method != "gradient_em" or solver.escape),
        "report.sensitivity differentiates gradient_em without escape",
    )
    _refuse(
        report.sensitivity and point.target.kind not in ("samples", "population"),
        'report.sensitivity needs target.kind = "samples" or "population", got '
        f'"{point.target.kind}"',
    )
    if truth is not None:
        _check_truth(truth)


def _check_target(point: GridPoint) -> None:
    truth, target, solver = point.truth, point.target, point.solver
    is_file, kind = target.kind == "file", f'target.kind = "{target.kind}"'
    init = f'model.init = "{point.model.init}"'
    _refuse(is_file and target.path is None, f"target.path is needed for {kind}")
    _refuse(not is_file and truth is None, f"a [truth] is needed for {kind}")
    _refuse(
        target.on_disk and not is_file, f'target.on_disk needs target.kind = "file", not {kind}'
    )
    told = [getattr(target, name) not in (None, False) for name in READING]
    plain = not any(told) and target.header is None and point.model.init in _STARTS_ON_DISK
    other = "target.columns, target.weights, ways to read a text nor another model.init"
    _refuse(target.on_disk and not plain, f"target.on_disk goes with neither {other}, got {init}")
    _refuse(
        solver.mean_rule == "polyak" and target.kind != "population",
        'solver.mean_rule = "polyak" needs the least loss there is, which only a [truth] with '
        'target.kind = "population" tells (on samples fits go below the truth\'s), got ' + kind,
    )
    fresh = target.kind == "stream"
    _refuse(fresh and solver.escape, f"solver.escape searches points that stay, got {kind}")
    walked = point.report.follow or point.report.path or point.report.moments
    _refuse(
        fresh and bool(walked), f"report.follow, path and moments need points that stay, got {kind}"
    )
    _refuse(
        fresh and point.model.init in _NEED_POINTS,
        f"{init} needs points that stay, got {kind}; take from_mixture or from_target",
    )


def check_together(points: Sequence[GridPoint]) -> None:
    """The data of a run are one file, or none is read; and there is one truth to compare with."""
    kinds = sorted({point.target.kind for point in points})
    others = [kind for kind in kinds if kind != "file"]
    _refuse(
        "file" in kinds and bool(others),
        f'target.kind = "file" does not go with {" and ".join(others)} in one grid',
    )
    if kinds == ["file"]:
        for name in _OF_A_FILE:
            different = {getattr(point.target, name) for point in points}
            _refuse(len(different) > 1, f"target.{name} must be the same at all grid points")
    _refuse(
        len({point.truth is None for point in points}) > 1,
        "a [truth] is needed in every [[case]] or in none",
    )


def _refuse(wrong: bool, text: str) -> None:
    if wrong:
        raise InputError(text)


def _check_truth(truth: TruthTable) -> None:
    m, d, weights = truth.num_components, truth.dim, truth.weights
    if truth.kind == "explicit":
        means = truth.means or ()
        _refuse(not means, 'truth.means is needed for truth.kind = "explicit"')
        _refuse(len(set(map(len, means))) != 1, "truth.means must all have the same length")
        m = len(means)
    many = f"truth.num_components = {m} is too many for a simplex in truth.dim = {d} dimensions"
    _refuse(truth.kind == "simplex" and m > d + 1, f"{many}, which has {d + 1} corners")
    _refuse(truth.kind == "ring" and d < 2, "truth.dim must be at least 2 for a ring")
    _check_weights("truth", weights, m)


def _check_weights(table: str, weights: tuple[float, ...] | None, count: int) -> None:
    if weights is None:
        return
    given = shown(list(weights))
    _refuse(len(weights) != count, f"{table}.weights must have {count} entries, got {given}")
    bad = min(weights, default=0) < 0 or sum(weights) <= 0
    _refuse(bad, f"{table}.weights must be non-negative and not all zero, got {given}")
