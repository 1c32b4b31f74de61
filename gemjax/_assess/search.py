"""The search for the best candidates: ascents from many starts at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gemjax._assess.candidates import Candidates, Context
from gemjax._assess.gains import Ascent
from gemjax._numerics.pytree import vary_alike

_GROWTH = 1.5  # of the stretch after a step that went up
_RELATIVE = 1e-5  # gain of an EM step over the best value, below which an ascent is at its end


class _Climb(NamedTuple):
    """Where ascents stand: steps so far (), candidates, the function there, stretch of the next
    steps (k,), and which have come to rest (k,)."""

    number: jax.Array
    at: Candidates
    ascent: Ascent
    stretch: jax.Array
    resting: jax.Array


def ascend(
    function: Callable[[Context, Candidates], Ascent],
    context: Context,
    starts: Candidates,
    num_steps: int,
) -> tuple[Candidates, jax.Array]:
    """Candidates (k,) where ascents from `starts` (k,) end, and the values there.

    EM steps, stretched as long as the value keeps rising: EM alone is arbitrarily slow where the
    function is flat. A step that does not rise is undone, and the next is EM's own, which does.
    """
    tolerance = value_tolerance(starts.weights.dtype)

    def step(climb: _Climb) -> _Climb:
        proposed = _stretched(climb.at, climb.ascent, climb.stretch)
        new = function(context, proposed)
        rises = new.value > climb.ascent.value
        at, ascent = jax.tree.map(
            lambda a, b: jnp.where(rises.reshape(-1, *(1,) * (a.ndim - 1)), a, b),
            (proposed, new),
            (climb.at, climb.ascent),
        )
        value, slope = ascent.value, ascent.slope
        # What gains this little would not come to the best in all of the steps.
        behind = value + num_steps * slope < jnp.max(value)
        # And where EM's own step does not rise, that is rounding.
        least = jnp.maximum(tolerance, _RELATIVE * jnp.max(value))
        still = (slope <= least) | behind | (~rises & (climb.stretch == 1))
        resting = climb.resting | still
        stretch = jnp.where(rises & (climb.number > 0), _GROWTH * climb.stretch, 1)
        return _Climb(climb.number + 1, at, ascent, stretch, resting)

    # Step 0 goes nowhere: it is where the function is first computed, and compiled once.
    one = jnp.ones_like(starts.weights)
    nowhere = Ascent(-jnp.inf * one, starts, one, jnp.inf * one)
    start = _Climb(jnp.int32(0), starts, nowhere, one, one < 0)

    end = jax.lax.while_loop(
        lambda climb: (climb.number <= num_steps) & ~jnp.all(climb.resting),
        step,
        vary_alike(start, (context.mixture, starts)),
    )
    return end.at, end.ascent.value


def best_of(pool: Candidates, scores: jax.Array, k: int) -> Candidates:
    """k of a pool: half are those with the highest scores, half are spread over the rest.

    What scores −∞ could not go anywhere, and is taken only where there are fewer others than k.
    """
    _, order = jax.lax.top_k(scores, len(scores))
    half = k - k // 2
    others = jnp.maximum(k, jnp.sum(scores > -jnp.inf)) - half
    rest = half + jnp.arange(k // 2) * others // max(1, k // 2)
    chosen = jnp.concatenate([order[:half], order[rest]])
    return jax.tree.map(lambda leaf: leaf[chosen], pool)


def _stretched(at: Candidates, ascent: Ascent, stretch: jax.Array) -> Candidates:
    """The EM step, `stretch` times as long; where that is not 1, weights take Newton's length.

    Covariances take EM's step as it is: a longer one need not be a covariance.
    """
    longer = jnp.where(stretch == 1, 1, ascent.stretch)
    weights = at.weights + longer * (ascent.step.weights - at.weights)
    # Inside (0, 1), and no more than ten times closer to an end at once.
    weights = jnp.clip(weights, 0.1 * at.weights, 1 - 0.1 * (1 - at.weights))
    eps = float(jnp.finfo(weights.dtype).eps)
    centres = at.centres + stretch[:, None] * (ascent.step.centres - at.centres)
    return Candidates(centres, jnp.clip(weights, eps, 1 - eps), ascent.step.spread)


def value_tolerance(dtype: Any) -> float:
    """Nats per point below which a value is as good as another."""
    return 0.01 * float(jnp.finfo(dtype).eps) ** 0.5


def agreed(values: jax.Array) -> jax.Array:
    """() int32, how many values are the largest, up to 1 % of it and the tolerance."""
    best = jnp.max(values)
    slack = jnp.maximum(0.01 * best, value_tolerance(values.dtype))
    return jnp.sum(values >= best - slack, dtype=jnp.int32)
