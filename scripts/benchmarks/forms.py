"""Forms of the E-step in JAX: gemjax's, the textbook's, and the floor below both.

An E-step here returns (loss, mass (n,), ∂L/∂μ (n, d)) for points of equal weight.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import gemjax as gj
from gemjax._model.statistics import expect
from gemjax._points.blocks import as_blocks

HIGHEST = jax.lax.Precision.HIGHEST
LOOPS = 4


def blocks_of(target: gj.Target, n: int) -> Any:
    """A target as gemjax's E-step wants it."""
    return as_blocks(target, n)


def gemjax_e_step(mixture: gj.Mixture, blocks: Any) -> tuple[jax.Array, ...]:
    """The library's E-step on the library's blocks."""
    found = expect(mixture, blocks)
    return found.loss, found.mass, found.gradient


@functools.partial(jax.jit, static_argnums=0)
def looped(function: Callable[..., Any], mixture: gj.Mixture, *arguments: Any) -> Any:
    """`function(mixture, *arguments)`, `LOOPS` times within one computation, as in a fit.

    Each evaluation waits for the one before: its means are moved by less than their last digit.
    """

    def again(mixture: gj.Mixture, _: None) -> tuple[gj.Mixture, Any]:
        found = function(mixture, *arguments)
        nudge = sum(jnp.ravel(leaf)[0] for leaf in jax.tree.leaves(found))
        return gj.Mixture(mixture.means + 1e-30 * nudge, mixture.log_weights), found

    return jax.tree.map(lambda x: x[-1], jax.lax.scan(again, mixture, length=LOOPS)[1])


def gemjax_iteration(mixture: gj.Mixture, solver: gj.GradientEM, blocks: Any) -> gj.Mixture:
    """One whole iteration, all of its weight steps included."""
    return solver.step(solver.init(mixture), blocks)[0].mixture


def floor_blocks(target: gj.Target, n: int) -> jax.Array:
    """(B, d, C): the points in blocks as long as gemjax's, the last one padded with zeros."""
    N, d = target.points.shape
    C = blocks_of(target, n).weights.shape[-1]
    B = -(-N // C)
    points = jnp.pad(target.points, ((0, B * C - N), (0, 0)))
    return points.reshape(B, C, d).transpose(0, 2, 1)


def floor(mixture: gj.Mixture, points: jax.Array) -> jax.Array:
    """Two matrix products and one exponential per block, which no E-step can do without."""
    return _over_blocks(lambda x: _dot(jnp.exp(_dot(mixture.means, x)), x.T), mixture, points)


def tight_floor(mixture: gj.Mixture, points: jax.Array, shift: jax.Array) -> jax.Array:
    """The same with a constant (B, C) per point in the exponent.

    XLA's CPU backend calls a slower exponential where it stands alone than where it is fused with
    an elementwise neighbour, so that doing a little more is faster.
    """

    def block(x: jax.Array, c: jax.Array) -> jax.Array:
        return _dot(jnp.exp(_dot(mixture.means, x) - c[None]), x.T)

    return _over_blocks(block, mixture, points, shift)


def floor_and_maximum(mixture: gj.Mixture, points: jax.Array) -> jax.Array:
    """The floor with the largest exponent of each point taken off, so that nothing overflows."""

    def block(x: jax.Array) -> jax.Array:
        exponent = _dot(mixture.means, x)
        return _dot(jnp.exp(exponent - jnp.max(exponent, axis=0)[None]), x.T)

    return _over_blocks(block, mixture, points)


def floor_maximum_and_density(mixture: gj.Mixture, points: jax.Array) -> jax.Array:
    """That, and division by the density: responsibilities. What is left is r and the loss."""
    weights = jnp.exp(mixture.log_weights)

    def block(x: jax.Array) -> jax.Array:
        exponent = _dot(mixture.means, x)
        phi = jnp.exp(exponent - jnp.max(exponent, axis=0)[None])
        return _dot(phi, (x / _dot(weights, phi)[None]).T)

    return _over_blocks(block, mixture, points)


def floor_of_weight_steps(mixture: gj.Mixture, kept: jax.Array) -> jax.Array:
    """Two products of the kept densities (n, N) with vectors, the floor of a weight step."""
    return _dot(kept, 1 / _dot(jnp.exp(mixture.log_weights + mixture.means[:, 0]), kept))


def _over_blocks(
    block: Callable[..., jax.Array], mixture: gj.Mixture, *arrays: jax.Array
) -> jax.Array:
    def add(total: jax.Array, arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        return total + block(*arrays), None

    return jax.lax.scan(add, jnp.zeros_like(mixture.means), arrays)[0]


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
