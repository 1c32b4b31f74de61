"""What one more component would gain at each of k candidates: one pass over the points for all.

Sums over points carry the largest exponent so far along (an online log-sum-exp).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._assess.candidates import (
    Candidates,
    Context,
    covariance_of,
    dot,
    exponents,
    safe_log_weights,
    walk,
)
from gemjax._numerics.finite import tiny
from gemjax._numerics.sums import LOG_SUM
from gemjax._points.blocks import Block, Blocks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Ascent:
    """A function's value at some `Candidates`, and where to go from there.

    Attributes:
      value: (k,) nats per point.
      step: `Candidates` that the EM step reaches; the value is at least as high there.
      stretch: (k,) >= 1, how many times longer Newton's step of the weights is.
      slope: (k,) gradient times step: the first-order gain of the step, nats per point.
    """

    value: jax.Array
    step: Candidates
    stretch: jax.Array
    slope: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Values:
    """What there is to say of candidates θ with weights α; nats per point.

    Attributes:
      heights: (k,) log D(θ).
      gains: (k,) E log(1 + α(φ_θ/p − 1)); −∞ where a covariance of its own has too few points.
      numbers: (k,) effective number of points that make up D(θ), 1/Σ a_j² with
        a_j = w_j φ_θ(x_j)/p(x_j)/D(θ).
      num_points: () that of all points, a_j = w_j (Kish).
    """

    heights: jax.Array
    gains: jax.Array
    numbers: jax.Array
    num_points: jax.Array


def log_gradient_function(context: Context, candidates: Candidates) -> Ascent:
    """log D(θ) = log E[φ_θ/p], Lindsay's gradient function (1983), and its EM step.

    That is mean shift, θ ← E[φ_θ/p x]/D; the covariances stay.
    """

    def block(x: Block, log_ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
        # The weight is part of the exponent: points of weight zero must not set the maximum.
        z = exponents(context, candidates, x) + (safe_log_weights(x.weights) - log_ratio)[None]
        peak = jax.lax.stop_gradient(jnp.max(z, axis=1))  # it cancels
        return peak, dot(context, jnp.exp(z - peak[:, None]), x.features.T)

    d = candidates.centres.shape[1]
    peak, sums = _fold(block, context, candidates)
    centres = sums[:, :d] / sums[:, -1:]
    # The gradient of log D is the step itself, in the metric of the covariance.
    slope = _square(context, candidates, centres)
    step = dataclasses.replace(candidates, centres=centres)
    return Ascent(peak + jnp.log(sums[:, -1]), step, jnp.ones_like(peak), slope)


def insertion_gain(context: Context, candidates: Candidates) -> Ascent:
    """E log(1 + α(φ_θ/p − 1)), the gain of one more component, and its EM step at fixed p.

    With τ the new component's responsibility the step is α ← E τ, θ ← E[τ x]/E τ, and the
    covariance is what fits E[τ (x − θ)(x − θ)ᵀ]/E τ best in its family. The gain is concave in α,
    with gradient (E τ − α)/(α(1 − α)) and curvature −E(τ − α)²/(α(1 − α))². A component with a
    covariance of its own that is made up of fewer than d + 2 points gains −∞: it could fit any.
    """
    alpha, d = candidates.weights, candidates.centres.shape[1]
    covariance, own = covariance_of(context, candidates), candidates.spread is not None
    log_odds = jnp.log(alpha) - jnp.log1p(-alpha)
    apart = own and context.blocks.apart

    def block(x: Block, log_ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
        t = exponents(context, candidates, x) + log_odds[:, None] - log_ratio[None]
        e = jnp.exp(-jnp.abs(t))
        tau = x.weights[None] * jnp.where(t >= 0, 1, e) / (1 + e)
        softplus = jnp.maximum(t, 0) + jnp.log1p(e)
        square = jnp.sum(tau * jnp.where(t >= 0, 1, e) / (1 + e), axis=1)
        gain = jnp.sum(softplus * x.weights[None], axis=1)  # as a product several times as slow
        if apart:
            from_centre = x.features[None, :d] - candidates.centres[:, :, None]
            moments, _ = covariance.moments_of(tau, from_centre)
            sums = [moments, jnp.sum(tau, axis=1)[:, None]]
        else:
            sums = [dot(context, tau, x.features.T)]
        last = [jnp.sum(tau * tau, axis=1)[:, None]] if own else []
        sums = [*sums, square[:, None], gain[:, None], *last]
        return jnp.zeros_like(alpha), jnp.concatenate(sums, axis=1)

    _, sums = _fold(block, context, candidates)
    concentration = jnp.zeros_like(alpha)
    if own:
        sums, concentration = sums[:, :-1], sums[:, -1]
    moments, mass, square, value = sums[:, :-2], sums[:, -3], sums[:, -2], sums[:, -1]
    safe_mass = jnp.maximum(mass, tiny(mass.dtype))
    shift = moments[:, :d] / safe_mass[:, None]
    centres = candidates.centres + shift if apart else shift
    variance = jnp.maximum(square - alpha * (2 * mass - alpha), tiny(mass.dtype))
    slope = mass * _square(context, candidates, centres)
    slope = slope + (mass - alpha) ** 2 / variance
    value, spread = value + jnp.log1p(-alpha), None
    if own:
        fitted = covariance.maximise(shift, mass, moments)
        spread, slope = fitted.own, slope + mass * fitted.divergence(covariance, d)
        value = jnp.where(_too_few(mass, concentration, d), -jnp.inf, value)
    return Ascent(
        value,
        Candidates(centres, mass, spread),
        jnp.maximum(1, alpha * (1 - alpha) / variance),
        slope,
    )


def all_values(context: Context, candidates: Candidates, at_once: int) -> Values:
    """`values`, of so many candidates at a time where the points are in memory, so that what there
    is of each point stays near."""
    k = len(candidates.weights)
    if k <= at_once or not isinstance(context.blocks, Blocks):
        return values(context, candidates)
    index = jnp.minimum(jnp.arange(-(-k // at_once) * at_once), k - 1).reshape(-1, at_once)
    groups = jax.tree.map(lambda leaf: leaf[index], candidates)
    found = jax.lax.map(lambda group: values(context, group), groups)
    one = lambda leaf: leaf.reshape(-1)[:k]  # noqa: E731
    return Values(one(found.heights), one(found.gains), one(found.numbers), found.num_points[0])


def values(context: Context, candidates: Candidates) -> Values:
    """Both functions above, without their steps, in one pass."""
    alpha, own = candidates.weights, candidates.spread is not None
    log_odds = jnp.log(alpha) - jnp.log1p(-alpha)

    def block(x: Block, log_ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
        log_a = exponents(context, candidates, x) - log_ratio[None]
        t = log_a + log_odds[:, None]
        e = jnp.exp(-jnp.abs(t))
        softplus = jnp.maximum(t, 0) + jnp.log1p(e)
        log_a = log_a + safe_log_weights(x.weights)[None]
        peak = jax.lax.stop_gradient(jnp.max(log_a, axis=1))  # it cancels
        a, zero = jnp.exp(log_a - peak[:, None]), jnp.zeros_like(peak)
        terms = [a, a * a, softplus * x.weights[None]]
        if own:
            tau = x.weights[None] * jnp.where(t >= 0, 1, e) / (1 + e)
            terms = [*terms, tau, tau * tau]
        peaks = jnp.concatenate([peak, 2 * peak, *[zero] * (len(terms) - 2), zero[:1]])
        each = [jnp.sum(y, axis=1) for y in terms]
        return peaks, jnp.concatenate([*each, jnp.sum(x.weights**2)[None]])[:, None]

    k = len(alpha)
    peaks, sums = walk(block, context, (context.mixture, candidates), k, LOG_SUM)
    logs = peaks + jnp.log(sums[:, 0])
    heights, gains = logs[:k], sums[2 * k : 3 * k, 0] + jnp.log1p(-alpha)
    if own:
        mass, concentration = sums[3 * k : 4 * k, 0], sums[4 * k : 5 * k, 0]
        few = _too_few(mass, concentration, candidates.centres.shape[1])
        gains = jnp.where(few, -jnp.inf, gains)
    return Values(
        heights=heights,
        gains=gains,
        numbers=jnp.exp(2 * heights - logs[k : 2 * k]),
        num_points=1 / sums[-1, 0],
    )


def _fold(
    block: Callable[[Block, jax.Array], Any], context: Context, candidates: Candidates
) -> tuple[jax.Array, jax.Array]:
    return walk(block, context, (context.mixture, candidates), len(candidates.weights), LOG_SUM)


def _too_few(mass: jax.Array, concentration: jax.Array, d: int) -> jax.Array:
    """(k,) bool, whether E τ (k,) and Σ (w τ)² (k,) are those of fewer than d + 2 points."""
    return mass * mass < (d + 2) * concentration


def _square(context: Context, candidates: Candidates, centres: jax.Array) -> jax.Array:
    """(k,) squared lengths of steps to other centres in the metric of the covariance."""
    steps = centres - candidates.centres
    return jnp.sum(steps * covariance_of(context, candidates).whiten(steps), axis=1)
