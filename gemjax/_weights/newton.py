"""The weight rule "newton": as near the optimum as so many Newton steps lead."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gemjax._model.densities import Densities
from gemjax._numerics.finite import safe_exp, safe_log
from gemjax._weights import sequential
from gemjax._weights.rules import WeightRule


@dataclasses.dataclass(frozen=True)
class Newton(WeightRule):
    """Weights solved to optimality, as by `solve_weights`, in at most `weight_steps` steps.

    A step costs O(N n²), and one to three are usual once warm; inactive components get exactly 0.

    >>> import gemjax as gj
    >>> gj.rules.Newton().moves
    True
    """

    def solve(
        self,
        densities: Densities,
        log_weights: jax.Array,
        *,
        weight_steps: int,
        weight_tolerance: ArrayLike,
    ) -> jax.Array:
        if weight_steps == 0:
            return log_weights
        tolerance = jnp.asarray(weight_tolerance, log_weights.dtype)
        weights = sequential.steps(densities, safe_exp(log_weights), tolerance, weight_steps)
        return jnp.where(jnp.any(jnp.isnan(log_weights)), jnp.nan, safe_log(weights))
