"""Gradient EM: near-optimal weights, then a step on the means."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gemjax._base import arrays, checks
from gemjax._base.records import Info, Mixture, State
from gemjax._base.settings import ACTIVE_WEIGHT, named, setting
from gemjax._em.mean_rules import MeanRule, em_step
from gemjax._em.optax_rule import is_transformation
from gemjax._em.registry import MEAN_RULES, AnyMeanRule, mean_rule
from gemjax._em.solver import moved_to, observed, ready
from gemjax._families.identity import Identity
from gemjax._model.densities import component_densities
from gemjax._model.layout import Data
from gemjax._model.statistics import e_step, expect
from gemjax._model.stream import Prepared, Source, prepare_for
from gemjax._points.blocks import AUTOMATIC, Blocking, Blocks, Chunks
from gemjax._weights.registry import WEIGHT_RULES
from gemjax._weights.rules import WeightRule


@dataclasses.dataclass(frozen=True, eq=False)
class GradientEM:
    """Gradient EM: near-optimal weights, then a gradient step on the means.

    Algorithm 1 of Zhou, Xu, Fazel and Du (arXiv 2506.06584): at fixed means, up to `weight_steps`
    steps on the weights, warm-started; then one E-step; then one step on the means. Beyond
    rounding, the loss does not increase from one iteration to the next with any weight rule and
    - "gradient" or "em" means at step_size <= 1 (and identity covariances), or
    - any mean rule at any step size with `monotone`.

    A rule is given by name, and then takes its settings from the fields here, or as an object with
    settings of its own (see `gj.rules`).

    Args:
      step_size: () η of the mean rules "gradient" and "em", traced; the others bring step sizes of
        their own. 1 is the largest for which the loss never increases.
      weight_step_size: () step of the weight rule, traced. "mirror" and "euclidean" never use more
        than 1/max_i r_i, so any positive value is safe; "euclidean" shortens the whole step where
        the loss would rise, or a point would be left without density.
      weight_tolerance: () duality gap (nats per point) at which the weight steps stop, traced.
      active_weight: () weight from which a component counts as active in `Info`, traced.
      optimal_loss: () L*, the least loss of any mixture (nats per point), traced; for "polyak".
      weight_steps: K, static, at least 0.
      weight_rule: "mirror" (entropic mirror descent), "euclidean" (projected gradient),
        "multiplicative" (EM's own update π_i r_i), "newton" (solved to optimality, as by
        `solve_weights`), "fixed" (the weights stay), or a `gj.rules.WeightRule`. Which one it is is
        static.
      mean_rule: "gradient" (the paper's), "em" (η times classical EM's mean step), "overrelaxed"
        (ever longer ones while the loss falls), "polyak" (short and long ones), a
        `gj.rules.MeanRule`, or any optax `GradientTransformation`, fed with ∂L/∂μ and the extra
        arguments `mass` (n,) and `value`, the loss (). Keep one transformation object: a new one
        compiles anew. A component without mass stays, but for "gradient" and optax.
      monotone: static. Computes the loss after the mean step, at the price of one E-step per
        iteration; where it is not as low as before (or NaN), EM's mean step, which never raises
        it, is taken instead. An optax state does not hear of that. The long steps of "polyak"
        often raise the loss where clusters overlap; it may then be no faster than EM.
      blocking: static, how the E-step walks over the points; a speed and memory setting only.

    Raises (from `prepare`, `fit`, and `step` on a target that is not prepared):
      ValueError: a step size or optimal loss that is not positive, a negative tolerance, an unknown
        rule, "polyak" without `optimal_loss`.
      TypeError: `monotone` that is not a bool, `weight_steps` that is not an integer.

    >>> import gemjax as gj
    >>> solver = gj.GradientEM(step_size=1.0, weight_steps=20)
    >>> target = gj.empirical([[-2.0], [2.0]])
    >>> state, info = solver.step(solver.init(gj.make_mixture([[-1.0], [1.0]])), target)
    >>> state.mixture.means.shape, info.loss.shape
    ((2, 1), ())
    """

    step_size: ArrayLike = setting(0.5, above=0)
    weight_step_size: ArrayLike = setting(1.0, above=0)
    weight_tolerance: ArrayLike = setting(1e-6, least=0)
    active_weight: ArrayLike = setting(ACTIVE_WEIGHT, least=0, kw_only=True)
    optimal_loss: ArrayLike | None = setting(None, least=-math.inf, kw_only=True)
    weight_steps: int = setting(10, least=0, static=True, kw_only=True)
    weight_rule: str | WeightRule = setting("mirror", choices=WEIGHT_RULES, kw_only=True)
    mean_rule: AnyMeanRule = setting("gradient", choices=MEAN_RULES, kw_only=True)
    monotone: bool = setting(False, static=True, kw_only=True)
    blocking: Blocking = setting(AUTOMATIC, static=True, kw_only=True)

    def as_arrays(self, dtype: Any = None) -> GradientEM:
        """The same, checked, with every real setting a () array of a dtype: leaves to train.

        >>> import gemjax as gj
        >>> len(jax.tree.leaves(gj.GradientEM().as_arrays()))
        4
        """
        dtype = jnp.result_type(float) if dtype is None else dtype
        solver = checks.settings(self, dtype)
        rules: dict[str, Any] = {}
        for name, value, kinds, choices in (
            ("weight_rule", self.weight_rule, WeightRule, WEIGHT_RULES),
            ("mean_rule", self.mean_rule, MeanRule, MEAN_RULES),
        ):
            is_optax = name == "mean_rule" and is_transformation(value)
            if not (is_optax or isinstance(value, str | kinds)):
                raise TypeError(
                    f"{name} must be one of {', '.join(choices)}, or a rule of gj.rules; "
                    f"got {value!r}"
                )
            if isinstance(value, WeightRule | MeanRule):
                rules[name] = checks.settings(value, dtype, f"{name}.")
        solver = dataclasses.replace(solver, **rules)
        if getattr(solver.means, "optimal_loss", 0) is None:
            raise ValueError(
                'optimal_loss must be given for mean_rule "polyak", got None; for a population '
                "target it is the loss of the truth"
            )
        return solver

    def prepare(
        self, target: Source, mixture: Mixture, axis: str | None = None
    ) -> tuple[GradientEM, Prepared]:
        """The same solver with checked settings as arrays, and the target laid out in blocks.

        For a loop of your own: `step` then has nothing to check and nothing to lay out.
        """
        solver = self.as_arrays(mixture.means.dtype)
        if isinstance(mixture.covariance, Identity) and self.optimal_loss is not None:
            # No density exceeds (2π)^{−d/2}, so no loss is below (d/2) log 2π.
            arrays.scalar("optimal_loss", self.optimal_loss, mixture.means.dtype, above=0)
        return solver, prepare_for(mixture, target, self.blocking, axis)

    @property
    def weights(self) -> WeightRule:
        """The weight rule as an object."""
        return named("weight_rule", WEIGHT_RULES, self.weight_rule, step_size=self.weight_step_size)

    @property
    def means(self) -> MeanRule:
        """The mean rule as an object."""
        settings = {"step_size": self.step_size, "optimal_loss": self.optimal_loss}
        return mean_rule(self.mean_rule, **settings)

    def init(self, mixture: Mixture) -> State:
        """The state before the first iteration."""
        mixture = checks.mixture("mixture", mixture)
        return State(mixture, self.means.init(mixture.means))

    def step(self, state: State, target: Data) -> tuple[State, Info]:
        """One whole iteration; a pure function, for any transformation and any loop."""
        solver, blocks = ready(self, target, state.mixture)
        return _iterate(solver, state, blocks)


@functools.partial(jax.jit, inline=True)
def _iterate(solver: GradientEM, state: State, blocks: Blocks | Chunks) -> tuple[State, Info]:
    mixture, weight_rule, rule = state.mixture, solver.weights, solver.means
    moving = weight_rule.moves and solver.weight_steps > 0
    densities = component_densities(mixture, blocks, keep=moving)
    log_weights = weight_rule.solve(
        densities,
        mixture.log_weights,
        weight_steps=solver.weight_steps,
        weight_tolerance=solver.weight_tolerance,
    )
    was_zero = jnp.isneginf(mixture.log_weights)
    mixture = dataclasses.replace(mixture, log_weights=log_weights)
    if moving and weight_rule.revives:
        # Densities are relative to those of the components that had weight. Of one that had none
        # they may exceed the floats, and were capped, so that they are computed anew.
        statistics = jax.lax.cond(
            jnp.any(was_zero & ~jnp.isneginf(log_weights)),
            lambda: expect(mixture, blocks),
            lambda: e_step(densities, log_weights),
        )
    else:
        statistics = e_step(densities, log_weights)
    means, mean_state = rule.step(state.mean_state, mixture.means, statistics)
    moved = moved_to(mixture, means, statistics)
    if solver.monotone:
        # Only compared: nothing of it reaches a value.
        good = expect(jax.lax.stop_gradient(moved), blocks).loss <= statistics.loss  # NaN is not
        moved, mean_state = jax.tree.map(
            lambda new, old: jnp.where(good, new, old),
            (moved, mean_state),
            (
                moved_to(mixture, mixture.means + em_step(statistics), statistics),
                rule.refused(mean_state),
            ),
        )
    return State(moved, mean_state), observed(statistics, mixture, solver.active_weight)


# As a pytree: numbers and rules that are objects are leaves or hold them, all else is static.
_NAMES = [field.name for field in dataclasses.fields(GradientEM)]
_STATIC = [f.name for f in dataclasses.fields(GradientEM) if f.metadata.get("static")]


def _flatten(solver: GradientEM) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
    children, static = [], []
    for name in _NAMES:
        value = getattr(solver, name)
        is_static = name in _STATIC or isinstance(value, str) or is_transformation(value)
        children.append((jax.tree_util.GetAttrKey(name), None if is_static else value))
        static.append(value if is_static else None)
    return children, tuple(static)


def _unflatten(static: tuple[Any, ...], children: Any) -> GradientEM:
    values = (c if s is None else s for s, c in zip(static, children, strict=True))
    return GradientEM(**dict(zip(_NAMES, values, strict=True)))


jax.tree_util.register_pytree_with_keys(GradientEM, _flatten, _unflatten)
