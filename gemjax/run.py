"""`gemjax run`: a config as a list of pieces, each written whole; then the results."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tomli_w

from gemjax import experiment, folder, report
from gemjax.config import Config
from gemjax.files import write_arrays, write_csv, write_json, write_text

_SEEDS_PER_PIECE = 8


@dataclasses.dataclass(frozen=True)
class Piece:
    """A block of seeds of one grid point: the unit of work, and of loss when a run is stopped."""

    point: int
    first_seed: int
    num_seeds: int

    @property
    def name(self) -> str:
        return f"point-{self.point:04d}-seed-{self.first_seed:06d}.npz"


def pieces(config: Config) -> list[Piece]:
    """All pieces of a config, in order."""
    out = []
    for index, point in enumerate(config.points):
        total = point.sweep.num_seeds
        for first in range(0, total, _SEEDS_PER_PIECE):
            out.append(Piece(index, first, min(_SEEDS_PER_PIECE, total - first)))
    return out


def run(
    config: Config,
    out: Path,
    *,
    force: bool,
    draw: Callable[[Path, Config, list[dict[str, np.ndarray]], list[Any]], None] | None,
    on_piece: Callable[[int, int], None],
) -> dict[str, Any]:
    """Runs a config into the folder `out` and returns the content of summary.json.

    `draw` makes the figures; `on_piece(done, total)` is told about progress. summary.json is
    written last: a folder without it is not a finished run.
    """
    start = time.perf_counter()
    if any(point.target.dtype == "float64" for point in config.points):
        jax.config.update("jax_enable_x64", True)
    plan = pieces(config)
    folder.check(out, force=force)
    # The first problem is built before anything is replaced: bad data must cost nothing.
    problem = experiment.build(config.points[0], config.source.parent)
    text = tomli_w.dumps(config.resolved)
    digest = hashlib.sha256(text.encode()).hexdigest()
    folder.prepare(out, {"command": "run", "config_sha256": digest}, force=force)
    write_text(out / "config.toml", text)
    (out / "pieces").mkdir()

    built, problems = 0, [problem]
    on_piece(0, len(plan))
    for done, piece in enumerate(plan, start=1):
        point = config.points[piece.point]
        if piece.point != built:
            problem = experiment.build(point, config.source.parent)
            built = piece.point
            problems.append(problem)
        arrays = experiment.run_block(problem, point, piece.first_seed, piece.num_seeds)
        if point.report.weights and piece.first_seed == 0:
            arrays["followed_weights"] = experiment.follow_weights(problem, point)
        write_arrays(out / "pieces" / piece.name, arrays)
        on_piece(done, len(plan))

    results = _assemble(out, config, plan, problems)
    rows: list[list[Any]] = []
    for varying, arrays, problem in zip(config.varying, results, problems, strict=True):
        header, more = report.seed_rows(varying, arrays, problem.truth_loss)
        rows += more
    write_csv(out / "results.csv", header, rows)
    flat = {f"{name}_{i}": a for i, arrays in enumerate(results) for name, a in arrays.items()}
    settings = json.dumps(list(config.varying))
    write_arrays(out / "history.npz", {**flat, "settings": np.array(settings)})
    if draw is not None:
        (out / "figures").mkdir(exist_ok=True)
        draw(out / "figures", config, results, problems)
    summary = {
        "points": [
            report.point_summary(varying, arrays, problem.truth_loss)
            for varying, arrays, problem in zip(config.varying, results, problems, strict=True)
        ],
        **report.provenance(time.perf_counter() - start),
    }
    write_json(out / "summary.json", summary)
    return summary


def _assemble(
    out: Path, config: Config, plan: list[Piece], problems: list[experiment.Problem]
) -> list[dict[str, np.ndarray]]:
    """The pieces of each grid point, read back and joined along the seeds."""
    results = []
    for index, point in enumerate(config.points):
        loaded = []
        for piece in plan:
            if piece.point == index:
                with np.load(out / "pieces" / piece.name) as file:
                    loaded.append({name: file[name] for name in file.files})
        followed = loaded[0].pop("followed_weights", None)
        joined = {name: np.concatenate([p[name] for p in loaded]) for name in loaded[0]}
        if followed is not None:
            joined["followed_weights"] = followed
        floor = problems[index].truth_loss
        if point.report.reach is not None and floor is not None:
            joined["iterations"] = report.reached(
                joined["history_loss"], floor, point.report.reach, point.solver.record_every
            )
        results.append(joined)
    return results
