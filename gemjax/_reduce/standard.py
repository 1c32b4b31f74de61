"""Coordinates of unit variance, in which `select` works, and the way back."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._families.kind import Kind
from gemjax._reduce.criteria import Settings
from gemjax._reduce.rounding import Rounding

_SLOTS = (8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 144, 176, 224, 272)  # that are compiled for
_NORMAL = 1.349  # interquartile range of the normal distribution
_FLOOR = 1e-6  # of variances, where every coordinate has variance one


class Standard(NamedTuple):
    """Mean and standard deviation (d,) of the coordinates."""

    centre: jax.Array
    scale: jax.Array


@jax.jit
def standard(
    points: jax.Array, weights: jax.Array, coordinates: Rounding
) -> tuple[jax.Array, Standard, Settings]:
    """Points (N, d) of unit variance each, what they came from, and the stages' settings, where
    the coordinates were rounded, and spread, in some way."""
    centre = jnp.sum(weights[:, None] * points, axis=0)
    variance = jnp.sum(weights[:, None] * (points - centre[None]) ** 2, axis=0)
    variance = jnp.where(variance > 0, variance, 1)
    units = Standard(centre, jnp.sqrt(variance))
    points = standardised(points, units)
    # A few points far from the others widen the variance, but not the quartiles.
    middle = jnp.where(coordinates.middle > 0, (coordinates.middle / _NORMAL) ** 2, variance)
    least = jnp.finfo(points.dtype).eps / _FLOOR * jnp.max(points**2, axis=0)
    narrow = _FLOOR * jnp.clip(middle / variance, jnp.minimum(least, 1), 1)
    floor = jnp.maximum(narrow, coordinates.step**2 / (6 * variance))  # no narrower if spread
    N = 1 / jnp.sum(weights**2)
    return points, units, Settings(N, floor, narrow, variance / jnp.mean(variance))


@jax.jit
def standardised(points: jax.Array, units: Standard) -> jax.Array:
    """(N, d) points in the units of the stages."""
    return (points - units.centre[None]) / units.scale[None]


def slots_for(size: int, n: int) -> int:
    """How many slots are compiled for, for so many components of at most n."""
    return min([*(s for s in _SLOTS if s >= size), n][0], n)


@functools.partial(jax.jit, static_argnums=1)
def in_slots(mixture: Mixture, slots: int) -> Mixture:
    """The heaviest components, and empty slots if there are fewer."""
    order = jnp.argsort(-mixture.log_weights, stable=True)
    order = jnp.pad(order, (0, max(0, slots - len(order))), mode="edge")[:slots]
    covariance = mixture.covariance.take(order)
    empty = jnp.arange(slots) >= len(mixture.means)
    logs = jnp.where(empty, -jnp.inf, mixture.log_weights[order])
    return Mixture(mixture.means[order], logs, covariance)


def heaviest_first(mixture: Mixture) -> jax.Array:
    return jnp.argsort(-mixture.log_weights, stable=True)


@jax.jit
def own_spreads(mixture: Mixture) -> Mixture:
    """The mixture, each component with parameters of its own."""
    family = mixture.covariance
    assert isinstance(family, Kind)
    return dataclasses.replace(mixture, covariance=family.own_spreads(len(mixture.means)))


@functools.partial(jax.jit, static_argnums=(2, 3))
def in_data_units(mixture: Mixture, units: Standard, number: int, own: type[Any]) -> Mixture:
    """The heaviest components first, so many, with covariances of the family `own`."""
    family = mixture.covariance
    assert isinstance(family, Kind)
    order = heaviest_first(mixture)[:number]
    floor = jnp.min(family.floor * units.scale**2)
    square = units.scale[:, None] * units.scale[None]
    covariances = family.take(order).matrices(number, len(square)) * square[None]
    covariances = 0.5 * (covariances + covariances.swapaxes(1, 2))  # but for rounding they were
    means, logs = mixture.means[order], mixture.log_weights[order]
    means = units.centre[None] + units.scale[None] * means
    return Mixture(means, logs, own.nearest(covariances, jnp.exp(logs), floor))
