"""What became of a fit, beside its truth: recovered, or in which way it failed.

Every local minimum of well-separated clusters is made of two patterns, one component that stands
for several clusters and several components that stand for one: Jin, Zhang, Balakrishnan, Wainwright
and Jordan 2016 (arXiv 1609.00978); Chen, Song, Xi and Zhang 2024 (arXiv 2009.13040).
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._assess.recovery import (
    LEAST_MASS,
    STRAY_RADIUS,
    TOLERANCE,
    Recovery,
    assignment,
    distances,
    recovery,
)
from gemjax._base import arrays
from gemjax._base.records import Mixture, Status, succeeded
from gemjax._base.settings import ACTIVE_WEIGHT
from gemjax._model.mixture import log_components
from gemjax._numerics.finite import safe_divide
from gemjax._numerics.pytree import record

_COLLAPSED_SPREAD = 0.1
_HELP = 0.1  # share of the server's responsibility from which a component is not idle


class Outcome(enum.IntEnum):
    """What became of a fit. Stored as int32, so that a sweep carries one per seed.

    >>> import gemjax as gj
    >>> gj.Outcome(1)
    <Outcome.ONE_FITS_MANY: 1>
    >>> print(gj.Outcome.NOT_PRUNED.message)
    weight is left on components away from every cluster; let the weights move,...
    """

    RECOVERED = 0
    ONE_FITS_MANY = 1
    MANY_FIT_ONE = 2
    MISSED_CLUSTER = 3
    NOT_PRUNED = 4
    STAGNATED = 5
    COLLAPSED = 6
    DIVERGED = 7

    @property
    def message(self) -> str:
        """What happened, and what to try next."""
        return _MESSAGES[self]


_MESSAGES = {
    Outcome.RECOVERED: "every cluster has its mean and its mass, within the tolerance",
    Outcome.ONE_FITS_MANY: (
        "one component stands for several clusters, from between them; "
        "try an Escape, or more components, 2 m log m for m clusters"
    ),
    Outcome.MANY_FIT_ONE: (
        "several components share a cluster and hold more than its mass; "
        "let the weights move, or merge them and set the weights anew"
    ),
    Outcome.MISSED_CLUSTER: (
        "a cluster has no component, and one that sits on another cluster serves it; "
        "try more components, initialize.plus_plus or more iterations"
    ),
    Outcome.NOT_PRUNED: (
        "weight is left on components away from every cluster; "
        "let the weights move, try more iterations or weight_steps"
    ),
    Outcome.STAGNATED: (
        "every cluster has its component, but errors are above the tolerance; "
        "try more iterations or more points, and let the weights move"
    ),
    Outcome.COLLAPSED: (
        "nearly all weight sits in one place although the clusters are apart; "
        "in many dimensions try initialize.spectral, else more components or other starts"
    ),
    Outcome.DIVERGED: "a value is not finite; try a smaller step_size",
}


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis:
    """What became of a fit, and the numbers that say so; see `diagnose`.

    Attributes:
      outcome: () int32, an `Outcome`.
      most_served: () int32, largest number of true clusters served from one place.
      most_sharing: () int32, largest number of active components that belong to one cluster.
      num_missed: () int32, true clusters with less than 1e-3 of the weight nearest to them, served
        from a place that serves another cluster too.
      surplus_mass: () weight beyond their own that clusters with several active components hold,
        summed over these clusters.
      idle_mass: () weight of components that belong to no cluster and help to serve none.
      spread: () spread of the fitted means, the root of the trace of their weighted covariance,
        over that of the true means; 0 where all true means coincide.

    >>> import gemjax as gj
    >>> truth = gj.make_mixture([[-3.0], [3.0]])
    >>> gj.Outcome(int(gj.diagnose(truth, truth).outcome)).name
    'RECOVERED'
    """

    outcome: jax.Array
    most_served: jax.Array
    most_sharing: jax.Array
    num_missed: jax.Array
    surplus_mass: jax.Array
    idle_mass: jax.Array
    spread: jax.Array


def diagnose(
    mixture: Mixture,
    truth: Mixture,
    status: Any = Status.OK,
    *,
    tolerance: Any = TOLERANCE,
    stray_radius: Any = STRAY_RADIUS,
    active_weight: Any = ACTIVE_WEIGHT,
) -> Diagnosis:
    """Names what became of a fit: the first of these that holds.

    DIVERGED: the status is neither OK nor CONVERGED, or a value is not finite.
    RECOVERED: as `recovery` has it.
    COLLAPSED: the spread of the fitted means is below a tenth of that of the true means.
    ONE_FITS_MANY: one place serves several clusters, is away from two or more of them, and away
      from most of their weight.
    MISSED_CLUSTER: a cluster has no weight, and the place that serves it serves another too.
    MANY_FIT_ONE: clusters with several active components hold too much, beyond the tolerance.
    NOT_PRUNED: components that belong to no cluster and help none hold more than the tolerance.
    STAGNATED: none of these.

    A cluster is *served* by the component with the highest responsibility at the true mean; those
    with a tenth of that or more help. Here a component counts with the cluster's weight at most:
    beside a heavy cluster, a light one would else be served by its neighbour even in a perfect fit.
    A component *belongs* to its nearest cluster if it helps there, or is within `stray_radius`. A
    place is *away* beyond `stray_radius`, or a quarter of the way to the next true mean if that is
    less; components closer than that to each other serve from one place.

    Args:
      mixture: the fit, n components in d dimensions. For a sweep, `jax.vmap` over it and `status`.
      truth: m components in the same space, same dtype.
      status: () integer, a `Status`, traced.
      tolerance: () bound on errors of means and masses, as in `recovery`, non-negative, traced.
      stray_radius: () distance in the points' units, positive, traced.
      active_weight: () weight from which a component counts as active, traced.

    Raises:
      ValueError, TypeError: dimensions or dtypes that disagree, settings out of range, a status
        that is not one integer.

    >>> import gemjax as gj
    >>> truth = gj.make_mixture([[-6.0], [0.0], [6.0]])
    >>> trapped = gj.make_mixture([[-3.0], [5.9], [6.1]], weights=[0.6, 0.2, 0.2])
    >>> found = gj.diagnose(trapped, truth)
    >>> gj.Outcome(int(found.outcome)).name, int(found.most_served), int(found.most_sharing)
    ('ONE_FITS_MANY', 2, 2)
    """
    settings = {
        "tolerance": tolerance,
        "stray_radius": stray_radius,
        "active_weight": active_weight,
    }
    found = recovery(mixture, truth, **settings)
    numbers = [arrays.scalar(n, x, mixture.means.dtype) for n, x in settings.items()]
    return _diagnose(mixture, truth, found, arrays.integer("status", status), *numbers)


@functools.partial(jax.jit, inline=True)
def _diagnose(
    mixture: Mixture,
    truth: Mixture,
    found: Recovery,
    status: jax.Array,
    tolerance: jax.Array,
    stray_radius: jax.Array,
    active_weight: jax.Array,
) -> Diagnosis:
    weights, true_weights = mixture.weights, truth.weights
    distance = distances(mixture.means, truth.means)
    nearest = assignment(distance) > 0

    lent = jnp.minimum(mixture.log_weights[:, None], truth.log_weights[None, :])
    joint = lent + log_components(mixture, truth.means)
    server = jnp.argmax(joint, axis=0)
    helps = joint >= jnp.max(joint, axis=0)[None, :] + math.log(_HELP)
    belongs = nearest & ((distance <= stray_radius) | helps)
    mass, held = (
        jnp.sum(jnp.where(mask, weights[:, None], 0), axis=0) for mask in (nearest, belongs)
    )
    idle_mass = jnp.sum(jnp.where(jnp.any(belongs | helps, axis=1), 0, weights))

    radius = jnp.minimum(stray_radius, 0.25 * _gaps(truth.means))
    places = mixture.means[server]
    together = distances(places, places) <= jnp.minimum(radius[:, None], radius[None, :])
    away = together & (jnp.take_along_axis(distance, server[None, :], axis=0) > radius[None, :])
    served_weight, away_weight = (
        jnp.sum(jnp.where(mask, true_weights[None, :], 0), axis=1) for mask in (together, away)
    )
    num_served, num_away = (jnp.sum(m, axis=1, dtype=jnp.int32) for m in (together, away))
    between = (num_away >= 2) & (away_weight > 0.5 * served_weight)
    missed = (mass < LEAST_MASS) & (num_served >= 2)

    num_sharing = jnp.sum(belongs & (weights >= active_weight)[:, None], axis=0, dtype=jnp.int32)
    surplus = jnp.where(num_sharing >= 2, jnp.maximum(held - true_weights, 0), 0)
    surplus_mass = jnp.sum(surplus)
    true_spread = _spread(truth, truth.means[0])
    spread = safe_divide(_spread(mixture, truth.means[0]), true_spread)
    finite = jnp.all(jnp.isfinite(mixture.means)) & jnp.all(jnp.isfinite(weights))
    rule = {
        Outcome.DIVERGED: ~succeeded(status) | ~finite,
        Outcome.RECOVERED: found.recovered,
        Outcome.COLLAPSED: (true_spread > 0) & (spread < _COLLAPSED_SPREAD),
        Outcome.ONE_FITS_MANY: jnp.any(between),
        Outcome.MISSED_CLUSTER: jnp.any(missed),
        Outcome.MANY_FIT_ONE: surplus_mass > tolerance,
        Outcome.NOT_PRUNED: idle_mass > tolerance,
    }
    codes = [jnp.asarray(int(outcome), jnp.int32) for outcome in rule]
    return Diagnosis(
        outcome=jnp.select(list(rule.values()), codes, jnp.int32(Outcome.STAGNATED)),
        most_served=jnp.max(num_served),
        most_sharing=jnp.max(num_sharing),
        num_missed=jnp.sum(missed, dtype=jnp.int32),
        surplus_mass=surplus_mass,
        idle_mass=idle_mass,
        spread=spread,
    )


def _gaps(means: jax.Array) -> jax.Array:
    """(m,) distance to the next mean, infinite for a single one."""
    same = jnp.eye(means.shape[0], dtype=bool)
    return jnp.min(jnp.where(same, jnp.inf, distances(means, means)), axis=1)


def _spread(mixture: Mixture, origin: jax.Array) -> jax.Array:
    """() root of the trace of the means' weighted covariance; a near `origin` keeps digits."""
    offset, weights = mixture.means - origin[None, :], mixture.weights[:, None]
    offset = offset - jnp.sum(weights * offset, axis=0)[None, :]
    return jnp.sqrt(jnp.sum(weights * offset**2))
