"""Tails and backgrounds: components that lie under others, alone and in select."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import gemjax as gj
from gemjax._base.records import Mixture
from gemjax._families.constrained import ConstrainedAxes
from gemjax._families.kind import NUMBERS
from gemjax._points.blocks import as_blocks
from gemjax._reduce.unions import clusters

KEY = jax.random.key(0)


def clusters_of(means, variances, weights, agree=True, seed=0):
    """Of round components in the plane, on 4,000 of their own points."""
    means, weights = np.asarray(means, float), np.asarray(weights)
    variances = np.asarray(variances, float)
    rng = np.random.default_rng(seed)
    label = rng.choice(len(means), 4000, p=weights)
    points = means[label] + np.sqrt(variances[label])[:, None] * rng.normal(size=(4000, 2))
    spread = jnp.asarray(np.stack([variances, variances], 1))
    family = ConstrainedAxes(spread, 1e-9, jnp.int32(NUMBERS["VII"]), jnp.ones(2))
    mixture = Mixture(jnp.asarray(means), jnp.log(jnp.asarray(weights)), family)
    blocks = as_blocks(gj.empirical(points), len(means), family=ConstrainedAxes)
    return clusters(mixture, blocks, jnp.asarray(agree)).tolist()


def test_a_tail_belongs_to_the_one_cluster_over_it():
    means = [[0, 0], [0.3, 0], [12, 0]]
    assert clusters_of(means, [1, 9, 1], [0.3, 0.15, 0.55]) == [1, 1, 0]


@pytest.mark.parametrize("agree", [True, False])
def test_a_background_belongs_to_none_and_joins_none(agree):
    means = [[0, 0], [8, 0], [4, 7], [4, 2.5]]
    said = clusters_of(means, [1, 1, 1, 22], [0.26, 0.28, 0.3, 0.16], agree)
    assert said == [2, 1, 0, -1]


def test_what_is_heavier_than_the_clusters_over_it_is_one():
    means = [[-3, 2], [3, 0], [0, 0]]
    assert clusters_of(means, [0.16, 0.16, 25], [0.28, 0.3, 0.42]) == [2, 1, 0]


@pytest.mark.slow
def test_points_of_a_background_belong_to_the_likeliest_cluster():
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=1500)
    points = np.array([[0, 0], [8, 0], [4, 7]])[label] + rng.standard_t(3, size=(1500, 2))
    found = gj.select(gj.empirical(points), KEY, families=("VII",), num_starts=1)
    assert (int(found.num_clusters), int((found.cluster < 0).sum())) == (3, 1)
    assert adjusted_rand_score(label, found.predict(points)) > 0.85
    # By Bayes, without the background.
    mixture, cluster = found.mixture, np.asarray(found.cluster)
    psi = np.asarray(gj.responsibilities(mixture, points))
    expected = np.stack([psi[:, cluster == c].sum(1) for c in range(3)], 1)
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(found.probabilities(points)[:, :3], expected, atol=1e-9)
    np.testing.assert_allclose(found.probabilities(points).sum(1), 1, rtol=1e-12)
