"""Gradient EM and classical EM as pure steps: `init(mixture)` and `step(state, target)`."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gemjax._base import checks as _checks
from gemjax._base.numerics import safe_exp, safe_log, safe_norm
from gemjax._base.records import Info, Mixture, State, Target
from gemjax._em import mean_rules as means
from gemjax._em.mean_rules import MeanRule
from gemjax._model.densities import densities
from gemjax._model.statistics import Statistics, duality_gap, expect, statistics
from gemjax._points.blocks import AUTOMATIC, Blocking, Blocks, Chunks, as_blocks
from gemjax._points.file_target import FileTarget
from gemjax._weights import rules as weights

_STATIC = {"static": True}

Data: TypeAlias = Target | FileTarget | Blocks | Chunks


class Solver(Protocol):
    """What `fit` needs: a pytree with `init` and `step`.

    If it also has `prepare(target, mixture)`, `fit` calls that once, before it traces anything, to
    check settings and to put the target in the form that `step` likes best; of the mixture it may
    use shapes and dtypes only. To spread points over devices, `sweep` calls it under
    `jax.shard_map` as `prepare(target, mixture, axis)`: the target is then one device's share, and
    expectations are sums over that mesh axis.

    >>> import gemjax as gj
    >>> solver: gj.Solver = gj.classical_em()
    """

    def init(self, mixture: Mixture) -> Any: ...

    def step(self, state: Any, target: Any) -> tuple[Any, Info]: ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class GradientEM:
    """Gradient EM: near-optimal weights, then a gradient step on the means.

    Algorithm 1 of Zhou, Xu, Fazel and Du (arXiv 2506.06584): at fixed means, up to `weight_steps`
    steps on the weights, warm-started; then one E-step; then one step on the means. Beyond
    rounding, the loss does not increase from one iteration to the next with any weight rule and
    - "gradient" or "em" means at step_size <= 1, or
    - any mean rule at any step size with `monotone`.

    Mean rules, with the masses s_i = E[ψ_i]:
    - "gradient", the paper's: μ − η ∂L/∂μ.
    - "em": μ_i − η ∂L/∂μ_i / s_i, which at step_size 1 is classical EM's mean step, to the
      barycentre E[ψ_i x]/s_i. A component without mass stays, here and below.
    - "overrelaxed": EM's mean step times a factor that starts at 1, grows by 1.1 per iteration and
      goes back to 1 when the loss rose (Salakhutdinov and Roweis 2003, "Adaptive overrelaxed
      bound optimization methods"; with `monotone`, as there, such a step is not taken at all).
    - "polyak": EM's mean step while it shrinks |∇L|² = Σ_i |∂L/∂μ_i|²/s_i below 0.8 of itself, and
      then once EM's step times (L − L*)/|∇L|², but at least EM's, and so that no mean moves farther
      than 1, the noise's standard deviation. Short steps lead into the ravine of the loss where
      components share a true mean, the long one goes along it (Davis, Drusvyatskiy and Jiang,
      arXiv 2409.19791; for mixtures Wang, Fazel and Charisopoulos, arXiv 2605.30936: a locally
      linear rate). EM's metric, when a step is long, and the bound are ours.
    - any optax `GradientTransformation`, fed with ∂L/∂μ and the extra arguments `mass` (n,) and
      `value`, the loss (). Keep one transformation object: a new one compiles anew.

    Args:
      step_size: () η, traced. 1 is the largest for which the loss never increases. Used by
        "gradient" and "em" only; the other rules bring step sizes of their own.
      weight_step_size: () step of the weight rule, traced. "mirror" and "euclidean" never use more
        than 1/max_i r_i, so any positive value is safe; "euclidean" shortens the whole step where
        the loss would rise, or a point would be left without density.
      weight_tolerance: () duality gap (nats per point) at which the weight steps stop, traced.
      weight_steps: K, static, at least 0.
      weight_rule: static. "mirror" (entropic mirror descent), "euclidean" (projected gradient),
        "multiplicative" (EM's own update π_i r_i), "newton" (solved to optimality, as by
        `solve_weights`: a step costs O(N n²) and one to three are usual once warm; inactive
        components get exactly 0) or "fixed" (the weights stay).
      mean_rule: static, one of the above.
      monotone: static. Computes the loss after the mean step, at the price of one E-step per
        iteration; where it is not as low as before (or NaN), EM's mean step, which never raises
        it, is taken instead. An optax state does not hear of that. The long steps of "polyak"
        often raise the loss where clusters overlap; it may then be no faster than EM.
      optimal_loss: () L*, the least loss of any mixture (nats per point), traced; needed by
        "polyak" alone. For a `population` target it is the truth's loss. Once the loss is below
        it, "polyak" is "em" at step_size 1; if it is too low, the long steps go too far.
      active_weight: () weight from which a component counts as active in `Info`, traced.
      blocking: static, how the E-step walks over the points; a speed and memory setting only.

    Raises (from `step` and `fit`):
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

    step_size: ArrayLike = 0.5
    weight_step_size: ArrayLike = 1.0
    weight_tolerance: ArrayLike = 1e-6
    active_weight: ArrayLike = dataclasses.field(default=1e-3, kw_only=True)
    optimal_loss: ArrayLike | None = dataclasses.field(default=None, kw_only=True)
    weight_steps: int = dataclasses.field(default=10, kw_only=True, metadata=_STATIC)
    weight_rule: str = dataclasses.field(default="mirror", kw_only=True, metadata=_STATIC)
    mean_rule: MeanRule = dataclasses.field(default="gradient", kw_only=True, metadata=_STATIC)
    monotone: bool = dataclasses.field(default=False, kw_only=True, metadata=_STATIC)
    blocking: Blocking = dataclasses.field(default=AUTOMATIC, kw_only=True, metadata=_STATIC)

    def prepare(
        self, target: Data, mixture: Mixture, axis: str | None = None
    ) -> tuple[GradientEM, Blocks | Chunks]:
        """The same solver with checked settings as arrays, and the target laid out in blocks."""
        dtype = mixture.means.dtype
        _checks.count("weight_steps", self.weight_steps, least=0)
        _checks.one_of("weight_rule", self.weight_rule, weights.RULES)
        if not isinstance(self.mean_rule, optax.GradientTransformation):
            _checks.one_of("mean_rule", self.mean_rule, means.RULES)
        _checks.flag("monotone", self.monotone)
        optimal_loss = self.optimal_loss
        if optimal_loss is not None:
            # No density exceeds (2π)^{−d/2}, so no loss is below (d/2) log 2π.
            optimal_loss = _checks.scalar("optimal_loss", optimal_loss, dtype, positive=True)
        elif self.mean_rule == "polyak":
            raise ValueError(
                'optimal_loss must be given for mean_rule "polyak", got None; for a population '
                "target it is the loss of the truth"
            )
        solver = dataclasses.replace(
            self,
            step_size=_checks.scalar("step_size", self.step_size, dtype, positive=True),
            weight_step_size=_checks.scalar(
                "weight_step_size", self.weight_step_size, dtype, positive=True
            ),
            weight_tolerance=_checks.scalar(
                "weight_tolerance", self.weight_tolerance, dtype, positive=False
            ),
            active_weight=_checks.scalar(
                "active_weight", self.active_weight, dtype, positive=False
            ),
            optimal_loss=optimal_loss,
        )
        return solver, _prepare(target, mixture, self.blocking, axis)

    def init(self, mixture: Mixture) -> State:
        """The state before the first iteration."""
        mixture = _checks.mixture("mixture", mixture)
        return State(mixture, means.init(self.mean_rule, mixture.means))

    def step(self, state: State, target: Data) -> tuple[State, Info]:
        """One whole iteration; a pure function, for any transformation and any loop."""
        solver, blocks = self.prepare(target, state.mixture)
        mu, log_weights = state.mixture.means, state.mixture.log_weights
        moving = solver.weight_rule != "fixed" and solver.weight_steps > 0
        stored = densities(mu, log_weights, blocks, keep=moving)
        log_weights = weights.solve(
            solver.weight_rule,
            stored,
            log_weights,
            weight_steps=solver.weight_steps,
            weight_step_size=solver.weight_step_size,
            weight_tolerance=solver.weight_tolerance,
        )
        found = statistics(stored, log_weights)
        moved, mean_state = means.step(
            solver.mean_rule,
            state.mean_state,
            mu,
            found,
            step_size=solver.step_size,
            optimal_loss=solver.optimal_loss,
        )
        if solver.monotone:
            # Only compared: nothing of it reaches a value.
            candidate = jax.lax.stop_gradient(Mixture(moved, log_weights))
            good = expect(candidate, blocks).loss <= found.loss  # NaN is not
            moved, mean_state = jax.tree.map(
                lambda new, old: jnp.where(good, new, old),
                (moved, mean_state),
                (mu + means.em_step(found), means.refused(solver.mean_rule, mean_state)),
            )
        info = _info(found, log_weights, solver.active_weight)
        return State(Mixture(moved, log_weights), mean_state), info


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ClassicalEM:
    """Textbook EM with identity covariances; see `classical_em`.

    >>> import gemjax as gj
    >>> isinstance(gj.classical_em(), gj.ClassicalEM)
    True
    """

    active_weight: ArrayLike = 1e-3
    blocking: Blocking = dataclasses.field(default=AUTOMATIC, kw_only=True, metadata=_STATIC)

    def prepare(
        self, target: Data, mixture: Mixture, axis: str | None = None
    ) -> tuple[ClassicalEM, Blocks | Chunks]:
        """The same solver with checked settings, and the target laid out in blocks."""
        active = _checks.scalar(
            "active_weight", self.active_weight, mixture.means.dtype, positive=False
        )
        solver = ClassicalEM(active, blocking=self.blocking)
        return solver, _prepare(target, mixture, self.blocking, axis)

    def init(self, mixture: Mixture) -> State:
        """The state before the first iteration."""
        return State(_checks.mixture("mixture", mixture), optax.EmptyState())

    def step(self, state: State, target: Data) -> tuple[State, Info]:
        """One iteration; `Info` is that of the mixture before it."""
        solver, blocks = self.prepare(target, state.mixture)
        mixture = state.mixture
        found = expect(mixture, blocks)
        mu = mixture.means + means.em_step(found)
        log_weights = safe_log(found.mass / jnp.sum(found.mass))
        info = _info(found, mixture.log_weights, solver.active_weight)
        return State(Mixture(mu, log_weights), state.mean_state), info


def classical_em(*, active_weight: ArrayLike = 1e-3, blocking: Blocking = AUTOMATIC) -> ClassicalEM:
    """Textbook EM with identity covariances (Dempster, Laird and Rubin 1977), same protocol.

    One E-step; then weights π_i = E[ψ_i] and means μ_i = E[ψ_i x]/E[ψ_i] from the same
    responsibilities. A component without mass stays where it is, with weight 0.

    Args:
      active_weight: () weight from which a component counts as active in `Info`, traced.
      blocking: static, how the E-step walks over the points.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-2.0], [2.0]])
    >>> em = gj.classical_em()
    >>> state, _ = em.step(em.init(gj.make_mixture([[-9.0], [9.0]])), target)
    >>> state.mixture.means.round(4).tolist()
    [[-2.0], [2.0]]
    """
    return ClassicalEM(active_weight, blocking=blocking)


def loss(mixture: Mixture, target: Target | FileTarget) -> jax.Array:
    """−E[log p(x)] of a mixture under a target: the negative log-likelihood per point.

    Args:
      mixture: a `Mixture` with n components in d dimensions.
      target: a `Target` or `FileTarget` in the same space, same dtype.

    Returns:
      () nats per point. Differentiable in the mixture, the points and the weights.

    Raises:
      ValueError, TypeError: dimensions or dtypes that disagree, values that are not finite.

    >>> import gemjax as gj
    >>> round(float(gj.loss(gj.make_mixture([[0.0]]), gj.empirical([[0.0]]))), 6)
    0.918939
    """
    mixture = _checks.mixture("mixture", mixture)
    return expect(mixture, _prepare(target, mixture, AUTOMATIC)).loss


def _prepare(
    target: Data, mixture: Mixture, blocking: Blocking, axis: str | None = None
) -> Blocks | Chunks:
    if isinstance(target, Blocks | Chunks):
        return target
    target = _checks.data("target", target)
    n, d = mixture.means.shape
    _checks.same_space("mixture", d, mixture.means.dtype, "target", target)
    return as_blocks(target, n, _checks.blocking("blocking", blocking), axis)


def _info(found: Statistics, log_weights: jax.Array, active_weight: ArrayLike) -> Info:
    return Info(
        loss=found.loss,
        duality_gap=duality_gap(found.ratios),
        gradient_norm=safe_norm(found.gradient),
        num_active=jnp.sum(safe_exp(log_weights) >= active_weight, dtype=jnp.int32),
    )
