"""Mixtures as distributions: building, density, responsibilities, sampling."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._families.covariance import Covariance, log_normaliser
from gemjax._families.identity import Identity
from gemjax._numerics.finite import capped, log_normalise, safe_exp, safe_log, unit
from gemjax._points.spread import is_far_apart, radius_about
from gemjax._points.walk import map_points


def make_mixture(
    means: Any, weights: Any = None, *, logits: Any = None, covariance: Covariance = Identity()
) -> Mixture:
    """A checked `Mixture`.

    Args:
      means: (n, d) or (n,) for d = 1; float32 or float64 (integers take JAX's default float type).
      weights: (n,) non-negative, normalised to sum to one; equal weights by default.
      logits: (n,) logarithms of weights, in their place: any finite numbers, or −inf for a weight
        of zero, normalised. Free parameters for an optimizer of your own.
      covariance: the components' covariance family; identity by default.

    Raises:
      ValueError: means that are empty or not finite; weights of another length, negative or all 0;
        both weights and logits.
      TypeError: another covariance than a `gj.covariance.Covariance`.

    >>> import gemjax as gj
    >>> mixture = gj.make_mixture([[0.0, 0.0], [4.0, 0.0]], weights=[1.0, 3.0])
    >>> mixture.weights.round(2).tolist()
    [0.25, 0.75]
    >>> gj.make_mixture([0.0, 4.0], logits=[7.0, 7.0]).weights.round(2).tolist()
    [0.5, 0.5]
    """
    means = arrays.points("means", means)
    n = means.shape[0]
    if logits is not None:
        if weights is not None:
            raise ValueError("weights and logits must not both be given: each sets the weights")
        log_weights = log_normalise(arrays.logits("logits", logits, n, means.dtype))
    elif weights is None:
        log_weights = jnp.full((n,), -math.log(n), means.dtype)
    else:
        log_weights = safe_log(arrays.weights("weights", weights, n, means.dtype))
    return checks.mixture("mixture", Mixture(means, log_weights, covariance))


def equally_weighted(means: jax.Array) -> Mixture:
    """A mixture with means (n, d), not checked; nothing is compiled for its weights."""
    n = means.shape[0]
    return Mixture(means, arrays.put(np.full((n,), -math.log(n), means.dtype)))


def log_components(mixture: Mixture, x: jax.Array) -> jax.Array:
    """(n, C) log φ_i(x_j) of the components at points x (C, d), their weights left out.

    From differences, if the family has them: for a few points, which may be far apart.
    """
    exponent, base = _exponents(mixture, x, mixture.covariance.has_differences)
    return exponent + (base - log_normaliser(x.shape[1]))[None]


def _is_apart(mixture: Mixture, x: jax.Array) -> bool:
    """Whether exponents at all these points (N, d) come from differences."""
    if not arrays.is_concrete(x):
        return False
    points = np.asarray(x)
    covariance = mixture.covariance
    if not covariance.has_differences or not arrays.is_concrete(covariance):
        return False
    radius = radius_about(points, points[0])
    return is_far_apart(radius / float(covariance.least_deviation()), x.dtype)


def _exponents(mixture: Mixture, x: jax.Array, apart: bool) -> tuple[jax.Array, jax.Array]:
    """(n, C) η_i · f(x_j) and (C,) b(x_j) for one block of points (C, d)."""
    covariance, centre = mixture.covariance, jax.lax.stop_gradient(x[0])
    if apart:
        features = covariance.features(x.T)
        return covariance.differences(mixture.means, features), jnp.zeros_like(x[:, 0])
    points, means = (x - centre[None]).T, mixture.means - centre[None]
    natural, features = covariance.natural(means), covariance.features(points)
    exponents = jnp.matmul(natural, features, precision=jax.lax.Precision.HIGHEST)
    return exponents, covariance.shared(points, covariance.base(points))


def _joint(mixture: Mixture, x: jax.Array, apart: bool) -> tuple[jax.Array, jax.Array]:
    """(n, C) π_i φ_i(x_j) / exp(s_j) and (C,) s for one block of points (C, d).

    s and the reference weights are constant under differentiation: they cancel.
    """
    zero = jnp.isneginf(mixture.log_weights)
    log_unit = math.log(unit(x.dtype))
    reference = jax.lax.stop_gradient(jnp.where(zero, log_unit, mixture.log_weights))
    # A weight of zero is divided as a weight, not as a logarithm, so that its derivative stays.
    share = jnp.where(
        zero,
        safe_exp(mixture.log_weights) / unit(x.dtype),
        jnp.exp(jnp.where(zero, log_unit, mixture.log_weights) - reference),
    )
    exponent, base = _exponents(mixture, x, apart)
    exponent = exponent + reference[:, None]
    peak = jax.lax.stop_gradient(jnp.max(jnp.where(zero[:, None], -jnp.inf, exponent), axis=0))
    # Only those of zeros can be positive. The cap leaves room for their derivative, over u.
    joint = share[:, None] * jnp.exp(capped(exponent - peak[None], 0.45))
    return joint, peak + base - log_normaliser(x.shape[1])


def _arguments(mixture: Mixture, x: Any) -> tuple[Mixture, jax.Array]:
    mixture = checks.mixture("mixture", mixture)
    x = arrays.points("x", x)
    checks.same_space("mixture", mixture, "x", x.shape, x.dtype)
    return mixture, x


def log_density(mixture: Mixture, x: Any) -> jax.Array:
    """log p(x), normalised: includes −(d/2) log 2π.

    Args:
      mixture: a `Mixture` with n components in d dimensions.
      x: (N, d) or (N,) for d = 1, same dtype.

    Returns:
      (N,) nats.

    Raises:
      ValueError, TypeError: dimensions or dtypes that disagree, values that are not finite.

    >>> import gemjax as gj
    >>> [f"{v:.4f}" for v in gj.log_density(gj.make_mixture([[0.0]]), jnp.array([0.0, 1.0]))]
    ['-0.9189', '-1.4189']
    """
    mixture, x = _arguments(mixture, x)
    return _log_density(mixture, x, _is_apart(mixture, x))


@functools.partial(jax.jit, static_argnums=2, inline=True)
def _log_density(mixture: Mixture, x: jax.Array, apart: bool) -> jax.Array:
    def block(x: jax.Array) -> jax.Array:
        joint, shift = _joint(mixture, x, apart)
        return jnp.log(jnp.sum(joint, axis=0)) + shift

    return map_points(block, x)


def responsibilities(mixture: Mixture, x: Any) -> jax.Array:
    """Posterior probabilities ψ_i(x) = π_i φ_i(x) / p(x) of the components given each point.

    Args:
      mixture: a `Mixture` with n components in d dimensions.
      x: (N, d) or (N,) for d = 1, same dtype.

    Returns:
      (N, n), rows sum to one.

    Raises:
      ValueError, TypeError: dimensions or dtypes that disagree, values that are not finite.

    >>> import gemjax as gj
    >>> gj.responsibilities(gj.make_mixture([[-1.0], [1.0]]), jnp.array([0.0])).tolist()
    [[0.5, 0.5]]
    """
    mixture, x = _arguments(mixture, x)
    return _responsibilities(mixture, x, _is_apart(mixture, x))


@functools.partial(jax.jit, static_argnums=2, inline=True)
def _responsibilities(mixture: Mixture, x: jax.Array, apart: bool) -> jax.Array:
    def block(x: jax.Array) -> jax.Array:
        joint, _ = _joint(mixture, x, apart)
        return (joint / jnp.sum(joint, axis=0)[None]).T

    return map_points(block, x)


def sample(key: jax.Array, mixture: Mixture, num_samples: int) -> jax.Array:
    """Independent draws.

    Args:
      key: a JAX random key.
      mixture: a `Mixture` with n components in d dimensions.
      num_samples: static, at least 1.

    Returns:
      (num_samples, d), the mixture's dtype. Differentiable in the means, not in the weights.

    >>> import gemjax as gj
    >>> gj.sample(jax.random.key(0), gj.make_mixture([[0.0, 5.0]]), 3).shape
    (3, 2)
    """
    mixture = checks.mixture("mixture", mixture)
    num_samples = checks.count("num_samples", num_samples)
    checks.key("key", key)
    return _sample(key, mixture, num_samples)


@functools.partial(jax.jit, static_argnums=2, inline=True)
def _sample(key: jax.Array, mixture: Mixture, num_samples: int) -> jax.Array:
    key_component, key_noise = jax.random.split(key)
    component = jax.random.categorical(key_component, mixture.log_weights, shape=(num_samples,))
    shape = (num_samples, mixture.means.shape[1])
    noise = jax.random.normal(key_noise, shape, mixture.means.dtype)
    return mixture.means[component] + mixture.covariance.colour(noise, component)
