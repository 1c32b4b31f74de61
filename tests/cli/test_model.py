"""What model.npz holds says the same about points in all units."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import gemjax as gj
from gemjax.cli import model

MEANS = np.array([[0.0, 1.0], [3.0, -2.0], [-4.0, 2.0]])
MATRICES = np.stack(
    [[[2.0, 0.6], [0.6, 1.0]], [[1.0, 0.0], [0.0, 1.0]], [[0.5, -0.2], [-0.2, 3.0]]]
)
FAMILIES = {
    "identity": gj.covariance.Identity(),
    "EII": gj.covariance.SharedSpherical(2.0),
    "VII": gj.covariance.Spherical(jnp.array([1.0, 2.0, 0.5])),
    "EEI": gj.covariance.SharedDiagonal(jnp.array([1.0, 2.0])),
    "VVI": gj.covariance.Diagonal(jnp.array([[1.0, 2.0], [3.0, 1.0], [0.5, 0.5]])),
    "EEE": gj.covariance.Tied(jnp.asarray(MATRICES[0])),
    "VVV": gj.covariance.Full(jnp.asarray(MATRICES)),
}
POINTS = np.random.default_rng(0).normal(size=(50, 2)) * 3


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("scale", [[2.0, 2.0], [0.5, 300.0]])
def test_a_mixture_in_other_units(name, scale):
    mixture = gj.make_mixture(MEANS, [0.5, 0.3, 0.2], covariance=FAMILIES[name])
    scale, offset = np.array(scale), np.array([1e3, -5.0])
    moved = model.moved(mixture, offset, scale)
    before = np.asarray(gj.log_density(mixture, POINTS)) - np.log(scale).sum()
    after = np.asarray(gj.log_density(moved, POINTS * scale + offset))
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9)
    if name not in ("identity", "EII", "VII"):
        assert type(moved.covariance) is type(mixture.covariance)


@pytest.mark.parametrize("far", [0.0, 1e9])
def test_rows_have_scipys_posterior_and_density_wherever_they_are(far):
    weights = np.array([0.5, 0.3, 0.2])
    mixture = gj.make_mixture(MEANS + far, weights, covariance=FAMILIES["VVV"])
    points = POINTS + far
    found = model.assign(model.Model(mixture, ["a", "b"]), points)
    joint = np.stack([
        w * multivariate_normal(mean, matrix).pdf(points - far)
        for w, mean, matrix in zip(weights, MEANS, MATRICES, strict=True)
    ])  # fmt: skip
    tight = 1e-9 if far == 0 else 1e-5  # 1e9 has seven digits behind the point
    np.testing.assert_allclose(found.log_density, np.log(joint.sum(axis=0)), rtol=0, atol=tight)
    np.testing.assert_array_equal(found.label, joint.argmax(axis=0))
    shares = joint.max(axis=0) / joint.sum(axis=0)
    np.testing.assert_allclose(found.probability, shares, rtol=0, atol=tight)


def test_ranks_are_those_of_points_of_the_model():
    """Of one Gaussian in the plane, exp(−r²/2) of its points are farther than r."""
    one = model.Model(gj.make_mixture([[5.0, 7.0]]), ["a", "b"])
    radius = np.array([0.1, 1.0, 2.0, 3.0, 9.0])
    points = np.array([5.0, 7.0]) + radius[:, None] * [1.0, 0.0]
    ranks = model.ranks(one, model.assign(one, points).log_density)
    np.testing.assert_allclose(ranks, np.exp(-(radius**2) / 2), atol=0.015)
