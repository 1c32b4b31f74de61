"""The order of `select`'s stages: what is computed, on how many points, in how many slots."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base import arrays
from gemjax._base.records import Mixture
from gemjax._families.constrained import AXES, NUMBERS
from gemjax._families.diagonal import SharedDiagonal
from gemjax._families.full import Full
from gemjax._families.registry import FAMILIES
from gemjax._points.blocks import as_blocks
from gemjax._points.target import Target
from gemjax._reduce import stages
from gemjax._reduce.answer import (
    Chosen,
    all_standardised,
    answer,
    in_slots,
    level_chosen,
    standard,
)  # fmt: skip
from gemjax._reduce.descent import Level
from gemjax._reduce.stages import Compared, Pieces, Settings, better
from gemjax._reduce.unions import clusters

SAMPLE = 10_000  # points that the stages before the last see at most
MOST = 320  # components to begin with, at most
_SIZES = (
    8,
    12,
    16,
    24,
    32,
    48,
    64,
    80,
    96,
    112,
    144,
    176,
    224,
    272,
    MOST,
)  # slots that are compiled for


def choose(
    target: Any,
    key: jax.Array,
    names: tuple[str, ...],
    wanted: tuple[int, int],
    n: int,
    criterion: str,
    starts: int,
) -> Chosen:
    """`select` without its checks: from n pieces, to fewest and most components `wanted`."""
    N, size = target.shape[0], min(target.shape[0], SAMPLE)
    key, key_sample = jax.random.split(key)
    whole = isinstance(target, Target) and size == N
    points = target.points if whole else target.draw(key_sample, size)
    weights = target.weights if whole else jnp.full((size,), 1 / size, points.dtype)
    points, units, settings = standard(points, weights)
    data = Target(points, weights)
    kinds = jnp.asarray([NUMBERS[name] for name in names], jnp.int32)
    along_axes = set(names) <= set(AXES)
    keys = [jax.random.fold_in(key, s) for s in range(starts)]
    cut = [stages.pieces(key, points, weights, n, along_axes) for key in keys]
    best = _compared(data, cut, settings, kinds, wanted, criterion)
    everything, criteria = data, best.best_criterion
    if not whole:
        everything = all_standardised(target, units)
        slots = best.best.mixture.means.shape[1]
        blocks = as_blocks(everything, slots, family=type(best.best.mixture.covariance))
        criteria = stages.judge(best, blocks, settings, everything.weights, criterion)
    chosen, level, num_by_height = level_chosen(best, criteria, settings)
    if arrays.is_concrete(level.size):
        level = level._replace(mixture=in_slots(level.mixture, _slots(int(level.size), n)))
    slots, family = len(level.mixture.means), type(level.mixture.covariance)
    level = stages.finish(level, as_blocks(everything, slots, family=family))
    # On the sample: shares and heights need not be known better.
    blocks = as_blocks(data, slots, family=family)
    cluster = clusters(level.mixture, blocks, num_by_height == level.size)
    number, own = slots, Full  # type: tuple[int, Any]
    if arrays.is_concrete(level.size, chosen):
        number, own = int(level.size), FAMILIES[names[int(chosen)]]
    return answer(
        best, criteria, chosen, level, cluster, num_by_height, units, number=number, own=own
    )


def _compared(
    data: Target,
    cut: list[Pieces],
    settings: Settings,
    kinds: jax.Array,
    wanted: tuple[int, int],
    criterion: str,
) -> Compared:
    """Stages 2 and 3 from each of several sets of pieces; of every family the best."""
    n = len(cut[0].mass)
    blocks = as_blocks(data, n, family=SharedDiagonal)
    all_counts = stages.schedule(n, n)
    found = [stages.overview(one, blocks, settings, all_counts) for one in cut]
    around, levels = zip(*(_beginning(*one, wanted) for one in found), strict=True)
    slots, lowest, singly = n, wanted[0], 0
    if arrays.is_concrete(around):
        # The same for all: each number of slots is another program.
        slots = _slots(max(int(level.size) for level in levels), n)
        if slots > 96:  # one by one only near where BIC has its minimum
            numbers = [int(number) for number in around]
            lowest, singly = max(lowest, min(numbers) // 3), 7 * (min(numbers) // 8)
    limits = (jnp.int32(lowest), jnp.int32(wanted[1]))
    counts = stages.schedule(slots, singly)
    if wanted[0] == wanted[1]:
        counts = tuple(sorted({*counts, wanted[0]}, reverse=True))
    best: Any = None
    for pieces, level in zip(cut, levels, strict=True):
        mixture = _freed(level, pieces, settings, slots)
        blocks = as_blocks(data, slots, family=type(mixture.covariance))
        one = stages.compare(mixture, pieces, blocks, settings, kinds, limits, counts, criterion)
        best = one if best is None else better(best, one)
    return best


@functools.partial(jax.jit, static_argnums=2)
def _beginning(levels: Level, bic: jax.Array, wanted: tuple[int, int]) -> tuple[jax.Array, Level]:
    """About how many components () there may be, and the last level with somewhat more."""
    around = levels.size[jnp.nanargmin(bic)] if wanted[0] == 1 else jnp.int32(wanted[0])
    begin = jnp.minimum(levels.size[0], (13 * around) // 10 + 6)
    first = jnp.maximum(0, jnp.sum(levels.size >= begin) - 1)
    return around, jax.tree.map(lambda leaf: leaf[first], levels)


@functools.partial(jax.jit, static_argnums=3)
def _freed(level: Level, found: Pieces, settings: Settings, slots: int) -> Mixture:
    """A level whose covariances may become any, in as few slots as suffice."""
    return in_slots(stages.free(level, found, settings), slots)


def _slots(size: int, n: int) -> int:
    """How many slots are compiled for, for so many components of at most n."""
    return min([*(s for s in _SIZES if s >= size), n][0], n)
