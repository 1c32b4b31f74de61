"""Certificates: how much better than a fit any mixture could be, and one more component is.

For every mixture q of Gaussians of one covariance, of any size, E log(q/p) <= log E[q/p], which
is at most log sup_θ D(θ) with D(θ) = E[φ_θ/p] (Lindsay 1983): D is linear in q, so the best q is a
single point. D >= 1 somewhere, and D <= 1 everywhere exactly at the nonparametric maximum
likelihood estimate.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._assess.candidates import Candidates, Context, farthest_points, prepare
from gemjax._assess.gains import all_values, insertion_gain, log_gradient_function, values
from gemjax._assess.search import agreed, ascend, best_of, value_tolerance
from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._families.covariance import Covariance
from gemjax._model.layout import lay_out_for
from gemjax._model.starts import from_target
from gemjax._model.statistics import duality_gap, expect
from gemjax._numerics.pytree import record, vary_alike
from gemjax._points.blocks import AUTOMATIC, Blocking, Blocks, Chunks
from gemjax._points.file_target import FileTarget
from gemjax._points.target import Target, checked_target

_WIDTHS = (1.0, 0.1, 0.01)  # of candidates to begin with, times the mean covariance
_LEAST_SPREAD = 16.0  # times eps and the square of the points' radius
_FIRST_WEIGHT = 0.01  # of a new component: small, so that every cluster that is missed shows
# A supremum made up of fewer points than these is that of single far points. Measured at the truth:
# in one dimension the gap is below 0.2 nats above this and up to 2 below; from three on always 1.
_LEAST_POINTS = 10.0
_POPULATION_PRICE = 1e-6  # nats per point: what a search in float32 can tell from nothing


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Certificate:
    """How good a mixture is, by what it still could gain; see `certificate`.

    All gaps, gains and prices are in nats per point, the mixture's dtype, and not negative.

    Attributes:
      loss: () −E[log p(x)].
      duality_gap: () max_i r_i − 1 over all n components, those of no weight too: the most that
        other weights at the same means could gain.
      npmle_gap: () log sup_θ D(θ): the most that any mixture could gain, of any size, of Gaussians
        with the covariance that the components have on average (that of all, where they share
        one). In the population limit of such a mixture p*, it bounds KL(p*‖p).
      npmle_at: (d,) where D is largest.
      npmle_points: () effective number of points that make up the supremum, 1/Σ a_j² with
        a_j ∝ w_j φ_θ(x_j)/p(x_j), Σ a_j = 1.
      npmle_usable: () bool, npmle_points >= 10 or npmle_gap <= birth_price. The gap is a bound in
        any case, but otherwise it says more about a handful of far points than about the fit.
      num_agreed: () int32, starts whose ascent ended at the supremum, up to 1 % of the gap.
      birth_gain: () max over θ and α in [0, 1) of E log(1 + α(φ_θ(x)/p(x) − 1)): the gain from one
        more component, at the best place and with the best weight, the others only making room;
        and over its covariance, in a family where each component has its own. Below the price a
        gain that is attained, and not the largest: the search for it ends early.
      birth_at: (d,) that place.
      birth_weight: () that weight α, 0 where nothing is gained.
      birth_covariance: that component's, of the mixture's family with one component; what all
        share where they do.
      birth_price: () what a component must gain to be worth its parameters.
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
    birth_covariance: Covariance
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
    """Searches for the best component to add, and bounds what any mixture could gain.

    For any mixture and any target, however it was fitted. `npmle_gap` and `birth_gain` are found by
    ascents from many starts: the best half by value of a pool, and others spread over the rest. The
    pool is 2 num_starts points drawn from the target, midpoints of them, the num_starts points
    farthest from the mixture (of largest w/p: these alone can make D large), and its means; a birth
    with a covariance of its own begins with the mean one, and with a tenth and a hundredth of it,
    and must be made up of d + 2 effective points. No search can be sure of a supremum; `num_agreed`
    says how many starts found it. Every value found is attained, so `birth_gain` is a real gain,
    `birth_optimal` False is proof, and True is not. Ascents that seem to stay below the price end
    early: price=0 follows them all.

    Time O(N (n + num_starts d) num_steps) at most. A pass over the points takes a few ascents one
    step (four in two dimensions), and of a `FileTarget` all of them: it is read num_steps times at
    most for each of the two searches, and as often again for the best places' last digits. Memory
    beyond the points is one number per point, or none where they are walked over in chunks. A
    mixture of NaN under `jit` has gaps of NaN, and is neither usable nor optimal.

    Its values are differentiable in the mixture and the target. The derivative of a supremum is
    that of the function where it is attained (Danskin's theorem); places and weights carry none.

    Args:
      mixture: p, n components in d dimensions.
      target: N weighted points, a `Target` or a `FileTarget`, same space and dtype.
      key: a JAX random key, for the starts.
      num_starts: static, ascents of each kind, at least 1; fewer where the pool is smaller.
      num_steps: static, the most steps of an ascent, at least 1; it stops where nothing is gained.
      price: () what a component must gain, nats per point, non-negative, traced. By default BIC's
        (d + 1)/2 log N / N (Schwarz 1978), more where it has a covariance of its own, with Kish's
        effective number 1/Σw² for N where weights differ; for a `population` target, which stands
        for infinitely many points, its `quadrature_error`, or 1e-6 if that is less.
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
    num_starts = checks.count("num_starts", num_starts)
    num_steps = checks.count("num_steps", num_steps)
    mixture = checks.mixture("mixture", mixture)
    target = checked_target("target", target)
    price = checked_price("price", price, target)
    checks.key("key", key)
    starts = starting_points(key, target, num_starts)
    blocks = lay_out_for(mixture, target, blocking, num_candidates=num_starts)
    return _certify(mixture, blocks, starts, price, num_starts=num_starts, num_steps=num_steps)


def checked_price(name: str, price: Any, target: Target | FileTarget) -> jax.Array | None:
    """() what a component must gain; None stands for BIC's, which a sample's points tell."""
    if price is not None:
        return arrays.scalar(name, price, target.dtype, least=0)
    error = getattr(target, "quadrature_error", None)
    if error is None:
        return None
    return jnp.maximum(jnp.asarray(error, target.dtype), _POPULATION_PRICE)


def starting_points(key: jax.Array, target: Target | FileTarget, num_starts: int) -> jax.Array:
    """(k, d) of the target's points, the part of a search's pool that needs a key."""
    return from_target(key, target, min(target.shape[0], 2 * num_starts)).means


def certify(
    mixture: Mixture,
    blocks: Blocks | Chunks,
    points: jax.Array,
    price: jax.Array | None,
    *,
    num_starts: int,
    num_steps: int,
) -> Certificate:
    """`certificate` on prepared points, for use inside a computation.

    `points` (k, d) are points of the target in random order, the same on all devices; with
    midpoints of neighbours among them, the farthest points and the means they make up the pool.
    `price` () None is BIC's, so for a population target it must be given.
    """
    axis = blocks.axis
    inputs = (mixture, points, price)
    mixture, points, price = vary_alike(inputs, blocks, but=axis)
    blocks = vary_alike(blocks, inputs, but=axis)

    live, statistics = prepare(mixture, blocks), expect(mixture, blocks)
    # The search chooses places, which are held fixed; what is found there is computed once more.
    context, points = jax.lax.stop_gradient((live, points))
    points = points - blocks.centre[None]
    midpoints = 0.5 * (points + jnp.roll(points, 1, axis=0))
    far = farthest_points(context, num_starts)
    centres = jnp.concatenate([points, midpoints, far, context.mixture.means])
    pool = _pool(context, centres)
    size = min(num_starts, len(centres))
    context, wide = _of_any_width(context, pool)
    known = all_values(context, wide, num_starts)  # the first of which are the pool
    wanted = _bic_price(mixture, known.num_points) if price is None else price
    high = best_of(pool, known.heights[: len(centres)], size)
    promising = best_of(wide, known.gains, size)
    peaks, heights = ascend(log_gradient_function, context, high, num_steps, 0 * wanted)
    births, gains = ascend(insertion_gain, context, promising, num_steps, wanted)

    peak = jax.tree.map(lambda leaf: leaf[jnp.argmax(heights)], peaks)
    birth = jax.tree.map(lambda leaf: leaf[jnp.argmax(gains)], births)
    if birth.spread is not None:
        # The covariance of the first search is the mixture's, and has its derivative.
        peak = dataclasses.replace(peak, spread=mixture.covariance.candidates(1).own[0])
    found = values(live, jax.tree.map(lambda *leaves: jnp.stack(leaves), peak, birth))
    height, gain, effective = found.heights[0], found.gains[1], found.numbers[0]
    if price is None:
        price = _bic_price(mixture, found.num_points)
    gap, gain = jnp.where(height < 0, 0, height), jnp.where(gain < 0, 0, gain)
    weights_gap = duality_gap(statistics.ratios)
    slack = jnp.maximum(price, value_tolerance(gap.dtype))
    return Certificate(
        loss=statistics.loss,
        duality_gap=jnp.where(weights_gap < 0, 0, weights_gap),
        npmle_gap=gap,
        npmle_at=peak.centres + blocks.centre,
        npmle_points=effective,
        npmle_usable=(effective >= _LEAST_POINTS) | (gap <= slack),
        num_agreed=agreed(heights),
        birth_gain=gain,
        birth_at=birth.centres + blocks.centre,
        birth_weight=jnp.where(gain == 0, 0, birth.weights),
        birth_covariance=_of_one(mixture.covariance, birth.spread),
        birth_price=price,
        birth_optimal=gain <= slack,
        birth_agreed=agreed(gains),
        num_starts=jnp.int32(size),
    )


def _bic_price(mixture: Mixture, N: jax.Array) -> jax.Array:
    """() what one component more costs by BIC, from N () points."""
    d, covariance = mixture.means.shape[1], mixture.covariance
    one_more = covariance.num_parameters(2, d) - covariance.num_parameters(1, d)
    return 0.5 * (d + 1 + one_more) * jnp.log(N) / N


def _pool(context: Context, centres: jax.Array) -> Candidates:
    """Candidates at centres (k, d), with the covariance that components have on average."""
    weights = jnp.full_like(centres[:, 0], _FIRST_WEIGHT)
    covariance = context.mixture.covariance.candidates(len(centres))
    return Candidates(centres, weights, covariance.own)


def _of_any_width(context: Context, pool: Candidates) -> tuple[Context, Candidates]:
    """Each candidate at several widths, where it has its own; and a floor of variances that the
    dtype's moments can tell from nothing."""
    if pool.spread is None:
        return context, pool
    eps = float(jnp.finfo(pool.centres.dtype).eps)
    least = _LEAST_SPREAD * eps * context.blocks.radius**2
    covariance = context.mixture.covariance.with_floor(least)
    mixture = dataclasses.replace(context.mixture, covariance=covariance)
    context = dataclasses.replace(context, mixture=mixture)
    wide = covariance.with_own(pool.spread)
    factors = [jnp.full_like(pool.weights, factor) for factor in _WIDTHS]
    spread = jnp.concatenate([wide.scaled(factor).own for factor in factors])
    again = lambda leaf: jnp.concatenate([leaf] * len(factors))  # noqa: E731
    return context, Candidates(again(pool.centres), again(pool.weights), spread)


def _of_one(covariance: Covariance, spread: jax.Array | None) -> Covariance:
    return covariance.candidates(1) if spread is None else covariance.with_own(spread[None])


_certify = functools.partial(jax.jit, static_argnames=("num_starts", "num_steps"))(certify)
