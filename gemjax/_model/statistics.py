"""The E-step: expectations of responsibilities under a target, block of points by block of points.

A block is two products with its densities. Sums run within a block, then over blocks with their
rounding errors carried along, so that float32 sums over 1e7 points keep six digits. Nothing of
shape (N, n) exists unless it is small.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from gemjax._base import checks
from gemjax._base.records import Mixture
from gemjax._families.covariance import Covariance, log_normaliser
from gemjax._model.densities import (
    Densities,
    apart,
    component_densities,
    exponents,
    rescale,
    scale,
)
from gemjax._model.layout import lay_out_for
from gemjax._numerics.finite import largest, safe_exp, safe_sqrt, tiny
from gemjax._points.blocks import Block, Blocks, Chunks
from gemjax._points.file_target import FileTarget
from gemjax._points.target import Target
from gemjax._points.walk import fold

# From densities (n, C), their shift (C,), the block, and weights of any kind. Closes over nothing
# that is differentiated.
_Function: TypeAlias = Callable[[jax.Array, jax.Array, Block, Any], Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Statistics:
    """What the E-step returns, with ψ_i = π_i φ_i / p the responsibilities.

    Attributes:
      loss: () −E[log p], nats per point.
      ratios: (n,) r_i = E[φ_i / p] = −∂L/∂π_i.
      mass: (n,) s_i = E[ψ_i] = π_i r_i.
      offset: (n, d) E[ψ_i (x − μ_i)] = s_i times the way to the barycentre.
      gradient: (n, d) ∂L/∂μ_i = −Σ_i⁻¹ E[ψ_i (x − μ_i)].
      moments: (n, F) E[ψ_i f(x − o_i)].
      total: (G,) Σ_i E[ψ_i g(x − o_i)], or None where the family has no `squares`.
      origin: (n, d) o_i: the blocks' centre, or where exponents come from differences, the means.
    """

    loss: jax.Array
    ratios: jax.Array
    mass: jax.Array
    offset: jax.Array
    gradient: jax.Array
    moments: jax.Array
    total: jax.Array | None
    origin: jax.Array


def ratios(densities: Densities, log_weights: jax.Array) -> jax.Array:
    """(n,) r_i = E[φ_i / p] at the given weights: all that a weight step needs."""

    def block(scaled: jax.Array, shift: jax.Array, x: Block, weights: jax.Array) -> jax.Array:
        return _dot(densities, scaled, x.weights / _density(densities, weights, scaled))

    return _expectation(block, densities, safe_exp(log_weights))


def duality_gap(r: jax.Array) -> jax.Array:
    """() max r − 1, from r (n,): what other weights could gain at most; see `rules.py`."""
    return largest(r) - 1


def curvature(densities: Densities, weights: jax.Array) -> jax.Array:
    """(n, n) H_ik = E[φ_i φ_k / p²], the Hessian of the loss in the weights (n,)."""

    def block(scaled: jax.Array, shift: jax.Array, x: Block, weights: jax.Array) -> jax.Array:
        half = scaled * (safe_sqrt(x.weights) / _density(densities, weights, scaled))[None]
        return _dot(densities, half, half.T)

    return _expectation(block, densities, weights)


def curvature_times(densities: Densities, weights: jax.Array, change: jax.Array) -> jax.Array:
    """(n,) the same Hessian times `change` (n,), without the Hessian."""

    def block(
        scaled: jax.Array, shift: jax.Array, x: Block, both: tuple[jax.Array, jax.Array]
    ) -> jax.Array:
        weights, change = both
        density = _density(densities, weights, scaled)
        return _dot(densities, scaled, x.weights * _dot(densities, change, scaled) / density**2)

    return _expectation(block, densities, (weights, change))


def gains(
    densities: Densities, weights: jax.Array, change: jax.Array, shares: jax.Array
) -> jax.Array:
    """(k,) E[log p] at `weights + share · change` less that at `weights`, for each of the shares.

    The difference itself is summed, so it has digits where the two losses agree in all of theirs.
    Minus infinity where a point of positive weight is left without density.
    """

    def block(
        scaled: jax.Array, shift: jax.Array, x: Block, all_: tuple[jax.Array, ...]
    ) -> jax.Array:
        weights, change, shares = all_
        relative = _dot(densities, change, scaled) / _density(densities, weights, scaled)
        more = jnp.log1p(jnp.maximum(shares[:, None] * relative[None], -1))
        return _dot(densities, jnp.where(x.weights[None] > 0, more, 0), x.weights)

    return _expectation(block, densities, (weights, change, shares))


def e_step(densities: Densities, log_weights: jax.Array) -> Statistics:
    """Loss, ratios, mass and what the mean step needs at the given weights, in one pass."""
    weights, blocks = safe_exp(log_weights), densities.blocks
    d = densities.means.shape[1]

    def block(
        scaled: jax.Array, shift: jax.Array, x: Block, known: tuple[jax.Array, jax.Array, Any]
    ) -> tuple[Any, ...]:
        weights, means, covariance = known
        density = _density(densities, weights, scaled)
        log_density = _log_density(densities, covariance, density, shift, x)
        per_density = x.weights / density
        loss = -_dot(densities, x.weights, log_density)
        if blocks.apart:
            share, apart = scaled * per_density[None], x.features[None, :d] - means[:, :, None]
            moments, total = covariance.moments_of(share, apart)
            return loss, _dot(densities, scaled, per_density), moments, total
        # r is the moment of the feature that is one. Products are done four columns at a time:
        # where it would be alone in a fifth, a product with a vector is cheaper.
        alone = (x.features.shape[0] - 1) % 4 == 0
        features = x.features[:-1] if alone else x.features
        moments = _dot(densities, scaled, (per_density[None] * features).T)
        r = _dot(densities, scaled, per_density) if alone else moments[:, -1]
        moments = moments if alone else moments[:, :-1]
        return loss, r, moments, x.total

    known = (weights, densities.means, densities.covariance)
    loss, r, moments, total = _expectation(block, densities, known)
    means, origin = densities.means, jnp.broadcast_to(blocks.centre[None], densities.means.shape)
    if blocks.apart:  # about each mean
        offset, origin = weights[:, None] * moments[:, :d], means + origin
        total = None if total is None else _dot(densities, weights, total)
    else:
        offset = weights[:, None] * (moments[:, :d] - r[:, None] * means)
    return Statistics(
        loss=loss + log_normaliser(d),
        ratios=r,
        mass=weights * r,
        offset=offset,
        gradient=-densities.covariance.whiten(offset),
        moments=weights[:, None] * jnp.concatenate([moments, r[:, None]], axis=1),
        total=total,
        origin=origin,
    )


def loss_and_entropy(mixture: Mixture, blocks: Blocks | Chunks) -> tuple[jax.Array, jax.Array]:
    """() −E[log p], and () E[−Σ_i ψ_i log ψ_i] of the responsibilities, 0 where all are sure; nats
    per point, in one pass."""
    densities = component_densities(mixture, blocks, keep=False)

    def block(
        scaled: jax.Array, shift: jax.Array, x: Block, known: tuple[jax.Array, Densities]
    ) -> tuple[jax.Array, jax.Array]:
        log_weights, densities = known
        weights = safe_exp(log_weights)
        density = _density(densities, weights, scaled)
        psi = weights[:, None] * scaled / density[None]
        # Products are cheaper than logarithms of psi, and have been computed for it.
        logs = exponents(densities, x.features, shift) + log_weights[:, None]
        logs = jnp.where(psi > 0, logs - jnp.log(density)[None], 0)
        log_density = _log_density(densities, densities.covariance, density, shift, x)
        per_point = log_density, jnp.sum(psi * logs, axis=0)
        loss, unsure = (-_dot(densities, x.weights, y) for y in per_point)
        return loss, unsure

    loss, unsure = _expectation(block, densities, (mixture.log_weights, densities))
    return loss + log_normaliser(densities.means.shape[1]), unsure


def expect(mixture: Mixture, blocks: Blocks | Chunks) -> Statistics:
    """The E-step of one mixture. Its densities are needed once and not kept."""
    densities = component_densities(mixture, blocks, keep=False)
    return e_step(densities, mixture.log_weights)


def loss(mixture: Mixture, target: Target | FileTarget) -> jax.Array:
    """−E[log p(x)] of a mixture under a target: the negative log-likelihood per point.

    Args:
      mixture: a `Mixture` with n components in d dimensions.
      target: a `Target` or `FileTarget` in the same space, same dtype.

    Returns:
      () nats per point. Differentiable in the mixture, the points and the weights.

    Raises:
      ValueError, TypeError: dimensions or dtypes that disagree, values that are not finite.

    >>> import gemjax as gj
    >>> round(float(gj.loss(gj.make_mixture([[0.0]]), gj.empirical([[0.0]]))), 6)
    0.918939
    """
    mixture = checks.mixture("mixture", mixture)
    return _loss(mixture, lay_out_for(mixture, target))


@functools.partial(jax.jit, inline=True)
def _loss(mixture: Mixture, blocks: Blocks | Chunks) -> jax.Array:
    return expect(mixture, blocks).loss


def _dot(densities: Densities, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=densities.blocks.blocking.precision)


def _density(densities: Densities, weights: jax.Array, scaled: jax.Array) -> jax.Array:
    """(C,) p(x_j) exp(−shift_j), kept above zero. A NaN stays one."""
    density = _dot(densities, weights, scaled)
    least = tiny(density.dtype)
    return jnp.where(density < least, least, density)


def _log_density(
    densities: Densities, covariance: Covariance, density: jax.Array, shift: jax.Array, x: Block
) -> jax.Array:
    """(C,) log p(x_j), but for the normaliser."""
    d = densities.means.shape[1]
    base = x.base if densities.blocks.apart else covariance.shared(x.features[:d], x.base)
    return jnp.log(density) + (shift + base)


def _expectation(function: _Function, densities: Densities, weights: Any) -> Any:
    """Sum over all points of `function(scaled, shift, block, weights)`."""
    if densities.fresh is None:
        return _sum(function, densities, weights)
    return _from_kept(function, densities, weights)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _from_kept(function: _Function, densities: Densities, weights: Any) -> Any:
    """An expectation from densities that were kept to save their exponentials.

    Kept or recomputed, densities are one function of means and points, and the expectation is one
    function of them; so either way gives its derivative. It is taken block by block, where the
    tangents of a block's densities stay in cache; those of all together would not.
    """
    return _sum(function, densities, weights)


@_from_kept.defjvp
def _from_kept_jvp(function: _Function, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    (densities, weights), (ddensities, dweights) = primals, tangents
    return jax.jvp(
        lambda fresh, weights: _sum(function, fresh, weights, densities),
        (densities.fresh, weights),
        (ddensities.fresh, dweights),
    )


def _sum(
    function: _Function, densities: Densities, weights: Any, kept: Densities | None = None
) -> Any:
    """Densities come from `densities` if it has them; else computed, or known from `kept`."""

    def extra(blocks: Blocks) -> Any:
        if kept is not None:
            return jnp.arange(blocks.weights.shape[0], dtype=jnp.int32), None
        return densities.scaled, densities.shift

    def one(block: Block, known: tuple[Any, Any]) -> Any:
        scaled, shift = known
        if kept is not None:
            scaled, shift = apart(kept, scaled, densities.blocks)
            scaled = rescale(densities, block.features, scaled, shift)
        elif scaled is None:
            scaled, shift = scale(densities, block.features)
        return function(scaled, shift, block, weights)

    inputs, recompute = (densities, weights, kept), densities.scaled is None
    return fold(one, densities.blocks, extra, inputs=inputs, recompute=recompute)
