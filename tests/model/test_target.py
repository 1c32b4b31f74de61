import itertools

import jax
import numpy as np
import pytest
from marks import mostly_slow

import gemjax as gj


def hermite(k, x):
    """Probabilists' Hermite polynomials: E[He_k(x + z)] = x^k for standard normal z."""
    return np.polynomial.hermite_e.hermeval(x, np.eye(k + 1)[k])


@pytest.mark.parametrize("d", [1, 2, 3])
def test_hermite_moments_of_grids(d):
    truth = gj.truth.random(jax.random.key(d), 3, d, 3.0, weights=[0.2, 0.3, 0.5])
    target = gj.population(truth)
    points, weights = np.asarray(target.points), np.asarray(target.weights)
    assert weights.sum() == pytest.approx(1, abs=1e-13)
    for powers in itertools.product(range(5), repeat=d):
        if sum(powers) > 4:
            continue
        product = np.prod([hermite(k, points[:, a]) for a, k in enumerate(powers)], axis=0)
        moment = np.prod([np.asarray(truth.means)[:, a] ** k for a, k in enumerate(powers)], axis=0)
        expected = np.asarray(truth.weights) @ moment
        assert weights @ product == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("m", mostly_slow([3, 6], 1))  # means that span 2 and 5 of 6 dimensions
def test_moments_of_sobol_normals(m):
    truth = gj.truth.simplex(m, 6, separation=4.0)
    target = gj.population(truth)
    mean = np.asarray(target.weights @ target.points)
    np.testing.assert_allclose(mean, truth.weights @ truth.means, atol=1e-3)
    centred = np.asarray(target.points) - mean
    covariance = (centred * np.asarray(target.weights)[:, None]).T @ centred
    between = np.asarray(truth.means) - np.asarray(truth.weights @ truth.means)
    expected = np.eye(6) + between.T @ between / m
    np.testing.assert_allclose(covariance, expected, atol=5e-3)


@pytest.mark.parametrize(
    ("d", "m", "coarse"),
    [
        (1, 3, 32),
        pytest.param(2, 3, 24, marks=pytest.mark.slow),
        pytest.param(3, 3, 16, marks=pytest.mark.slow),
        pytest.param(6, 3, 24, marks=pytest.mark.slow),
    ],
)
def test_refinement_stays_within_the_claimed_error(d, m, coarse):
    truth = gj.truth.random(jax.random.key(1), m, d, 4.0)
    rough, fine = gj.population(truth, num_nodes=coarse), gj.population(truth, num_nodes=2 * coarse)
    for seed in range(3):
        probe = gj.initialize.from_mixture(jax.random.key(seed), truth, 7)
        change = abs(gj.loss(probe, rough) - gj.loss(probe, fine))
        assert change <= 2 * rough.quadrature_error
    if d <= 3:  # beyond, quasi-random normals bound the error
        assert fine.quadrature_error < rough.quadrature_error


@pytest.mark.slow
def test_means_in_few_dimensions_are_exact_in_their_span():
    # Three means in 10 dimensions span a plane; the loss there is that of the plane's own grid.
    flat, deep = gj.truth.ring(3, 2, separation=5.0), gj.truth.ring(3, 10, separation=5.0)
    # There the grid's first axis runs along the first difference.
    x, y = (flat.means[1] - flat.means[0]) / 5
    flat = gj.make_mixture(flat.means @ np.array([[x, -y], [y, x]]))
    constant = 4 * (np.log(2 * np.pi) + 1)  # eight more normal dimensions
    difference = gj.loss(deep, gj.population(deep)) - gj.loss(flat, gj.population(flat))
    assert difference == pytest.approx(constant, abs=5e-3)
    probe = gj.make_mixture(np.asarray(deep.means)[:2])
    plane = gj.make_mixture(np.asarray(flat.means)[:2])
    change = gj.loss(probe, gj.population(deep)) - gj.loss(deep, gj.population(deep))
    expected = gj.loss(plane, gj.population(flat)) - gj.loss(flat, gj.population(flat))
    assert change == pytest.approx(float(expected), abs=1e-9)


def test_population_is_differentiable_and_jits():
    def entropy(separation):
        truth = gj.truth.ring(3, 2, separation)
        return gj.loss(truth, gj.population(truth, num_nodes=40))

    value, slope = jax.jit(jax.value_and_grad(entropy))(4.0)
    step = 1e-4
    numeric = (entropy(4.0 + step) - entropy(4.0 - step)) / (2 * step)
    assert np.isfinite(value)
    assert slope == pytest.approx(float(numeric), rel=1e-6)


def test_sample_weights_are_normalised():
    target = gj.empirical([1.0, 2.0], weights=[1e300, 1e300])
    np.testing.assert_allclose(target.weights, 0.5)
