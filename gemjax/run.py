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

from gemjax import experiment, folder, report
from gemjax.config import Config
from gemjax.files import InputError, digest, write_arrays, write_csv, write_json, write_text
from gemjax.memory import Batches
from gemjax.pieces import Piece, pieces, read
from gemjax.tally import Progress, Tally

_SEEDS_PER_PIECE = 8

Draw = Callable[[Path, Config, list[dict[str, np.ndarray]], list[Any]], None]


def run(
    config: Config,
    out: Path,
    *,
    force: bool,
    resume: bool,
    draw: Draw | None,
    on_piece: Callable[[Progress], None],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Runs a config into the folder `out` and returns the content of summary.json.

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
        "seeds_per_piece": _SEEDS_PER_PIECE,
        "made_by": report.provenance(),
    }
    earlier = folder.check(out, manifest, force=force, resume=resume)
    if earlier is not None and _is_complete(out, draw) and (old := folder.summary(out)):
        return old
    # The first problem is built before anything is replaced: bad data must cost nothing.
    problem = experiment.build(config.points[0], config.source.parent)
    with folder.claim(out, manifest, force=force, resume=resume) as earlier:
        if earlier is not None:
            (out / "summary.json").unlink(missing_ok=True)
            for change in folder.differences(earlier["made_by"], manifest["made_by"], out):
                tell(f"{change}: what is computed now agrees with the earlier to rounding only")
            manifest = earlier
        write_text(out / "config.toml", tomli_w.dumps(config.resolved))
        (out / "pieces").mkdir(exist_ok=True)
        plan = pieces(config, manifest["seeds_per_piece"])
        problems, read_back = _compute(config, out / "pieces", plan, problem, on_piece, tell)
        results, batches = _assemble(config, out / "pieces", plan, problems)
        summary = _write_results(config, out, results, problems, draw)
        for point, batch in zip(summary["points"], batches, strict=True):
            point |= batch
        # The seconds are those of this process, which read so many seeds back from earlier ones.
        summary["wall_seconds"] = round(time.perf_counter() - start, 3)
        summary["num_seeds_read_back"] = read_back
        write_json(out / "summary.json", summary)
    return summary


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
    place: Path,
    plan: list[Piece],
    problem: experiment.Problem,
    on_piece: Callable[[Progress], None],
    tell: Callable[[str], None],
) -> tuple[list[experiment.Problem], int]:
    """Computes the pieces that are not in `place` yet; all problems, and the seeds read back."""
    tally, batches = Tally(config), Batches()
    used: dict[Piece, np.ndarray] = {}
    for piece in plan:
        path = place / piece.name
        if path.exists():
            there = read(path, piece, config.points[piece.point])
            if there is None:
                tell(f"{path}: damaged; it is computed again")
            else:
                used[piece] = there["batch"]
                tally.add(piece, there)
    read_back = sum(piece.num_seeds for piece in used)
    on_piece(tally.progress(next((p.point for p in plan if p not in used), 0)))

    problems = [problem]
    for piece in plan:
        point = config.points[piece.point]
        if piece.point == len(problems):
            problem = experiment.build(point, config.source.parent)
            problems.append(problem)
        size = experiment.seed_size(problem, point)
        if piece in used:
            batch, wanted = used[piece].tolist()
            if batch < wanted:
                batches.remember(size, batch)
            continue
        begun = time.perf_counter()
        block = functools.partial(
            experiment.run_block, problem, point, piece.first_seed, piece.num_seeds
        )
        wanted = experiment.chosen_batch(point, piece.num_seeds)
        arrays, batch = batches.run(size, wanted, block, tell)
        arrays["batch"] = np.array([batch, wanted])
        if point.report.weights and piece.first_seed == 0:
            arrays["followed_weights"] = experiment.follow_weights(problem, point)
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
