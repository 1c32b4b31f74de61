"""How many components there are once near ones are one, and measures of a fit, against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gemjax as gj


def groups(means, weights, radius, least=1e-3):
    """Single linkage by union-find over the components that have weight."""
    kept = [i for i, weight in enumerate(weights) if weight >= least]
    parent = {i: i for i in kept}

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i in kept:
        for j in kept:
            if np.linalg.norm(means[i] - means[j]) <= radius:
                parent[root(i)] = root(j)
    return len({root(i) for i in kept})


def mixture(seed, n, d=2, spread=3.0):
    """Some components without weight, some twice."""
    rng = np.random.default_rng(seed)
    means = spread * rng.normal(size=(n, d))
    means[rng.random(n) < 0.2] = means[0]
    weights = rng.dirichlet(np.ones(n)) * (rng.random(n) < 0.7) + 1e-300
    return gj.make_mixture(jnp.asarray(means), jnp.asarray(weights))


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_num_distinct_against_union_find(n):
    counts = set()
    for seed in range(12):
        made = mixture(seed, n)
        means, weights = np.asarray(made.means), np.asarray(made.weights)
        for radius in (0.0, 0.5, 1.5):
            found = int(gj.num_distinct(made, radius=radius))
            assert found == groups(means, weights, radius), (seed, radius)
            counts.add(found)
    assert len(counts) >= min(n, 5) - 1


def test_a_chain_is_one_however_long():
    """Each link is within the radius and the ends are far apart: 40 steps, 6 squarings."""
    chain = gj.make_mixture(0.4 * jnp.arange(40.0)[:, None])
    assert gj.num_distinct(chain) == 1
    assert gj.num_distinct(chain, radius=0.39) == 40


def test_components_without_weight_link_nothing():
    made = gj.make_mixture([[0.0], [0.4], [0.8]], weights=[0.5, 0.0, 0.5])
    assert gj.num_distinct(made) == 2
    assert gj.num_distinct(made, active_weight=0.0) == 1
    assert gj.num_distinct(made, active_weight=0.6) == 0


def test_radius_zero_takes_equal_ones_for_one():
    assert gj.num_distinct(gj.make_mixture([[1.0], [1.0], [1.0 + 1e-9]]), radius=0.0) == 2


def test_under_jit_and_vmap():
    many = [mixture(seed, 9) for seed in range(5)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *many)
    count = jax.jit(
        jax.vmap(lambda m, r: gj.num_distinct(m, radius=r), in_axes=(0, None))
    )  # radius traced
    for radius in (0.5, 2.0):
        alone = [int(gj.num_distinct(m, radius=radius)) for m in many]
        assert count(stacked, jnp.asarray(radius)).tolist() == alone
    assert count(stacked, jnp.asarray(0.5)).dtype == jnp.int32


@pytest.mark.parametrize("d", [1, 3])
def test_rms_distance_and_covers_against_loops(d):
    rng = np.random.default_rng(d)
    truth = gj.make_mixture(jnp.asarray(2 * rng.normal(size=(4, d))))
    true, covered = np.asarray(truth.means), []
    for seed in range(20):
        made = mixture(seed, 7, d)
        means, weights = np.asarray(made.means), np.asarray(made.weights)
        squares, served = 0.0, set()
        for mean, weight in zip(means, weights, strict=True):
            distances = [np.sqrt(((mean - other) ** 2).sum()) for other in true]
            squares += weight * min(distances) ** 2
            served.add(int(np.argmin(distances)))
        found = gj.recovery(made, truth)
        np.testing.assert_allclose(found.rms_distance, np.sqrt(squares), rtol=1e-12)
        assert bool(gj.covers(made, truth)) == (len(served) == 4)
        covered.append(len(served) == 4)
    assert len(set(covered)) == 2  # both happen


def test_a_measure_of_the_truth_itself():
    truth = gj.make_mixture([[0.0, 1.0], [3.0, 4.0]])
    assert gj.recovery(truth, truth).rms_distance == 0
    assert gj.covers(truth, truth)
    assert gj.num_distinct(truth) == 2


def test_bad_input():
    one, two = gj.make_mixture([[0.0]]), gj.make_mixture([[0.0, 0.0]])
    with pytest.raises(ValueError, match="dimension"):
        gj.covers(one, two)
    with pytest.raises(TypeError, match="float32 and truth is float64"):
        gj.covers(gj.make_mixture(np.zeros((1, 1), np.float32)), one)
    with pytest.raises(TypeError, match="mixture must be a Mixture"):
        gj.num_distinct(np.zeros((2, 1)))
    with pytest.raises(TypeError, match="truth must be a Mixture"):
        gj.covers(one, np.zeros((2, 1)))
    for name in ("radius", "active_weight"):
        with pytest.raises(ValueError, match=f"{name} must be"):
            gj.num_distinct(one, **{name: -1.0})
        with pytest.raises(ValueError, match=f"{name} must be"):
            gj.num_distinct(one, **{name: float("nan")})
        with pytest.raises(ValueError, match=name):
            gj.num_distinct(one, **{name: [0.5, 0.5]})
