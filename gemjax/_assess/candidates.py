"""What one more component would gain at each of k candidates: one pass over the points for all.

With φ_θ a Gaussian at θ and p the mixture, all is a function of the ratio φ_θ(x)/p(x). It
reaches e^10,000 at points far from every component, so it lives as a logarithm, and sums over
points carry the largest exponent so far along (an online log-sum-exp). Nothing of shape (N, k)
exists: points are taken block by block, as in the E-step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._numerics.finite import tiny
from gemjax._numerics.sums import LOG_SUM, Addition, largest_rows
from gemjax._points.blocks import Block, Blocks, Chunks
from gemjax._points.walk import fold

# Numbers (candidates times points) that exist at once where blocks lie side by side.
_PARALLEL_ENTRIES = 2**26


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """A mixture p and the points, ready for passes.

    Attributes:
      mixture: p, its means relative to the blocks' centre.
      blocks: the points.
      log_ratio: (B, C) log p(x) less the part b(x) that all components share, or None where it is
        computed chunk by chunk.
    """

    mixture: Mixture
    blocks: Blocks | Chunks
    log_ratio: jax.Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates for one more component.

    Attributes:
      centres: (k, d), relative to the blocks' centre.
      weights: (k,) α in (0, 1): p becomes (1 − α) p + α φ_θ.
    """

    centres: jax.Array
    weights: jax.Array


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
      gains: (k,) E log(1 + α(φ_θ/p − 1)).
      numbers: (k,) effective number of points that make up D(θ), 1/Σ a_j² with
        a_j = w_j φ_θ(x_j)/p(x_j)/D(θ).
      num_points: () that of all points, a_j = w_j (Kish).
    """

    heights: jax.Array
    gains: jax.Array
    numbers: jax.Array
    num_points: jax.Array


def prepare(mixture: Mixture, blocks: Blocks | Chunks) -> Context:
    """Readies a mixture and points for passes; `log_ratio` is one more number per point."""
    mixture = dataclasses.replace(mixture, means=mixture.means - blocks.centre[None])
    kept = _log_ratios(mixture, blocks) if isinstance(blocks, Blocks) else None
    return Context(mixture, blocks, kept)


def log_gradient_function(context: Context, candidates: Candidates) -> Ascent:
    """log D(θ) = log E[φ_θ/p], Lindsay's gradient function (1983), and its EM step.

    That is mean shift, θ ← E[φ_θ/p x]/D.
    """

    def block(x: Block, log_ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
        # The weight is part of the exponent: points of weight zero must not set the maximum.
        z = _exponents(context, candidates.centres, x) + (_log(x.weights) - log_ratio)[None]
        peak = jax.lax.stop_gradient(jnp.max(z, axis=1))  # it cancels
        return peak, _dot(context, jnp.exp(z - peak[:, None]), x.features.T)

    d = candidates.centres.shape[1]
    peak, sums = _fold(block, context, candidates)
    centres = sums[:, :d] / sums[:, -1:]
    # The gradient of log D is the step itself, in the metric of the covariance.
    slope = _square(context, centres - candidates.centres)
    step = Candidates(centres, candidates.weights)
    return Ascent(peak + jnp.log(sums[:, -1]), step, jnp.ones_like(peak), slope)


def insertion_gain(context: Context, candidates: Candidates) -> Ascent:
    """E log(1 + α(φ_θ/p − 1)), the gain of one more component, and its EM step at fixed p.

    With τ the new component's responsibility the step is α ← E τ, θ ← E[τ x]/E τ. The gain is
    concave in α, with gradient (E τ − α)/(α(1 − α)) and curvature −E(τ − α)²/(α(1 − α))².
    """
    alpha, d = candidates.weights, candidates.centres.shape[1]
    log_odds = jnp.log(alpha) - jnp.log1p(-alpha)

    def block(x: Block, log_ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
        t = _exponents(context, candidates.centres, x) + log_odds[:, None] - log_ratio[None]
        e = jnp.exp(-jnp.abs(t))
        tau = x.weights[None] * jnp.where(t >= 0, 1, e) / (1 + e)
        softplus = jnp.maximum(t, 0) + jnp.log1p(e)
        square = jnp.sum(tau * jnp.where(t >= 0, 1, e) / (1 + e), axis=1)
        gain = jnp.sum(softplus * x.weights[None], axis=1)  # as a product several times as slow
        sums = [_dot(context, tau, x.features.T), square[:, None], gain[:, None]]
        return jnp.zeros_like(alpha), jnp.concatenate(sums, axis=1)

    _, sums = _fold(block, context, candidates)
    moments, mass, square, value = sums[:, :d], sums[:, -3], sums[:, -2], sums[:, -1]
    safe_mass = jnp.maximum(mass, tiny(mass.dtype))
    centres = moments / safe_mass[:, None]
    variance = jnp.maximum(square - alpha * (2 * mass - alpha), tiny(mass.dtype))
    slope = mass * _square(context, centres - candidates.centres)
    slope = slope + (mass - alpha) ** 2 / variance
    return Ascent(
        value + jnp.log1p(-alpha),
        Candidates(centres, mass),
        jnp.maximum(1, alpha * (1 - alpha) / variance),
        slope,
    )


def values(context: Context, candidates: Candidates) -> Values:
    """Both functions above, without their steps, in one pass."""
    alpha = candidates.weights
    log_odds = jnp.log(alpha) - jnp.log1p(-alpha)

    def block(x: Block, log_ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
        log_a = _exponents(context, candidates.centres, x) - log_ratio[None]
        t = log_a + log_odds[:, None]
        softplus = jnp.maximum(t, 0) + jnp.log1p(jnp.exp(-jnp.abs(t)))
        log_a = log_a + _log(x.weights)[None]
        peak = jax.lax.stop_gradient(jnp.max(log_a, axis=1))  # it cancels
        a, zero = jnp.exp(log_a - peak[:, None]), jnp.zeros_like(peak)
        peaks = jnp.concatenate([peak, 2 * peak, zero, zero[:1]])
        each = [jnp.sum(y, axis=1) for y in (a, a * a, softplus * x.weights[None])]
        return peaks, jnp.concatenate([*each, jnp.sum(x.weights**2)[None]])[:, None]

    k = len(alpha)
    peaks, sums = _walk(block, context, (context.mixture, candidates), k, LOG_SUM)
    logs = peaks + jnp.log(sums[:, 0])
    heights = logs[:k]
    return Values(
        heights=heights,
        gains=sums[2 * k : 3 * k, 0] + jnp.log1p(-alpha),
        numbers=jnp.exp(2 * heights - logs[k : 2 * k]),
        num_points=1 / sums[-1, 0],
    )


def farthest_points(context: Context, k: int) -> jax.Array:
    """(k, d) points of the largest w/p, relative to the centre: each alone makes D that large."""
    d, covariance = context.mixture.means.shape[1], context.mixture.covariance

    def block(x: Block, log_ratio: jax.Array) -> jax.Array:
        C = x.weights.shape[0]
        apart = context.blocks.apart  # differences have the base in them
        base = x.base if apart else covariance.shared(x.features[:d], x.base)
        score, index = jax.lax.top_k(_log(x.weights) - (log_ratio + base), min(k, C))
        rows = jnp.concatenate([x.features[:d, index], score[None]]).T
        # A block with fewer points repeats them; below all others, so that none counts twice.
        again = jnp.arange(k, dtype=jnp.int32)
        rows = rows[again % len(rows)]
        lowest = jnp.finfo(rows.dtype).min
        return rows.at[:, -1].set(jnp.where(again < C, rows[:, -1], lowest))

    rows = _walk(block, context, context.mixture, k, largest_rows(k))
    # Fewer points than k repeat the farthest.
    return jnp.where(rows[:, -1:] > 0.5 * jnp.finfo(rows.dtype).min, rows[:, :d], rows[:1, :d])


def _fold(
    block: Callable[[Block, jax.Array], Any], context: Context, candidates: Candidates
) -> tuple[jax.Array, jax.Array]:
    return _walk(block, context, (context.mixture, candidates), len(candidates.weights), LOG_SUM)


def _walk(
    block: Callable[[Block, jax.Array], Any],
    context: Context,
    inputs: Any,
    width: int,
    addition: Addition,
) -> Any:
    """What `block` gives of each block and its log ratios, added up; `width` numbers per point."""
    layout, mixture = context.blocks, context.mixture
    kept = context.log_ratio

    def log_ratios(blocks: Blocks) -> jax.Array:
        return _log_ratios(mixture, blocks) if kept is None else kept

    parallel = None
    if isinstance(layout, Blocks):
        most, C = layout.parallel, layout.weights.shape[1]
        fits = [
            p for p in range(1, most + 1) if most % p == 0 and p * C * width <= _PARALLEL_ENTRIES
        ]
        parallel = max(fits, default=1)
    return fold(
        block, layout, log_ratios, inputs=inputs, addition=addition, recompute=False,
        parallel=parallel,
    )  # fmt: skip


def _dot(context: Context, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=context.blocks.blocking.precision)


def _log(weights: jax.Array) -> jax.Array:
    """log w, and for w = 0 a number so low that it loses against all others, yet finite."""
    lowest = 0.25 * float(jnp.finfo(weights.dtype).min)
    return jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1)), lowest)


def _exponents(context: Context, centres: jax.Array, x: Block) -> jax.Array:
    """(k, C) log φ_θ(x) less b(x) and constants."""
    covariance = context.mixture.covariance.candidates(len(centres))
    if context.blocks.apart:
        return covariance.differences(centres, x.features)
    return _dot(context, covariance.natural(centres), x.features)


def _square(context: Context, steps: jax.Array) -> jax.Array:
    """(k,) squared lengths of steps (k, d) in the metric of the covariance."""
    return jnp.sum(steps * context.mixture.covariance.candidates(len(steps)).whiten(steps), axis=1)


def _log_ratios(mixture: Mixture, blocks: Blocks) -> jax.Array:
    """(B, C) log p(x) less b(x) and constants; means are relative to the centre."""
    covariance, means = mixture.covariance, mixture.means
    natural, precision = covariance.natural(means), blocks.blocking.precision

    def one(features: jax.Array) -> jax.Array:
        if blocks.apart:
            joint = covariance.differences(means, features)
        else:
            joint = jnp.matmul(natural, features, precision=precision)
        return jax.scipy.special.logsumexp(joint + mixture.log_weights[:, None], axis=0)

    return jax.lax.map(jax.checkpoint(one), blocks.features)
