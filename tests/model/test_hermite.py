"""Hermite tensors beside the sum over pairings, expectations beside quadrature and brute force."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from numpy.polynomial import hermite_e

import gemjax as gj

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def mixture(n, d, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    means, weights = rng.normal(size=(n, d)), rng.dirichlet(np.ones(n))
    return gj.make_mixture(means.astype(dtype), weights)


def sample(N, d, seed=0):
    rng = np.random.default_rng(seed)
    return gj.empirical(rng.normal(size=(N, d)) * 1.5 + 0.3, rng.dirichlet(np.ones(N)))


def matchings(places):
    """All ways to pair up some of the places."""
    if not places:
        yield []
        return
    first, *others = places
    yield from matchings(others)
    for other in others:
        for rest in matchings([p for p in others if p != other]):
            yield [(first, other), *rest]


def by_pairings(order, x):
    """He_k(x) entry by entry: Σ over matchings of (−1)^pairs Π δ_ab Π x_c (Isserlis)."""
    d, found = len(x), np.zeros((len(x),) * order)
    ways = list(matchings(list(range(order))))
    for index in itertools.product(range(d), repeat=order):
        for pairs in ways:
            if all(index[a] == index[b] for a, b in pairs):
                alone = set(range(order)) - {p for pair in pairs for p in pair}
                found[index] += (-1) ** len(pairs) * math.prod(x[index[p]] for p in alone)
    return found


def moment(order, means, weights):
    """Σ π μ^⊗k."""
    powers = [functools.reduce(np.multiply.outer, [m] * order, np.ones(())) for m in means]
    return np.tensordot(weights, np.array(powers), axes=1)


@pytest.mark.parametrize("order", range(7))
def test_polynomials_are_numpys(order):
    x = RNG.normal(size=(3, 4)) * 3
    expected = hermite_e.hermeval(x, np.eye(7)[order])
    np.testing.assert_allclose(gj.hermite.polynomial(order, x), expected, rtol=1e-11)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("order", range(7))
def test_tensors_are_sums_over_pairings(order, d):
    x = np.random.default_rng(order).normal(size=(2, d)) * 2
    expected = np.array([by_pairings(order, row) for row in x])
    found = gj.hermite.tensor(order, x)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    target = gj.empirical(x, [1.0, 3.0])
    expected = np.tensordot([0.25, 0.75], expected, axes=1)
    np.testing.assert_allclose(
        gj.hermite.expectation(order, target), expected, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("order", range(7))
def test_expectations_under_a_mixture_have_no_noise(order):
    truth = mixture(3, 2)
    expected = moment(order, np.asarray(truth.means), np.asarray(truth.weights))
    np.testing.assert_allclose(gj.hermite.expectation(order, truth), expected, atol=1e-12)
    whole = gj.population(truth)
    np.testing.assert_allclose(gj.hermite.expectation(order, whole), expected, atol=1e-9)
    directions = RNG.normal(size=(5, 2))
    found = [gj.hermite.along(order, p, directions) for p in (truth, whole)]
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)


@pytest.mark.parametrize("order", range(7))
def test_contractions_need_no_tensor(order):
    directions = np.concatenate([RNG.normal(size=(4, 3)), np.zeros((1, 3))])
    a, b, target = mixture(3, 3), mixture(2, 3, 1), sample(20, 3)
    tensors = {p: np.asarray(gj.hermite.expectation(order, p)) for p in (a, b, target)}
    for p, tensor in tensors.items():
        expected = []
        for v in directions:
            one = tensor
            for _ in range(order):
                one = one @ v
            expected.append(float(one))
        np.testing.assert_allclose(
            gj.hermite.along(order, p, directions), expected, rtol=1e-9, atol=1e-11
        )
    for p, q in ((a, b), (b, a), (a, target), (target, a)):
        expected = np.sum(tensors[p] * tensors[q])
        assert gj.hermite.inner(order, p, q) == pytest.approx(expected, rel=1e-9)


def test_sums_over_blocks_are_sums_over_points(monkeypatch):
    target, directions = sample(37, 3), RNG.normal(size=(4, 3))

    def values(points):
        moved = gj.empirical(points, target.weights)
        return gj.hermite.expectation(4, moved), gj.hermite.along(5, moved, directions)

    def slope(points):
        return jax.grad(lambda x: sum(jnp.sum(v) for v in values(x)))(points)

    whole = (*values(target.points), slope(target.points))
    monkeypatch.setattr("gemjax._model.hermite._NUMBERS", 40)
    jax.clear_caches()
    for one, other in zip(whole, (*values(target.points), slope(target.points)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def test_residuals_are_norms_of_differences_of_tensors():
    a, b = mixture(4, 3), mixture(3, 3, 1)
    expected = [
        np.linalg.norm(gj.hermite.expectation(k, a) - gj.hermite.expectation(k, b))
        for k in range(1, 7)
    ]
    found = gj.hermite.residuals(a, b)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(gj.hermite.residuals(b, a), expected, rtol=1e-9)
    order = np.array([2, 0, 3, 1])
    swapped = gj.make_mixture(a.means[order], a.weights[order])
    np.testing.assert_allclose(gj.hermite.residuals(swapped, b), found, rtol=1e-9)
    # The chi-square distance about N(0, I): Σ r_k² / k!, here of one component against another.
    one, two = gj.make_mixture([[0.3, 0.2]]), gj.make_mixture([[-0.1, 0.4]])
    r = gj.hermite.residuals(one, two, 12)
    total = sum(float(r[k - 1]) ** 2 / math.factorial(k) for k in range(1, 13))
    gram = np.exp(np.concatenate([one.means, two.means]) @ np.concatenate([one.means, two.means]).T)
    assert total == pytest.approx(gram[0, 0] - 2 * gram[0, 1] + gram[1, 1], rel=1e-10)


def test_residuals_of_equal_mixtures_are_zero():
    a = mixture(5, 4)
    order = np.array([3, 1, 4, 0, 2])
    swapped = gj.make_mixture(a.means[order], a.weights[order])
    split = gj.make_mixture(
        np.concatenate([a.means, a.means]), np.concatenate([0.25 * a.weights, 0.75 * a.weights])
    )
    slopes = jax.jit(jax.grad(lambda p, q: jnp.sum(gj.hermite.residuals(p, q))))
    for p, q in ((a, a), (a, swapped), (split, a)):
        r, slope = gj.hermite.residuals(p, q), slopes(p, q)
        assert (r < 1e-12).all(), r
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize("step", [1e-2, 1e-5, 1e-9, 1e-13])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_residuals_of_mixtures_that_are_near(step, offset):
    """Against the derivative: to first order r_k is the norm of Σ π dμ ⊗ μ … in all places."""
    a = mixture(4, 3)
    a = gj.make_mixture(a.means + offset, a.weights)
    moved = gj.make_mixture(a.means + step * RNG.normal(size=a.means.shape), a.weights)
    delta = np.asarray(moved.means) - np.asarray(a.means)  # what was representable

    def tensors(means):
        return [gj.hermite.expectation(k, gj.make_mixture(means, a.weights)) for k in range(1, 7)]

    middle = a.means + delta / 2
    slopes = jax.jvp(tensors, (middle,), (jnp.asarray(delta),))[1]
    found = gj.hermite.residuals(moved, a)
    np.testing.assert_allclose(found, [np.linalg.norm(s) for s in slopes], rtol=2e-3)
    if step < 1e-3:
        np.testing.assert_allclose(found, [np.linalg.norm(s) for s in slopes], rtol=1e-6)


def test_order_six_in_a_hundred_dimensions():
    a, b = mixture(8, 100), mixture(6, 100, 1)
    gram = [np.asarray(p.means) @ np.asarray(q.means).T for p, q in ((a, a), (a, b), (b, b))]
    aa, ab, bb = (
        p.weights @ g**6 @ q.weights
        for g, (p, q) in zip(gram, ((a, a), (a, b), (b, b)), strict=True)
    )
    assert gj.hermite.inner(6, a, b) == pytest.approx(float(ab), rel=1e-9)
    assert gj.hermite.residuals(a, b)[5] == pytest.approx(float(aa - 2 * ab + bb) ** 0.5, rel=1e-9)
    target = gj.empirical(gj.sample(KEY, a, 50))
    assert np.isfinite(gj.hermite.inner(6, a, target))
    with pytest.raises(ValueError, match=r"order = 6 in d = 100 .* along, inner and residuals"):
        gj.hermite.expectation(6, a)


def test_principal_subspaces_are_those_of_the_means():
    truth = gj.truth.simplex(3, 6, 4.0, [0.5, 0.3, 0.2])
    turn = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
    truth = gj.make_mixture(truth.means @ turn + 50.0, truth.weights)
    basis = gj.hermite.principal_subspace(truth, 2)
    spread = np.asarray(truth.means) - np.asarray(truth.weights @ truth.means)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(spread @ basis @ basis.T, spread, atol=1e-11)
    variances = truth.weights @ (spread @ basis) ** 2
    assert variances[0] > variances[1]
    points = gj.empirical(gj.sample(KEY, truth, 4000))
    inside = gj.hermite.principal_subspace(points, 2)
    assert np.linalg.norm(basis.T @ inside, 2) > 0.99


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_principal_subspaces_are_differentiable(order):
    truth = gj.truth.simplex(3, 6, 4.0, [0.5, 0.3, 0.2])
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=(6, 6)))[0]

    def projected(means):
        basis = gj.hermite.principal_subspace(gj.make_mixture(means, truth.weights), 1)
        return jnp.sum((basis @ basis.T) ** 3)

    means = truth.means @ turn + 50.0
    check_grads(jax.jit(projected), (means,), order=order, atol=1e-5, rtol=1e-5)


A, B, POINTS = mixture(3, 2), mixture(2, 2, 1), sample(6, 2)
DIRECTIONS = jnp.asarray([[1.0, 0.5], [0.0, 0.0], [-0.3, 2.0]])
FUNCTIONS = {
    "polynomial": lambda a, b, x, v: gj.hermite.polynomial(4, v),
    "tensor": lambda a, b, x, v: gj.hermite.tensor(4, v),
    "of a mixture": lambda a, b, x, v: gj.hermite.expectation(5, a),
    "of a target": lambda a, b, x, v: gj.hermite.expectation(4, x),
    "along, mixture": lambda a, b, x, v: gj.hermite.along(4, a, v),
    "along, target": lambda a, b, x, v: gj.hermite.along(3, x, v),
    "inner": lambda a, b, x, v: gj.hermite.inner(3, a, b) + gj.hermite.inner(3, x, a),
    "residuals": lambda a, b, x, v: gj.hermite.residuals(a, b, 3),
}


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_and_transformations(name, order):
    def value(means, weights, other, points, heights, v):
        a, b = gj.make_mixture(means, weights), gj.make_mixture(other, B.weights)
        return FUNCTIONS[name](a, b, gj.empirical(points, heights), v)

    arguments = (A.means, A.weights, B.means, POINTS.points, POINTS.weights, DIRECTIONS)
    function = jax.jit(value)
    np.testing.assert_allclose(function(*arguments), value(*arguments), rtol=1e-10, atol=1e-12)
    check_grads(function, arguments, order=order, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5)
    batch = jax.tree.map(lambda x: jnp.stack([x, 1.01 * x]), arguments)
    mapped = jax.vmap(value)(*batch)
    for s in range(2):
        alone = value(*jax.tree.map(lambda x, s=s: x[s], batch))
        np.testing.assert_allclose(mapped[s], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_beside_float64(name):
    cast = lambda tree, dtype: jax.tree.map(lambda x: x.astype(dtype), tree)  # noqa: E731
    single = cast((A, B, POINTS, DIRECTIONS), jnp.float32)
    found = FUNCTIONS[name](*single)
    assert found.dtype == jnp.float32
    exact = np.asarray(FUNCTIONS[name](*cast(single, jnp.float64)))
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())


def test_residuals_that_are_small_in_float32():
    a = mixture(4, 10, dtype=np.float32)
    near = gj.make_mixture(a.means + 1e-4 * RNG.normal(size=(4, 10)).astype(np.float32), a.weights)
    double = [jax.tree.map(lambda x: x.astype(jnp.float64), p) for p in (near, a)]
    found, exact = gj.hermite.residuals(near, a), gj.hermite.residuals(*double)
    np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_what_is_refused():
    h = gj.hermite
    for call, kind, message in (
        (lambda: h.polynomial(-1, 0.0), ValueError, "order must be at least 0, got -1"),
        (lambda: h.polynomial(2, np.nan), ValueError, "x must be finite"),
        (lambda: h.tensor(21, [1.0]), ValueError, "order = 21 in d = 1 dimensions"),
        (lambda: h.expectation(2, [1.0]), TypeError, "distribution must be a Mixture or a Target"),
        (lambda: h.along(2, A, [1.0]), ValueError, "directions has dimension 1"),
        (
            lambda: h.along(2, A, DIRECTIONS.astype(jnp.float32)),
            TypeError,
            "distribution is float64 and directions is float32",
        ),
        (lambda: h.inner(2, POINTS, POINTS), TypeError, "a or b must be a Mixture"),
        (lambda: h.residuals(A, POINTS), TypeError, "b must be a Mixture, got Target"),
        (lambda: h.residuals(A, B, 0), ValueError, "max_order must be at least 1, got 0"),
        (lambda: h.residuals(A, mixture(2, 3)), ValueError, "b has dimension 3"),
        (lambda: h.principal_subspace(A, 3), ValueError, "rank must be at most .* d = 2, got 3"),
    ):
        with pytest.raises(kind, match=message):
            call()
