"""Weight rules: steps on the simplex at fixed means, until the duality gap says to stop.

L(π) = −E[log Σ_i π_i φ_i] is convex with ∂L/∂π_i = −r_i and Σ_i π_i r_i = 1, so that for every
weight vector ρ, L(π) − L(ρ) <= Σ_i (ρ_i − π_i) r_i <= max_i r_i − 1: the duality gap.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gemjax._base import checks
from gemjax._base.settings import setting
from gemjax._model.densities import Densities
from gemjax._model.statistics import duality_gap, ratios
from gemjax._numerics.finite import largest, log_shift, tiny
from gemjax._numerics.pytree import Node


class WeightRule(Node):
    """A weight rule: derive a frozen dataclass to add one, a pytree whose leaves are its settings.

    Most rules are a `step` and nothing else; `solve` takes as many as are asked for.

    >>> import gemjax as gj
    >>> issubclass(gj.rules.Mirror, gj.rules.WeightRule)
    True
    """

    moves = True  # False for a rule that leaves the weights as they are
    revives = True  # False for a rule that keeps every weight of zero

    def step(self, log_weights: jax.Array, r: jax.Array) -> jax.Array:
        """Normalised log-weights (n,) after a step from log-weights (n,) with r_i = E[φ_i/p]."""
        raise NotImplementedError

    def share(self, densities: Densities, log_weights: jax.Array, r: jax.Array) -> jax.Array:
        """() the share of the step that is taken: all of it, where the rule does not search."""
        return jnp.ones((), r.dtype)

    def part(self, log_weights: jax.Array, r: jax.Array, share: ArrayLike) -> jax.Array:
        """Normalised log-weights (n,) after a share () of the step."""
        return self.step(log_weights, r)

    def solve(
        self,
        densities: Densities,
        log_weights: jax.Array,
        *,
        weight_steps: int,
        weight_tolerance: ArrayLike,
    ) -> jax.Array:
        """Up to `weight_steps` steps from `log_weights` (n,), stopping below the tolerance."""
        if not self.moves or weight_steps == 0:
            return log_weights
        tolerance = jnp.asarray(weight_tolerance, log_weights.dtype)
        last, _ = _steps(weight_steps, self, densities, log_weights, tolerance)
        return last


@dataclasses.dataclass(frozen=True)
class Mirror(WeightRule):
    """Entropic mirror descent: π_i ∝ π_i exp(η r_i), with η the step size, or 1/max r if less.

    It lowers L by at least η Σ π_i r_i² − log Σ π_i exp(η r_i) (Jensen, applied to the
    responsibilities), which is never negative while η max_i r_i <= 1: it is 0 at η = 0, and its
    derivative is Σ π_i r_i² minus the mean of r under the tilted weights, where exp(η r)/r, a
    decreasing function of r on that range, favours small r. So no step size can make it diverge.

    >>> import gemjax as gj
    >>> gj.GradientEM(weight_rule=gj.rules.Mirror(0.5)).weight_rule
    Mirror(step_size=0.5)
    """

    step_size: ArrayLike = setting(1.0, above=0)

    revives = False

    def step(self, log_weights: jax.Array, r: jax.Array) -> jax.Array:
        return log_shift(log_weights, bounded(self.step_size, r) * r)


@dataclasses.dataclass(frozen=True)
class Multiplicative(WeightRule):
    """EM's own update, π_i r_i.

    >>> import gemjax as gj
    >>> gj.GradientEM(weight_rule="multiplicative").weight_rule
    'multiplicative'
    """

    revives = False

    def step(self, log_weights: jax.Array, r: jax.Array) -> jax.Array:
        return log_shift(log_weights, jnp.log(jnp.where(r < tiny(r.dtype), tiny(r.dtype), r)))


@dataclasses.dataclass(frozen=True)
class Fixed(WeightRule):
    """The weights stay.

    >>> import gemjax as gj
    >>> gj.rules.Fixed().moves
    False
    """

    moves = False


def bounded(step_size: ArrayLike, r: jax.Array) -> jax.Array:
    """() a step size, or 1/max r if that is less."""
    bound = 1 / largest(r)
    return jnp.where(step_size < bound, step_size, bound)


class Step(NamedTuple):
    """Where a weight step stands: log-weights and ratios (n,), and the share of it () to take."""

    log_weights: jax.Array
    ratios: jax.Array
    share: jax.Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _steps(
    weight_steps: int,
    rule: WeightRule,
    densities: Densities,
    log_weights: jax.Array,
    tolerance: jax.Array,
) -> tuple[jax.Array, Step]:
    """The log-weights (n,) after the last step, and all steps (K, …): share 0 where none was taken.

    A scan whose body does nothing once it has stopped: outside `vmap` that costs nothing.
    """
    nothing = jnp.zeros_like(tolerance)

    def update(log_weights: jax.Array) -> tuple[jax.Array, Step, jax.Array]:
        r = ratios(densities, log_weights)
        going = ~(duality_gap(r) < tolerance)
        share = jax.lax.stop_gradient(rule.share(densities, log_weights, r))  # a choice
        step = rule.part(log_weights, r, share)
        checks.same_form("the log-weights that step returns", step, log_weights)
        at = Step(log_weights, r, jnp.where(going, share, nothing))
        return jnp.where(going, step, log_weights), at, going

    def rest(log_weights: jax.Array) -> tuple[jax.Array, Step, jax.Array]:
        at = Step(log_weights, jnp.ones_like(log_weights), nothing)
        return log_weights, at, jnp.zeros_like(begins)

    def body(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple, Step]:
        log_weights, going = carry
        log_weights, at, going = jax.lax.cond(going, update, rest, log_weights)
        return (log_weights, going), at

    begins = ~jnp.any(jnp.isnan(log_weights))  # weights that are NaN have nowhere to go
    (last, _), steps = jax.lax.scan(body, (log_weights, begins), length=weight_steps)
    return last, steps


@_steps.defjvp
def _steps_jvp(weight_steps: int, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    """The chain rule, arranged so that the tangents of all densities are met only once.

    The change of r(densities, weights) is the sum of two partial changes. That with the densities
    is taken for all steps in one pass over the points, at the weights that are known by now; that
    with the weights, step after step, needs the densities but not their tangents.
    """
    rule, densities, _, _ = primals
    drule, ddensities, dlog_weights, _ = tangents
    last, steps = _steps(weight_steps, *primals)

    def all_ratios(densities: Densities) -> jax.Array:
        return jax.vmap(lambda log_weights: ratios(densities, log_weights))(steps.log_weights)

    _, direct = jax.jvp(all_ratios, (densities,), (ddensities,))
    kept = dataclasses.replace(densities, fresh=None)

    def follow(dlog_weights: jax.Array, x: tuple[Step, jax.Array]) -> tuple[jax.Array, Step]:
        at, dr = x
        _, more = jax.jvp(lambda y: ratios(kept, y), (at.log_weights,), (dlog_weights,))
        dr = dr + more
        _, new = jax.jvp(
            lambda rule, log_weights, r: rule.part(log_weights, r, at.share),
            (rule, at.log_weights, at.ratios),
            (drule, dlog_weights, dr),
        )
        dat = Step(dlog_weights, dr, jnp.zeros_like(at.share))
        return jnp.where(at.share > 0, new, dlog_weights), dat

    dlast, dsteps = jax.lax.scan(follow, dlog_weights, (steps, direct))
    return (last, steps), (dlast, dsteps)
