"""What levels are chosen by: information criteria, unseen points, and the heights of mergings."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gemjax._families.kind import Kind, traits
from gemjax._model.statistics import expect, loss_and_entropy
from gemjax._points.blocks import Blocks, Chunks
from gemjax._reduce.descent import Level

PRICED = ("bicc", "bic")  # criteria that are a loss and a price of the number of parameters


class Settings(NamedTuple):
    """What all fits of a selection share: effective number of points (), floors of variances
    (d,), what these would be if nothing were rounded (d,), and squares of the units (d,)."""

    num_points: jax.Array
    floor: jax.Array
    narrow: jax.Array
    units: jax.Array


def bic(loss: jax.Array, num_parameters: jax.Array, settings: Settings) -> jax.Array:
    N = settings.num_points
    return 2 * N * loss + num_parameters * jnp.log(N)


def num_parameters(level: Level) -> jax.Array:
    """() free parameters of a level: weights, means, covariances."""
    d = level.mixture.means.shape[-1]
    family = level.mixture.covariance
    assert isinstance(family, Kind)
    return family.num_free(level.size, d) + level.size * (d + 1) - 1


def score(level: Level, settings: Settings, criterion: str, unsure: jax.Array) -> jax.Array:
    """() a criterion, smaller is better; infinite where there are too few points for one."""
    N = settings.num_points
    p = num_parameters(level).astype(N.dtype)
    price = p * jnp.log(N)
    if criterion == "bicc":
        family, d = level.mixture.covariance, level.mixture.means.shape[1]
        assert isinstance(family, Kind)
        spent = _spent(family, level.size, d, p, N)
        price = jnp.where(spent + 3 <= N, price * N / jnp.maximum(N - spent - 2, 1), jnp.inf)
    if criterion == "icl":
        price = price + 2 * N * unsure
    return 2 * N * level.loss + price


def _spent(family: Kind, size: jax.Array, d: int, p: jax.Array, N: jax.Array) -> jax.Array:
    """() how many of the N points the price takes for spent on `size` components: one for each of
    their p parameters, yet half of the points at most, unless moments alone take more."""
    number, form = size.astype(p.dtype), family.form
    shared = number + jnp.asarray((0, 1, d), p.dtype)[form]
    moments = jnp.where(
        family.is_shared, shared, number * jnp.asarray((1, 2, d + 1), p.dtype)[form]
    )
    return jnp.maximum(jnp.minimum(p, 0.5 * N), moments)


def least_points(name: str, number: int, d: int) -> int:
    """How many points the family needs for a price that is finite, and so many components in d
    dimensions; where each has a covariance of its own, d + 2 for each."""
    is_shared, form = traits(name)
    moments = number + (0, 1, d)[form] if is_shared else number * (1, 2, d + 1)[form]
    least = max(6, 3 + moments)  # of six, half are left
    return least if is_shared else max(least, number * (d + 2))


def judged(
    level: Level,
    blocks: Blocks | Chunks,
    settings: Settings,
    criterion: str,
    unseen: Blocks | Chunks | None = None,
) -> jax.Array:
    """() the criterion of a level whose loss is that of points; "held_out" is the loss of those
    that are `unseen`, times twice their number, so that it compares to the others."""
    mixture, unsure = level.mixture, jnp.zeros_like(level.loss)
    if criterion == "held_out":
        assert unseen is not None
        return 2 * settings.num_points * expect(mixture, unseen).loss
    if criterion == "icl":
        _, unsure = loss_and_entropy(mixture, blocks)
    return score(level, settings, criterion, unsure)


def by_height(size: jax.Array, height: jax.Array, price: jax.Array) -> jax.Array:
    """() int32, the number of components at which merging becomes expensive: where the height of
    the next merging is the largest multiple of the one before, both at least the `price` of one
    component; 1 if none is above it."""
    raised = jnp.maximum(height, price)
    steps = jnp.concatenate([raised[1:] / raised[:-1], jnp.ones(1, raised.dtype)])
    # Where levels repeat there is no merging.
    steps = jnp.where(jnp.concatenate([size[1:] < size[:-1], jnp.zeros(1, bool)]), steps, 1)
    best = jnp.argmax(steps)
    return jnp.where(steps[best] > 1, size[best], 1).astype(jnp.int32)
