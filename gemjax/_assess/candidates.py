"""What one more component would gain at each of k places: one pass over the points for all.

With φ_θ the unit Gaussian at θ and p the mixture, all is a function of the ratio φ_θ(x)/p(x). It
reaches e^10,000 at points far from every component, so it lives as a logarithm, and sums over
points carry the largest exponent so far along (an online log-sum-exp). Nothing of shape (N, k)
exists: points are taken block by block, as in the E-step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from gemjax._base.numerics import tiny, vary_alike
from gemjax._base.records import Mixture
from gemjax._points.blocks import Blocks, Chunks

# Numbers (places times points) that exist at once where blocks lie side by side.
_PARALLEL_ENTRIES = 2**26


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Ground:
    """A mixture p and the points, ready for passes.

    Attributes:
      mixture: p, its means relative to the blocks' centre c.
      blocks: the points.
      log_ratio: (B, C) log p(x)/φ_c(x), or None where it is computed chunk by chunk.
    """

    mixture: Mixture
    blocks: Blocks | Chunks
    log_ratio: jax.Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Places:
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
    """A function's value at some `Places`, and where to go from there.

    Attributes:
      value: (k,) nats per point.
      step: `Places` that the EM step reaches; the value is at least as high there.
      stretch: (k,) >= 1, how many times longer Newton's step of the weights is.
      slope: (k,) gradient times step: the first-order gain of the step, nats per point.
    """

    value: jax.Array
    step: Places
    stretch: jax.Array
    slope: jax.Array


# Largest exponent (k,), and sums (k, …) of numbers divided by its exponential.
_Sums: TypeAlias = tuple[jax.Array, jax.Array]
# From points (d + 1, C), weights (C,) and log p/φ_c (C,).
_Piece: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array], _Sums]


def ground(mixture: Mixture, blocks: Blocks | Chunks) -> Ground:
    """Readies a mixture and points for passes; `log_ratio` is one more number per point."""
    centred = Mixture(mixture.means - blocks.centre[None], mixture.log_weights)
    stored = _log_ratios(centred, blocks) if isinstance(blocks, Blocks) else None
    return Ground(centred, blocks, stored)


def log_directional(on: Ground, places: Places) -> Ascent:
    """log D(θ) = log E[φ_θ/p] (Lindsay 1983), and its EM step θ ← E[φ_θ/p x]/D: mean shift."""

    def piece(points: jax.Array, weights: jax.Array, log_ratio: jax.Array) -> _Sums:
        # The weight is part of the exponent: points of weight zero must not set the maximum.
        z = _exponents(on, places.centres, points) + (_log(weights) - log_ratio)[None]
        peak = jax.lax.stop_gradient(jnp.max(z, axis=1))  # it cancels
        return peak, _dot(on, jnp.exp(z - peak[:, None]), points.T)

    d = places.centres.shape[1]
    peak, sums = _over_points(piece, on, places, d + 1)
    centres = sums[:, :d] / sums[:, d:]
    # The gradient of log D is the step itself.
    slope = jnp.sum((centres - places.centres) ** 2, axis=1)
    step = Places(centres, places.weights)
    return Ascent(peak + jnp.log(sums[:, d]), step, jnp.ones_like(peak), slope)


def log_birth(on: Ground, places: Places) -> Ascent:
    """E log(1 + α(φ_θ/p − 1)), the gain of one more component, and its EM step at fixed p.

    With τ the new component's responsibility the step is α ← E τ, θ ← E[τ x]/E τ. The gain is
    concave in α, with gradient (E τ − α)/(α(1 − α)) and curvature −E(τ − α)²/(α(1 − α))².
    """
    alpha, d = places.weights, places.centres.shape[1]
    log_odds = jnp.log(alpha) - jnp.log1p(-alpha)

    def piece(points: jax.Array, weights: jax.Array, log_ratio: jax.Array) -> _Sums:
        t = _exponents(on, places.centres, points) + log_odds[:, None] - log_ratio[None]
        e = jnp.exp(-jnp.abs(t))
        tau = weights[None] * jnp.where(t >= 0, 1, e) / (1 + e)
        softplus = jnp.maximum(t, 0) + jnp.log1p(e)
        square = jnp.sum(tau * jnp.where(t >= 0, 1, e) / (1 + e), axis=1)
        sums = [_dot(on, tau, points.T), square[:, None], _dot(on, softplus, weights)[:, None]]
        return jnp.zeros_like(alpha), jnp.concatenate(sums, axis=1)

    _, sums = _over_points(piece, on, places, d + 3)
    moments, mass, square, value = sums[:, :d], sums[:, d], sums[:, d + 1], sums[:, d + 2]
    safe_mass = jnp.maximum(mass, tiny(mass.dtype))
    centres = moments / safe_mass[:, None]
    variance = jnp.maximum(square - alpha * (2 * mass - alpha), tiny(mass.dtype))
    slope = mass * jnp.sum((centres - places.centres) ** 2, axis=1)
    slope = slope + (mass - alpha) ** 2 / variance
    return Ascent(
        value + jnp.log1p(-alpha),
        Places(centres, mass),
        jnp.maximum(1, alpha * (1 - alpha) / variance),
        slope,
    )


def effective_numbers(
    on: Ground, centre: jax.Array, log_value: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Effective numbers of points, 1/Σ a_j², for θ (d,) with log D(θ) = `log_value`.

    () of those that make up D(θ), a_j = w_j φ_θ(x_j)/p(x_j)/D(θ); () of all, a_j = w_j (Kish).
    """
    place = Places(centre[None], jnp.ones_like(log_value)[None])

    def piece(points: jax.Array, weights: jax.Array, log_ratio: jax.Array) -> _Sums:
        z = _exponents(on, place.centres, points)[0] + _log(weights) - log_ratio - log_value
        squares = jnp.stack([jnp.sum(jnp.exp(2 * z)), jnp.sum(weights * weights)])
        return jnp.zeros_like(place.weights), squares[None]

    _, sums = _over_points(piece, on, place, 2)
    return 1 / sums[0, 0], 1 / sums[0, 1]


def farthest(on: Ground, k: int) -> jax.Array:
    """(k, d) points of the largest w/p, relative to the centre: each alone makes D that large."""
    blocks, d = on.blocks, on.mixture.means.shape[1]
    if isinstance(blocks, Blocks):
        found = _farthest(on, k)
    else:

        def add(found: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
            more = _farthest(_chunk(on, index), k)
            return _top(jnp.concatenate([found, more]), k), None

        lowest = jnp.full((k, d + 1), jnp.finfo(blocks.centre.dtype).min, blocks.centre.dtype)
        numbers = jnp.arange(blocks.num_chunks, dtype=jnp.int32)
        found, _ = jax.lax.scan(add, vary_alike(lowest, on), numbers)
    if blocks.axis is not None:
        # All devices' points as a sum, which is the same everywhere, unlike a gathered array.
        every = jnp.zeros((jax.lax.axis_size(blocks.axis), k, d + 1), found.dtype)
        every = every.at[jax.lax.axis_index(blocks.axis)].set(found)
        found = _top(jax.lax.psum(every, blocks.axis).reshape(-1, d + 1), k)
    return found[:, :d]


def _farthest(on: Ground, k: int) -> jax.Array:
    """(k, d + 1) points of the largest w/p of the blocks, and its logarithm; padded by repeats."""
    blocks = on.blocks
    assert isinstance(blocks, Blocks)
    assert on.log_ratio is not None
    d = blocks.points.shape[1] - 1
    log_density = on.log_ratio - blocks.half_squares
    score, index = jax.lax.top_k(
        (_log(blocks.weights) - log_density).ravel(), min(k, blocks.num_entries)
    )
    C = blocks.weights.shape[1]
    points = blocks.points[index // C, :d, index % C]
    found = jnp.concatenate([points, score[:, None]], axis=1)
    return found[jnp.arange(k, dtype=jnp.int32) % len(found)]


def _top(found: jax.Array, k: int) -> jax.Array:
    """The k rows with the largest last entry."""
    return found[jax.lax.top_k(found[:, -1], k)[1]]


def _chunk(on: Ground, index: jax.Array) -> Ground:
    """The chunk of a number."""
    assert isinstance(on.blocks, Chunks)
    chunk = on.blocks.chunk(index)
    return Ground(on.mixture, chunk, _log_ratios(on.mixture, chunk))


def _dot(on: Ground, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=on.blocks.blocking.precision)


def _log(weights: jax.Array) -> jax.Array:
    """log w, and for w = 0 a number so low that it loses against all others, yet finite."""
    lowest = 0.25 * float(jnp.finfo(weights.dtype).min)
    return jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1)), lowest)


def _exponents(on: Ground, centres: jax.Array, points: jax.Array) -> jax.Array:
    """(k, C) log φ_θ(x)/φ_c(x) = θ·x − |θ|²/2 as one product; the points' last feature is one."""
    half_squares = 0.5 * jnp.sum(centres * centres, axis=1, keepdims=True)
    return _dot(on, jnp.concatenate([centres, -half_squares], axis=1), points)


def _log_ratios(centred: Mixture, blocks: Blocks) -> jax.Array:
    """(B, C) log p(x)/φ_c(x)."""
    on = Ground(centred, blocks, None)

    def one(points: jax.Array) -> jax.Array:
        joint = _exponents(on, centred.means, points) + centred.log_weights[:, None]
        return jax.scipy.special.logsumexp(joint, axis=0)

    return jax.lax.map(jax.checkpoint(one), blocks.points)


def _over_points(piece: _Piece, on: Ground, places: Places, width: int) -> _Sums:
    """The pieces of all points, added up: exponents (k,) and sums (k, `width`)."""
    blocks, k = on.blocks, places.weights.shape[0]
    dtype = places.weights.dtype
    nothing = (jnp.full((k,), jnp.finfo(dtype).min, dtype), jnp.zeros((k, width), dtype))
    nothing = vary_alike(nothing, on, places)
    if isinstance(blocks, Blocks):
        total = _over_blocks(piece, on, nothing)
    else:

        def add(total: _Sums, index: jax.Array) -> tuple[_Sums, None]:
            return _over_blocks(piece, _chunk(on, index), total), None

        numbers = jnp.arange(blocks.num_chunks, dtype=jnp.int32)
        total, _ = jax.lax.scan(add, nothing, numbers)
    if blocks.axis is None:
        return total
    peak = jax.lax.pmax(total[0], blocks.axis)
    return peak, jax.lax.psum(jnp.exp(total[0] - peak)[:, None] * total[1], blocks.axis)


def _over_blocks(piece: _Piece, on: Ground, total: _Sums) -> _Sums:
    """`total` and the pieces of all blocks, some side by side, added up."""
    blocks = on.blocks
    assert isinstance(blocks, Blocks)
    assert on.log_ratio is not None
    B, C = blocks.weights.shape
    parallel = min(blocks.blocking.num_parallel or 1, B)
    k = total[0].shape[0]
    parallel = max(p for p in range(1, parallel + 1) if parallel % p == 0 and _fits(p, C, k))
    xs = (blocks.points, blocks.weights, on.log_ratio)
    groups = jax.tree.map(lambda x: x.reshape(-1, parallel, *x.shape[1:]), xs)

    def add(total: _Sums, group: Any) -> tuple[_Sums, None]:
        if parallel == 1:
            more = jax.tree.map(lambda x: x[None], piece(*(x[0] for x in group)))
        else:
            more = jax.vmap(piece)(*group)
        peak = jnp.maximum(total[0], jnp.max(more[0], axis=0))
        scaled = jnp.exp(more[0] - peak[None])[..., None] * more[1]
        return (peak, jnp.exp(total[0] - peak)[:, None] * total[1] + jnp.sum(scaled, axis=0)), None

    return jax.lax.scan(add, total, groups)[0]


def _fits(parallel: int, C: int, k: int) -> bool:
    return parallel == 1 or parallel * C * k <= _PARALLEL_ENTRIES
