"""A fit against the truth."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._base.settings import ACTIVE_WEIGHT
from gemjax._numerics.finite import largest, safe_divide, safe_norm, safe_sqrt
from gemjax._numerics.pytree import record

TOLERANCE = 0.1  # of means, in the points' units, and of masses
STRAY_RADIUS = 1.0  # in the points' units
LEAST_MASS = 1e-3  # a true mean with less of the fitted mass has been missed


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Recovery:
    """How well a fitted mixture stands for the true one; see `recovery`.

    Attributes:
      recovered: () bool, mean_error <= tolerance and weight_error <= tolerance.
      mean_error: () largest distance from a true mean to the barycentre of the components assigned
        to it, in the points' units; infinite where their mass is below 1e-3.
      weight_error: () largest difference between that mass and the true weight.
      stray_mass: () weight of components farther than `stray_radius` from every true mean.
      rms_distance: () root of Σ π_i |μ_i − the nearest true mean|², in the points' units: unlike
        `mean_error` it sees components that share a true mean without having reached it.
      num_active: () int32, components with a weight of at least `active_weight`.

    >>> import gemjax as gj
    >>> truth = gj.make_mixture([[-3.0], [3.0]])
    >>> float(gj.recovery(truth, truth).mean_error)
    0.0
    """

    recovered: jax.Array
    mean_error: jax.Array
    weight_error: jax.Array
    stray_mass: jax.Array
    rms_distance: jax.Array
    num_active: jax.Array


def recovery(
    mixture: Mixture,
    truth: Mixture,
    *,
    tolerance: Any = TOLERANCE,
    stray_radius: Any = STRAY_RADIUS,
    active_weight: Any = ACTIVE_WEIGHT,
) -> Recovery:
    """Compares a fit, of any number of components, with the truth.

    Components are assigned to their nearest true mean; each true mean then has a mass and a
    weighted barycentre. Redundant components that share a cluster are no error. Distances are those
    of the points, whatever the covariances: standard deviations where these are the identity.

    Args:
      mixture: the fit, n components. For a sweep, `jax.vmap` over it.
      truth: m components in the same space, same dtype.
      tolerance: () bound on both errors, non-negative, traced.
      stray_radius: () distance in the points' units, positive, traced.
      active_weight: () weight from which a component counts as active, traced.

    Raises:
      ValueError, TypeError: dimensions or dtypes that disagree, settings out of range.

    >>> import gemjax as gj
    >>> truth = gj.make_mixture([[-3.0], [3.0]])
    >>> split = gj.make_mixture([[-3.5], [-2.5], [3.0]], weights=[0.25, 0.25, 0.5])
    >>> bool(gj.recovery(split, truth).recovered)
    True
    >>> bool(gj.recovery(gj.make_mixture([[0.0], [3.0]]), truth).recovered)
    False
    """
    # A fit that diverged at once may hold anything; comparing it is still not an error.
    mixture = checks.mixture("mixture", mixture, finite=False)
    truth = checks.mixture("truth", truth)
    dtype = mixture.means.dtype
    checks.same_space("mixture", mixture, "truth", truth.means.shape, truth.means.dtype)
    tolerance = arrays.scalar("tolerance", tolerance, dtype, least=0)
    stray_radius = arrays.scalar("stray_radius", stray_radius, dtype, above=0)
    active_weight = arrays.scalar("active_weight", active_weight, dtype, least=0)
    return _compare(mixture, truth, tolerance, stray_radius, active_weight)


@functools.partial(jax.jit, inline=True)
def _compare(
    mixture: Mixture,
    truth: Mixture,
    tolerance: jax.Array,
    stray_radius: jax.Array,
    active_weight: jax.Array,
) -> Recovery:
    weights = mixture.weights
    distance = distances(mixture.means, truth.means)
    shares = assignment(distance) * weights[:, None]
    mass = jnp.sum(shares, axis=0)
    # The offset from the true mean, not the barycentre itself, keeps the digits of far-off data.
    offset = jnp.sum(shares[..., None] * (mixture.means[:, None] - truth.means[None]), axis=0)
    error = safe_norm(safe_divide(offset, mass[:, None]), axis=1)
    mean_error = largest(jnp.where(mass < LEAST_MASS, jnp.inf, error))
    weight_error = largest(jnp.abs(mass - truth.weights))
    nearest = jnp.min(distance, axis=1)
    stray = nearest > stray_radius
    return Recovery(
        recovered=(mean_error <= tolerance) & (weight_error <= tolerance),
        mean_error=mean_error,
        weight_error=weight_error,
        stray_mass=jnp.sum(jnp.where(stray, weights, 0)),
        rms_distance=safe_norm(safe_sqrt(weights) * nearest),
        num_active=jnp.sum(weights >= active_weight, dtype=jnp.int32),
    )


def distances(left: jax.Array, right: jax.Array) -> jax.Array:
    """(n, m) Euclidean distances between the rows of (n, d) and (m, d)."""
    return safe_norm(left[:, None, :] - right[None, :, :], axis=-1)


def assignment(distance: jax.Array) -> jax.Array:
    """(n, m) one where a component's nearest true mean is, zero elsewhere."""
    return jax.nn.one_hot(jnp.argmin(distance, axis=1), distance.shape[1], dtype=distance.dtype)


def covers(mixture: Mixture, truth: Mixture) -> jax.Array:
    """Whether every true mean is the nearest one of some component: no cluster is left out.

    Of a start at draws from the truth this is the coupon collector's question, to the overlap of
    the clusters.

    Args:
      mixture: n components, whatever their weights. For a sweep, `jax.vmap` over it.
      truth: m components in the same space, same dtype.

    Returns:
      () bool.

    Raises:
      ValueError, TypeError: dimensions or dtypes that disagree.

    >>> import gemjax as gj
    >>> truth = gj.make_mixture([[-3.0], [3.0]])
    >>> bool(gj.covers(gj.make_mixture([[-5.0], [-4.0], [1.0]]), truth))
    True
    """
    mixture = checks.mixture("mixture", mixture, finite=False)
    truth = checks.mixture("truth", truth)
    checks.same_space("mixture", mixture, "truth", truth.means.shape, truth.means.dtype)
    return _covers(mixture, truth)


@functools.partial(jax.jit, inline=True)
def _covers(mixture: Mixture, truth: Mixture) -> jax.Array:
    return jnp.all(jnp.any(assignment(distances(mixture.means, truth.means)) > 0, axis=0))
