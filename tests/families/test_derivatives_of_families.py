"""Derivatives of each family's fits are those of the iterations, in every layout and argument."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import assert_derivatives, directions, second_derivatives

import gemjax as gj
from gemjax._families.spectrum import raised

NAMES = ["EII", "VII", "EEI", "VVI", "EEE", "VVV"]
N, D, K = 30, 2, 3
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(N, D)) @ np.array([[1.5, 0.4], [0.0, 0.8]])
POINTS = POINTS + np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])[np.arange(N) % K]
FORMS = np.stack([v * (np.eye(D) + 0.3) for v in (0.6, 1.0, 1.5)])
SHARES = np.array([0.2, 0.3, 0.5])


def gradient(**more):
    return gj.GradientEM(0.7, 0.4, 1e-9, weight_steps=2, **more)


# All that a step does with a family: densities kept, recomputed, in chunks, from differences.
SOLVERS = {
    "classical": gj.classical_em(),
    "kept": gradient(),
    "recomputed": gradient(blocking=gj.Blocking(block_size=8, stored_bytes=0)),
    "chunks": gradient(mean_rule="em", blocking=gj.Blocking(block_size=8, copied_bytes=300)),
    "apart": gj.classical_em(),
    "newton": gradient(weight_rule="newton", mean_rule="em"),
    "monotone": gradient(mean_rule="overrelaxed", monotone=True),
    "floor": gj.classical_em(),
}
FLOORS = {"EII": 3.0, "VII": 1.2, "EEI": 1.9, "VVI": 0.8, "EEE": 1.4, "VVV": 0.7}


def inputs(name, way):
    """Everything real that goes in, covariances as parameters that may be any real numbers."""
    family = gj.covariance.family(name)
    covariance = family.nearest(jnp.asarray(FORMS), jnp.asarray(SHARES), 0.0)
    x = {
        "means": jnp.asarray([[0.5, 0.2], [2.0, 0.4], [0.1, 2.1]]),
        "weights": jnp.asarray(SHARES),
        "points": jnp.asarray(POINTS),
        "floor": jnp.asarray(FLOORS[name] if way == "floor" else 0.01),
    }
    leaves, tree = jax.tree.flatten(covariance.to_free())
    x |= {f"covariance {i}": leaf for i, leaf in enumerate(leaves)}
    return x, lambda x: dataclasses.replace(
        covariance.from_free(tree.unflatten([x[f"covariance {i}"] for i in range(len(leaves))])),
        floor=x["floor"],
    )


def fit_of(x, covariance_of, way, T):
    start = gj.make_mixture(x["means"], x["weights"], covariance=covariance_of(x))
    target = dataclasses.replace(gj.empirical(x["points"]), far_apart=way == "apart")
    return gj.fit(SOLVERS[way], target, start, num_iterations=T)


def outputs(fit):
    """(4,) the losses, the last of them, means and weights, and covariances."""
    rng, mixture = np.random.default_rng(1), fit.mixture
    matrices = mixture.covariance.matrices(K, D)
    slopes, forms = rng.normal(size=mixture.means.shape), rng.normal(size=matrices.shape)
    means = jnp.sum(slopes * mixture.means) + jnp.sum(slopes[:, 0] * mixture.weights)
    return jnp.stack([jnp.sum(fit.history.loss), fit.loss, means, jnp.sum(forms * matrices)])


def cells(*always):
    """Every family with every way; all but some of them among the slow tests."""
    every = [(name, way) for name in NAMES for way in SOLVERS]
    return [c if c in always else pytest.param(*c, marks=pytest.mark.slow) for c in every]


@pytest.mark.parametrize(("name", "way"), cells(("VVV", "floor")))
def test_both_modes_are_central_differences(name, way):
    x, covariance_of = inputs(name, way)
    T = 3 if way == "classical" else 2
    rounding = 1e-8 if way == "newton" else 1e-9  # as of the other fits with it
    found = assert_derivatives(
        lambda x: outputs(fit_of(x, covariance_of, way, T)), x, rounding=rounding
    )
    for argument in x:  # none is zero by a stop_gradient; newton forgets where weights began
        if argument != "floor" and (argument, way) != ("weights", "newton"):
            assert abs(found[argument][1:]).max() > 1e-3, argument
    floored = fit_of(x, covariance_of, way, T).info.num_floored
    assert (floored > 0) == (way == "floor") == (abs(found["floor"]).max() > 1e-3)


def along(name, way):
    """A function of t: along one direction in everything at once."""
    x, covariance_of = inputs(name, way)
    moves = directions(x)
    move = {name: moves[name][i] for i, name in enumerate(x)}

    def function(t):
        moved = jax.tree.map(lambda a, b: a + 0.1 * t * b, x, move)
        return outputs(fit_of(moved, covariance_of, way, 2)) @ jnp.array([0.1, 1.0, 1.0, 1.0])

    return function


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "way"),
    [
        *((name, way) for name in NAMES for way in ("classical", "kept")),
        *(("VII", "floor"), ("EEE", "floor"), ("VVV", "floor"), ("VVV", "apart")),
    ],
)
def test_second_derivatives_in_all_orders(name, way):
    found, difference = second_derivatives(along(name, way))
    np.testing.assert_allclose(found, difference, rtol=1e-6)
    np.testing.assert_allclose(found, found[0], rtol=1e-8)
    assert abs(difference) > 1e-3


@pytest.mark.slow
def test_second_derivatives_by_forward_over_reverse_mode():
    slope = jax.jit(jax.grad(along("EEE", "classical")))
    found = jax.jvp(slope, (0.0,), (1.0,))[1]
    h = 1e-4
    difference = (8 * (slope(h) - slope(-h)) - (slope(2 * h) - slope(-2 * h))) / (12 * h)
    assert found == pytest.approx(float(difference), rel=1e-6)
    assert abs(found) > 1e-3


@pytest.mark.parametrize("in_a_scan", [pytest.param(False, marks=pytest.mark.slow), True])
def test_second_derivatives_of_a_floor_with_equal_eigenvalues(in_a_scan):
    """Above the floor, below it, all zero, and none below; where JAX drops rules, too."""
    rng = np.random.default_rng(3)
    values = np.array([[2.0, 2.0, 0.1, 0.1], [0.3, 0.1, 0.1, 0.7], [0, 0, 0, 0], [3, 3, 1, 1]])
    turns = np.stack([np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in values])
    matrices = jnp.asarray(np.einsum("kab,kb,kcb->kac", turns, values, turns))
    move, forms = rng.normal(size=(2, *matrices.shape))
    move = move + move.swapaxes(1, 2)

    def function(t):
        def both(carry, _):
            return carry + jnp.sum(forms * raised(matrices + t * move, 0.5 + 0.3 * t)), None

        if not in_a_scan:
            return both(0.0, None)[0]
        return jax.lax.scan(jax.checkpoint(both), 0.0, length=2)[0]

    found, difference = second_derivatives(function)
    np.testing.assert_allclose(found, difference, rtol=1e-6)
    assert abs(difference) > 1
    h = 1e-5
    slope = (function(h) - function(-h)) / (2 * h)
    assert jax.grad(function)(0.0) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["VVV", "EEE"])
def test_second_derivatives_of_components_on_a_point_and_on_a_line(name):
    """A floor holds them up; their eigenvalues below it are equal, to the last bit or nearly."""
    rng = np.random.default_rng(2)
    line = 8 + rng.normal(size=(8, 1)) * np.array([[1.0, 0.0, 0.0]])
    points = np.concatenate([rng.normal(size=(8, 3)), line, np.full((4, 3), -8.0)])
    if name == "EEE":  # all on lines, for the covariance that they share
        points[:8, 1:] = 0
    move, slopes = (jnp.asarray(x) for x in rng.normal(size=(2, *points.shape)))
    forms = jnp.asarray(rng.normal(size=(K, 3, 3)))
    covariance = gj.covariance.family(name).nearest(jnp.tile(jnp.eye(3), (K, 1, 1)), SHARES, 0.1)

    def function(t):
        moved = points + t * move
        covariance_ = dataclasses.replace(covariance, floor=0.1 + 0.05 * t)
        start = gj.make_mixture(moved[jnp.array([0, 10, 18])], covariance=covariance_)
        mixture = gj.fit(gj.classical_em(), gj.empirical(moved), start, num_iterations=2).mixture
        matrices = mixture.covariance.matrices(K, 3)
        return jnp.sum(forms * matrices) + jnp.sum(slopes[:K] * mixture.means)

    found, difference = second_derivatives(function)
    np.testing.assert_allclose(found, difference, rtol=1e-6)
    assert abs(difference) > 1e-3
