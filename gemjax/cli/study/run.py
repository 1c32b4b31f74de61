"""`gemjax run`: a config as a list of pieces, each written whole; then the results."""

from __future__ import annotations

import errno
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tomli_w

from gemjax.cli import case, fitting, paths, record, results
from gemjax.cli.case import Case
from gemjax.cli.files import folder
from gemjax.cli.files.boundary import InputError, asking
from gemjax.cli.files.read import digest, read_arrays
from gemjax.cli.files.watch import Watch
from gemjax.cli.files.write import finite, write_arrays, write_csv, write_text
from gemjax.cli.process import devices
from gemjax.cli.process.memory import Batches
from gemjax.cli.process.progress import Progress
from gemjax.cli.record import Record
from gemjax.cli.results import Arrays
from gemjax.cli.study import cost
from gemjax.cli.study.config import Config
from gemjax.cli.study.pieces import FOLLOWED, Piece, Tally, origin, pieces, read
from gemjax.cli.study.settings import TABLES
from gemjax.cli.study.shown import check_shown
from gemjax.cli.study.values import FIELDS

# Per device: a piece is what is lost when a run is stopped, and an accelerator wants many seeds.
_SEEDS_PER_PIECE = {"cpu": 8}
_ACCELERATOR_SEEDS_PER_PIECE = 128


def run(
    config: Config, out: Path, *, force: bool, resume: bool, chosen: list[jax.Device],
    draw: record.Draw | None, on_piece: Callable[[Progress], None], tell: Callable[[str], None],
) -> Record | None:  # fmt: skip
    """Runs a config into the folder `out` and returns its record.

    All processes of a distributed run call this alike; the first one alone reads and writes `out`.
    The others compute their share, and get None.
    `draw` makes the figures; `on_piece` is called between pieces, and may raise to end the run
    there; `tell` gets lines for the user. summary.json is written last: a folder without it is not
    a finished run.
    """
    begun = time.perf_counter()
    if force and resume:
        raise InputError("--resume goes on with a run and --force replaces it: choose one of them")
    with asking(config.where):
        check_shown(config)
    if any(point.target.dtype == "float64" for point in config.points):
        jax.config.update("jax_enable_x64", True)
    target, platform = config.points[0].target, chosen[0].platform
    data = config.folder / str(target.path) if target.kind == "file" else None
    watch = Watch(data, ": put it back first")
    each = len(chosen) * _SEEDS_PER_PIECE.get(platform, _ACCELERATOR_SEEDS_PER_PIECE)
    on_cpu = platform == "cpu"
    with asking(config.where):
        # What work on a file takes, only the file tells.
        cost.check(config.points, out, each, on_cpu=on_cpu, tell=tell if data is None else None)
    manifest: dict[str, Any] = {
        "command": "run",
        "config": config.computed,
        "data_sha256": None if data is None else digest(data),
        "seeds_per_piece": each,
        "made_by": devices.provenance(),
    }
    first, old = devices.is_first(), None
    if first and folder.check(out, manifest, force=force, resume=resume) is not None:
        old = folder.checked_summary(out, "run")
        if old is not None and not (whole := record.is_whole(out, old)):
            tell(f"{out}: results are damaged or missing; they are put together again")
        if old is not None and not (whole and (draw is None or (out / "figures").is_dir())):
            old = None
        if old is not None and any(old.get(k, v) != v for k, v in _as_read(config.shown).items()):
            old = None  # the same results, to be shown in another way
    if devices.from_first(np.array(old is not None)):
        return None if old is None else Record(out, "run", old)
    # The first case is built before anything is replaced: bad data must cost nothing.
    with watch.kept():
        cases = [case.build(config.points[0], config.folder, config.where)]
        for line in cases[0].told:
            tell(f"{data}: {line}")
    shape = cases[0].target.shape
    with asking(config.where):
        points = config.points[:1] if data is None else config.points
        told = None if data is None else tell
        cost.check(points, out, each, on_cpu=on_cpu, shape=shape, tell=told)
    if not first:
        plan = pieces(config, int(devices.from_first(np.array(0))))
        _compute(config, None, plan, cases, watch, chosen, on_piece, tell)
        return None
    with folder.claim(out, manifest, force=force, resume=resume) as held:
        if held.earlier is not None:
            (out / "summary.json").unlink(missing_ok=True)
            for change in folder.differences(held.manifest["made_by"], manifest["made_by"], out):
                tell(f"{change}: what is computed now agrees with the earlier to rounding only")
        write_text(out / "config.toml", tomli_w.dumps(config.resolved))
        place = out / "pieces"
        place.mkdir(exist_ok=True)
        plan = pieces(config, int(devices.from_first(np.array(held.manifest["seeds_per_piece"]))))
        read_back = _compute(config, held, plan, cases, watch, chosen, on_piece, tell)
        with watch.kept(target.on_disk):
            summary, grid, components = _assemble(config, place, plan, cases)
        held.check()
        # The seconds are those of this process, which read so many seeds back from earlier ones.
        summary |= {"source": config.name, "num_seeds_read_back": read_back}
        summary |= config.shown | config.asked
        summary["constants"] = _constants(config)
        write_csv(out / "results.csv", *results.seed_rows(config.varying, grid))
        return record.finish(Record(out, "run", summary), grid, components, draw, begun)


def _as_read(shown: dict[str, Any]) -> dict[str, Any]:
    """As summary.json has it."""
    return json.loads(json.dumps(finite(shown)))


def _constants(config: Config) -> dict[str, Any]:
    """The settings that are the same at all grid points."""
    keys = [f"{table}.{key}" for table in TABLES for key in FIELDS[table]]
    first = config.points[0]
    return {
        key: value
        for key in keys
        if (value := first.value(key)) is not None
        and all(point.value(key) == value for point in config.points)
        and key not in config.varying[0]
    }


def _shape(at: Case) -> dict[str, Any]:
    """The counts that a grid point is about, whether they vary or not."""
    known: dict[str, Any] = dict.fromkeys(("m", "separation", "truth_weights"))
    if at.truth is not None:
        known = {
            "m": len(at.truth.means), "separation": paths.smallest_separation(at.truth),
            "truth_weights": np.asarray(at.truth.weights, np.float64).tolist(),
        }  # fmt: skip
    N, d = at.target.shape
    n, T = at.point.model.num_components, at.point.solver.num_iterations
    return known | {"N": N, "d": d, "n": n, "num_iterations": T}


def _compute(
    config: Config, held: folder.Claim | None, plan: list[Piece], cases: list[Case], watch: Watch,
    chosen: list[jax.Device], on_piece: Callable[[Progress], None], tell: Callable[[str], None],
) -> int:  # fmt: skip
    """Computes the pieces that a folder lacks; returns the number of seeds read back.

    Without a folder this process only helps: what is there and what is kept, another one knows.
    The cases after the first are built when their turn comes.
    """
    tally, batches = Tally(config), Batches()
    # Per piece that is there, the batch that was used and the one that was wanted.
    used = np.zeros((len(plan), 2), np.int32)
    for number, piece in enumerate(plan):
        if held is not None and (path := held.out / "pieces" / piece.name).exists():
            there = read(path, piece, config.points[piece.point], origin(held.manifest, piece))
            if there is None:
                tell(f"{path}: damaged or another's; it is computed again")
            else:
                used[number] = there["batch"]
                tally.add(piece, there)
    used = devices.from_first(used)
    todo = [piece for piece, (batch, _) in zip(plan, used, strict=True) if not batch]
    largest = max(piece.num_seeds for piece in plan)
    read_back = sum(piece.num_seeds for piece in plan) - sum(piece.num_seeds for piece in todo)
    on_piece(tally.progress(todo[0].point if todo else 0))

    for piece, (batch, wanted) in zip(plan, used.tolist(), strict=True):
        if piece.point == len(cases):
            with watch.kept():
                cases.append(case.build(config.points[piece.point], config.folder, config.where))
        at = cases[piece.point]
        if batch:
            if batch < wanted:
                batches.remember(at.seed_size, batch)
            continue
        begun = time.perf_counter()
        seeds = min(at.point.sweep.num_seeds, largest)
        mesh = devices.mesh(chosen, seeds, spread_points=not at.point.target.on_disk)
        each = piece.num_seeds if mesh is None else -(-piece.num_seeds // mesh.shape["seed"])
        wanted = at.batch_size(each)
        block = functools.partial(fitting.fit_block, at, piece.first_seed, piece.num_seeds, mesh)
        with watch.kept(at.point.target.on_disk):
            found, batch = batches.run(at.seed_size, wanted, block, tell)
            arrays = results.arrays_of(found, at.point) | {"batch": np.array([batch, wanted])}
            arrays["seconds"] = np.array(time.perf_counter() - begun)
            if at.point.report.follow and piece.first_seed == 0:
                arrays |= paths.followed(at)
        if held is not None:
            held.check()
            told = arrays | {"origin": origin(held.manifest, piece)}
            write_arrays(held.out / "pieces" / piece.name, told)
        tally.add(piece, arrays, time.perf_counter() - begun)
        on_piece(tally.progress(piece.point))
    return read_back


def _loaded(path: Path) -> Arrays:
    """A piece that was there a moment ago."""
    arrays = read_arrays(path)
    if arrays is None:
        raise OSError(errno.ENOENT, "has been removed or damaged meanwhile", str(path))
    del arrays["origin"]
    return arrays


def _assemble(
    config: Config, place: Path, plan: list[Piece], cases: list[Case]
) -> tuple[dict[str, Any], list[Arrays], Arrays]:
    """The pieces as a record: summary, arrays of each grid point, and components to draw."""
    points, grid, seconds = [], [], 0.0
    for index, at in enumerate(cases):
        loaded = [_loaded(place / piece.name) for piece in plan if piece.point == index]
        used, wanted = np.stack([arrays.pop("batch") for arrays in loaded]).T
        seconds += sum(float(arrays.pop("seconds")) for arrays in loaded)
        halved = used[used < wanted]
        whole = {k: loaded[0].pop(k) for k in FOLLOWED if k in loaded[0]}
        if at.truth is not None and whole:
            whole |= {"truth_means": np.asarray(at.truth.means),
                      "truth_weights": np.asarray(at.truth.weights)}  # fmt: skip
        arrays = {name: np.concatenate([p[name] for p in loaded]) for name in loaded[0]}
        arrays |= results.derived(arrays, at.point, at.truth_loss) | whole
        grid.append(arrays)
        points.append(
            results.point_summary(config.varying[index], arrays, at.truth_loss, _shape(at))
            | {
                "record_every": at.point.solver.record_every,
                "reach": at.point.report.reach,
                "batch_size": int(used.max()),
                "halved_batch_size": int(halved.min()) if len(halved) else None,
            }
        )
    components: Arrays = {}
    told: dict[str, Any] = {}
    if at.truth is None:  # a picture of the last grid point's best seed
        best = int(np.argmin(arrays["loss"]))
        components, told = record.in_units(at, arrays["means"][best], arrays["weights"][best])
    return {"points": points, "compute_seconds": round(seconds, 3), **told}, grid, components
