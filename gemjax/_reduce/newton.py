"""Newton's method with conjugate gradients in a trust region (Steihaug 1983)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

Loss: TypeAlias = Callable[[jax.Array], jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """Where Newton is: parameters (P,), loss (), gradient (P,), radius (), steps () taken."""

    x: jax.Array
    loss: jax.Array
    gradient: jax.Array
    radius: jax.Array
    steps: jax.Array


def newton(
    loss: Loss,
    allowed: Callable[[jax.Array], jax.Array],
    free: jax.Array,
    metric: jax.Array,
    x: jax.Array,
    max_steps: int,
    tolerance: jax.Array,
) -> Place:
    """Minimises a loss over the entries of x (P,) that are `free` (P,), in a diagonal metric (P,).

    A step counts if the loss falls as the model says, or, where that is below its rounding, if the
    gradient falls; and if what it leads to is `allowed`.
    """

    def slope(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(x)
        return value, jnp.where(free, gradient, 0)

    def times(x: jax.Array, v: jax.Array) -> jax.Array:
        return jnp.where(free, jax.jvp(jax.grad(loss), (x,), (v,))[1], 0)

    def step(at: Place) -> Place:
        move, predicted, length = steihaug(lambda v: times(at.x, v), at.gradient, metric, at.radius)
        value, gradient = slope(at.x + move)
        eps = float(jnp.finfo(value.dtype).eps)
        rounding = 100 * eps * (1 + jnp.abs(at.loss))
        fell = (at.loss - value) / jnp.maximum(predicted, jnp.finfo(value.dtype).tiny)
        calm = jnp.linalg.norm(gradient) < jnp.linalg.norm(at.gradient)
        below = (predicted < rounding) & (value - at.loss < rounding)
        good = jnp.where(below, calm, fell > 0.1)
        good = good & jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient)) & allowed(at.x + move)
        wider = jnp.where((fell > 0.75) | below, jnp.maximum(at.radius, 2 * length), at.radius)
        radius = jnp.where(good, wider, 0.25 * length)
        moved = Place(at.x + move, value, gradient, radius, at.steps)
        stayed = dataclasses.replace(at, radius=radius)
        chosen = jax.tree.map(lambda a, b: jnp.where(good, a, b), moved, stayed)
        return dataclasses.replace(chosen, steps=at.steps + 1)

    def going(at: Place) -> jax.Array:
        above = jnp.linalg.norm(at.gradient) > tolerance
        return above & (at.steps < max_steps) & (at.radius > jnp.finfo(x.dtype).eps)

    value, gradient = slope(x)
    start = Place(x, value, gradient, jnp.ones_like(value), jnp.int32(0))
    return jax.lax.while_loop(going, step, start)


def steihaug(
    times: Callable[[jax.Array], jax.Array],
    gradient: jax.Array,
    metric: jax.Array,
    radius: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The step (P,), what the model says that the loss falls (), and the step's length ().

    Conjugate gradients until the residual is small, the region's edge is met, or the curvature is
    not positive, and then to the edge.
    """
    dot = lambda a, b: jnp.sum(a * b)  # noqa: E731
    norm = jnp.linalg.norm(gradient)
    target = norm * jnp.minimum(0.1, norm)  # so that Newton converges quadratically
    most = 2 * len(gradient)

    def body(carry: tuple) -> tuple:
        z, r, p, rho, count, _ = carry
        Hp = times(p)
        bend = dot(p, Hp)
        alpha = rho / jnp.where(bend > 0, bend, 1)
        a, b, c = dot(p, metric * p), dot(z, metric * p), dot(z, metric * z) - radius**2
        edge = (-b + jnp.sqrt(jnp.maximum(b * b - a * c, 0))) / jnp.where(a > 0, a, 1)
        out = (bend <= 0) | (alpha >= edge)
        length = jnp.where(out, edge, alpha)
        z, r = z + length * p, r + length * Hp
        new = dot(r, r / metric)
        p = -r / metric + new / jnp.where(rho > 0, rho, 1) * p
        done = out | (jnp.linalg.norm(r) <= target)
        return z, r, p, new, count + 1, done

    def going(carry: tuple) -> jax.Array:
        return ~carry[5] & (carry[4] < most)

    zero, p = jnp.zeros_like(gradient), -gradient / metric
    start = (zero, gradient, p, -dot(gradient, p), jnp.int32(0), norm == 0)
    z, r, *_ = jax.lax.while_loop(going, body, start)
    # r is gradient + H z, so that half of the way down along both is what the model says.
    return z, -0.5 * dot(z, gradient + r), jnp.sqrt(dot(z, metric * z))
