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
from gemjax._reduce.stages import Pieces
from gemjax._reduce.standard import Standard, in_data_units, in_slots, slots_for

_STARTS = 32  # of the certificate's searches


class Complete(NamedTuple):
    """A level fitted to all points, in standardised units; the mixture in the data's; and the
    certificate of that."""

    level: Level
    mixture: Mixture
    certificate: Certificate


class Points(NamedTuple):
    """All points, as they are and standardised by some units."""

    target: Target
    standardised: Target
    units: Standard

    def blocks(self, mixture: Mixture) -> Blocks | Chunks:
        slots, family = len(mixture.means), type(mixture.covariance)
        return as_blocks(self.standardised, slots, family=family)


def complete(level: Level, points: Points, key: jax.Array, own: type[Any]) -> Complete:
    """EM to its end on all points, in the family `own` in the data's units."""
    level = stages.finish(level, points.blocks(level.mixture))
    slots = int(level.size) if arrays.is_concrete(level.size) else len(level.mixture.means)
    mixture = in_data_units(level.mixture, points.units, slots, own)
    return Complete(level, mixture, certificate(mixture, points.target, key, num_starts=_STARTS))


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
        number, mixture = int(done.level.size) + 1, done.level.mixture
        level = done.level._replace(mixture=in_slots(mixture, slots_for(number, number)))
        blocks = points.blocks(level.mixture)
        birth = (done.certificate, points.units)
        more, pays = _one_more(level, *birth, pieces, blocks, settings, criterion)
        if not bool(pays):
            break
        done = complete(more, points, key, type(done.mixture.covariance))
    return done


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
    mixture, weight = level.mixture, found.birth_weight
    slot, family = jnp.argmin(mixture.log_weights), mixture.covariance
    assert isinstance(family, Kind)
    square = units.scale[:, None] * units.scale[None]
    matrix = found.birth_covariance.matrices(1, len(square))[0] / square
    spread = matrix if family.spread.ndim == 3 else jnp.diagonal(matrix)
    logs = (mixture.log_weights + jnp.log1p(-weight)).at[slot].set(jnp.log(weight))
    means = mixture.means.at[slot].set((found.birth_at - units.centre) / units.scale)
    covariance = family.held(family.put_spread(slot, spread), jnp.exp(logs))
    more = level._replace(mixture=Mixture(means, logs, covariance), size=level.size + 1)
    more, new = stages.fitted(more, pieces, blocks, settings, criterion)
    _, old = stages.fitted(level, pieces, blocks, settings, criterion)
    return more, new < old
