"""From many components down to few, in any of the families, as `select` does it.

Slots without weight are empty, and stay so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._em.mean_rules import em_step
from gemjax._em.solver import moved_to
from gemjax._families.kind import Kind
from gemjax._model.statistics import expect
from gemjax._numerics.finite import safe_log
from gemjax._points.blocks import Blocks, Chunks
from gemjax._reduce.merge import heavier_first, merge_pair, pair_costs

MANY = 96  # components, from where on what need not be known is not computed
_BEYOND = 3  # times fewer components than are best need not be looked at, where they are many


class Guard(NamedTuple):
    """What keeps components of few points from collapsing on them: so many points (), spread as
    the parameters (…) say, are added to each; as a share of all points."""

    share: jax.Array
    spread: jax.Array


def em(mixture: Mixture, blocks: Blocks | Chunks, guard: Guard | None) -> tuple[Mixture, jax.Array]:
    """EM's step, with a guard where the family takes one, and the loss () before it."""
    found = expect(mixture, blocks)
    means, mass = mixture.means + em_step(found), found.mass
    if guard is None:
        moved = moved_to(mixture, means, found)
    else:
        family = mixture.covariance
        assert isinstance(family, Kind)
        about = (means - found.origin, mass, found.moments, found.total)
        covariance = family.guarded(*about, *guard)
        moved = Mixture(means, mixture.log_weights, covariance)
    log_weights = safe_log(mass / jnp.sum(mass))
    return dataclasses.replace(moved, log_weights=log_weights), found.loss


def settle(
    mixture: Mixture,
    blocks: Blocks | Chunks,
    guard: Guard | None,
    tolerance: float,
    most: int,
    rival: Any = jnp.inf,
) -> tuple[Mixture, jax.Array, jax.Array]:
    """EM until the loss falls by less than `tolerance` in a step, or so slowly that `most` such
    steps would not bring it below a rival's (): the mixture, its loss (), and the number of steps.
    """

    def go(carry: Any) -> Any:
        mixture, _, _, loss, number = carry
        moved, new = em(mixture, blocks, guard)
        return moved, mixture, loss, new, number + 1

    def goes(carry: Any) -> jax.Array:
        _, _, before, loss, number = carry
        too_slow = most * (before - loss) < loss - rival
        return (number < most) & ~((before - loss < tolerance) | too_slow)

    # No loss is known at first: the difference of two infinities is no number, and none is less.
    infinite = jnp.full((), jnp.inf, mixture.means.dtype)
    start = (mixture, mixture, infinite, infinite, jnp.int32(0))
    _, mixture, _, loss, number = jax.lax.while_loop(goes, go, start)
    return mixture, loss, number


class Level(NamedTuple):
    """A mixture on the way down, how many components it has, and its loss."""

    mixture: Mixture
    size: jax.Array
    loss: jax.Array
    height: jax.Array


class Merges(NamedTuple):
    """Which components were merged at what cost: row k of (n,) is the merging that left k + 1, its
    numbers those of slots; −1 and NaN where there was none."""

    kept: jax.Array
    freed: jax.Array
    height: jax.Array


def descend(
    mixture: Mixture,
    blocks: Blocks | Chunks,
    guard: Guard | None,
    counts: tuple[int, ...],
    num_steps: int,
    fewest: jax.Array,
    score: Callable[[Level], jax.Array] | None = None,
) -> tuple[Level, Merges]:
    """Down to each of the `counts` of components in turn, with EM's steps at each; stacked.

    Levels below `fewest` () repeat the one before, and cost nothing; so do those far below as many
    components as had the lowest score, where there is one and these were many. The heights of
    levels are the largest costs of their mergings.
    """

    def one(_: Any, carry: Any) -> Any:
        mixture, costs, left, height, merges = carry
        i, j = jnp.divmod(jnp.argmin(costs), len(costs))
        cost = costs[i, j]
        kept, freed = heavier_first(mixture.weights, i, j)
        number = jnp.arange(len(costs), dtype=i.dtype)
        pair = (number == i) | (number == j)
        costs = jnp.where(pair[:, None] | pair[None], jnp.inf, costs)
        row = left - 2
        merges = Merges(
            *(a.at[row].set(b) for a, b in zip(merges, (kept, freed, cost), strict=True))
        )
        return merge_pair(mixture, kept, freed), costs, left - 1, jnp.maximum(height, cost), merges

    def go(level: Level, merges: Merges, count: jax.Array) -> tuple[Level, Mixture, Merges]:
        alive = jnp.sum(level.mixture.weights > 0, dtype=jnp.int32)
        num = jnp.maximum(0, alive - count)
        zero = jnp.zeros_like(level.loss)
        costs = pair_costs(level.mixture, level.mixture.weights > 0)
        # Several at once are pairs of their own; a covariance that all share waits for EM.
        begin = (level.mixture, costs, alive, zero, merges)
        mixture, _, _, height, merges = jax.lax.fori_loop(0, num, one, begin)

        def step(_: Any, carry: Any) -> Any:
            moved, loss = em(carry[0], blocks, guard)
            return moved, carry[0], loss

        # The level is the mixture that has this loss; one more step is on the way to the next.
        moved, mixture, loss = jax.lax.fori_loop(0, num_steps, step, (mixture, mixture, zero))
        size = jnp.sum(mixture.weights > 0, dtype=jnp.int32)
        return Level(mixture, size, loss, height), moved, merges

    def level(carry: Any, count: jax.Array) -> Any:
        (before, moved, merges), (lowest, number) = carry
        at = before._replace(mixture=moved)
        goes = (count >= fewest) & ((number <= MANY) | (_BEYOND * count >= number))
        new = jax.lax.cond(goes, lambda: go(at, merges, count), lambda: carry[0])
        value = score(new[0]) if score else -count.astype(lowest.dtype)
        best = value < lowest
        return (new, (jnp.where(best, value, lowest), jnp.where(best, count, number))), new[0]

    zero = jnp.zeros((), mixture.means.dtype)
    first = Level(mixture, jnp.sum(mixture.weights > 0, dtype=jnp.int32), zero + jnp.inf, zero)
    none = jnp.full((len(mixture.means),), -1, jnp.int32)
    merges = Merges(none, none, jnp.full_like(mixture.log_weights, jnp.nan))
    start = (first, mixture, merges), (zero + jnp.inf, jnp.int32(0))
    ((_, _, merges), _), levels = jax.lax.scan(level, start, jnp.asarray(counts, jnp.int32))
    return levels, merges
