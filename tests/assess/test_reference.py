"""Published and independently measured values, and the behaviour the method is known for."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import fisher_exact

import gemjax as gj
from gemjax._model.densities import component_densities
from gemjax._points.blocks import as_blocks

DATA = Path(__file__).resolve().parents[2] / "configs" / "data"


def load(name, columns, scales):
    table = np.loadtxt(DATA / name, delimiter=",", skiprows=1, ndmin=2)
    return np.unique(table[:, columns] / scales, axis=0, return_counts=True)


@pytest.mark.parametrize(
    ("name", "columns", "scales", "expected"),
    [
        ("galaxies.csv", [0], [1000.0], -2.4335134549),
        ("faithful.csv", [0, 1], [0.3, 6.0], -3.5719868433),
    ],
)
def test_weights_over_atoms_at_the_data(name, columns, scales, expected):
    """Log-likelihood per point of the best weights, from a conic solver, by mirror descent."""
    atoms, counts = load(name, columns, scales)
    target = gj.empirical(atoms, counts.astype(float))
    n = len(atoms)
    start = jnp.full((n,), -np.log(n))

    @jax.jit
    def solve(atoms):
        densities = component_densities(gj.Mixture(atoms, start), as_blocks(target, n))
        rule = gj.rules.Mirror(1.0)
        return rule.solve(densities, start, weight_steps=100_000, weight_tolerance=0.0)

    mixture = gj.Mixture(jnp.asarray(atoms), solve(jnp.asarray(atoms)))
    assert float(-gj.loss(mixture, target)) == pytest.approx(expected, abs=1e-6)


TRAP = gj.make_mixture([[-3.0], [3.0], [12.0]])
TRAP_START = gj.make_mixture([[0.0], [11.6], [12.4]])


def trap(T, **settings):
    target = gj.population(TRAP)
    fit = gj.fit(gj.GradientEM(**settings), target, TRAP_START, num_iterations=T, record_every=T)
    return fit.mixture, float(gj.loss(fit.mixture, target) - gj.loss(TRAP, target))


def test_trap_with_fixed_weights():
    """The strict local minimum, against a plain rectangle rule and scipy's simplex search."""
    x = np.linspace(-12, 21, 100_001)

    def density(means):
        return np.exp(-0.5 * (x[:, None] - means) ** 2).sum(axis=1) / (3 * np.sqrt(2 * np.pi))

    p = density(np.array([-3.0, 3.0, 12.0]))

    def divergence(means):
        return float(p @ np.log(p / density(means)) * (x[1] - x[0]))

    options = {"xatol": 1e-8, "fatol": 1e-15}
    best = minimize(divergence, [0.0, 11.75, 12.2], method="Nelder-Mead", options=options)
    assert best.fun == pytest.approx(2.76910, abs=2e-5)
    mixture, excess = trap(3000, weight_rule="fixed")
    assert excess == pytest.approx(best.fun, abs=1e-9)
    np.testing.assert_allclose(np.sort(mixture.means[:, 0]), best.x, atol=1e-5)


def test_trap_with_near_optimal_weights():
    _, plateau = trap(1000)
    assert plateau == pytest.approx(2.5384, abs=1e-3)
    mixture, excess = trap(5000)
    assert excess < 1e-6
    np.testing.assert_allclose(np.sort(mixture.means[:, 0]), [-3, 3, 12], atol=1e-2)


# Successes of an independent prototype in 32 seeds: 20,000 samples, 300 iterations, m = 3.
TABLE = [
    (2, 4.0, {3: 29, 7: 32, 20: 32}),
    (2, 6.0, {3: 28, 7: 32, 20: 32}),
    (10, 4.0, {3: 19, 7: 31, 20: 32}),
    (10, 6.0, {3: 18, 7: 32, 20: 32}),
]


def successes(d, separation, n, *, num_seeds, num_samples, T, tolerance=0.1):
    truth = gj.truth.simplex(3, d, separation)
    truth = jax.tree.map(lambda a: a.astype(jnp.float32), truth)
    target = gj.empirical(gj.sample(jax.random.key(0), truth, num_samples))
    fits = gj.sweep(
        jax.random.key(1), gj.GradientEM(), target, num_seeds=num_seeds, num_components=n,
        num_iterations=T, record_every=T,
        init=lambda key, target, n: gj.initialize.from_mixture(key, truth, n),
    )  # fmt: skip
    compare = partial(gj.recovery, truth=truth, tolerance=tolerance)
    found = jax.vmap(compare)(fits.mixture)
    return int(found.recovered.sum())


def assert_same_rate(hits, trials, other, other_trials):
    table = [[hits, trials - hits], [other, other_trials - other]]
    assert fisher_exact(table).pvalue > 1e-3, table


@pytest.mark.slow
@pytest.mark.parametrize(("d", "separation", "expected"), TABLE)
def test_success_table(d, separation, expected):
    for n, other in expected.items():
        hits = successes(d, separation, n, num_seeds=32, num_samples=20_000, T=300)
        assert_same_rate(hits, 32, other, 32)


def test_over_parameterization_finds_what_exact_fits_miss():
    # With 4,000 samples a true mean is only known to √(10/1333) = 0.09.
    settings = {"num_seeds": 32, "num_samples": 4_000, "T": 200, "tolerance": 0.3}
    assert_same_rate(successes(10, 6.0, 3, **settings), 32, 18, 32)
    assert_same_rate(successes(10, 6.0, 7, **settings), 32, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_high_dimensions_collapse_without_spectral_starts(seed):
    d, key = 500, jax.random.key(seed)
    means = jnp.zeros((2, d), jnp.float32).at[0, 0].set(6.0)
    truth = gj.make_mixture(means, jnp.array([0.3, 0.7], jnp.float32))
    target = gj.empirical(gj.sample(jax.random.fold_in(key, 0), truth, 4096))

    def found(init, **settings):
        start = init(jax.random.fold_in(key, 1))
        fit = gj.fit(gj.GradientEM(**settings), target, start, num_iterations=150, record_every=150)
        # The barycentre of some 1,200 points is √(500/1200) = 0.65 from its cluster's centre.
        return fit.mixture, gj.recovery(fit.mixture, truth, tolerance=1.0)

    for K in (0, 10, 50):
        mixture, result = found(
            lambda key: gj.initialize.from_mixture(key, truth, 10), weight_steps=K
        )
        assert not bool(result.recovered)
        if K:
            heaviest = mixture.means[jnp.argmax(mixture.weights)]
            grand = target.weights @ target.points
            assert float(jnp.max(mixture.weights)) > 0.99
            assert float(jnp.linalg.norm(heaviest - grand)) < 0.2
    for rank in (1, 2, 5):
        init = partial(gj.initialize.spectral, target=target, n=10, rank=rank)
        assert bool(found(init)[1].recovered), rank
