"""Mean rules: from what the E-step found to an update of the means.

EM's mean step moves each mean to its barycentre: it is the gradient in EM's metric. Where
components share a true mean, the loss is a ravine, steep across and as flat as a fourth power
along, and a constant step is slow there. "overrelaxed" and "polyak" are two ways to take longer
steps.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gemjax._base.settings import setting
from gemjax._model.statistics import Statistics
from gemjax._numerics.finite import safe_divide
from gemjax._numerics.pytree import Node, record

Step: TypeAlias = tuple[jax.Array, Any]  # new means (n, d), and the new state of the rule

_GROWTH = 1.1  # of the relaxation, per iteration that did not raise the loss


class MeanRule(Node):
    """A mean rule: derive a frozen dataclass to add one, a pytree whose leaves are its settings.

    >>> import gemjax as gj
    >>> issubclass(gj.rules.EM, gj.rules.MeanRule)
    True
    """

    def init(self, means: jax.Array) -> Any:
        """The rule's state, a pytree, for means (n, d); nothing by default."""
        return ()

    def step(self, state: Any, means: jax.Array, statistics: Statistics) -> Step:
        """New means (n, d) and the rule's new state."""
        raise NotImplementedError

    def refused(self, state: Any) -> Any:
        """The rule's state where EM's step was taken in place of its own."""
        return state


def em_step(statistics: Statistics) -> jax.Array:
    """(n, d) from the means to their barycentres E[ψ_i x]/s_i; 0 for a component without mass."""
    return safe_divide(statistics.offset, statistics.mass[:, None])


@dataclasses.dataclass(frozen=True)
class Gradient(MeanRule):
    """The paper's: μ − η ∂L/∂μ, in the metric of the covariance: μ + η E[ψ (x − μ)].

    >>> import gemjax as gj
    >>> gj.rules.Gradient().step_size
    0.5
    """

    step_size: ArrayLike = setting(0.5, above=0)

    def step(self, state: Any, means: jax.Array, statistics: Statistics) -> Step:
        return means + self.step_size * statistics.offset, state


@dataclasses.dataclass(frozen=True)
class EM(MeanRule):
    """η times the way to the barycentre E[ψ_i x]/s_i, which at step size 1 is classical EM's step.

    >>> import gemjax as gj
    >>> gj.rules.EM().step_size
    1.0
    """

    step_size: ArrayLike = setting(1.0, above=0)

    def step(self, state: Any, means: jax.Array, statistics: Statistics) -> Step:
        return means + self.step_size * em_step(statistics), state


@record
@dataclasses.dataclass(frozen=True)
class Relaxation:
    """State of "overrelaxed": the factor to use while the loss falls, and the loss to fall from."""

    factor: jax.Array
    loss: jax.Array


@dataclasses.dataclass(frozen=True)
class Overrelaxed(MeanRule):
    """EM's mean step times a factor that grows while the loss falls.

    It starts at 1, grows by 1.1 per iteration and goes back to 1 when the loss rose (Salakhutdinov
    and Roweis 2003, "Adaptive overrelaxed bound optimization methods"; with `monotone`, as there,
    such a step is not taken at all).

    >>> import gemjax as gj
    >>> float(gj.rules.Overrelaxed().init(jnp.zeros((1, 1))).factor)
    1.0
    """

    def init(self, means: jax.Array) -> Any:
        return Relaxation(jnp.ones((), means.dtype), jnp.asarray(jnp.inf, means.dtype))

    def step(self, state: Any, means: jax.Array, statistics: Statistics) -> Step:
        factor = jnp.where(statistics.loss <= state.loss, state.factor, 1)
        state = Relaxation(_GROWTH * factor, statistics.loss)
        return means + factor * em_step(statistics), state

    def refused(self, state: Any) -> Any:
        return dataclasses.replace(state, factor=jnp.ones_like(state.factor))
