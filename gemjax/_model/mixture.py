"""Mixtures as distributions: building, density, responsibilities, sampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base import checks as _checks
from gemjax._base.numerics import capped, safe_exp, safe_log, unit
from gemjax._base.records import Mixture

_BLOCK = 4096  # points per block: beyond the result, memory does not grow with N


def make_mixture(means: Any, weights: Any = None) -> Mixture:
    """A checked `Mixture`.

    Args:
      means: (n, d) or (n,) for d = 1; float32 or float64 (integers take JAX's default float type).
      weights: (n,) non-negative, normalised to sum to one; equal weights by default.

    Raises:
      ValueError: means that are empty or not finite; weights of another length, negative or all 0.

    >>> import gemjax as gj
    >>> mixture = gj.make_mixture([[0.0, 0.0], [4.0, 0.0]], weights=[1.0, 3.0])
    >>> mixture.weights.round(2).tolist()
    [0.25, 0.75]
    """
    means = _checks.points("means", means)
    n = means.shape[0]
    if weights is None:
        return Mixture(means, jnp.full((n,), -math.log(n), means.dtype))
    return Mixture(means, safe_log(_checks.weights("weights", weights, n, means.dtype)))


def _joint(mixture: Mixture, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(C, n) π_i N(x_j; μ_i, I) / exp(s_j) and (C,) s for one block of points (C, d).

    Squared distances come from a matrix product after centring on the block's first point, so
    that data far from the origin lose no digits, up to −|x|²/2, which is added last. The centre,
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
    centre = jax.lax.stop_gradient(x[0])
    x, means = x - centre[None], mixture.means - centre[None]
    product = jnp.matmul(x, means.T, precision=jax.lax.Precision.HIGHEST)
    exponent = product + (reference - 0.5 * jnp.sum(means * means, axis=1))[None]
    peak = jax.lax.stop_gradient(
        jnp.max(jnp.where(zero[None], -jnp.inf, exponent), axis=1, keepdims=True)
    )
    # Only those of zeros can be positive. The cap leaves room for their derivative, over u.
    joint = share[None] * jnp.exp(capped(exponent - peak, 0.45))
    return joint, peak[:, 0] - 0.5 * jnp.sum(x * x, axis=1)


def over_blocks(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """`function` of (C, d) blocks of x (N, d), with the results joined to (N, …)."""
    if x.shape[0] <= _BLOCK:
        return function(x)
    full = x.shape[0] // _BLOCK * _BLOCK
    head = jax.lax.map(function, x[:full].reshape(-1, _BLOCK, x.shape[1]))
    head = head.reshape(full, *head.shape[2:])
    return head if full == x.shape[0] else jnp.concatenate([head, function(x[full:])])


def _arguments(mixture: Mixture, x: Any) -> tuple[Mixture, jax.Array]:
    mixture = _checks.mixture("mixture", mixture)
    x = _checks.points("x", x)
    _checks.same_space("mixture", mixture.means.shape[1], mixture.means.dtype, "x", x)
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

    def block(x: jax.Array) -> jax.Array:
        joint, shift = _joint(mixture, x)
        return jnp.log(jnp.sum(joint, axis=1)) + shift - 0.5 * x.shape[1] * math.log(2 * math.pi)

    return over_blocks(block, x)


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

    def block(x: jax.Array) -> jax.Array:
        joint, _ = _joint(mixture, x)
        return joint / jnp.sum(joint, axis=1, keepdims=True)

    return over_blocks(block, x)


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
    mixture = _checks.mixture("mixture", mixture)
    num_samples = _checks.count("num_samples", num_samples)
    key_component, key_noise = jax.random.split(key)
    component = jax.random.categorical(key_component, mixture.log_weights, shape=(num_samples,))
    shape = (num_samples, mixture.means.shape[1])
    return mixture.means[component] + jax.random.normal(key_noise, shape, mixture.means.dtype)
