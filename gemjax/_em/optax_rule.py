"""Any optax transformation as a mean rule."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._em.mean_rules import MeanRule, Step
from gemjax._model.statistics import Statistics
from gemjax._numerics.finite import tiny


def is_transformation(value: Any) -> bool:
    """An optax `GradientTransformation`, which is a pair of functions."""
    return isinstance(value, tuple) and hasattr(value, "init") and hasattr(value, "update")


@dataclasses.dataclass(frozen=True)
class OptaxRule(MeanRule):
    """A transformation, fed with ∂L/∂μ and, where it takes them, `mass` and `value`, the loss."""

    transformation: Any = dataclasses.field(metadata={"static": True})

    def init(self, means: jax.Array) -> Any:
        return self.transformation.init(means)

    def step(self, state: Any, means: jax.Array, statistics: Statistics) -> Step:
        import optax  # a tenth of all imports; whoever comes here has it already

        update = optax.with_extra_args_support(self.transformation).update
        known = {"mass": statistics.mass, "value": statistics.loss}
        known = {name: value for name, value in known.items() if _takes(update, name)}
        hard = _hard(update, state, means, statistics, known)
        gradient, state = _hold((statistics.gradient, state), hard)
        updates, state = _hold(update(gradient, state, means, **known), hard)
        return means + updates, state


def _hard(
    update: Any, state: Any, means: jax.Array, statistics: Statistics, known: dict[str, Any]
) -> jax.Array:
    """(n, d) where a transformation's derivative is not finite, in components of hardly any mass.

    Adam's √v at v = 0, for one: it is reached where the gradient's square underflows. What does not
    move there has the derivative 0, and not 0 times infinity.
    """
    fixed = jax.lax.stop_gradient((statistics.gradient, state, means, known))
    gradient, state, means, known = fixed
    _, slope = jax.jvp(
        lambda g: update(g, state, means, **known)[0], (gradient,), (jnp.ones_like(gradient),)
    )
    idle = jax.lax.stop_gradient(statistics.mass * statistics.mass) < tiny(gradient.dtype)
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
