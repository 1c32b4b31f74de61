"""Insertion and escape: brute force, the known traps, and the exact optima of real data."""

import functools
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import scipy.stats
from jax.sharding import Mesh
from jax.test_util import check_grads

import gemjax as gj
from gemjax._em.insertion import PreparedEscape, try_insert
from gemjax._model.statistics import expect
from gemjax._points.blocks import as_blocks

DATA = Path(__file__).parents[2] / "configs" / "data"
TRAP = gj.make_mixture([-3.0, 3.0, 12.0])


def ward(mixture):
    """The cheapest pair, by trying all."""
    w, mu = np.asarray(mixture.weights), np.asarray(mixture.means)
    costs = {
        (i, j): w[i] * w[j] / max(w[i] + w[j], 1e-300) * ((mu[i] - mu[j]) ** 2).sum() / 2
        for j in range(len(w))
        for i in range(j)
    }
    return min(costs, key=costs.get)


@pytest.mark.parametrize("seed", range(5))
def test_insert_merges_the_cheapest_pair(seed):
    means, weights, _, _ = oracle.problem(seed, n=5, d=3)
    mixture = gj.make_mixture(means, weights)
    i, j = ward(mixture)
    new = gj.insert(mixture, jnp.full(3, 7.0), weight=0.2)
    slot, kept = (i, j) if weights[i] < weights[j] else (j, i)
    np.testing.assert_array_equal(new.means[slot], 7.0)
    assert new.weights[slot] == pytest.approx(0.2)
    total = weights[i] + weights[j]
    barycentre = (weights[i] * means[i] + weights[j] * means[j]) / total
    np.testing.assert_allclose(new.means[kept], barycentre, rtol=1e-12)
    assert new.weights[kept] == pytest.approx(0.8 * total)
    others = [k for k in range(5) if k not in (i, j)]
    np.testing.assert_array_equal(new.means[jnp.array(others)], means[others])
    np.testing.assert_allclose(new.weights[jnp.array(others)], 0.8 * weights[others], rtol=1e-12)


def test_insert_takes_a_weightless_slot_for_nothing():
    mixture = gj.make_mixture([[0.0], [1.0], [50.0]], [0.5, 0.5, 0.0])
    new = gj.insert(mixture, [9.0])
    np.testing.assert_array_equal(new.means, [[0.0], [1.0], [9.0]])
    np.testing.assert_allclose(new.weights, [1 / 3] * 3, rtol=1e-12)
    together = jax.vmap(lambda weight: gj.insert(mixture, jnp.ones(1), weight=weight).weights)
    np.testing.assert_allclose(together(jnp.array([0.0, 0.5]))[:, 2], [0.0, 0.5])
    check_grads(
        lambda means, at: gj.insert(gj.Mixture(jnp.asarray(means), TRAP.log_weights), at).means,
        (TRAP.means, jnp.zeros(1)),
        order=1,
    )


def test_errors():
    for arguments, words in [
        ((gj.make_mixture([[0.0]]), [1.0]), "at least 2 components"),
        ((TRAP, [1.0, 2.0]), "at must have shape (1,), got (2,)"),
        ((TRAP, [np.nan]), "at must be finite"),
    ]:
        with pytest.raises(ValueError) as error:
            gj.insert(*arguments)
        assert words in str(error.value)
    with pytest.raises(ValueError, match=r"weight must be less than 1, got 1\.0"):
        gj.insert(TRAP, [1.0], weight=1.0)
    target = gj.empirical([0.0, 1.0, 2.0])
    run = functools.partial(gj.fit, gj.GradientEM(), target, num_iterations=50)
    key = jax.random.key(0)
    for start, escape, words in [
        (gj.make_mixture([0.0]), gj.Escape(key), "at least 2 components"),
        (TRAP, gj.Escape(key, every=0), "escape.every must be at least 1"),
        (TRAP, gj.Escape(key, every=26), "at most half of num_iterations = 50, so that"),
        (TRAP, gj.Escape(key, price=-1.0), "escape.price must be non-negative"),
        (TRAP, gj.Escape(key, stall=np.nan), "escape.stall must be non-negative"),
        (TRAP, gj.Escape(key, num_steps=0), "escape.num_steps must be at least 1"),
    ]:
        with pytest.raises(ValueError) as error:
            run(start, escape=escape)
        assert words in str(error.value)
    with pytest.raises(TypeError, match="escape must be an Escape"):
        run(TRAP, escape=True)


def test_the_trap_is_left_by_insertion():
    # facts: from here n = m stays on a plateau for a thousand iterations (Jin et al. 2016).
    start = gj.make_mixture([0.0, 11.6, 12.4, 12.0], [1.0, 1.0, 1.0, 0.0])
    target = gj.population(TRAP)
    run = functools.partial(gj.fit, gj.GradientEM(), target, start, num_iterations=300)
    stuck, free = run(), run(escape=gj.Escape(jax.random.key(0)))
    floor = gj.loss(TRAP, target)
    assert stuck.history.loss[-1] - floor > 2.5
    assert stuck.num_insertions == 0
    assert free.num_insertions >= 1
    assert free.history.loss[-1] - floor < 1e-3
    assert gj.recovery(free.mixture, TRAP).recovered
    assert (jnp.diff(free.history.loss) <= 1e-12).all()


def clusters(*centres):
    """300 points in equal clusters: normal quantiles about each centre."""
    quantiles = scipy.stats.norm.ppf((np.arange(300 // len(centres)) + 0.5) * len(centres) / 300)
    return gj.empirical(np.concatenate([centre + quantiles for centre in centres]))


def test_a_component_must_pay_for_the_merging():
    @jax.jit
    def net_gain(price, target, mixture):
        escape = gj.Escape(None, price, price, last=0, every=1, num_starts=16, num_steps=20)
        prepared = PreparedEscape(target.points[::9], escape)
        blocks = as_blocks(target, 3)
        new, pays = try_insert(prepared, mixture, blocks)
        return pays, expect(mixture, blocks).loss - expect(new, blocks).loss, new

    three, four = clusters(-3.0, 3.0, 12.0), clusters(-12.0, -4.0, 4.0, 12.0)
    stuck, short = gj.make_mixture([0.0, 11.8, 12.2]), gj.make_mixture([-12.0, 0.0, 12.0])
    pays, gain, new = net_gain(0.1, three, stuck)
    assert pays
    assert gain > 0.1
    for arguments in [
        (100.0, three, stuck),
        # More clusters than components: one more pays, but merging two costs more.
        (0.1, four, short),
    ]:
        pays, gain, new = net_gain(*arguments)
        assert not pays
        assert gain == 0
        np.testing.assert_array_equal(new.means, arguments[2].means)


def data(name, column, scale):
    table = np.loadtxt(DATA / name, skiprows=1, delimiter=",", ndmin=2)
    return gj.empirical(table[:, column] / scale)


def largest_gap(mixture, points):
    """The gap by brute force, in one dimension."""
    x = np.asarray(points)[:, 0]
    places = np.linspace(x.min() - 1, x.max() + 1, 20_001)
    p = np.exp(-0.5 * (x[:, None] - np.asarray(mixture.means)[:, 0]) ** 2) @ mixture.weights
    return max((np.exp(-0.5 * (x - place) ** 2) / p).mean() - 1 for place in places)


@pytest.mark.parametrize(
    ("name", "column", "scale", "expected"),
    [
        pytest.param("galaxies.csv", 0, 1000, -199.34236158, marks=pytest.mark.slow),
        pytest.param("faithful.csv", 1, 6, -546.74570491, marks=pytest.mark.slow),
        pytest.param("faithful.csv", 0, 0.3, -600.72288421, marks=pytest.mark.slow),
    ],
)
def test_exact_nonparametric_mle(name, column, scale, expected):
    target = data(name, column, scale)
    solver = gj.GradientEM(1.0, 1.0, 1e-12, mean_rule="em", weight_rule="newton")
    start = gj.initialize.from_target(jax.random.key(0), target, 12)
    escape = gj.Escape(jax.random.key(1), price=0.0, stall=1e-6)
    fit = gj.fit(solver, target, start, num_iterations=3000, record_every=3000, escape=escape)
    found = gj.certificate(fit.mixture, target, jax.random.key(2))
    assert -target.shape[0] * found.loss == pytest.approx(expected, abs=1e-6)
    assert largest_gap(fit.mixture, target.points) <= 1.001 * found.npmle_gap <= 1e-6


SOLVER = gj.GradientEM(1.0, mean_rule="em")
TRUTH = gj.truth.ring(3, 2, separation=6.0)
TARGET = gj.empirical(gj.sample(jax.random.key(0), TRUTH, 600))
ESCAPE = gj.Escape(jax.random.key(2), every=10, num_starts=16, num_steps=20)


STUCK = jnp.stack([TRUTH.means[0], TRUTH.means[0] + 0.5, -TRUTH.means[0]])


def stuck(key, target, n):
    """Two components on one cluster and one between the others, or a good start."""
    means = jnp.where(jax.random.bernoulli(key), STUCK, TRUTH.means)
    return gj.Mixture(means + 0.1 * jax.random.normal(key, (n, 2)), TRUTH.log_weights)


def sweep(**more):
    return gj.sweep(
        jax.random.key(1), SOLVER, TARGET, num_seeds=6, num_components=3, num_iterations=60,
        init=stuck, escape=ESCAPE, **more,
    )  # fmt: skip


@pytest.mark.slow
def test_sweep_is_the_same_however_it_is_cut():
    batched = sweep(batch_size=3)
    assert 0 < (batched.num_insertions > 0).sum() < 6
    found = jax.vmap(functools.partial(gj.recovery, truth=TRUTH, tolerance=0.3))(batched.mixture)
    assert found.recovered.all()
    assert (jnp.diff(batched.history.loss, axis=1) <= 1e-12).all()
    mesh = Mesh(np.array(jax.devices()[:2]).reshape(1, 2), ("seed", "data"))
    spread = sweep(mesh=mesh)
    np.testing.assert_array_equal(spread.num_insertions, batched.num_insertions)
    np.testing.assert_allclose(spread.mixture.means, batched.mixture.means, atol=1e-8)


@pytest.mark.slow
def test_derivatives_and_traces():
    def final(means, price):
        escape = gj.Escape(ESCAPE.key, price, every=10, num_starts=8, num_steps=5)
        start = gj.Mixture(means, TRUTH.log_weights)
        fit = gj.fit(SOLVER, TARGET, start, num_iterations=32, escape=escape)
        return fit.history.loss[-1], fit.num_insertions

    chex.clear_trace_counter()
    once = jax.jit(chex.assert_max_traces(n=1)(final))
    assert once(STUCK, 0.01)[1] == 1
    assert once(STUCK, 100.0)[1] == 0
    # What is inserted is held fixed, so no finite difference can be taken across it.
    assert np.isfinite(jax.grad(lambda means: final(means, 0.01)[0])(STUCK)).all()


@pytest.mark.slow
def test_every_seed_gets_out():
    truth = gj.truth.simplex(3, 10, separation=6.0)
    target = gj.empirical(gj.sample(jax.random.key(0), truth, 20_000).astype(jnp.float32))
    truth32 = jax.tree.map(lambda x: x.astype(jnp.float32), truth)

    def init(key, target, n):
        return gj.initialize.from_mixture(key, truth32, n)

    fits = gj.sweep(
        jax.random.key(1), gj.GradientEM(), target, num_seeds=256, num_components=3,
        num_iterations=300, record_every=300, init=init, escape=gj.Escape(jax.random.key(2)),
    )  # fmt: skip
    assert (fits.num_insertions > 0).sum() > 40  # a fifth and more would be stuck
    assert jax.vmap(gj.recovery, in_axes=(0, None))(fits.mixture, truth32).recovered.all()
    certify = jax.jit(lambda mixture: gj.certificate(mixture, target, jax.random.key(3)))
    assert jax.lax.map(certify, fits.mixture).birth_optimal.all()
