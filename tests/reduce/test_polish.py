from pathlib import Path

import jax
import numpy as np
import pytest

import gemjax as gj

DATA = Path(__file__).resolve().parents[2] / "configs" / "data"
FAITHFUL = np.loadtxt(DATA / "faithful.csv", delimiter=",", skiprows=1)
MEANS = np.array([[2.0, 55.0], [4.3, 80.0]])
VARIANCES = np.array([[0.1, 36.0], [0.1, 36.0]])
STARTS = {
    "VVV": (gj.covariance.Full(np.stack([np.diag(v) for v in VARIANCES])), -1130.26396, 1e-4),
    "VVI": (gj.covariance.Diagonal(VARIANCES), -1147.8064, 2e-4),
    "EEI": (gj.covariance.SharedDiagonal(VARIANCES[0]), -1157.6800, 2e-4),
    "VII": (gj.covariance.Spherical([36.0, 36.0]), -1709.5293, 2e-4),
    "EII": (gj.covariance.SharedSpherical(36.0), -1709.6814, 2e-4),
    "EEE": (gj.covariance.Tied(np.diag(VARIANCES[0])), -1140.1868, 2e-4),
}


@pytest.mark.parametrize("family", STARTS)
def test_reaches_the_reference_and_is_stationary(family):
    covariance, reference, within = STARTS[family]
    start, target = gj.make_mixture(MEANS, covariance=covariance), gj.empirical(FAITHFUL)
    polished = gj.polish(start, target)
    print(family, polished.num_iterations, polished.num_newton, polished.gradient_norm)
    assert polished.status == gj.Status.CONVERGED
    assert abs(-len(FAITHFUL) * float(polished.loss) - reference) < within
    gradient = jax.grad(gj.loss)(polished.mixture, target).means
    assert np.linalg.norm(gradient) <= 1e-10
    count = int(polished.num_iterations + polished.num_newton)
    plain = gj.fit(gj.classical_em(), target, start, num_iterations=count)
    assert polished.loss <= plain.loss + 1e-14 * abs(plain.loss)
