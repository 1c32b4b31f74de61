"""The search for the best candidates: ascents from many starts, a few at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gemjax._assess.candidates import Candidates, Context
from gemjax._assess.gains import Ascent
from gemjax._numerics.pytree import vary_alike
from gemjax._points.blocks import Blocks

_GROWTH = 1.5  # of the stretch after a step that went up
_FEWEST, _MOST = 4, 16  # ascents at once
_PER_ASCENT = 8  # features of a point that cost as much to read as an ascent to compute
_AT_LEAST, _LENIENT = 8, 2  # steps, and times their number, of what seems to stay too low
_RELATIVE = 1e-5  # gain of an EM step over the best value, below which an ascent is at its end


class _Climb(NamedTuple):
    """Where some ascents stand, a few of k at a time: the number of each (w,), k or more where none
    is left; its steps so far (w,), where it is, the function there, the stretch of its next step
    (w,); how many (k) have begun (); and where those (k) are at rest, and the values there."""

    number: jax.Array
    steps: jax.Array
    at: Candidates
    ascent: Ascent
    stretch: jax.Array
    begun: jax.Array
    ends: Candidates
    values: jax.Array


def ascend(
    function: Callable[[Context, Candidates], Ascent],
    context: Context,
    starts: Candidates,
    num_steps: int,
    wanted: jax.Array,
) -> tuple[Candidates, jax.Array]:
    """Candidates (k,) where ascents from `starts` (k,) end, and the values there.

    EM steps, stretched as long as the value keeps rising: EM alone is arbitrarily slow where the
    function is flat. A step that does not rise is undone, and the next is EM's own, which does.

    Few take many steps, so that they go a few at a time, and each that has come to rest makes room
    for the next; all at once where each step reads the points from elsewhere. Then the best few go
    on until they gain no more than rounding: derivatives need places to more digits than values.
    What would stay below the value `wanted` () ends early.
    """
    k, width = len(starts.weights), _width(context, len(starts.weights))

    def climb(known: tuple[Candidates, jax.Array], round_: Any) -> tuple:
        _, order = jax.lax.top_k(known[1], k)
        known = jax.tree.map(lambda leaf: leaf[order], known)
        begun, relative = round_
        return _climb(function, context, known, width, begun, relative, num_steps, wanted), None

    low = vary_alike(jnp.full_like(starts.weights, -jnp.inf), (context.mixture, starts))
    rounds = jnp.int32([width, k]), jnp.array([_RELATIVE, 0], low.dtype)
    return jax.lax.scan(climb, (starts, low), rounds)[0]


def _width(context: Context, k: int) -> int:
    """How many of k ascents go at once."""
    if not isinstance(context.blocks, Blocks):
        return k
    num_features = context.blocks.features.shape[1]
    return min(k, max(_FEWEST, min(_MOST, num_features // _PER_ASCENT)))


def _climb(
    function: Callable[[Context, Candidates], Ascent],
    context: Context,
    known: tuple[Candidates, jax.Array],
    width: int,
    begun: jax.Array,
    relative: jax.Array,
    num_steps: int,
    wanted: jax.Array,
) -> tuple[Candidates, jax.Array]:
    """Ascents of the first `width` of k, then of those from `begun` () on, to a gain per step that
    is relative () to the best; what is known (k,) of the others stays."""
    starts, values = known
    k, tolerance = len(values), value_tolerance(values.dtype)

    def begin(number: jax.Array) -> tuple[Candidates, Ascent]:
        """Where the function is not yet known. Step 0 goes nowhere, so that it is compiled once."""
        at = jax.tree.map(lambda leaf: leaf[jnp.minimum(number, k - 1)], starts)
        one = jnp.ones_like(at.weights)
        return at, Ascent(-jnp.inf * one, at, one, jnp.inf * one)

    def step(climb: _Climb) -> _Climb:
        proposed = _stretched(climb.at, climb.ascent, climb.stretch)
        new = function(context, proposed)
        rises = new.value > climb.ascent.value
        at, ascent = _where(rises, (proposed, new), (climb.at, climb.ascent))
        value, slope = ascent.value, ascent.slope
        best = jnp.maximum(jnp.max(value), jnp.max(climb.values))
        # What gains this little would not come to the best in all of the steps.
        behind = value + num_steps * slope < best
        low = (climb.steps >= _AT_LEAST) & (value + _LENIENT * num_steps * slope < wanted)
        # And where EM's own step does not rise, that is rounding.
        least = jnp.maximum(tolerance, relative * best)
        still = (slope <= least) | behind | low | (~rises & (climb.stretch == 1))
        resting = still | (climb.steps >= num_steps)
        ends, values = jax.tree.map(
            lambda leaf, new: leaf.at[climb.number].set(new, mode="drop"),
            (climb.ends, climb.values),
            (at, jnp.where(resting, value, -jnp.inf)),
        )
        places = jnp.cumsum(resting, dtype=jnp.int32)
        number = jnp.where(resting, climb.begun + places - 1, climb.number)
        at, ascent = _where(resting, begin(number), (at, ascent))
        stretch = jnp.where(rises & (climb.steps > 0) & ~resting, _GROWTH * climb.stretch, 1)
        steps = jnp.where(resting, 0, climb.steps + 1)
        return _Climb(number, steps, at, ascent, stretch, climb.begun + places[-1], ends, values)

    numbers = jnp.arange(width, dtype=jnp.int32)
    at, ascent = begin(numbers)
    one = jnp.ones_like(at.weights)
    first = _Climb(numbers, 0 * numbers, at, ascent, one, begun, starts, values)
    first = vary_alike(first, (context.mixture, starts))
    end = jax.lax.while_loop(lambda climb: jnp.any(climb.number < k), step, first)
    return end.ends, end.values


def _where(which: jax.Array, yes: Any, no: Any) -> Any:
    """Leaf by leaf, row by row, that of one or the other."""
    rows = lambda a, b: jnp.where(which.reshape(-1, *(1,) * (a.ndim - 1)), a, b)  # noqa: E731
    return jax.tree.map(rows, yes, no)


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
