"""prune, merge and merge_path: published heights, brute force over partitions, BIC."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import mostly_slow
from sklearn.mixture import GaussianMixture

import gemjax as gj

KEY = jax.random.key(0)
# Do, Do, McKinley, Terhorst and Nguyen (arXiv 2403.01684): weights, atoms, heights (twice ours).
WEIGHTS = np.array([0.05, 0.3, 0.05, 0.3, 0.15, 0.15])
ATOMS = np.array([-2.1, -1.9, 0.05, -0.05, 3.0, 3.2])
HEIGHTS = [0.0004285714, 0.0017142857, 0.003, 0.6270089286, 3.4994169643]


def test_heights_of_the_dendrogram_of_mixing_measures():
    mixture = gj.make_mixture(ATOMS, WEIGHTS)
    path = gj.merge_path(mixture, gj.empirical(ATOMS, WEIGHTS), num_iterations=0)
    np.testing.assert_allclose(2 * path.height[1:], HEIGHTS, atol=1e-10)  # ten digits are published
    assert path.num_components.tolist() == [6, 5, 4, 3, 2, 1]
    # For the mixture's own population they bound the Kullback-Leibler divergence, added up.
    path = gj.merge_path(mixture, gj.population(mixture), num_iterations=0)
    rise = path.loss - path.loss[0]
    assert ((rise >= -1e-12) & (rise <= jnp.cumsum(path.height) + 1e-9)).all()
    assert rise[-1] > 0.5


def partitions(items, size):
    """All partitions into so many parts."""
    for labels in itertools.product(range(size), repeat=len(items)):
        if len(set(labels)) == size:
            yield labels


@pytest.mark.parametrize("seed", range(3))
def test_merging_far_apart_groups_is_the_best_partition(seed):
    """Of six atoms in three tight pairs, and of all partitions into three by Ward's total cost."""
    rng = np.random.default_rng(seed)
    atoms = np.repeat(rng.normal(size=(3, 2)) * 20, 2, axis=0) + rng.normal(size=(6, 2))
    weights = rng.dirichlet(np.ones(6))

    def cost(labels):
        total = 0.0
        for part in set(labels):
            inside = np.array(labels) == part
            w = weights[inside]
            centre = w @ atoms[inside] / w.sum()
            total += 0.5 * w @ ((atoms[inside] - centre) ** 2).sum(1)
        return total

    best = min(cost(labels) for labels in partitions(range(6), 3))
    mixture = gj.make_mixture(atoms, weights)
    heights = []
    for _ in range(3):
        merged = gj.merge(mixture)
        heights.append(float(merged.height))
        left = 5 - len(heights) + 1
        mixture = gj.prune(merged.mixture, least_weight=0.0, num_components=left)
    assert sum(heights) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("name", mostly_slow(["VII", "EEE", "VVV"], 1))
def test_levels_are_what_they_say(name):
    truth = gj.truth.ring(3, 2, separation=8.0)
    points = gj.sample(KEY, truth, 300)
    target, n = gj.empirical(points), 5
    family = gj.covariance.family(name)
    start = gj.initialize.plus_plus(jax.random.key(1), target, n)
    matrices = jnp.broadcast_to(2 * jnp.eye(2), (n, 2, 2))
    covariance = family.nearest(matrices, start.weights, 1e-3)
    path = gj.merge_path(gj.make_mixture(start.means, covariance=covariance), target)
    jitted = jax.jit(lambda mixture: gj.merge_path(mixture, target))
    again = jitted(gj.make_mixture(start.means, covariance=covariance))
    np.testing.assert_allclose(again.loss, path.loss, rtol=1e-10)
    assert int(path.num_components[path.bic.argmin()]) == 3
    at = path.at(3)
    assert gj.loss(at, target) == pytest.approx(float(path.loss[n - 3]), rel=1e-9)
    assert gj.recovery(at, truth, tolerance=0.5).recovered  # of a distance of 8
    psi = np.asarray(gj.responsibilities(at, points))
    entropy = -np.sum(psi * np.log(np.where(psi > 0, psi, 1))) / len(points)
    np.testing.assert_allclose(path.entropy[n - 3], entropy, atol=1e-9)
    kind = {"VII": "spherical", "EEE": "tied", "VVV": "full"}[name]
    model = GaussianMixture(3, covariance_type=kind).fit(np.asarray(points))
    count = model._n_parameters()
    assert path.num_parameters[n - 3] == count
    bic = 2 * 300 * path.loss[n - 3] + count * np.log(300)
    np.testing.assert_allclose(path.bic[n - 3], bic, rtol=1e-12)
    np.testing.assert_allclose(path.icl - path.bic, 600 * path.entropy, atol=1e-8)


def test_where_levels_are_fitted():
    target = gj.empirical(np.random.default_rng(0).normal(size=(60, 2)))
    start = gj.initialize.from_target(KEY, target, 6)
    bare = gj.merge_path(start, target, num_iterations=0)
    some = gj.merge_path(start, target, num_iterations=4, between=(1, 2))
    np.testing.assert_allclose(some.loss[:4], bare.loss[:4], rtol=1e-12)
    assert (some.loss[4:] < bare.loss[4:] - 1e-6).all()


def test_empty_components_go_first():
    mixture = gj.make_mixture([[0.0], [5.0], [1.0], [9.0]], [0.4, 0.0, 0.3, 0.3])
    merged = gj.merge(mixture)
    assert (merged.height, {int(merged.freed)}) == (0.0, {1})
    np.testing.assert_allclose(merged.mixture.means[0], mixture.means[0])
    pruned = gj.prune(mixture, least_weight=0.35)
    np.testing.assert_allclose(pruned.weights, [1.0, 0.0, 0.0, 0.0])
    batch = jax.vmap(lambda w: gj.prune(gj.make_mixture([[0.0], [1.0]], w)).weights)
    np.testing.assert_allclose(batch(jnp.array([[1.0, 3.0], [1.0, 0.0]]))[0], [0.75, 0.25])


def test_errors():
    one, two = gj.make_mixture([[0.0]]), gj.make_mixture([[0.0], [1.0]])
    target = gj.empirical([[0.0], [1.0]])
    with pytest.raises(ValueError, match="at least 2 components: merge"):
        gj.merge(one)
    with pytest.raises(ValueError, match=r"least_weight must be less than 1, got 1\.0"):
        gj.prune(two, least_weight=1.0)
    with pytest.raises(ValueError, match="at most the mixture's 2, got 3"):
        gj.prune(two, num_components=3)
    with pytest.raises(ValueError, match="num_iterations must be at least 0"):
        gj.merge_path(two, target, num_iterations=-1)
    with pytest.raises(ValueError, match=r"between\[1\] must be at least 3"):
        gj.merge_path(two, target, between=(3, 1))
    with pytest.raises(ValueError, match="num_components must be at most 2, got 3"):
        gj.merge_path(two, target).at(3)
