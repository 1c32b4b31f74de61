"""Shapes that several components tile: the points' density between them, and what joins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.metrics import adjusted_rand_score

import gemjax as gj
from gemjax._base.records import Mixture
from gemjax._families.constrained import Constrained, ConstrainedAxes
from gemjax._families.kind import NUMBERS
from gemjax._points.blocks import as_blocks
from gemjax._reduce import shapes
from gemjax._reduce.unions import clusters

KEY = jax.random.key(0)


def mixture_of(means, spread, weights):
    means, spread = jnp.asarray(means, float), jnp.asarray(spread, float)
    kind = jnp.int32(NUMBERS["VVV" if spread.ndim == 3 else "VVI"])
    family = Constrained if spread.ndim == 3 else ConstrainedAxes
    units = jnp.ones(means.shape[1])
    return Mixture(means, jnp.log(jnp.asarray(weights)), family(spread, 1e-9, kind, units))


@pytest.mark.parametrize("along_axes", [False, True])
def test_density_of_the_points_between_components(along_axes):
    rng = np.random.default_rng(0)
    n, d, N = 4, 3, 60
    means, x = rng.normal(size=(n, d)), rng.normal(size=(N, d))
    factors = rng.normal(size=(n, d, d))
    spread = factors @ factors.swapaxes(1, 2) + 0.5 * np.eye(d)
    if along_axes:
        spread = spread * np.eye(d)
    w = np.array([0.1, 0.2, 0.3, 0.4])
    joint = np.stack([w[i] * multivariate_normal(means[i], spread[i]).pdf(x) for i in range(n)], 1)
    psi = joint / joint.sum(1, keepdims=True)
    expected = np.ones((n, n))
    for i in range(n):
        for k in set(range(n)) - {i}:
            pooled = (w[i] * spread[i] + w[k] * spread[k]) / (w[i] + w[k])
            u = np.linalg.solve(pooled, means[k] - means[i])
            u /= u @ (means[k] - means[i])
            width = 0.4 * np.sqrt(min(u @ spread[i] @ u, u @ spread[k] @ u))
            t = (x - means[i]) @ u
            height = [
                ((psi[:, i] + psi[:, k]) * norm.pdf(t, place, width)).sum()
                for place in np.linspace(0, 1, 21)
            ]
            expected[i, k] = min(
                height[j] / min(max(height[: j + 1]), max(height[j:])) for j in range(21)
            )
    mixture = mixture_of(means, np.diagonal(spread, 0, 1, 2) if along_axes else spread, w)
    blocks = as_blocks(gj.empirical(x), n, family=type(mixture.covariance))
    number = jnp.asarray([[k for k in range(n) if k != i] for i in range(n)])
    dips = shapes.dips(mixture, blocks, number)
    np.testing.assert_allclose(dips, np.take_along_axis(expected, np.asarray(number), 1), 1e-9)


def joined(x, centres, deviation):
    """The clusters among round components, where heights say that they may be pieces."""
    n, spread = len(centres), np.full((len(centres), 2), deviation**2)
    mixture = mixture_of(centres, spread, np.full(n, 1 / n))
    blocks = as_blocks(gj.empirical(x), n, family=type(mixture.covariance))
    return clusters(mixture, blocks, jnp.bool_(False)), clusters(mixture, blocks, jnp.bool_(True))


def test_pieces_of_squares_join_and_gaussians_that_overlap_do_not():
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0], [6, 0], [0, 6], [6, 6]])
    square = rng.uniform(-1, 1, (4000, 2))
    pieces = np.concatenate([np.add([[-0.5, 0], [0.5, 0]], corner) for corner in corners])
    number, apart = joined(square + np.repeat(corners, 1000, 0), pieces, 0.35)
    assert number.tolist() == np.repeat(range(4), 2).tolist()
    assert apart.tolist() == list(range(8))
    # The same components, and points of their own.
    chain = np.array([[2.9 * i, 0] for i in range(4)] + [[4.2 * i, 9] for i in range(4)])
    points = np.repeat(chain, 500, 0) + rng.normal(size=(4000, 2))
    number, _ = joined(points, chain, 1.0)
    assert number.tolist() == list(range(8))


@pytest.mark.slow
def test_squares_are_clusters():
    rng = np.random.default_rng(0)
    corners, label = np.array([[0, 0], [3, 0], [0, 3], [3, 3]]), np.repeat(range(4), 250)
    x = rng.uniform(-1, 1, (1000, 2)) + corners[label]
    found = gj.select(gj.empirical(x), KEY, families=("EII", "EEI"), num_starts=1)
    assert int(found.num_components) > int(found.num_clusters) == 4
    assert adjusted_rand_score(label, found.predict(x)) > 0.99


@pytest.mark.slow
def test_many_dimensions():
    rng = np.random.default_rng(0)
    centres, label = rng.uniform(0, 40, (16, 128)), np.repeat(range(16), 24)
    x = centres[label] + rng.normal(size=(384, 128))
    found = gj.select(gj.empirical(x), KEY, num_starts=1)
    assert found.families == ("EII", "VII", "EEI", "VVI")
    assert int(found.num_components) == 16
    assert adjusted_rand_score(label, found.predict(x)) == 1
