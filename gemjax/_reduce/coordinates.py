"""A mixture's free parameters as one vector of numbers that may be anything, about a mixture."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from gemjax._base.records import Mixture
from gemjax._numerics.finite import log_shift


def parts_of(mixture: Mixture) -> Any:
    """Finite log-weights (0 in the place of −inf), means, and the covariance's parameters."""
    zero = jnp.isneginf(mixture.log_weights)
    return jnp.where(zero, 0, mixture.log_weights), mixture.means, mixture.covariance.to_free()


def vector_of(mixture: Mixture) -> jax.Array:
    """(P,) all parameters."""
    return ravel_pytree(parts_of(mixture))[0]


def mixture_at(vector: jax.Array, like: Mixture) -> Mixture:
    """The mixture with such parameters, its weights normalised; those of zero stay zero."""
    parts = parts_of(like)
    logits, means, free = ravel_pytree(parts)[1](vector)
    log_weights = log_shift(like.log_weights, logits - parts[0])
    covariance = like.covariance.from_free(free)
    return dataclasses.replace(like, means=means, log_weights=log_weights, covariance=covariance)


def metric_of(mixture: Mixture) -> jax.Array:
    """(P,) a diagonal of the size of EM's metric: weights, and weights times precisions."""
    weights = jnp.maximum(mixture.weights, jnp.finfo(mixture.means.dtype).eps)
    one = jnp.ones_like(mixture.means)
    precision = jnp.abs(mixture.covariance.whiten(one))
    precision = jnp.maximum(precision, jnp.finfo(one.dtype).eps * jnp.max(precision))
    free = mixture.covariance.to_free()
    if mixture.covariance.per_component:
        free = jax.tree.map(lambda leaf: jnp.broadcast_to(_tall(weights, leaf), leaf.shape), free)
    else:
        free = jax.tree.map(jnp.ones_like, free)
    return ravel_pytree((weights, weights[:, None] * precision, free))[0]


def held(mixture: Mixture) -> jax.Array:
    """(P,) bool, what Newton leaves alone: weights of zero, and covariances at their floor."""
    floored = mixture.covariance.floored(len(mixture.means))
    zero = jnp.isneginf(mixture.log_weights)
    free = mixture.covariance.to_free()
    if mixture.covariance.per_component:
        free = jax.tree.map(
            lambda leaf: jnp.broadcast_to(_tall(floored | zero, leaf), leaf.shape), free
        )
    else:
        free = jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.any(floored), leaf.shape), free)
    means = jnp.broadcast_to(zero[:, None], mixture.means.shape)
    return ravel_pytree((zero, means, free))[0]


def _tall(x: jax.Array, leaf: jax.Array) -> jax.Array:
    """(n, 1, …) with as many axes as a leaf."""
    return x.reshape(-1, *(1,) * (leaf.ndim - 1))
