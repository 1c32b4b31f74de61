"""Units there and back, and a known covariance that is the identity in units of its own."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

import gemjax as gj

RNG = np.random.default_rng(0)
D, K = 3, 2
TURN = np.linalg.qr(RNG.normal(size=(D, D)))[0]
KNOWN = TURN @ np.diag([30.0, 1.0, 0.02]) @ TURN.T
FACTOR = np.linalg.cholesky(KNOWN)
CENTRES = np.array([[0.0, 0.0, 0.0], [4.0, -3.0, 5.0]]) + 1000.0
POINTS = np.concatenate([c + RNG.normal(size=(70, D)) @ FACTOR.T for c in CENTRES])
POINT_WEIGHTS = RNG.uniform(0.5, 1.5, len(POINTS))
UNITS = gj.Units(POINTS.mean(axis=0), FACTOR)


@pytest.mark.parametrize("scale", [0.5, FACTOR])
def test_there_and_back(scale):
    units = gj.Units(POINTS.mean(axis=0), scale)
    for points in (POINTS, POINTS[0], POINTS[:12].reshape(2, 6, D)):
        there = units.to_model(points)
        assert there.shape == points.shape
        np.testing.assert_allclose(units.to_data(there), points, rtol=1e-13)
    matrix = np.atleast_2d(scale) if np.ndim(scale) else scale * np.eye(D)
    for x in POINTS[:3]:
        moved = np.linalg.inv(matrix) @ (x - POINTS.mean(axis=0))
        np.testing.assert_allclose(units.to_model(x), moved, rtol=1e-9, atol=1e-9)


def em_with_a_known_covariance(weights, means, num_iterations):
    """In the data's units: weights, means, and losses before each iteration."""
    shares, losses = POINT_WEIGHTS / POINT_WEIGHTS.sum(), []
    for _ in range(num_iterations):
        kernels = [scipy.stats.multivariate_normal(m, KNOWN).pdf(POINTS) for m in means]
        joint = weights[:, None] * np.stack(kernels)
        losses.append(-shares @ np.log(joint.sum(axis=0)))
        psi = joint / joint.sum(axis=0) * shares
        weights = psi.sum(axis=1)
        means = psi @ POINTS / weights[:, None]
    return weights, means, losses


# Any L with L Lᵀ = Σ does.
@pytest.mark.parametrize("factor", [FACTOR, scipy.linalg.sqrtm(KNOWN)])
def test_a_known_covariance_is_the_identity_in_its_units(factor):
    units, T = gj.Units(POINTS.mean(axis=0), factor), 8
    weights, means = np.array([0.3, 0.7]), CENTRES + np.array([[1.0, 1.0, 2.0], [-0.5, 1.0, -1.0]])
    target = gj.empirical(units.to_model(POINTS), POINT_WEIGHTS)
    start = gj.make_mixture(units.to_model(means), weights)
    fit = gj.fit(gj.classical_em(), target, start, num_iterations=T)
    weights, means, losses = em_with_a_known_covariance(weights, means, T)
    np.testing.assert_allclose(units.loss_to_data(fit.history.loss), losses, rtol=1e-10)
    np.testing.assert_allclose(fit.mixture.weights, weights, rtol=1e-8)
    np.testing.assert_allclose(units.to_data(fit.mixture.means), means, rtol=1e-11)
    assert losses[0] - losses[-1] > 0.1


def test_densities_in_the_datas_units():
    """log p(x) = log p(y) − log det L; the same mixture, said in the data's units, has it too."""
    weights = np.array([0.3, 0.7])
    kernels = [scipy.stats.multivariate_normal(m, KNOWN).pdf(POINTS) for m in CENTRES]
    exact = np.log(weights @ np.stack(kernels))
    there = gj.make_mixture(UNITS.to_model(CENTRES), weights)
    found = gj.log_density(there, UNITS.to_model(POINTS)) - np.log(np.diag(FACTOR)).sum()
    np.testing.assert_allclose(found, exact, rtol=1e-9)
    here = gj.make_mixture(
        UNITS.to_data(there.means), weights, covariance=gj.covariance.Tied(KNOWN)
    )
    np.testing.assert_allclose(gj.log_density(here, POINTS), exact, rtol=1e-8)
    loss = gj.loss(there, gj.empirical(UNITS.to_model(POINTS)))
    assert UNITS.loss_to_data(loss) == pytest.approx(-exact.mean(), rel=1e-10)


def test_a_covariance_without_an_inverse_is_no_unit():
    with pytest.raises(np.linalg.LinAlgError):
        gj.Units(np.zeros(2), np.ones((2, 2))).to_model(np.zeros(2))
