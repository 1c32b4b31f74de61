"""The mean rule "polyak": short steps into the ravine of the loss, long ones along it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gemjax._base.settings import setting
from gemjax._em.mean_rules import MeanRule, Step, em_step
from gemjax._model.statistics import Statistics
from gemjax._numerics.finite import largest, safe_divide, safe_norm

_SETTLED = 0.8  # short steps go on while they shrink |∇L|² below this share of itself
_FARTHEST = 1.0  # noise standard deviations that a long step moves any mean, at most


@dataclasses.dataclass(frozen=True)
class Polyak(MeanRule):
    """Short steps, EM's, until they no longer shrink the gradient, then once a long one.

    Short ones go on while they shrink |∇L|² = Σ_i |∂L/∂μ_i|²/s_i below 0.8 of itself. The long one
    is EM's step times (L − L*)/|∇L|², but at least EM's, and so that no mean moves farther than 1,
    the noise's standard deviation. Short steps lead into the ravine of the loss where components
    share a true mean, the long one goes along it (Davis, Drusvyatskiy and Jiang, arXiv 2409.19791;
    for mixtures Wang, Fazel and Charisopoulos, arXiv 2605.30936: a locally linear rate). EM's
    metric, when a step is long, and the bound are ours.

    Args:
      optimal_loss: () L*, the least loss of any mixture (nats per point), traced. For a
        `population` target it is the truth's loss. Once the loss is below it, this is EM; if it is
        too low, the long steps go too far.

    >>> import gemjax as gj
    >>> gj.GradientEM(mean_rule=gj.rules.Polyak(1.4)).mean_rule
    Polyak(optimal_loss=1.4)
    """

    optimal_loss: ArrayLike | None = setting(None, least=-math.inf)

    def init(self, means: jax.Array) -> Any:
        # |∇L|² at the last step if it was short.
        return jnp.asarray(jnp.inf, means.dtype)

    def step(self, state: Any, means: jax.Array, statistics: Statistics) -> Step:
        move = em_step(statistics)
        square = -jnp.sum(statistics.gradient * move)
        is_long = square >= _SETTLED * state
        length = jnp.where(is_long, self._long(statistics, move, square), 1)
        return means + length * move, jnp.where(is_long, jnp.inf, square)

    def _long(self, statistics: Statistics, move: jax.Array, square: jax.Array) -> jax.Array:
        """() Polyak's step length (L − L*)/|∇L|² in EM's metric, between EM's own and a bound.

        Far from the optimum, or where it cannot be reached, the length says little, so that no mean
        moves by more than the noise. An excess that is only rounding asks for no long step.
        """
        assert self.optimal_loss is not None  # checked at the door
        excess = statistics.loss - self.optimal_loss
        rounding = 4 * jnp.finfo(excess.dtype).eps * jnp.abs(statistics.loss)
        farthest = largest(safe_norm(move, axis=1))
        bound = safe_divide(jnp.asarray(_FARTHEST, excess.dtype), farthest)
        length = safe_divide(excess, square)
        length = jnp.where(length < bound, length, bound)
        return jnp.where((excess > rounding) & (length > 1), length, 1)
