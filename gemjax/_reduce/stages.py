"""The stages of `select`, each compiled once for its sizes: pieces, overview, comparison, finish.

All in centred coordinates of unit variance each; families are numbers (see `Constrained`).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base.records import Mixture
from gemjax._families.diagonal import SharedDiagonal
from gemjax._families.kind import NUMBERS, Kind
from gemjax._families.parameters import at_least
from gemjax._families.spectrum import times
from gemjax._model.starts import spread_out
from gemjax._model.statistics import expect
from gemjax._numerics.finite import safe_divide, safe_log
from gemjax._points.blocks import Blocks, Chunks
from gemjax._points.walk import map_points
from gemjax._reduce.criteria import PRICED, Settings, bic, judged
from gemjax._reduce.descent import MANY, Guard, Level, Merges, descend, settle
from gemjax._reduce.standard import in_slots

_DIMENSIONS = 8  # at most, as many and one points are the least per piece
_STEPS, _FEWER = 3, 1  # of EM per level; and where there are many components
_POINTS = 1.5  # of a guard, times d + 2
_LIGHT = 0.5  # of the guard while levels are compared: a component on a line of points costs more
_BEST = 3  # levels per family that are fitted to the end
_TOLERANCE = 1e-5  # nats per point and step of EM at which levels are compared
_MOST_STEPS = 40
_END = 1e-6  # the same at the very end
_MOST_END = 300


def per_piece(d: int) -> int:
    """How many points a piece has at least, on average."""
    return min(d, _DIMENSIONS) + 1


class Pieces(NamedTuple):
    """Points cut into n pieces, each the nearest to its seed: means (n, d), masses (n,), and the
    covariance (d, d) within them, or the variances (d,) of the coordinates alone."""

    means: jax.Array
    mass: jax.Array
    within: jax.Array


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def pieces(
    key: jax.Array, x: jax.Array, weights: jax.Array, n: int, along_axes: bool, least: int
) -> Pieces:
    """Seeds by D² (Arthur and Vassilvitskii 2007), which find rare clusters, too. Above the `least`
    as many as leave `per_piece` points each, of the effective number; the others are empty."""
    N = 1 / jnp.sum(weights**2)
    enough = jnp.maximum(least, jnp.round(N).astype(jnp.int32) // per_piece(x.shape[1]))
    enough = jnp.minimum(n, enough)
    seeds = spread_out(key, x, weights, n)
    seeds = jnp.where((jnp.arange(n, dtype=jnp.int32) < enough)[:, None], seeds, seeds[:1])
    square = jnp.sum(seeds * seeds, axis=1)

    def nearest(x: jax.Array) -> jax.Array:
        product = jnp.matmul(x, seeds.T, precision=jax.lax.Precision.HIGHEST)
        return jnp.argmin(square[None] - 2 * product, axis=1)

    number = map_points(nearest, x)
    mass = jax.ops.segment_sum(weights, number, n)
    first = jax.ops.segment_sum(weights[:, None] * x, number, n)
    means = jnp.where(mass[:, None] > 0, safe_divide(first, mass[:, None]), seeds)
    apart = x - means[number]
    within = weights @ (apart * apart) if along_axes else times((weights[:, None] * apart).T, apart)
    return Pieces(means, mass, within * N / jnp.maximum(N - enough.astype(N.dtype), 0.25 * N))


def schedule(n: int, singly: tuple[int, int], share: int) -> tuple[int, ...]:
    """Numbers of components from n to 1: one less each time from the second of `singly` to the
    first, and below twice the share; elsewhere one of so many less."""
    least, most = singly
    counts = [n]
    while counts[-1] > 1:
        now = counts[-1]
        step = 1 if least < now <= most else max(1, now // share)
        counts.append(now - (min(step, now - most) if now > most else step))
    return tuple(counts)


def guard_of(found: Pieces, settings: Settings) -> Guard:
    points = _POINTS * (found.means.shape[1] + 2)
    return Guard(points / settings.num_points, found.within)


@functools.partial(jax.jit, static_argnums=3)
def overview(
    found: Pieces,
    blocks: Blocks | Chunks,
    settings: Settings,
    counts: tuple[int, ...],
    fewest: Any,
) -> tuple[Level, jax.Array]:
    """Levels with one variance per coordinate for all, from the pieces down to the fewest (), and
    BIC of each."""
    d = found.means.shape[1]
    axes = found.within if found.within.ndim == 1 else jnp.diagonal(found.within)
    floor = jnp.min(settings.floor)
    family = SharedDiagonal(at_least(axes, floor), floor)
    mixture = Mixture(found.means, safe_log(found.mass), family)

    def score(level: Level) -> jax.Array:
        return bic(level.loss, level.size.astype(axes.dtype) * (d + 1) - 1 + d, settings)

    levels, _ = descend(mixture, blocks, None, counts, 2, fewest, score)
    return levels, score(levels)


def free(level: Level, settings: Settings, serving: type[Kind]) -> Mixture:
    """A level of the overview, whose covariances may become any that are served."""
    mixture, family = level.mixture, level.mixture.covariance
    assert isinstance(family, SharedDiagonal)
    kind, variances = jnp.int32(NUMBERS["EEI"]), jnp.asarray(family.variances)
    covariance = serving.equal(variances, len(mixture.means), kind, settings.floor, settings.units)
    return dataclasses.replace(mixture, covariance=covariance)


class Compared(NamedTuple):
    """What the families' ways down gave: sizes, heights, losses and criteria (families, levels),
    mergings (families, n), and each family's best level, fitted to its end, with its criterion
    (families,)."""

    size: jax.Array
    height: jax.Array
    loss: jax.Array
    criterion: jax.Array
    merges: Merges
    best: Level
    best_criterion: jax.Array


def fitted(
    level: Level,
    found: Pieces,
    blocks: Blocks | Chunks,
    settings: Settings,
    criterion: str,
    unseen: Blocks | Chunks | None = None,
    rival: Any = jnp.inf,
) -> tuple[Level, jax.Array]:
    """A level fitted to its end, nearly without a guard, and its criterion (); not to its end if
    that will hardly be below a rival's criterion ()."""
    rival_loss: Any = jnp.inf
    if criterion in PRICED:
        worse = judged(level, blocks, settings, criterion) - rival
        rival_loss = level.loss - worse / (2 * settings.num_points)
    light = Guard(_LIGHT / settings.num_points, found.within)
    end, loss, _ = settle(level.mixture, blocks, light, _TOLERANCE, _MOST_STEPS, rival_loss)
    level = level._replace(mixture=end, loss=loss)
    (_, d), family, weights = end.means.shape, end.covariance, end.weights
    assert isinstance(family, Kind)
    # Fewer points than a covariance needs have as large a likelihood as the floor lets them.
    few = (weights > 0) & (weights * settings.num_points < d + 2) & ~family.is_shared
    criterion_ = judged(level, blocks, settings, criterion, unseen)
    return level, jnp.where(jnp.any(few), jnp.inf, criterion_)


@functools.partial(jax.jit, static_argnums=(6, 7, 8))
def compare(
    mixture: Mixture,
    found: Pieces,
    blocks: Blocks | Chunks,
    settings: Settings,
    kinds: jax.Array | np.ndarray,
    fewest: Any,
    most: int,
    counts: tuple[int, ...],
    criterion: str,
    unseen: Blocks | Chunks | None,
    rivals: jax.Array | np.ndarray,
) -> Compared:
    """Down from a mixture in each of the families, one after the other.

    Levels of the fewest () to the most components may be chosen, if their criteria come below
    those of the families' `rivals` (families,); some criteria judge by points that are `unseen`.
    """
    guard, n = guard_of(found, settings), len(mixture.means)
    steps = _STEPS if n <= MANY else _FEWER

    def one(kind: jax.Array, rival: jax.Array) -> Compared:
        old = mixture.covariance
        assert isinstance(old, Kind)
        family = old.of_kind(kind, mixture.weights)
        start = dataclasses.replace(mixture, covariance=family)
        levels, merges = descend(start, blocks, guard, counts, steps, fewest)
        # Those below the fewest repeat the last one.
        again = jnp.concatenate([jnp.zeros(1, bool), levels.size[1:] == levels.size[:-1]])
        allowed = (levels.size >= fewest) & (levels.size <= most) & ~again
        judge = lambda level: judged(level, blocks, settings, criterion, unseen)  # noqa: E731
        values = jnp.where(allowed, jax.lax.map(judge, levels), jnp.inf)
        order = jnp.argsort(values)[: min(_BEST, len(counts))]

        def end(rival: jax.Array, number: jax.Array) -> tuple[jax.Array, tuple[Level, jax.Array]]:
            level = jax.tree.map(lambda leaf: leaf[number], levels)
            level = level._replace(mixture=in_slots(level.mixture, min(most, n)))
            level, value = jax.lax.cond(
                values[number] < jnp.inf,
                lambda: fitted(level, found, blocks, settings, criterion, unseen, rival),
                lambda: (level, jnp.full_like(level.loss, jnp.inf)),
            )
            return jnp.minimum(rival, value), (level, value)

        _, (ends, criteria) = jax.lax.scan(end, rival, order)
        best = jnp.argmin(criteria)
        level = jax.tree.map(lambda leaf: leaf[best], ends)
        return Compared(
            levels.size, levels.height, levels.loss, values, merges, level, criteria[best]
        )

    return jax.lax.map(lambda each: one(*each), (kinds, rivals))


@jax.jit
def better(one: Compared, other: Compared) -> Compared:
    """Family by family the better of two starts."""
    first = one.best_criterion <= other.best_criterion

    def pick(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(first.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, one, other)


@functools.partial(jax.jit, static_argnums=4)
def judge(
    compared: Compared,
    blocks: Blocks | Chunks,
    settings: Settings,
    weights: jax.Array,
    criterion: str,
) -> jax.Array:
    """(families,) the criterion of the best levels, fitted to a sample, on all points, of these
    weights (N,).

    What pays on all of them need not on the sample; their losses there are as those of new points,
    so that none is favoured for having been fitted to them.
    """
    settings = settings._replace(num_points=1 / jnp.sum(weights**2))

    def one(level: Level) -> jax.Array:
        loss = expect(level.mixture, blocks).loss
        return judged(level._replace(loss=loss), blocks, settings, criterion)

    criteria = jax.lax.map(one, compared.best)
    return jnp.where(jnp.isfinite(compared.best_criterion), criteria, jnp.inf)


@jax.jit
def finish(level: Level, blocks: Blocks | Chunks) -> Level:
    """EM to its end on all points."""
    end, loss, _ = settle(level.mixture, blocks, None, _END, _MOST_END)
    return level._replace(mixture=end, loss=loss)
