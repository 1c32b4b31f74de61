"""What `select` answers, in the data's units: the level chosen, and what it was chosen from."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gemjax._base.records import Mixture, Status
from gemjax._families.constrained import Constrained, ConstrainedAxes
from gemjax._points.file_target import FileTarget
from gemjax._points.target import Target
from gemjax._reduce import stages
from gemjax._reduce.descent import Level, Merges
from gemjax._reduce.stages import Compared, Settings

_FLOOR = 1e-6  # of variances, where every coordinate has variance one


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


class Standard(NamedTuple):
    """Mean and standard deviation (d,) of the coordinates."""

    centre: jax.Array
    scale: jax.Array


@jax.jit
def standard(points: jax.Array, weights: jax.Array) -> tuple[jax.Array, Standard, Settings]:
    """Points (N, d) of unit variance each, what they came from, and the stages' settings."""
    centre = jnp.sum(weights[:, None] * points, axis=0)
    variance = jnp.sum(weights[:, None] * (points - centre[None]) ** 2, axis=0)
    variance = jnp.where(variance > 0, variance, 1)
    units = Standard(centre, jnp.sqrt(variance))
    floor = jnp.asarray(_FLOOR, points.dtype)
    settings = Settings(1 / jnp.sum(weights**2), floor, variance / jnp.mean(variance))
    return standardised(points, units), units, settings


@jax.jit
def standardised(points: jax.Array, units: Standard) -> jax.Array:
    """(N, d) points in the units of the stages."""
    return (points - units.centre[None]) / units.scale[None]


def all_standardised(target: Target | FileTarget, units: Standard) -> Target:
    """All points in the units of the stages, in memory."""
    if isinstance(target, FileTarget):
        points, weights = target.read(slice(0, target.shape[0]))
        target = Target(jnp.asarray(points), jnp.asarray(weights))
    return Target(standardised(target.points, units), target.weights)


@functools.partial(jax.jit, static_argnums=1)
def in_slots(mixture: Mixture, slots: int) -> Mixture:
    """The heaviest components."""
    order = jnp.argsort(-mixture.log_weights, stable=True)[:slots]
    covariance = mixture.covariance.take(order)
    return Mixture(mixture.means[order], mixture.log_weights[order], covariance)


@jax.jit
def level_chosen(
    best: Compared, criteria: jax.Array, settings: Settings
) -> tuple[jax.Array, Level, jax.Array]:
    """The family () whose best level has the least of the criteria (families,); that level; and
    the number of components () where merging becomes expensive there."""
    chosen = jnp.argmin(criteria).astype(jnp.int32)
    level = jax.tree.map(lambda leaf: leaf[chosen], best.best)
    one_more = stages.num_parameters(level) - stages.num_parameters(
        level._replace(size=level.size - 1)
    )
    N = settings.num_points
    price = 0.5 * one_more.astype(N.dtype) * jnp.log(N) / N
    return chosen, level, stages.by_height(best.size[chosen], best.height[chosen], price)


@functools.partial(jax.jit, static_argnames=("number", "own"))
def answer(
    best: Compared,
    criteria: jax.Array,
    chosen: jax.Array,
    level: Level,
    cluster: jax.Array,
    num_by_height: jax.Array,
    units: Standard,
    *,
    number: int,
    own: type[Any],
) -> Chosen:
    """The level, with its loss and the clusters of its components, in the data's units: heaviest
    first, in so many slots, its covariance of the family `own`."""
    mixture = level.mixture
    family = mixture.covariance
    assert isinstance(family, Constrained | ConstrainedAxes)
    floored = jnp.any(family.floored(len(cluster)) & (mixture.weights > 0))
    status = jnp.where(floored, int(Status.FLOORED), int(Status.OK))
    status = jnp.where(jnp.isfinite(level.loss), status, int(Status.DIVERGED))

    order = jnp.argsort(-mixture.log_weights, stable=True)[:number]
    floor = jnp.asarray(family.floor) * jnp.min(units.scale) ** 2
    square = units.scale[:, None] * units.scale[None]
    covariances = family.take(order).matrices(number, len(square)) * square[None]
    covariances = 0.5 * (covariances + covariances.swapaxes(1, 2))  # but for rounding they were
    means, logs = mixture.means[order], mixture.log_weights[order]
    means = units.centre[None] + units.scale[None] * means
    return Chosen(
        mixture=Mixture(means, logs, own.nearest(covariances, jnp.exp(logs), floor)),
        num_components=level.size,
        cluster=cluster[order],
        num_clusters=1 + jnp.max(cluster),
        family=chosen,
        loss=level.loss + jnp.sum(jnp.log(units.scale)),
        criterion=criteria[chosen],
        num_by_height=num_by_height,
        agree=num_by_height == level.size,
        status=status.astype(jnp.int32),
        sizes=best.size,
        heights=best.height,
        losses=best.loss,
        criteria=best.criterion,
        best_criteria=criteria,
        merges=jax.tree.map(lambda leaf: leaf[chosen], best.merges),
    )
