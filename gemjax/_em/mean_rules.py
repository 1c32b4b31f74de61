"""The mean step: from what the E-step found to an update of the means.

EM's mean step is −∂L/∂μ_i / s_i, the gradient in EM's metric: it moves each mean to its
barycentre. Where components share a true mean, the loss is a ravine, steep across and as flat as a
fourth power along, and a constant step is slow there. "overrelaxed" and "polyak" are two ways to
take longer steps.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gemjax._base.numerics import largest, safe_divide, safe_norm, tiny
from gemjax._model.statistics import Statistics

RULES = ("gradient", "em", "overrelaxed", "polyak")

MeanRule: TypeAlias = "str | optax.GradientTransformation"

_GROWTH = 1.1  # of the relaxation, per iteration that did not raise the loss
_SETTLED = 0.8  # short steps go on while they shrink |∇L|² below this share of itself
_FARTHEST = 1.0  # noise standard deviations that a long step moves any mean, at most


class Relaxation(NamedTuple):
    """State of "overrelaxed": the factor to use while the loss falls, and the loss to fall from."""

    factor: jax.Array
    loss: jax.Array


def init(rule: MeanRule, means: jax.Array) -> Any:
    """The rule's state for means (n, d); for "polyak" () |∇L|² at the last step if it was short."""
    if rule == "overrelaxed":
        return Relaxation(jnp.ones((), means.dtype), jnp.asarray(jnp.inf, means.dtype))
    if rule == "polyak":
        return jnp.asarray(jnp.inf, means.dtype)
    return optax.EmptyState() if isinstance(rule, str) else rule.init(means)


def step(
    rule: MeanRule,
    state: Any,
    means: jax.Array,
    found: Statistics,
    *,
    step_size: ArrayLike,
    optimal_loss: ArrayLike | None,
) -> tuple[jax.Array, Any]:
    """New means (n, d) and the rule's new state. `GradientEM` says what each rule is."""
    if rule == "gradient":
        return means - step_size * found.gradient, state
    if rule == "em":
        return means + step_size * em_step(found), state
    if rule == "overrelaxed":
        factor = jnp.where(found.loss <= state.loss, state.factor, 1)
        return means + factor * em_step(found), Relaxation(_GROWTH * factor, found.loss)
    if rule == "polyak":
        assert optimal_loss is not None  # checked at the door
        move = em_step(found)
        square = -jnp.sum(found.gradient * move)
        is_long = square >= _SETTLED * state
        length = jnp.where(is_long, _long(found, move, square, optimal_loss), 1)
        return means + length * move, jnp.where(is_long, jnp.inf, square)
    transformation = optax.with_extra_args_support(rule)
    known = {"mass": found.mass, "value": found.loss}
    known = {name: value for name, value in known.items() if _takes(transformation.update, name)}
    hard = _hard(transformation, state, means, found, known)
    gradient, state = _hold((found.gradient, state), hard)
    updates, state = _hold(transformation.update(gradient, state, means, **known), hard)
    return means + updates, state


def refused(rule: MeanRule, state: Any) -> Any:
    """The rule's state where its step was not taken."""
    return state._replace(factor=jnp.ones_like(state.factor)) if rule == "overrelaxed" else state


def em_step(found: Statistics) -> jax.Array:
    """(n, d) from the means to their barycentres E[ψ_i x]/s_i; 0 for a component without mass."""
    return -safe_divide(found.gradient, found.mass[:, None])


def _long(
    found: Statistics, move: jax.Array, square: jax.Array, optimal_loss: ArrayLike
) -> jax.Array:
    """() Polyak's step length (L − L*)/|∇L|² in EM's metric, between EM's own and a bound.

    Far from the optimum, or where it cannot be reached, the length says little, so that no mean
    moves by more than the noise. An excess that is only rounding asks for no long step.
    """
    excess = found.loss - optimal_loss
    rounding = 4 * jnp.finfo(excess.dtype).eps * jnp.abs(found.loss)
    farthest = largest(safe_norm(move, axis=1))
    bound = safe_divide(jnp.asarray(_FARTHEST, excess.dtype), farthest)
    length = safe_divide(excess, square)
    length = jnp.where(length < bound, length, bound)
    return jnp.where((excess > rounding) & (length > 1), length, 1)


def _hard(
    transformation: Any, state: Any, means: jax.Array, found: Statistics, known: dict[str, Any]
) -> jax.Array:
    """(n, d) where a transformation's derivative is not finite, in components of hardly any mass.

    Adam's √v at v = 0, for one: it is reached where the gradient's square underflows. What does not
    move there has the derivative 0, and not 0 times infinity.
    """
    fixed = jax.lax.stop_gradient((found.gradient, state, means, known))
    gradient, state, means, known = fixed
    _, slope = jax.jvp(
        lambda g: transformation.update(g, state, means, **known)[0],
        (gradient,),
        (jnp.ones_like(gradient),),
    )
    idle = jax.lax.stop_gradient(found.mass * found.mass) < tiny(gradient.dtype)
    return ~jnp.isfinite(slope) & idle[:, None]


def _hold(tree: Any, hard: jax.Array) -> Any:
    """A tree, whose leaves of the shape of the means have no derivative where `hard`."""

    def hold(leaf: Any) -> Any:
        if jnp.shape(leaf) != hard.shape:
            return leaf
        return jnp.where(hard, jax.lax.stop_gradient(leaf), leaf)

    return jax.tree.map(hold, tree)


def _takes(function: Any, name: str) -> bool:
    """True if a function takes an argument of that name."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
