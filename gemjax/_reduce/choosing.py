"""The order of `select`'s stages: what is computed, on how many points, in how many slots."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gemjax._base import arrays
from gemjax._base.records import Mixture, Status
from gemjax._families.constrained import AXES, NUMBERS, Constrained, ConstrainedAxes, Kind
from gemjax._families.diagonal import SharedDiagonal
from gemjax._families.full import Full
from gemjax._families.registry import FAMILIES
from gemjax._points.blocks import as_blocks
from gemjax._points.file_target import FileTarget
from gemjax._points.target import Target
from gemjax._reduce import stages
from gemjax._reduce.descent import Merges
from gemjax._reduce.stages import Compared, Pieces, Settings
from gemjax._reduce.unions import clusters

SAMPLE = 10_000  # points that the stages before the last see at most
MOST = 320  # components to begin with, at most
_FLOOR = 1e-6  # of variances, where every coordinate has variance one
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


class Chosen(NamedTuple):
    """What `choose` found, in the data's units; the fields are those of `Selection`."""

    mixture: Mixture
    num_components: jax.Array
    cluster: jax.Array
    num_clusters: jax.Array
    family: jax.Array
    loss: jax.Array
    criterion: jax.Array
    num_by_height: jax.Array
    agree: jax.Array
    status: jax.Array
    sizes: jax.Array
    heights: jax.Array
    losses: jax.Array
    criteria: jax.Array
    best_criteria: jax.Array
    merges: Merges


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
    centre, scale, settings = _units(points, weights)
    x = (points - centre[None]) / scale[None]
    data = Target(x, weights)
    kinds = jnp.asarray([NUMBERS[name] for name in names], jnp.int32)
    best: Any = None
    along_axes = set(names) <= set(AXES)
    for s in range(starts):
        found = stages.pieces(jax.random.fold_in(key, s), x, weights, n, along_axes)
        compared = _one_start(data, found, settings, kinds, wanted, criterion)
        best = compared if best is None else _better(best, compared)
    everything, all_criteria = data, best.best_criterion
    if not whole:
        everything = _standardised(target, centre, scale)
        slots = best.best.mixture.means.shape[1]
        blocks = as_blocks(everything, slots, family=type(best.best.mixture.covariance))
        rest = settings._replace(num_points=1 / jnp.sum(everything.weights**2))
        judged = stages.judge(best.best, blocks, rest, criterion)
        all_criteria = jnp.where(jnp.isfinite(all_criteria), judged, jnp.inf)
    chosen = jnp.argmin(all_criteria)
    level = jax.tree.map(lambda leaf: leaf[chosen], best.best)
    if arrays.is_concrete(level.size):
        level = level._replace(mixture=_in_slots(level.mixture, _slots(int(level.size), n)))
    family = type(level.mixture.covariance)
    blocks = as_blocks(everything, len(level.mixture.means), family=family)
    mixture, loss = stages.finish(level.mixture, blocks)
    one_more = stages.num_parameters(level) - stages.num_parameters(
        level._replace(size=level.size - 1)
    )
    N_sample = settings.num_points
    price = 0.5 * one_more.astype(N_sample.dtype) * jnp.log(N_sample) / N_sample
    jump = stages.by_height(best.size[chosen], best.height[chosen], price)
    agree = jump == level.size
    # On the sample: shares and heights need not be known better.
    cluster = clusters(mixture, as_blocks(data, len(mixture.means), family=family), agree)
    floored = jnp.any(mixture.covariance.floored(len(cluster)) & (mixture.weights > 0))
    status = jnp.where(floored, int(Status.FLOORED), int(Status.OK))
    status = jnp.where(jnp.isfinite(loss), status, int(Status.DIVERGED)).astype(jnp.int32)
    mixture, cluster = _in_data_units(mixture, cluster, level.size, centre, scale, chosen, names)
    return Chosen(
        mixture=mixture,
        num_components=level.size,
        cluster=cluster,
        num_clusters=1 + jnp.max(cluster),
        family=chosen.astype(jnp.int32),
        loss=loss + jnp.sum(jnp.log(scale)),
        criterion=all_criteria[chosen],
        num_by_height=jump,
        agree=agree,
        status=status,
        sizes=best.size,
        heights=best.height,
        losses=best.loss,
        criteria=best.criterion,
        best_criteria=all_criteria,
        merges=jax.tree.map(lambda leaf: leaf[chosen], best.merges),
    )


@jax.jit
def _units(points: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array, Settings]:
    """Mean and standard deviation (d,) of the coordinates, and the settings of the stages."""
    centre = jnp.sum(weights[:, None] * points, axis=0)
    variance = jnp.sum(weights[:, None] * (points - centre[None]) ** 2, axis=0)
    scale = jnp.sqrt(jnp.where(variance > 0, variance, 1))
    units = jnp.where(variance > 0, variance, 1) / jnp.mean(jnp.where(variance > 0, variance, 1))
    floor = jnp.asarray(_FLOOR, points.dtype)
    return centre, scale, Settings(1 / jnp.sum(weights**2), floor, units)


def _one_start(
    data: Target,
    found: Pieces,
    settings: Settings,
    kinds: jax.Array,
    wanted: tuple[int, int],
    criterion: str,
) -> Compared:
    """Stages 2 and 3 from one set of pieces."""
    n = len(found.mass)
    blocks = as_blocks(data, n, family=SharedDiagonal)
    levels, bic = stages.overview(found, blocks, settings, stages.schedule(n, n))
    around = levels.size[jnp.nanargmin(bic)] if wanted[0] == 1 else jnp.int32(wanted[0])
    begin = jnp.minimum(n, (13 * around) // 10 + 6)
    # The last level with at least so many, in as few slots as suffice where that is known.
    first = jnp.maximum(0, jnp.sum(levels.size >= begin) - 1)
    level = jax.tree.map(lambda leaf: leaf[first], levels)
    mixture = stages.free(level, found, settings)
    slots, lowest, singly = n, wanted[0], 0
    if arrays.is_concrete(around):
        slots = _slots(int(levels.size[first]), n)
        if slots > 96:  # one by one only near where BIC has its minimum
            lowest, singly = max(lowest, int(around) // 3), 7 * (int(around) // 8)
    mixture = _in_slots(mixture, slots)
    limits = (jnp.int32(lowest), jnp.int32(wanted[1]))
    counts = stages.schedule(slots, singly)
    if wanted[0] == wanted[1]:
        counts = tuple(sorted({*counts, wanted[0]}, reverse=True))
    blocks = as_blocks(data, slots, family=type(mixture.covariance))
    return stages.compare(mixture, found, blocks, settings, kinds, limits, counts, criterion)


def _slots(size: int, n: int) -> int:
    """How many slots are compiled for, for so many components of at most n."""
    return min([*(s for s in _SIZES if s >= size), n][0], n)


def _in_slots(mixture: Mixture, slots: int) -> Mixture:
    """The heaviest components."""
    order = jnp.argsort(-mixture.log_weights, stable=True)[:slots]
    covariance = mixture.covariance.take(order)
    return Mixture(mixture.means[order], mixture.log_weights[order], covariance)


def _better(one: Compared, other: Compared) -> Compared:
    """Per family the better of two starts; slots and levels of the larger."""
    slots = [len(c.best.mixture.log_weights[0]) for c in (one, other)]
    one, other = (
        _padded(c, max(slots), max(one.size.shape[1], other.size.shape[1])) for c in (one, other)
    )
    first = one.best_criterion <= other.best_criterion

    def pick(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(first.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, one, other)


def _padded(compared: Compared, slots: int, levels: int) -> Compared:
    """The same with empty slots, and levels that repeat the last, added."""
    more, longer = slots - compared.best.mixture.means.shape[1], levels - compared.size.shape[1]
    mixture = compared.best.mixture
    assert isinstance(mixture.covariance, Kind)
    edge = lambda leaf: jnp.pad(  # noqa: E731
        leaf, [(0, 0), (0, more), *[(0, 0)] * (leaf.ndim - 2)], mode="edge"
    )
    covariance = mixture.covariance.with_spread(edge(mixture.covariance.spread))
    logs = jnp.pad(mixture.log_weights, [(0, 0), (0, more)], constant_values=-jnp.inf)
    mixture = Mixture(edge(mixture.means), logs, covariance)
    tail = [(0, 0), (0, longer)]
    merges = Merges(
        *(
            jnp.pad(leaf, [(0, 0), (0, more)], constant_values=jnp.asarray(absent, leaf.dtype))
            for leaf, absent in zip(compared.merges, (-1, -1, jnp.nan), strict=True)
        )
    )
    return compared._replace(
        best=compared.best._replace(mixture=mixture),
        size=jnp.pad(compared.size, tail, mode="edge"),
        height=jnp.pad(compared.height, tail, mode="edge"),
        loss=jnp.pad(compared.loss, tail, mode="edge"),
        criterion=jnp.pad(compared.criterion, tail, constant_values=jnp.inf),
        merges=merges,
    )


def _standardised(target: Any, centre: jax.Array, scale: jax.Array) -> Target:
    """All points in the units of the stages, in memory."""
    if isinstance(target, FileTarget):
        points, weights = target.read(slice(0, target.shape[0]))
        target = Target(jnp.asarray(points), jnp.asarray(weights))
    return Target((target.points - centre[None]) / scale[None], target.weights)


def _in_data_units(
    mixture: Mixture,
    cluster: jax.Array,
    size: jax.Array,
    centre: jax.Array,
    scale: jax.Array,
    chosen: jax.Array,
    names: tuple[str, ...],
) -> tuple[Mixture, jax.Array]:
    """Heaviest first; without empty slots and in its own family, where these are known."""
    family = mixture.covariance
    assert isinstance(family, Constrained | ConstrainedAxes)
    order = jnp.argsort(-mixture.log_weights, stable=True)
    floor = jnp.asarray(family.floor) * jnp.min(scale) ** 2
    if arrays.is_concrete(size):
        order = order[: int(size)]
    n, d = len(order), len(scale)
    covariances = family.take(order).matrices(n, d) * (scale[:, None] * scale[None])[None]
    covariances = 0.5 * (covariances + covariances.swapaxes(1, 2))  # but for rounding they were
    means, logs = centre[None] + scale[None] * mixture.means[order], mixture.log_weights[order]
    own: Any = Full
    if arrays.is_concrete(chosen):
        own = FAMILIES[names[int(chosen)]]
    return Mixture(means, logs, own.nearest(covariances, jnp.exp(logs), floor)), cluster[order]
