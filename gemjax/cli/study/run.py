"""`gemjax run`: a config as a list of pieces, each written whole; then the results."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tomli_w

from gemjax.cli.files import folder
from gemjax.cli.files.files import (
    InputError,
    digest,
    write_arrays,
    write_csv,
    write_json,
    write_text,
)
from gemjax.cli.process import devices
from gemjax.cli.process.memory import Batches
from gemjax.cli.report import tables as report
from gemjax.cli.study import case as experiment
from gemjax.cli.study.config import Config
from gemjax.cli.study.pieces import Piece, pieces, read
from gemjax.cli.study.tally import Progress, Tally

# Per device: a piece is what is lost when a run is stopped, and an accelerator wants many seeds.
_SEEDS_PER_PIECE = {"cpu": 8}
_ACCELERATOR_SEEDS_PER_PIECE = 128

Draw = Callable[[Path, Config, list[dict[str, np.ndarray]], list[Any]], None]


def run(
    config: Config,
    out: Path,
    *,
    force: bool,
    resume: bool,
    chosen: list[jax.Device],
    draw: Draw | None,
    on_piece: Callable[[Progress], None],
    tell: Callable[[str], None],
) -> dict[str, Any] | None:
    """Runs a config into the folder `out` and returns the content of summary.json.

    All processes of a distributed run call this alike; the first one alone reads and writes `out`.
    The others compute their share, and get None.
    `draw` makes the figures; `on_piece` is called between pieces, and may raise to end the run
    there; `tell` gets lines for the user. summary.json is written last: a folder without it is not
    a finished run.
    """
    start = time.perf_counter()
    if force and resume:
        raise InputError("--resume goes on with a run and --force replaces it: choose one of them")
    if any(point.target.dtype == "float64" for point in config.points):
        jax.config.update("jax_enable_x64", True)
    manifest: dict[str, Any] = {
        "command": "run",
        "config": config.resolved,
        "data_sha256": _data_digest(config),
        "seeds_per_piece": _seeds_per_piece(chosen),
        "made_by": report.provenance(),
    }
    first, old = devices.is_first(), None
    if first and folder.check(out, manifest, force=force, resume=resume) is not None:
        old = folder.summary(out) if _is_complete(out, draw) else None
    if devices.from_first(np.array(old is not None)):
        return old
    # The first problem is built before anything is replaced: bad data must cost nothing.
    problem = experiment.build(config.points[0], config.source.parent)
    if not first:
        plan = pieces(config, int(devices.from_first(np.array(0))))
        _compute(config, None, plan, problem, chosen, on_piece, tell)
        return None
    with folder.claim(out, manifest, force=force, resume=resume) as earlier:
        if earlier is not None:
            (out / "summary.json").unlink(missing_ok=True)
            for change in folder.differences(earlier["made_by"], manifest["made_by"], out):
                tell(f"{change}: what is computed now agrees with the earlier to rounding only")
            manifest = earlier
        write_text(out / "config.toml", tomli_w.dumps(config.resolved))
        (out / "pieces").mkdir(exist_ok=True)
        plan = pieces(config, int(devices.from_first(np.array(manifest["seeds_per_piece"]))))
        place = out / "pieces"
        problems, read_back = _compute(config, place, plan, problem, chosen, on_piece, tell)
        results, batches = _assemble(config, place, plan, problems)
        summary = _write_results(config, out, results, problems, draw)
        for point, batch in zip(summary["points"], batches, strict=True):
            point |= batch
        # The seconds are those of this process, which read so many seeds back from earlier ones.
        summary["wall_seconds"] = round(time.perf_counter() - start, 3)
        summary["num_seeds_read_back"] = read_back
        write_json(out / "summary.json", summary)
    return summary


def _seeds_per_piece(chosen: list[jax.Device]) -> int:
    each = _SEEDS_PER_PIECE.get(chosen[0].platform, _ACCELERATOR_SEEDS_PER_PIECE)
    return each * len(chosen)


def _data_digest(config: Config) -> str | None:
    target = config.points[0].target
    if target.kind != "file":
        return None
    assert target.path is not None  # checked with the config
    return digest(config.source.parent / target.path)


def _is_complete(out: Path, draw: Draw | None) -> bool:
    names = ["results.csv", "history.npz"] + ([] if draw is None else ["figures"])
    return all((out / name).exists() for name in names)


def _compute(
    config: Config,
    place: Path | None,
    plan: list[Piece],
    problem: experiment.Problem,
    chosen: list[jax.Device],
    on_piece: Callable[[Progress], None],
    tell: Callable[[str], None],
) -> tuple[list[experiment.Problem], int]:
    """Computes the pieces that are not in `place` yet; all problems, and the seeds read back.

    Without a `place` this process only helps: what is there and what is kept, another one knows.
    """
    tally, batches = Tally(config), Batches()
    # Per piece that is there, the batch that was used and the one that was wanted.
    used = np.zeros((len(plan), 2), np.int32)
    for number, piece in enumerate(plan):
        if place is not None and (path := place / piece.name).exists():
            there = read(path, piece, config.points[piece.point])
            if there is None:
                tell(f"{path}: damaged; it is computed again")
            else:
                used[number] = there["batch"]
                tally.add(piece, there)
    used = devices.from_first(used)
    todo = [piece for piece, (batch, _) in zip(plan, used, strict=True) if not batch]
    read_back = sum(piece.num_seeds for piece in plan) - sum(piece.num_seeds for piece in todo)
    on_piece(tally.progress(todo[0].point if todo else 0))

    problems = [problem]
    for piece, (batch, wanted) in zip(plan, used.tolist(), strict=True):
        point = config.points[piece.point]
        if piece.point == len(problems):
            problem = experiment.build(point, config.source.parent)
            problems.append(problem)
        size = experiment.seed_size(problem, point)
        if batch:
            if batch < wanted:
                batches.remember(size, batch)
            continue
        begun = time.perf_counter()
        seeds = min(point.sweep.num_seeds, plan[0].num_seeds)
        mesh = devices.mesh(chosen, seeds, spread_points=not point.target.on_disk)
        block = functools.partial(
            experiment.run_block, problem, point, piece.first_seed, piece.num_seeds, mesh
        )
        seeds_each = piece.num_seeds if mesh is None else -(-piece.num_seeds // mesh.shape["seed"])
        wanted = experiment.chosen_batch(problem, point, seeds_each)
        arrays, batch = batches.run(size, wanted, block, tell)
        arrays["batch"] = np.array([batch, wanted])
        if point.report.weights and piece.first_seed == 0:
            arrays["followed_weights"] = experiment.follow_weights(problem, point)
        if place is not None:
            write_arrays(place / piece.name, arrays)
        tally.add(piece, arrays, time.perf_counter() - begun)
        on_piece(tally.progress(piece.point))
    return problems, read_back


def _assemble(
    config: Config, place: Path, plan: list[Piece], problems: list[experiment.Problem]
) -> tuple[list[dict[str, np.ndarray]], list[dict[str, Any]]]:
    """Per grid point, its pieces joined along the seeds; and what their batches were."""
    results, batches = [], []
    for index, point in enumerate(config.points):
        loaded = []
        for piece in plan:
            if piece.point == index:
                with np.load(place / piece.name) as file:
                    loaded.append({name: file[name] for name in file.files})
        used, wanted = np.stack([arrays.pop("batch") for arrays in loaded]).T
        halved = used[used < wanted]
        batches.append(
            {
                "batch_size": int(used.max()),
                "halved_batch_size": int(halved.min()) if len(halved) else None,
            }
        )
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
    return results, batches


def _write_results(
    config: Config,
    out: Path,
    results: list[dict[str, np.ndarray]],
    problems: list[experiment.Problem],
    draw: Draw | None,
) -> dict[str, Any]:
    """Everything but summary.json, whose content is returned."""
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
    points = [
        report.point_summary(varying, arrays, problem.truth_loss)
        for varying, arrays, problem in zip(config.varying, results, problems, strict=True)
    ]
    return {"points": points, **report.provenance()}
