"""The level chosen, fitted to all points; and up from there, where its certificate asks for more.

The stages before saw a sample, on which a rare cluster may have no more than a few points.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gemjax._assess.certificate import Certificate, certificate
from gemjax._base import arrays
from gemjax._base.records import Mixture
from gemjax._families.kind import Kind
from gemjax._points.blocks import Blocks, Chunks, as_blocks
from gemjax._points.target import Target
from gemjax._reduce import stages
from gemjax._reduce.criteria import Settings
from gemjax._reduce.descent import Level
from gemjax._reduce.merge import heavier_first, merge_pair, pair_costs
from gemjax._reduce.stages import Pieces
from gemjax._reduce.standard import Standard, in_data_units, in_slots

_STARTS = 32  # of the certificate's searches
_PAIRS = 8  # of components that are tried to merge
_LOWER = 1e-5  # nats per point that pay another round


class Complete(NamedTuple):
    """A level fitted to all points, in standardised units; the mixture in the data's; and the
    certificate of that."""

    level: Level
    mixture: Mixture
    certificate: Certificate


class Points(NamedTuple):
    """All points, spread over what was rounded away: as they are, and standardised by some units;
    and as they were, standardised."""

    target: Target
    standardised: Target
    rounded: Target
    units: Standard

    def blocks(self, mixture: Mixture) -> Blocks | Chunks:
        return _blocks(self.standardised, mixture)


def complete(level: Level, points: Points, key: jax.Array, own: type[Any]) -> Complete:
    """EM to its end on all points as they were, in the family `own` in the data's units; the
    certificate on those that are spread, as rounded ones can be told by components on a line."""
    level = stages.finish(level, _blocks(points.rounded, level.mixture))
    slots = int(level.size) if arrays.is_concrete(level.size) else len(level.mixture.means)
    mixture = in_data_units(level.mixture, points.units, slots, own)
    return Complete(level, mixture, certificate(mixture, points.target, key, num_starts=_STARTS))


def _blocks(target: Target, mixture: Mixture) -> Blocks | Chunks:
    return as_blocks(target, len(mixture.means), family=type(mixture.covariance))


def grow(
    done: Complete,
    points: Points,
    key: jax.Array,
    pieces: Pieces,
    settings: Settings,
    criterion: str,
) -> Complete:
    """One component more at a time, as long as the certificate finds one and the criterion, for as
    many points as the sample has, is lower for it.

    With the price of all points, which is a thousandth for a million, whatever is not quite
    Gaussian would be cut into ever more components.
    """
    while not bool(done.certificate.birth_optimal):
        level, blocks = _with_room(done, points)
        birth = (done.certificate, points.units)
        more, pays = _one_more(level, *birth, pieces, blocks, settings, criterion)
        if not bool(pays):
            break
        done = complete(more, points, key, type(done.mixture.covariance))
    return done


def exchange(
    done: Complete,
    points: Points,
    key: jax.Array,
    pieces: Pieces,
    settings: Settings,
) -> Complete:
    """The number of components is known: what the certificate finds is added and a pair merged, as
    long as the loss falls for it."""
    number = int(done.level.size)
    for _ in range(number if number > 1 else 0):
        if bool(done.certificate.birth_optimal):
            break
        level, blocks = _with_room(done, points)
        birth = (done.certificate, points.units)
        level = _one_other(level, *birth, pieces, blocks, settings)
        level = level._replace(mixture=in_slots(level.mixture, number))
        other = complete(level, points, key, type(done.mixture.covariance))
        if not float(other.level.loss) < float(done.level.loss) - _LOWER:
            break
        done = other
    return done


@jax.jit
def _one_other(
    level: Level,
    found: Certificate,
    units: Standard,
    pieces: Pieces,
    blocks: Blocks | Chunks,
    settings: Settings,
) -> Level:
    """The birth that a certificate, in the data's units, has found, in an empty slot, and fitted;
    then the best of those in which one of the cheapest pairs is merged, and fitted."""
    more = _fitted(_born(level, found, units), pieces, blocks, settings)
    mixture = more.mixture
    costs = pair_costs(mixture, mixture.weights > 0)
    n = len(costs)
    _, pairs = jax.lax.top_k(-costs.reshape(-1), min(_PAIRS, n * (n - 1) // 2))

    def merged(pair: jax.Array) -> Level:
        kept, freed = heavier_first(mixture.weights, *jnp.divmod(pair, n))
        less = level._replace(mixture=merge_pair(mixture, kept, freed))
        return _fitted(less, pieces, blocks, settings)

    levels = jax.lax.map(merged, pairs)
    best = jnp.nanargmin(levels.loss)
    return jax.tree.map(lambda leaf: leaf[best], levels)


def _fitted(level: Level, pieces: Pieces, blocks: Blocks | Chunks, settings: Settings) -> Level:
    """Fitted to its end; only losses are compared, of mixtures of as many parameters."""
    return stages.fitted(level, pieces, blocks, settings, "bic")[0]


def _with_room(done: Complete, points: Points) -> tuple[Level, Blocks | Chunks]:
    """The level with an empty slot, and all points for such mixtures."""
    level = done.level._replace(mixture=in_slots(done.level.mixture, int(done.level.size) + 1))
    return level, points.blocks(level.mixture)


def _born(level: Level, found: Certificate, units: Standard) -> Level:
    """A level with the birth that a certificate, in the data's units, has found, put in."""
    mixture, weight = level.mixture, found.birth_weight
    slot, family = jnp.argmin(mixture.log_weights), mixture.covariance
    assert isinstance(family, Kind)
    square = units.scale[:, None] * units.scale[None]
    matrix = found.birth_covariance.matrices(1, len(square))[0] / square
    spread = matrix if family.spread.ndim == 3 else jnp.diagonal(matrix)
    logs = (mixture.log_weights + jnp.log1p(-weight)).at[slot].set(jnp.log(weight))
    means = mixture.means.at[slot].set((found.birth_at - units.centre) / units.scale)
    covariance = family.held(family.put_spread(slot, spread), jnp.exp(logs))
    return level._replace(mixture=Mixture(means, logs, covariance), size=level.size + 1)


@functools.partial(jax.jit, static_argnums=6)
def _one_more(
    level: Level,
    found: Certificate,
    units: Standard,
    pieces: Pieces,
    blocks: Blocks | Chunks,
    settings: Settings,
    criterion: str,
) -> tuple[Level, jax.Array]:
    """The birth that a certificate, in the data's units, has found, in an empty slot, and fitted;
    and whether () the criterion is lower."""
    more, new = stages.fitted(_born(level, found, units), pieces, blocks, settings, criterion)
    _, old = stages.fitted(level, pieces, blocks, settings, criterion)
    return more, new < old
