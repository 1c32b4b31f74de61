"""The order of `select`'s stages: what is computed, on how many points, in how many slots."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays
from gemjax._base.records import Mixture
from gemjax._families.constrained import serving
from gemjax._families.diagonal import SharedDiagonal
from gemjax._families.full import Full
from gemjax._families.kind import AXES, NUMBERS, Kind
from gemjax._families.registry import FAMILIES
from gemjax._points.blocks import as_blocks
from gemjax._points.target import Target
from gemjax._reduce import stages
from gemjax._reduce.answer import Chosen, answer, level_chosen
from gemjax._reduce.descent import MANY, Level
from gemjax._reduce.growth import Points, complete, exchange, grow
from gemjax._reduce.restarts import restarted
from gemjax._reduce.rounding import unrounded
from gemjax._reduce.stages import Compared, Pieces, Settings, better
from gemjax._reduce.standard import (
    Standard,
    in_slots,
    own_spreads,
    slots_for,
    standard,
    standardised,
)
from gemjax._reduce.unions import clusters

SAMPLE = 10_000  # points that the stages before the last see at most
MOST, FEWEST = 320, 8  # components to begin with
_HELD_OUT = 3  # every third point
_SLOWLY, _QUICKLY = 16, 6  # one of so many components is merged at a time; to a known number


class Setup(NamedTuple):
    """What is asked for, static: families by name, fewest and most components, the pieces to begin
    with, the criterion, the number of starts, and of others where the number is known."""

    names: tuple[str, ...]
    wanted: tuple[int, int]
    pieces: int
    criterion: str
    starts: int
    restarts: int


def choose(target: Target, key: jax.Array, setup: Setup) -> Chosen:
    """`select` without its checks."""
    size = min(target.shape[0], SAMPLE)
    key, key_rest = jax.random.split(key)
    key_sample, key_parts, key_certificate, key_restarts = jax.random.split(key_rest, 4)
    whole = size == target.shape[0]
    weights = target.weights if whole else jnp.full((size,), 1 / size, target.dtype)

    def sample(target: Target) -> jax.Array:
        return target.points if whole else target.draw(key_sample, size)

    smooth, weights, coordinates = unrounded(target, sample(target), weights)
    if whole and weights is not target.weights:
        target, smooth = (dataclasses.replace(part, weights=weights) for part in (target, smooth))
    points, units, settings = standard(sample(smooth), weights, coordinates)
    all_points = _all_points(target, smooth, points if whole else None, units)
    seen, unseen = Target(points, weights), None
    if setup.criterion == "held_out":
        seen, unseen = _parted(seen, key_parts)
        settings = settings._replace(num_points=1 / jnp.sum(seen.weights**2))

    along_axes = set(setup.names) <= set(AXES)
    least = setup.pieces if setup.wanted[0] == setup.wanted[1] else FEWEST
    cut = (seen.points, seen.weights, setup.pieces, along_axes, least)
    starts = [stages.pieces(jax.random.fold_in(key, s), *cut) for s in range(setup.starts)]
    best = _compared(seen, unseen, starts, settings, setup, key_restarts)
    criteria = best.best_criterion
    if unseen is None and not whole:
        candidates = jax.tree.map(lambda leaf: leaf[0], best.best.mixture)
        blocks = all_points.blocks(candidates)
        criteria = stages.judge(best, blocks, settings, target.weights, setup.criterion)
    chosen, level, num_by_height, agree = level_chosen(best, criteria, settings)

    own: Any = Full
    if known := arrays.is_concrete(level.size, chosen):
        own, number = FAMILIES[setup.names[int(chosen)]], int(level.size)
        level = level._replace(mixture=in_slots(level.mixture, slots_for(number, setup.pieces)))
    done = complete(level, all_points, key_certificate, own)
    rest = (all_points, key_certificate, starts[0], settings)
    if known and setup.wanted[0] == setup.wanted[1]:
        done = exchange(done, *rest)
    elif known and not whole and unseen is None:
        done = grow(done, *rest, setup.criterion)
    # On the sample: shares and heights need not be known better.
    mixture = own_spreads(done.level.mixture)
    blocks = as_blocks(seen, len(mixture.means), family=type(mixture.covariance))
    cluster = clusters(mixture, blocks, agree, bool(agree) if arrays.is_concrete(agree) else None)
    return answer(best, criteria, chosen, level.size, num_by_height, done, cluster, units, settings)


def _all_points(
    target: Target, smooth: Target, points: jax.Array | None, units: Standard
) -> Points:
    """All points as they are and spread (`smooth`), the latter standardised already or not."""
    points = standardised(smooth.points, units) if points is None else points
    alike = Target(points, target.weights)
    if smooth is target:
        return Points(smooth, alike, alike, units)
    exact = Target(standardised(target.points, units), target.weights)
    return Points(smooth, alike, exact, units)


def _parted(data: Target, key: jax.Array) -> tuple[Target, Target]:
    """The points that are fitted, and those that are held out."""
    N = data.shape[0]
    order = jax.random.permutation(key, N)

    def part(which: jax.Array) -> Target:
        weights = data.weights[which]
        return Target(data.points[which], weights / jnp.sum(weights))

    kept = num_fitted(N)
    return part(order[:kept]), part(order[kept:])


def num_fitted(N: int) -> int:
    """How many of N points are not held out."""
    return N - N // _HELD_OUT


def _compared(
    seen: Target,
    unseen: Target | None,
    cut: list[Pieces],
    settings: Settings,
    setup: Setup,
    key_restarts: jax.Array,
) -> Compared:
    """Stages 2 and 3 from each of several sets of pieces; of every family the best."""
    n, wanted = setup.pieces, setup.wanted
    kinds = np.asarray([NUMBERS[name] for name in setup.names], np.int32)
    blocks = as_blocks(seen, n, family=SharedDiagonal)
    known = wanted[0] == wanted[1]
    all_counts = stages.schedule(n, (0, 0), _QUICKLY if known else _SLOWLY)
    down_to = np.int32(1 if wanted[0] == 1 else _begin(wanted[0]))
    found = [stages.overview(one, blocks, settings, all_counts, down_to) for one in cut]
    around, levels = zip(*(_beginning(*one, wanted) for one in found), strict=True)
    slots, lowest, singly = n, wanted[0], (0, n)
    if arrays.is_concrete(around):
        # The same for all: each number of slots is another program.
        slots = slots_for(max(int(level.size) for level in levels), n)
        if slots > MANY:  # one by one only near where BIC has its minimum
            numbers = [int(number) for number in around]
            lowest = max(lowest, min(numbers) // 3)
            singly = 7 * (min(numbers) // 8), 9 * (max(numbers) // 8)
    counts = stages.schedule(slots, singly, _SLOWLY)
    if known:
        counts = tuple(sorted({*counts, wanted[0]}, reverse=True))
    best: Any = None
    for pieces, level in zip(cut, levels, strict=True):
        mixture = _freed(level, settings, serving(setup.names), slots)
        family = type(mixture.covariance)
        seen_blocks, unseen_blocks = (
            None if part is None else as_blocks(part, slots, family=family)
            for part in (seen, unseen)
        )
        assert seen_blocks is not None
        static = (min(wanted[1], slots), counts, setup.criterion)
        none = np.full(len(kinds), np.inf, seen.dtype)
        rivals = none if best is None else best.best_criterion
        one = stages.compare(
            mixture,
            pieces,
            seen_blocks,
            settings,
            kinds,
            np.int32(lowest),
            *static,
            unseen_blocks,
            rivals,
        )
        best = one if best is None else better(best, one)
    if known:
        m = len(best.best.mixture.log_weights[0])
        # Those of fewer restarts are among those of more, which therefore end no higher.
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key_restarts, jnp.arange(setup.restarts))
        cuts = (
            None if part is None else as_blocks(part, m, family=family) for part in (seen, unseen)
        )
        best = restarted(
            best, keys, seen, cut[0], next(cuts), settings, setup.criterion, next(cuts)
        )
    return best


def _begin(around: Any) -> Any:
    """From how many components families go down, where there may be so many."""
    return (13 * around) // 10 + 6


@functools.partial(jax.jit, static_argnums=2)
def _beginning(levels: Level, bic: jax.Array, wanted: tuple[int, int]) -> tuple[jax.Array, Level]:
    """About how many components () there may be, and the last level with somewhat more."""
    around = levels.size[jnp.nanargmin(bic)] if wanted[0] == 1 else jnp.int32(wanted[0])
    begin = jnp.minimum(levels.size[0], _begin(around))
    first = jnp.maximum(0, jnp.sum(levels.size >= begin) - 1)
    return around, jax.tree.map(lambda leaf: leaf[first], levels)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _freed(level: Level, settings: Settings, serving: type[Kind], slots: int) -> Mixture:
    """A level whose covariances may become any that are served, in as few slots as suffice."""
    return in_slots(stages.free(level, settings, serving), slots)
