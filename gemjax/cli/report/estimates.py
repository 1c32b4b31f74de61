"""Estimates with intervals of 95 %, of what the seeds of a study became."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

from gemjax.cli.results import wilson

_TAIL = 0.025  # on each side
_ROUNDING = 8  # times eps of the dtype, relative
_RESAMPLES = 1000
_BOOTSTRAP_SEED = 0
LAWS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "power": (np.log, "log {x}"),
    "exponential": (np.asarray, "{x}"),
    "gaussian": (np.square, "({x})²"),
}  # log y is linear in this


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimate and its interval.

    Attributes:
      value: None where there is nothing to estimate.
      low: None where there is no interval, as with a single seed.
      high: as `low`.
      count: the seeds, or pairs of them, that it rests on.
      p_value: of the test that there is no difference, where two are compared.
      note: what has to be said about the interval.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int
    p_value: float | None = None
    note: str = ""


NOTHING = Estimate(None, None, None, 0)


def rate(hits: np.ndarray) -> Estimate:
    """A success rate with Wilson's interval."""
    if not len(hits):
        return NOTHING
    successes = int(np.count_nonzero(hits))
    return Estimate(successes / len(hits), *wilson(successes, len(hits)), len(hits))


def median(values: np.ndarray) -> Estimate:
    """The median of the values that there are, NaN being none, between two of them.

    Exact whatever the distribution: at each end as many values lie outside as chance allows. Fewer
    than six values allow no such interval; their range is given instead.
    """
    from scipy.stats import binom

    ordered = np.sort(values[~np.isnan(values)])
    count = len(ordered)
    if not count:
        return NOTHING
    outside = int(binom.ppf(_TAIL, count, 0.5))  # P(fewer than these) <= 2.5 %
    note = "" if outside > 0 else "range of the values, too few for an interval"
    outside = max(outside, 1)
    low, high = ordered[outside - 1], ordered[count - outside]
    return Estimate(_middle(ordered), float(low), float(high), count, note=note)


def _middle(ordered: np.ndarray) -> float:
    """The median, also of infinities, whose mean may be none."""
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low) if low == high else float((low + high) / 2)


def slope(x: np.ndarray, y: np.ndarray, seeds: np.ndarray, law: str) -> Estimate:
    """Slope of log y over x as the law has it, by least squares; the interval is a bootstrap's.

    A seed is drawn together with all its x, so that what it has in common is kept. Values that are
    not positive have no logarithm: told, and too many if less than half is left.
    """
    finite = np.isfinite(y) & np.isfinite(x)
    there = finite & (y > 0) & ((x > 0) | (law != "power"))
    note = _left_out(finite, there)
    x, y, seeds = LAWS[law][0](x[there]), np.log(y[there]), seeds[there]
    if len(np.unique(x)) < 2 or 2 * len(x) < finite.sum():
        return Estimate(None, None, None, len(x), note=note)
    x, y = x - x.mean(), y - y.mean()
    _, of = np.unique(seeds, return_inverse=True)
    sums = np.stack([np.bincount(of, part) for part in (np.ones_like(x), x, y, x * x, x * y)], 1)
    count = len(sums)
    value = float(_least_squares(sums.sum(axis=0)[None])[0])
    if count == 1:
        return Estimate(value, None, None, count, note=_joined("one seed, no interval", note))
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    times = rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    slopes = _least_squares(times @ sums)
    low, high = np.quantile(slopes[~np.isnan(slopes)], [_TAIL, 1 - _TAIL])
    return Estimate(value, float(low), float(high), count, note=note)


def rms_slope(x: np.ndarray, y: np.ndarray, seeds: np.ndarray, law: str) -> Estimate:
    """Slope of the logarithm of the root mean square of y at each x; the interval is a bootstrap's.

    Where theory speaks of a mean square error, and few large errors make it up.
    """
    there = np.isfinite(y) & np.isfinite(x) & ((x > 0) | (law != "power"))
    places, at = np.unique(x[there], return_inverse=True)
    _, of = np.unique(seeds[there], return_inverse=True)
    if len(places) < 2:
        return Estimate(None, None, None, int(there.sum()))
    count = int(of.max()) + 1
    squares, ones = np.zeros((2, count, len(places)))
    np.add.at(squares, (of, at), y[there] ** 2)
    np.add.at(ones, (of, at), 1)
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    times = rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    slopes = []
    for weights in (np.ones(count), *times):
        total, number = weights @ squares, weights @ ones
        good = total > 0
        if good.sum() > 1:
            logs = 0.5 * np.log(total[good] / number[good])
            slopes.append(np.polyfit(LAWS[law][0](places[good]), logs, 1)[0])
    if not slopes:
        return Estimate(None, None, None, count)
    value, *others = map(float, slopes)
    if count == 1:
        return Estimate(value, None, None, count, note="one seed, no interval")
    low, high = np.quantile(others, [_TAIL, 1 - _TAIL])
    return Estimate(value, float(low), float(high), count)


def _left_out(finite: np.ndarray, there: np.ndarray) -> str:
    """What a note says of values that are none for a logarithm."""
    out = int(finite.sum() - there.sum())
    return f"{out} of {finite.sum()} values left out, not positive" if out else ""


def _joined(*notes: str) -> str:
    return ", ".join(note for note in notes if note)


def _least_squares(sums: np.ndarray) -> np.ndarray:
    """(B,) slopes from (B, 5) sums of 1, x, y, x², xy; NaN where all x are the same."""
    n, x, y, xx, xy = sums.T
    spread = n * xx - x * x
    enough = spread > 1e-9 * (1 + n * xx)
    return np.where(enough, (n * xy - x * y) / np.where(enough, spread, 1), np.nan)


def fitted(x: np.ndarray, y: np.ndarray, value: float, law: str, at: np.ndarray) -> np.ndarray:
    """The law with this slope through the middle of the data, at some x."""
    there = np.isfinite(y) & (y > 0) & np.isfinite(x) & ((x > 0) | (law != "power"))
    of = LAWS[law][0]
    level = np.log(y[there]).mean() - value * of(x[there]).mean()
    return np.exp(level + value * of(at))


def slope_in_time(time: np.ndarray, y: np.ndarray, window: tuple[float, float]) -> Estimate:
    """Slope of log y (R, T) against log iteration in a window: the seeds' mean, Student's interval.

    Values that are not positive are left out, as `slope` does; a seed with fewer than two others
    has no slope.
    """
    from scipy.stats import t

    inside = (time >= window[0]) & (time <= window[1])
    x, y = np.log(time[inside]), y[:, inside]
    finite = np.isfinite(y)
    positive = finite & (y > 0)
    note = _left_out(finite, positive)
    slopes = []
    for row, there in zip(y, positive, strict=True):
        if there.sum() > 1:
            slopes.append(np.polyfit(x[there], np.log(row[there]), 1)[0])
    count = len(slopes)
    if not count or 2 * positive.sum() < finite.sum():
        return Estimate(None, None, None, count, note=note)
    value = float(np.mean(slopes))
    if count == 1:
        return Estimate(value, None, None, 1, note=_joined("one seed, no interval", note))
    half = t.ppf(1 - _TAIL, count - 1) * np.std(slopes, ddof=1) / math.sqrt(count)
    return Estimate(value, float(value - half), float(value + half), count, note=note)


def difference(a: np.ndarray, b: np.ndarray) -> Estimate:
    """Difference of two success rates of the same seeds, share of a minus share of b.

    Interval of Agresti and Min 2005 (Statistics in Medicine 24), half a pair more in every cell of
    the table; p-value of McNemar's exact test.
    """
    from scipy.stats import binomtest

    count = len(a)
    if not count:
        return NOTHING
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    more = count + 2
    centre = (only_a - only_b) / more
    half = 1.959963984540054 * math.sqrt((only_a + only_b + 1) / more - centre**2) / more**0.5
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return Estimate((only_a - only_b) / count, low, high, count, p)


def shift(a: np.ndarray, b: np.ndarray) -> Estimate:
    """Median of a - b, pair by pair; p-value of Wilcoxon's signed-rank test.

    A difference of rounding is none: the test would take its sign for evidence.
    """
    from scipy.stats import wilcoxon

    same = np.isclose(a, b, rtol=_ROUNDING * np.finfo(a.dtype).eps, atol=0)
    by = np.where(same, 0.0, a.astype(float) - b)
    found, apart = median(by), by[by != 0]
    p = None if not len(by) else 1.0
    if len(apart):
        ties = len(np.unique(np.abs(apart))) < len(apart)
        method = "exact" if len(apart) <= 50 and not ties else "asymptotic"
        p = float(wilcoxon(apart, method=method).pvalue)
    return dataclasses.replace(found, p_value=p)


def ratio(a: np.ndarray, b: np.ndarray) -> Estimate:
    """Median of a / b over the seeds that have both; p-value of Wilcoxon's signed-rank test."""
    there = np.isfinite(a) & np.isfinite(b) & (a > 0) & (b > 0)
    found = shift(np.log(a[there]), np.log(b[there]))
    value, low, high = (
        None if end is None else math.exp(end) for end in (found.value, found.low, found.high)
    )
    return Estimate(value, low, high, found.count, found.p_value, found.note)


def smallest(x: np.ndarray, hits: np.ndarray, level: float) -> Estimate:
    """The smallest x from which on the success rate is at least `level`; infinite if there is none.

    Low: the first x after the last one at which the rate is surely below. High: the first at which
    it is surely not.
    """
    places = np.unique(x)
    if not len(places):
        return NOTHING
    at = [rate(hits[x == place]) for place in places]
    reached = [found.value is not None and found.value >= level for found in at]
    below = [i for i, ok in enumerate(reached) if not ok]
    surely_below = [i for i, f in enumerate(at) if f.high is not None and f.high < level]
    surely = [i for i, f in enumerate(at) if f.low is not None and f.low >= level]
    ends = (below[-1] + 1 if below else 0, surely_below[-1] + 1 if surely_below else 0,
            surely[0] if surely else len(places))  # fmt: skip
    value, low, high = (float([*places, math.inf][end]) for end in ends)
    return Estimate(value, min(low, value), max(high, value), len(hits))


def coverage(weights: tuple[float, ...], n: int) -> float:
    """Probability that n independent draws hit every cluster, by the clusters' weights.

    That is a coupon collector's. With the number of draws Poisson, the clusters' counts are
    independent: all but zero, they add up to n with a probability that a product of power series
    tells, and dividing by that of n draws undoes the Poisson. All terms are positive, so that
    nothing cancels.
    """
    return _coverage(tuple(weights), int(n))


@functools.lru_cache(maxsize=4096)
def _coverage(weights: tuple[float, ...], n: int) -> float:
    from scipy.special import gammaln

    if len(weights) > n or min(weights) <= 0:
        return 0.0
    rates = n * np.array(weights, np.float64) / sum(weights)
    counts = np.arange(1, n + 1)
    hit = counts * np.log(rates)[:, None] - gammaln(counts + 1) - rates[:, None]
    total = np.zeros(n + 1)
    total[0] = 1.0
    for row in np.exp(hit):
        total = np.convolve(total, np.concatenate([[0.0], row]))[: n + 1]
    drawn = math.exp(n * math.log(n) - math.lgamma(n + 1) - n)
    return min(1.0, float(total[n]) / drawn)
