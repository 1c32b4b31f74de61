"""The mean step: from ∂L/∂μ (n, d) and the masses s (n,) to an update of the means."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import optax
from jax.typing import ArrayLike

from gemjax.numerics import safe_divide

RULES = ("gradient", "em")

MeanRule: TypeAlias = "str | optax.GradientTransformation"


def init(rule: MeanRule, means: jax.Array) -> Any:
    """The rule's state for means (n, d)."""
    return optax.EmptyState() if isinstance(rule, str) else rule.init(means)


def step(
    rule: MeanRule,
    step_size: ArrayLike,
    state: Any,
    means: jax.Array,
    gradient: jax.Array,
    mass: jax.Array,
) -> tuple[jax.Array, Any]:
    """New means (n, d) and the rule's new state.

    "gradient" is μ − η ∂L/∂μ. "em" divides the gradient by the mass first, so that η = 1 moves each
    mean to its barycentre E[ψ_i x]/s_i; a component without mass stays. An optax transformation is
    fed with the gradient and the extra argument `mass`, and brings its own learning rate.
    """
    if rule == "gradient":
        return means - step_size * gradient, state
    if rule == "em":
        return means - step_size * safe_divide(gradient, mass[:, None]), state
    transformation = optax.with_extra_args_support(rule)
    updates, state = transformation.update(gradient, state, means, mass=mass)
    return means + updates, state
