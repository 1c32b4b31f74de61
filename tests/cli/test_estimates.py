"""Estimates and intervals: against SciPy, on exact laws, by their coverage, by brute force."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom, binomtest, ttest_1samp, wilcoxon

from gemjax.cli.report import estimates

RNG_SEED = 7


@pytest.mark.parametrize(("hits", "trials"), [(0, 5), (3, 8), (8, 8)])
def test_rate_is_wilsons(hits, trials):
    found = estimates.rate(np.arange(trials) < hits)
    expected = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    assert found.value == hits / trials
    assert found.count == trials
    np.testing.assert_allclose((found.low, found.high), expected, atol=1e-12)


@pytest.mark.parametrize("count", [6, 9, 25, 60])
def test_median_has_the_shortest_exact_order_statistics(count):
    values = np.random.default_rng(count).permutation(count) + 1.0
    found = estimates.median(np.append(values, np.nan))
    assert (found.value, found.count) == (np.median(values), count)
    low, high = int(found.low), int(found.high)  # ranks, as the values are
    assert low + high == count + 1
    # The median lies outside if at most low - 1 values are on one side of it.
    assert 2 * binom.cdf(low - 1, count, 0.5) <= 0.05 < 2 * binom.cdf(low, count, 0.5)


def test_median_of_few_is_their_range():
    found = estimates.median(np.array([3.0, 1.0, 2.0, np.inf]))
    assert (found.value, found.low, found.high, found.count) == (2.5, 1.0, np.inf, 4)
    assert "range" in found.note
    assert estimates.median(np.array([np.nan])).value is None
    assert estimates.median(np.array([np.inf, np.inf])).value == np.inf


@pytest.mark.parametrize(
    ("law", "y"),
    [
        ("power", lambda x: 5 * x**-1.5),
        ("exponential", lambda x: 5 * np.exp(-1.5 * x)),
        ("gaussian", lambda x: 5 * np.exp(-1.5 * x**2)),
    ],
)
def test_slope_of_exact_laws(law, y):
    x = np.repeat([0.5, 1.0, 2.0, 3.0], 3)
    found = estimates.slope(x, y(x), np.tile(np.arange(3), 4), law)
    np.testing.assert_allclose((found.value, found.low, found.high), -1.5, rtol=1e-9)
    assert found.count == 3
    np.testing.assert_allclose(estimates.fitted(x, y(x), found.value, law, x), y(x), rtol=1e-9)


def test_slope_without_an_interval_or_anything():
    x = np.array([1.0, 2.0, 4.0])
    alone = estimates.slope(x, x**2, np.zeros(3), "power")
    assert alone.value == pytest.approx(2)
    assert (alone.low, alone.high) == (None, None)
    for y in (np.zeros(3), np.full(3, np.nan), np.array([1.0, 0.0, 0.0])):
        assert estimates.slope(x, y, np.zeros(3), "power").value is None
    assert estimates.slope(np.ones(3), x, np.arange(3), "power").value is None


def test_slopes_tell_what_they_leave_out():
    x, seeds = np.repeat([1.0, 2.0, 4.0], 4), np.tile(np.arange(4), 3)
    y = x**2
    y[[0, 5]] = [0.0, -1.0]
    y[6] = np.nan  # a seed that has no value
    found = estimates.slope(x, y, seeds, "power")
    assert found.value == pytest.approx(2)
    assert found.note == "2 of 11 values left out, not positive"
    assert estimates.slope(x, x**2, seeds, "power").note == ""
    few = estimates.slope(x, np.where(x < 4, 0.0, x + seeds), seeds, "exponential")
    assert (few.value, few.note) == (None, "8 of 12 values left out, not positive")
    time = np.arange(1, 11)
    rows = np.tile(time**-2.0, (3, 1))
    rows[0, 4:] = 0.0
    found = estimates.slope_in_time(time, rows, (1, 10))
    assert found.value == pytest.approx(-2)
    assert found.note == "6 of 30 values left out, not positive"
    rows[:, 4:] = 0.0
    found = estimates.slope_in_time(time, rows, (1, 10))
    assert (found.value, found.note) == (None, "18 of 30 values left out, not positive")
    found = estimates.slope_in_time(time, rows[:1], (1, 6))
    assert found.note == "one seed, no interval, 2 of 6 values left out, not positive"


def test_rms_slope_is_that_of_root_mean_squares():
    """Errors of which many are zero and few are large have no slope of logarithms that tells."""
    rng = np.random.default_rng(RNG_SEED)
    x, seeds = np.repeat([1.0, 4.0, 16.0], 200), np.tile(np.arange(200), 3)
    y = np.sqrt(np.maximum(rng.normal(size=600), 0) / np.sqrt(x))  # of order x^(-1/4), or zero
    found = estimates.rms_slope(x, y, seeds, "power")
    means = [0.5 * np.log(np.mean(y[x == place] ** 2)) for place in (1, 4, 16)]
    assert found.value == pytest.approx(np.polyfit(np.log([1, 4, 16]), means, 1)[0])
    assert found.low < -0.25 < found.high
    assert found.high - found.low < 0.15
    alone = estimates.rms_slope(np.array([1.0, 2.0]), np.array([3.0, 12.0]), np.zeros(2), "power")
    assert (alone.value, alone.low) == (pytest.approx(2), None)
    assert estimates.rms_slope(np.ones(3), np.ones(3), np.arange(3), "power").value is None


def test_slope_resamples_seeds_and_not_points():
    """What a seed has in common at all x moves no slope."""
    x, seeds = np.repeat([1.0, 10.0], 20), np.tile(np.arange(20), 2)
    common = np.exp(np.random.default_rng(RNG_SEED).normal(size=20))[seeds]
    found = estimates.slope(x, common * x, seeds, "power")
    np.testing.assert_allclose((found.low, found.high), 1, atol=1e-9)


def test_slope_covers():
    rng = np.random.default_rng(RNG_SEED)
    x, seeds, covered = np.repeat([1.0, 2.0, 4.0], 30), np.tile(np.arange(30), 3), 0
    for _ in range(100):
        own = rng.normal(size=30)[seeds]  # of a seed, its slope too
        y = np.exp((2 + 0.3 * own) * np.log(x) + 0.3 * rng.normal(size=90))
        found = estimates.slope(x, y, seeds, "power")
        covered += found.low <= 2 <= found.high
    assert 86 <= covered <= 99


def test_slope_in_time():
    time, exponents = np.arange(1, 201), np.array([-2.0, -1.9, -2.2])
    y = time ** exponents[:, None].astype(float)
    y[:, :20] = 1.0  # before the window
    y[2, 150:] = 0.0
    found = estimates.slope_in_time(time, y, (30, 200))
    expected = ttest_1samp(exponents, 0).confidence_interval(0.95)
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-9)
    assert found.value == pytest.approx(exponents.mean())
    alone = estimates.slope_in_time(time, y[:1], (30, 200))
    assert (alone.value, alone.low) == (pytest.approx(-2.0), None)
    assert estimates.slope_in_time(time, 0 * y, (30, 200)).value is None


def test_difference():
    a = np.array([True] * 30 + [False] * 10 + [True] * 5 + [False] * 5)
    b = np.array([True] * 30 + [False] * 10 + [False] * 5 + [False] * 5)
    b[-2:] = True
    found = estimates.difference(a, b)
    assert found.value == pytest.approx(3 / 50)
    assert found.p_value == binomtest(5, 7).pvalue
    # Agresti and Min's formula as published: cells with half a pair more, n = 52.
    p12, p21 = 5.5 / 52, 2.5 / 52
    half = 1.959963984540054 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / 52)
    np.testing.assert_allclose((found.low, found.high), (p12 - p21 - half, p12 - p21 + half))
    same = estimates.difference(a, a)
    assert (same.value, same.p_value) == (0, 1)
    assert same.low < 0 < same.high


def test_difference_covers():
    rng, covered = np.random.default_rng(RNG_SEED), 0
    for _ in range(400):
        common = rng.random(40)
        a, b = common < 0.8, common * 0.7 + 0.3 * rng.random(40) < 0.5
        found = estimates.difference(a, b)
        covered += found.low <= 0.8 - 0.5 <= found.high
    assert covered >= 0.93 * 400


def test_ratio():
    rng = np.random.default_rng(RNG_SEED)
    b = rng.gamma(2.0, size=30)
    a = b * np.exp(0.5 + 0.2 * rng.normal(size=30))
    found = estimates.ratio(np.append(a, np.nan), np.append(b, 1.0))
    logs = np.log(a / b)
    inner = estimates.median(logs)
    np.testing.assert_allclose(
        (found.value, found.low, found.high), np.exp([np.median(logs), inner.low, inner.high])
    )
    assert found.count == 30
    assert found.p_value == wilcoxon(logs, method="exact").pvalue
    assert estimates.ratio(b, b).p_value == 1
    assert estimates.ratio(b, 2 * b).p_value < 1e-3  # all tied
    assert estimates.ratio(b, 0 * b).value is None


def test_smallest():
    x = np.repeat([2.0, 4.0, 8.0, 16.0], 40)
    hits = np.concatenate([np.arange(40) < k for k in (4, 34, 38, 40)])
    found = estimates.smallest(x, hits, 0.9)
    # 34 of 40 may be 0.9, 38 of 40 may be less; only 40 of 40 is surely more.
    assert (found.value, found.low, found.high) == (8, 4, 16)
    none = estimates.smallest(x, np.zeros(160, bool), 0.9)
    assert (none.value, none.low, none.high) == (math.inf,) * 3
    every = estimates.smallest(x, np.ones(160, bool), 0.9)
    assert (every.value, every.low, every.high) == (2, 2, 2)
    # A rate that falls below the level again does not count.
    dip = np.concatenate([np.arange(40) < k for k in (40, 10, 40, 40)])
    assert estimates.smallest(x, dip, 0.9).value == 8


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 4, 6])
def test_coverage_against_all_draws(m, n):
    for weights in (np.full(m, 1 / m), np.arange(1, m + 1) / sum(range(1, m + 1))):
        total = sum(
            np.prod(weights[list(draw)])
            for draw in itertools.product(range(m), repeat=n)
            if len(set(draw)) == m
        )
        assert estimates.coverage(tuple(weights), n) == pytest.approx(total, rel=1e-12, abs=1e-300)


def collected(m, n):
    """Probability that n draws hit all of m equal clusters, by the number of those hit."""
    at = [Fraction(1)] + [Fraction(0)] * m
    for _ in range(n):
        at = [
            at[k] * Fraction(k, m) + (at[k - 1] * Fraction(m - k + 1, m) if k else 0)
            for k in range(m + 1)
        ]
    return float(at[m])


@pytest.mark.parametrize("n", [64, 70, 200, 532])
def test_coverage_of_64_clusters_in_exact_fractions(n):
    assert estimates.coverage((1 / 64,) * 64, n) == pytest.approx(collected(64, n), rel=1e-10)


def test_coverage_of_unequal_weights():
    weights = np.random.default_rng(RNG_SEED).dirichlet(np.ones(10))
    subsets = itertools.product([0, 1], repeat=10)
    total = sum((-1) ** sum(s) * (1 - weights @ np.array(s)) ** 50 for s in subsets)
    assert estimates.coverage(tuple(weights), 50) == pytest.approx(total, abs=1e-10)
    draws = np.random.default_rng(RNG_SEED).choice(30, p=np.arange(1, 31) / 465, size=(4000, 300))
    share = np.mean([len(set(row)) == 30 for row in draws])
    probability = estimates.coverage(tuple(range(1, 31)), 300)
    assert share == pytest.approx(probability, abs=4 * math.sqrt(0.25 / 4000))
    assert estimates.coverage((0.5, 0.5, 0.0), 9) == 0
    assert estimates.coverage((0.5, 0.5), 1) == 0
