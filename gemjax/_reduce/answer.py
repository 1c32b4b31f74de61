"""What `select` answers, in the data's units: the level chosen, and what it was chosen from."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gemjax._assess.certificate import Certificate
from gemjax._base.records import Mixture, Status
from gemjax._families.kind import Kind
from gemjax._reduce.criteria import Settings, by_height, num_parameters
from gemjax._reduce.descent import Level, Merges
from gemjax._reduce.growth import Complete
from gemjax._reduce.stages import Compared
from gemjax._reduce.standard import Standard, heaviest_first


class Chosen(NamedTuple):
    """What `choose` found, in the data's units; the fields are those of `Selection`."""

    mixture: Mixture
    num_components: jax.Array
    cluster: jax.Array
    num_clusters: jax.Array
    family: jax.Array
    loss: jax.Array
    criterion: jax.Array
    certificate: Certificate
    num_born: jax.Array
    num_by_height: jax.Array
    agree: jax.Array
    status: jax.Array
    sizes: jax.Array
    heights: jax.Array
    losses: jax.Array
    criteria: jax.Array
    best_criteria: jax.Array
    merges: Merges


@jax.jit
def level_chosen(
    best: Compared, criteria: jax.Array, settings: Settings
) -> tuple[jax.Array, Level, jax.Array, jax.Array]:
    """The family () whose best level has the least of the criteria (families,); that level; and
    the number of components () where merging becomes expensive there, and whether () it is that
    of the level."""
    chosen = jnp.argmin(criteria).astype(jnp.int32)
    level = jax.tree.map(lambda leaf: leaf[chosen], best.best)
    one_more = num_parameters(level) - num_parameters(level._replace(size=level.size - 1))
    N = settings.num_points
    price = 0.5 * one_more.astype(N.dtype) * jnp.log(N) / N
    jump = by_height(best.size[chosen], best.height[chosen], price)
    return chosen, level, jump, jump == level.size


@jax.jit
def answer(
    best: Compared,
    criteria: jax.Array,
    chosen: jax.Array,
    size: jax.Array,
    num_by_height: jax.Array,
    done: Complete,
    cluster: jax.Array,
    units: Standard,
    settings: Settings,
) -> Chosen:
    """What was chosen by its criterion among those of the families (families,), of `size` (), and
    what became of it, with the clusters (n,) of its components."""
    level, n = done.level, len(done.mixture.means)
    family = level.mixture.covariance
    assert isinstance(family, Kind)
    # A width below the step of rounded values is not known, yet no likelihood is without bound.
    narrow = dataclasses.replace(family, floor=settings.narrow)  # type: ignore[type-var]
    floored = jnp.any(narrow.floored(len(cluster)) & (level.mixture.weights > 0))
    status = jnp.where(floored, int(Status.FLOORED), int(Status.OK))
    status = jnp.where(jnp.isfinite(level.loss), status, int(Status.DIVERGED))
    return Chosen(
        mixture=done.mixture,
        num_components=level.size,
        cluster=cluster[heaviest_first(level.mixture)[:n]],
        num_clusters=1 + jnp.max(cluster),
        family=chosen,
        loss=level.loss + jnp.sum(jnp.log(units.scale)),
        criterion=criteria[chosen],
        certificate=done.certificate,
        num_born=level.size - size,
        num_by_height=num_by_height,
        agree=num_by_height == size,
        status=status.astype(jnp.int32),
        sizes=best.size,
        heights=best.height,
        losses=best.loss,
        criteria=best.criterion,
        best_criteria=criteria,
        merges=jax.tree.map(lambda leaf: leaf[chosen], best.merges),
    )
