"""Certificates: how much better than a fit any mixture could be, and one more component is.

For every mixture q of unit Gaussians, of any size, E log(q/p) <= log E[q/p] <= log sup_θ D(θ) with
D(θ) = E[φ_θ/p] (Lindsay 1983): D is linear in q, so the best q is a single point. D >= 1 somewhere,
and D <= 1 everywhere exactly at the nonparametric maximum likelihood estimate.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._assess.candidates import (
    Ascent,
    Ground,
    Places,
    effective_numbers,
    farthest,
    ground,
    log_birth,
    log_directional,
)
from gemjax._base import checks as _checks
from gemjax._base.numerics import vary_alike
from gemjax._base.records import Mixture, Target
from gemjax._model import starts as initialize
from gemjax._model.statistics import duality_gap, expect
from gemjax._points.blocks import AUTOMATIC, Blocking, Blocks, Chunks, as_blocks
from gemjax._points.file_target import FileTarget

_FIRST_WEIGHT = 0.01  # of a new component: small, so that every cluster that is missed shows
_GROWTH = 1.5  # of the stretch after a step that went up
# A supremum made up of fewer points than these is that of single far points. Measured at the truth:
# in one dimension the gap is below 0.2 nats above this and up to 2 below; from three on always 1.
_LEAST_POINTS = 10.0
_POPULATION_PRICE = 1e-6  # nats per point: what a search in float32 can tell from nothing


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Certificate:
    """How good a mixture is, by what it still could gain; see `certificate`.

    All gaps, gains and prices are in nats per point, the mixture's dtype, and not negative.

    Attributes:
      loss: () −E[log p(x)].
      duality_gap: () max_i r_i − 1 over all n components, those of no weight too: the most that
        other weights at the same means could gain.
      npmle_gap: () log sup_θ D(θ): the most that any mixture of unit Gaussians could gain, of any
        size. In the population limit of a mixture p*, it bounds KL(p*‖p).
      npmle_at: (d,) where D is largest.
      npmle_points: () effective number of points that make up the supremum, 1/Σ a_j² with
        a_j ∝ w_j φ_θ(x_j)/p(x_j), Σ a_j = 1.
      npmle_usable: () bool, npmle_points >= 10 or npmle_gap <= birth_price. The gap is a bound in
        any case, but otherwise it says more about a handful of far points than about the fit.
      num_agreed: () int32, starts whose ascent ended at the supremum, up to 1 % of the gap.
      birth_gain: () max over θ and α in [0, 1) of E log(1 + α(φ_θ(x)/p(x) − 1)): the gain from one
        more component, at the best place and with the best weight, the others only making room.
      birth_at: (d,) that place.
      birth_weight: () that weight α, 0 where nothing is gained.
      birth_price: () what a component must gain to be worth its d + 1 parameters.
      birth_optimal: () bool, birth_gain <= birth_price, or rounding: 1.5e-10 in float64, 3.5e-6
        in float32.
      birth_agreed: () int32, starts whose ascent ended at the best gain, up to 1 % of it.
      num_starts: () int32, ascents of each kind.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-3.0], [-2.0], [2.0], [3.0]])
    >>> found = gj.certificate(gj.make_mixture([[-2.5]]), target, jax.random.key(0))
    >>> bool(found.birth_optimal), found.birth_at.round(1).tolist()
    (False, [2.5])
    """

    loss: jax.Array
    duality_gap: jax.Array
    npmle_gap: jax.Array
    npmle_at: jax.Array
    npmle_points: jax.Array
    npmle_usable: jax.Array
    num_agreed: jax.Array
    birth_gain: jax.Array
    birth_at: jax.Array
    birth_weight: jax.Array
    birth_price: jax.Array
    birth_optimal: jax.Array
    birth_agreed: jax.Array
    num_starts: jax.Array


def certificate(
    mixture: Mixture,
    target: Target | FileTarget,
    key: jax.Array,
    *,
    num_starts: int = 128,
    num_steps: int = 100,
    price: Any = None,
    blocking: Blocking = AUTOMATIC,
) -> Certificate:
    """Searches for the best place for one more component, and bounds what any mixture could gain.

    For any mixture and any target, however it was fitted. `npmle_gap` and `birth_gain` are found by
    ascents from many starts: the best half by value of a pool, and others spread over the rest. The
    pool is 2 num_starts points drawn from the target, midpoints of them, the num_starts points
    farthest from the mixture (of largest w/p: these alone can make D large), and its means. No
    search can be sure of a supremum; `num_agreed` says how many starts found it. Every value found
    is attained, so `birth_gain` is a real gain, `birth_optimal` False is proof, and True is not.

    Time O(N (n + num_starts d) num_steps) at most; a pass over the points takes all starts one
    step, and a `FileTarget` is read that often for each of the two searches. Memory beyond the
    points is one number per point, or none where they are walked over in chunks. A mixture of NaN under
    `jit` has gaps of NaN, and is neither usable nor optimal.

    Its values are differentiable in the mixture and the target. The derivative of a supremum is
    that of the function where it is attained (Danskin's theorem); places and weights carry none.

    Args:
      mixture: p, n components in d dimensions.
      target: N weighted points, a `Target` or a `FileTarget`, same space and dtype.
      key: a JAX random key, for the starts.
      num_starts: static, ascents of each kind, at least 1; fewer where the pool is smaller.
      num_steps: static, the most steps of an ascent, at least 1; it stops where nothing is gained.
      price: () what a component must gain, nats per point, non-negative, traced. By default BIC's
        (d + 1)/2 log N / N (Schwarz 1978), with Kish's effective number 1/Σw² for N where weights
        differ; for a `population` target, which stands for infinitely many points, its
        `quadrature_error`, or 1e-6 if that is less.
      blocking: static, how the points are walked over; a speed and memory setting only.

    Raises:
      ValueError, TypeError: bad settings, shapes or dtypes, or values that are not finite.

    >>> import gemjax as gj
    >>> truth = gj.make_mixture([[-3.0], [3.0]])
    >>> target = gj.empirical(gj.sample(jax.random.key(0), truth, 1000))
    >>> bool(gj.certificate(truth, target, jax.random.key(1)).birth_optimal)
    True
    >>> stuck = gj.make_mixture([[2.5], [3.5]])
    >>> found = gj.certificate(stuck, target, jax.random.key(1))
    >>> bool(found.npmle_gap > gj.loss(stuck, target) - gj.loss(truth, target))
    True
    """
    num_starts = _checks.count("num_starts", num_starts)
    num_steps = _checks.count("num_steps", num_steps)
    mixture = _checks.mixture("mixture", mixture)
    target = _checks.data("target", target)
    (n, d), dtype = mixture.means.shape, mixture.means.dtype
    _checks.same_space("mixture", d, dtype, "target", target)
    blocking = _checks.blocking("blocking", blocking)
    price = checked_price("price", price, target, dtype)
    candidates = starting_places(key, target, num_starts)
    blocks = as_blocks(target, max(n, num_starts), blocking)
    return _search(mixture, blocks, candidates, price, num_starts=num_starts, num_steps=num_steps)


def checked_price(
    name: str, price: Any, target: Target | FileTarget, dtype: Any
) -> jax.Array | None:
    """() what a component must gain; None stands for BIC's, which a sample's points tell."""
    if price is not None:
        return _checks.scalar(name, price, dtype, positive=False)
    if isinstance(target, FileTarget) or target.quadrature_error is None:
        return None
    return jnp.maximum(jnp.asarray(target.quadrature_error, dtype), _POPULATION_PRICE)


def starting_places(key: jax.Array, target: Target | FileTarget, num_starts: int) -> jax.Array:
    """(k, d) of the target's points, the part of a search's pool that needs a key."""
    return initialize.from_target(key, target, min(target.shape[0], 2 * num_starts)).means


def search(
    mixture: Mixture,
    blocks: Blocks | Chunks,
    candidates: jax.Array,
    price: jax.Array | None,
    *,
    num_starts: int,
    num_steps: int,
) -> Certificate:
    """`certificate` on prepared points, for use inside a computation.

    `candidates` (k, d) are points of the target in random order, the same on all devices; with
    midpoints of neighbours among them, the farthest points and the means they make up the pool.
    `price` () None is BIC's, so for a population target it must be given.
    """
    axis = blocks.axis
    inputs = (mixture, candidates, price)
    mixture, candidates, price = vary_alike(inputs, blocks, but=axis)
    blocks = vary_alike(blocks, inputs, but=axis)

    live, statistics = ground(mixture, blocks), expect(mixture, blocks)
    # The search chooses places, which are held fixed; what is found there is computed once more.
    on, candidates = jax.lax.stop_gradient((live, candidates))
    candidates = candidates - blocks.centre[None]
    midpoints = 0.5 * (candidates + jnp.roll(candidates, 1, axis=0))
    centres = [candidates, midpoints, farthest(on, num_starts), on.mixture.means]
    places = jnp.concatenate(centres)
    pool = Places(places, jnp.full_like(places[:, 0], _FIRST_WEIGHT))
    size = min(num_starts, len(places))
    peaks, heights = _ascend(log_directional, on, pool, size, num_steps)
    births, gains = _ascend(log_birth, on, pool, size, num_steps)

    peak = jax.tree.map(lambda leaf: leaf[jnp.argmax(heights)][None], peaks)
    birth = jax.tree.map(lambda leaf: leaf[jnp.argmax(gains)][None], births)
    height, gain = log_directional(live, peak).value[0], log_birth(live, birth).value[0]
    points, N = effective_numbers(live, peak.centres[0], height)
    if price is None:
        price = 0.5 * (blocks.centre.shape[0] + 1) * jnp.log(N) / N
    gap, gain = jnp.where(height < 0, 0, height), jnp.where(gain < 0, 0, gain)
    other_weights = duality_gap(statistics.ratios)
    slack = jnp.maximum(price, _tolerance(gap.dtype))
    return Certificate(
        loss=statistics.loss,
        duality_gap=jnp.where(other_weights < 0, 0, other_weights),
        npmle_gap=gap,
        npmle_at=peak.centres[0] + blocks.centre,
        npmle_points=points,
        npmle_usable=(points >= _LEAST_POINTS) | (gap <= slack),
        num_agreed=_agreed(heights),
        birth_gain=gain,
        birth_at=birth.centres[0] + blocks.centre,
        birth_weight=jnp.where(gain == 0, 0, birth.weights[0]),
        birth_price=price,
        birth_optimal=gain <= slack,
        birth_agreed=_agreed(gains),
        num_starts=jnp.int32(size),
    )


_search = functools.partial(jax.jit, static_argnames=("num_starts", "num_steps"))(search)


def _ascend(
    function: Callable[[Ground, Places], Ascent],
    on: Ground,
    pool: Places,
    num_starts: int,
    num_steps: int,
) -> tuple[Places, jax.Array]:
    """Places (num_starts,) where ascents from the pool end, and the values there.

    EM steps, stretched as long as the value keeps rising: EM alone is arbitrarily slow where the
    function is flat. A step that does not rise is undone, and the next is EM's own, which does.
    """
    dtype = pool.weights.dtype
    tolerance = _tolerance(dtype)

    def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        number, at, found, stretch, resting = carry
        proposed = _stretched(at, found, stretch)
        new = function(on, proposed)
        rises = new.value > found.value
        at, found = jax.tree.map(
            lambda a, b: jnp.where(rises.reshape(-1, *(1,) * (a.ndim - 1)), a, b),
            (proposed, new),
            (at, found),
        )
        # EM's own step does not rise: that is rounding.
        resting = resting | (found.slope <= tolerance) | (~rises & (stretch == 1))
        return number + 1, at, found, jnp.where(rises, _GROWTH * stretch, 1), resting

    scores = function(on, pool)
    _, order = jax.lax.top_k(scores.value, len(scores.value))
    # Half of the starts are the best of the pool, half are spread over the rest.
    half = num_starts - num_starts // 2
    rest = half + jnp.arange(num_starts // 2) * (len(order) - half) // max(1, num_starts // 2)
    chosen = jnp.concatenate([order[:half], order[rest]])
    at, found = jax.tree.map(lambda leaf: leaf[chosen], (pool, scores))
    resting = found.slope <= tolerance
    start = (jnp.int32(0), at, found, jnp.ones_like(found.value), resting)
    start = vary_alike(start, found)
    more = lambda carry: (carry[0] < num_steps) & ~jnp.all(carry[4])  # noqa: E731
    _, at, found, _, _ = jax.lax.while_loop(more, body, start)
    return at, found.value


def _stretched(at: Places, found: Ascent, stretch: jax.Array) -> Places:
    """The EM step, `stretch` times as long; where that is not 1, weights take Newton's length."""
    longer = jnp.where(stretch == 1, 1, found.stretch)
    weights = at.weights + longer * (found.step.weights - at.weights)
    # Inside (0, 1), and no more than ten times closer to an end at once.
    weights = jnp.clip(weights, 0.1 * at.weights, 1 - 0.1 * (1 - at.weights))
    eps = float(jnp.finfo(weights.dtype).eps)
    centres = at.centres + stretch[:, None] * (found.step.centres - at.centres)
    return Places(centres, jnp.clip(weights, eps, 1 - eps))


def _tolerance(dtype: Any) -> float:
    """Nats per point below which a value is as good as another."""
    return 0.01 * float(jnp.finfo(dtype).eps) ** 0.5


def _agreed(values: jax.Array) -> jax.Array:
    """() int32, how many values are the largest, up to 1 % of it and the tolerance."""
    best = jnp.max(values)
    slack = jnp.maximum(0.01 * best, _tolerance(values.dtype))
    return jnp.sum(values >= best - slack, dtype=jnp.int32)
