"""Candidates for one more component, and passes over the points for all of them.

With φ_θ a candidate's Gaussian and p the mixture, all that is asked of candidates is a function of
the ratio φ_θ(x)/p(x). It reaches e^10,000 at points far from every component, so it lives as a
logarithm. Nothing of shape (N, k) exists: points are taken block by block, as in the E-step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._families.covariance import Covariance
from gemjax._numerics.sums import Addition, largest_rows
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
      spread: (k, …) the parameters of their own covariances, as the family has them; None in a
        family where all components have one.
    """

    centres: jax.Array
    weights: jax.Array
    spread: jax.Array | None


def prepare(mixture: Mixture, blocks: Blocks | Chunks) -> Context:
    """Readies a mixture and points for passes; `log_ratio` is one more number per point."""
    mixture = dataclasses.replace(mixture, means=mixture.means - blocks.centre[None])
    kept = _log_ratios(mixture, blocks) if isinstance(blocks, Blocks) else None
    return Context(mixture, blocks, kept)


def farthest_points(context: Context, k: int) -> jax.Array:
    """(k, d) points of the largest w/p, relative to the centre: each alone makes D that large."""
    d, covariance = context.mixture.means.shape[1], context.mixture.covariance

    def block(x: Block, log_ratio: jax.Array) -> jax.Array:
        C = x.weights.shape[0]
        apart = context.blocks.apart  # differences have the base in them
        base = x.base if apart else covariance.shared(x.features[:d], x.base)
        score, index = jax.lax.top_k(safe_log_weights(x.weights) - (log_ratio + base), min(k, C))
        rows = jnp.concatenate([x.features[:d, index], score[None]]).T
        # A block with fewer points repeats them; below all others, so that none counts twice.
        again = jnp.arange(k, dtype=jnp.int32)
        rows = rows[again % len(rows)]
        lowest = jnp.finfo(rows.dtype).min
        return rows.at[:, -1].set(jnp.where(again < C, rows[:, -1], lowest))

    rows = walk(block, context, context.mixture, k, largest_rows(k))
    # Fewer points than k repeat the farthest.
    return jnp.where(rows[:, -1:] > 0.5 * jnp.finfo(rows.dtype).min, rows[:, :d], rows[:1, :d])


def walk(
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


def dot(context: Context, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=context.blocks.blocking.precision)


def safe_log_weights(weights: jax.Array) -> jax.Array:
    """log w, and for w = 0 a number so low that it loses against all others, yet finite."""
    lowest = 0.25 * float(jnp.finfo(weights.dtype).min)
    return jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1)), lowest)


def covariance_of(context: Context, candidates: Candidates) -> Covariance:
    """The candidates' covariances, as a family of k components."""
    covariance = context.mixture.covariance
    if candidates.spread is None:
        return covariance.candidates(len(candidates.weights))
    return covariance.with_own(candidates.spread)


def exponents(context: Context, candidates: Candidates, x: Block) -> jax.Array:
    """(k, C) log φ_θ(x) less b(x) and constants."""
    covariance = covariance_of(context, candidates)
    if context.blocks.apart:
        return covariance.differences(candidates.centres, x.features)
    return dot(context, covariance.natural(candidates.centres), x.features)


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
