"""MAP-EM's step: what a prior adds to what the E-step found."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._em.prior import Prior, exponents
from gemjax._families.covariance import Covariance
from gemjax._families.packed import packed
from gemjax._model.statistics import Statistics
from gemjax._numerics.finite import safe_divide
from gemjax._points.blocks import Blocks, Chunks
from gemjax._points.walk import fold


def effective_share(blocks: Blocks | Chunks) -> jax.Array:
    """() Σ_j w_j² = 1/N, with Kish's effective number N of points of weights w."""
    return fold(lambda block, _: jnp.sum(block.weights * block.weights), blocks)


def with_prior(
    prior: Prior, share: jax.Array, mixture: Mixture, statistics: Statistics
) -> tuple[jax.Array, jax.Array, Statistics]:
    """Of the posterior's mode, from a prior that is `checked` and the share () of one point:
    weights (n,) up to a factor, means (n, d), and the statistics from which a family's `maximise`
    has the covariances.

    With S_i the points' scatter about the new mean μ_i, the mode of Σ_i is
    [S_i + κ_i (μ_i − m_i)(μ_i − m_i)ᵀ + Ψ_i] / [N_i + 1 + e_i], with |Σ|^{−e/2} the factor of the
    density of Σ, and the 1 that of the mean's. A family divides a scatter by a mass; mass that lies
    at μ_i adds to the latter alone.
    """
    (n, d), covariance = mixture.means.shape, mixture.covariance
    mass, weights, offset = statistics.mass, statistics.mass, statistics.offset
    if prior.concentration is not None:
        weights = weights + share * (jnp.asarray(prior.concentration) - 1)
    mean_mass = mass
    if prior.mean is not None:
        kappa = share * jnp.asarray(prior.mean_strength)
        offset = offset + kappa[:, None] * (prior.mean - mixture.means)
        mean_mass = mass + kappa
    means = mixture.means + safe_divide(offset, mean_mass[:, None])
    ndim = covariance.covariance_ndim
    if ndim is None:
        return weights, means, statistics
    more, about = jnp.zeros_like(mass), means - statistics.origin
    products = jnp.zeros_like(_products(covariance, means))
    if prior.mean is not None:
        more = more + jnp.where(kappa > 0, share, 0)
        products = products + kappa[:, None] * _products(covariance, means - prior.mean)
    if prior.scatter is not None:
        psi, e = jnp.asarray(prior.scatter), exponents(prior, ndim, d)
        psi = packed(psi) if ndim == 2 else psi.reshape(len(psi), -1)
        # A covariance that all share has one prior, of which each component gets a part.
        part = share * len(psi) / n
        more, products = more + part * e, products + part * psi
    products = products + more[:, None] * _products(covariance, about)
    return weights, means, _added(statistics, more, about, products)


def _products(covariance: Covariance, vectors: jax.Array) -> jax.Array:
    """(n, G) the products of coordinates that the family keeps, of vectors (n, d)."""
    columns = vectors[:, :, None]
    squares = covariance.squares(columns)
    if squares is not None:
        return squares[:, :, 0]
    return covariance.features(columns)[:, vectors.shape[1] : -1, 0]


def _added(
    statistics: Statistics, mass: jax.Array, about: jax.Array, products: jax.Array
) -> Statistics:
    """Statistics with more mass (n,), at places about their origins (n, d), and products (n, G)."""
    total, first = statistics.total, mass[:, None] * about
    if total is None:
        moments = jnp.concatenate([first, products, mass[:, None]], axis=1)
    else:
        total = total + jnp.sum(products, axis=0)
        moments = jnp.concatenate([first, mass[:, None]], axis=1)
    return dataclasses.replace(
        statistics,
        mass=statistics.mass + mass,
        moments=statistics.moments + moments,
        total=total,
    )
