"""Forms of the E-step in JAX: gemjax's, the textbook's, and the floor below both.

An E-step here returns (loss, mass (n,), ∂L/∂μ (n, d)) for points of equal weight.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

import gemjax as gj
from gemjax import expectation

HIGHEST = jax.lax.Precision.HIGHEST


def blocks_of(target: gj.Target, n: int) -> Any:
    """A target as gemjax's E-step wants it."""
    return expectation.as_blocks(target, n)


@jax.jit
def gemjax_e_step(mixture: gj.Mixture, blocks: Any) -> tuple[jax.Array, ...]:
    """The library's E-step on the library's blocks."""
    found = expectation.expect(mixture, blocks)
    return found.loss, found.mass, found.gradient


def floor_blocks(target: gj.Target, n: int) -> jax.Array:
    """(B, d, C): the points in blocks as long as gemjax's, the last one padded with zeros."""
    N, d = target.points.shape
    C = blocks_of(target, n).weights.shape[-1]
    B = -(-N // C)
    points = jnp.pad(target.points, ((0, B * C - N), (0, 0)))
    return points.reshape(B, C, d).transpose(0, 2, 1)


@jax.jit
def floor(means: jax.Array, points: jax.Array) -> jax.Array:
    """Two matrix products and one exponential per block, which no E-step can do without."""

    def add(total: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
        return total + _dot(jnp.exp(_dot(means, x)), x.T), None

    return jax.lax.scan(add, jnp.zeros_like(means), points)[0]


@jax.jit
def tight_floor(means: jax.Array, points: jax.Array, shift: jax.Array) -> jax.Array:
    """The same with a constant (B, C) per point in the exponent.

    XLA's CPU backend calls a slower exponential where it stands alone than where it is fused with
    an elementwise neighbour, so that doing a little more is faster.
    """

    def add(total: jax.Array, block: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        x, c = block
        return total + _dot(jnp.exp(_dot(means, x) - c[None]), x.T), None

    return jax.lax.scan(add, jnp.zeros_like(means), (points, shift))[0]


@jax.jit
def textbook_e_step(mixture: gj.Mixture, points: jax.Array) -> tuple[jax.Array, ...]:
    """Responsibilities of all points as one softmax over (N, n)."""
    return _e_step(mixture.means, mixture.log_weights, points)


def textbook_iteration(
    mixture: gj.Mixture,
    points: jax.Array,
    *,
    step_size: float,
    weight_steps: int,
    weight_tolerance: float,
) -> tuple[gj.Mixture, jax.Array]:
    """One iteration of gradient EM over whole (N, n) arrays, and the loss before its mean step."""
    log_phi = _log_phi(mixture.means, points)
    shift = jnp.max(log_phi + mixture.log_weights[None], axis=1, keepdims=True)
    phi = jnp.exp(log_phi - shift)

    def weight_step(carry: Any, _: None) -> tuple[Any, None]:
        log_weights, done = carry
        r = _dot(phi.T, 1 / _dot(phi, jnp.exp(log_weights))) / points.shape[0]
        done = done | (jnp.max(r) - 1 < weight_tolerance)
        new = jax.nn.log_softmax(log_weights + jnp.minimum(1.0, 1 / jnp.max(r)) * r)
        return (jnp.where(done, log_weights, new), done), None

    first = (mixture.log_weights, jnp.asarray(False))
    (log_weights, _), _ = jax.lax.scan(weight_step, first, length=weight_steps)
    loss, _, gradient = _e_step(mixture.means, log_weights, points)
    return gj.Mixture(mixture.means - step_size * gradient, log_weights), loss


def _e_step(means: jax.Array, log_weights: jax.Array, points: jax.Array) -> tuple[jax.Array, ...]:
    N, d = points.shape
    log_joint = _log_phi(means, points) + log_weights[None]
    half_squares = 0.5 * jnp.sum(points * points, axis=1)
    log_density = jax.nn.logsumexp(log_joint, axis=1) - half_squares
    psi = jax.nn.softmax(log_joint, axis=1)
    mass = jnp.mean(psi, axis=0)
    loss = 0.5 * d * math.log(2 * math.pi) - jnp.mean(log_density)
    return loss, mass, mass[:, None] * means - _dot(psi.T, points) / N


def _log_phi(means: jax.Array, points: jax.Array) -> jax.Array:
    return _dot(points, means.T) - 0.5 * jnp.sum(means * means, axis=1)[None]


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=HIGHEST)
