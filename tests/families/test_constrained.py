"""One covariance of all is what the same covariance is, held once per component; and floors."""

import jax.numpy as jnp
import numpy as np
import pytest

import gemjax as gj
from gemjax._base.records import Mixture
from gemjax._families.constrained import Constrained, ConstrainedAxes, ConstrainedShared
from gemjax._families.kind import AXES, NUMBERS, SHARED
from gemjax._points.blocks import as_blocks
from gemjax._reduce.descent import Guard, em

N, n, d = 200, 5, 3
RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(d, d))
MEANS = jnp.asarray(RNG.normal(size=(n, d)))
WEIGHTS = jnp.asarray(RNG.dirichlet(np.ones(n)))


@pytest.fixture(params=SHARED)
def both(request):
    units = jnp.asarray([1.0, 2.0, 3.0])
    kind = jnp.int32(NUMBERS[request.param])
    one = ConstrainedShared(jnp.asarray(ROOT @ ROOT.T + np.eye(d)), 1e-9, kind, units)
    one = one.held(one.spread, WEIGHTS)
    return one, one.own_spreads(n)


def test_costs_of_merging_need_no_determinant_per_pair(both):
    one, own = both
    costs = one.merge_costs(MEANS, WEIGHTS)
    np.testing.assert_allclose(costs, own.merge_costs(MEANS, WEIGHTS), atol=1e-14)
    assert costs.max() > 0.01


def test_merged(both):
    pair = (jnp.int32(1), jnp.int32(3))
    one, own = (family.merge(MEANS, WEIGHTS, *pair) for family in both)
    np.testing.assert_allclose(one.own_spreads(n).spread, own.spread, atol=1e-14)


def test_a_step_of_em(both):
    points = gj.empirical(RNG.normal(size=(N, d)) @ ROOT)
    guard = Guard(jnp.asarray(0.01), jnp.eye(d))  # which a covariance of all does not need
    found = []
    for family in both:
        mixture = Mixture(MEANS, jnp.log(WEIGHTS), family)
        moved, loss = em(mixture, as_blocks(points, n, family=type(family)), guard)
        found.append((moved.means, moved.covariance.matrices(n, d), loss))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


FLOORS = np.array([0.01, 0.5, 2.0])


SERVED = {Constrained: NUMBERS, ConstrainedAxes: AXES, ConstrainedShared: SHARED}


@pytest.mark.parametrize(("serving", "name"), [(s, name) for s in SERVED for name in SERVED[s]])
def test_each_coordinate_has_a_floor_of_its_own(serving, name):
    units, kind = np.array([1.0, 2.0, 3.0]), jnp.int32(NUMBERS[name])
    wide = serving.equal(jnp.full(d, 9.0), n, kind, jnp.asarray(FLOORS), jnp.asarray(units))
    wide = wide.of_kind(kind, WEIGHTS)
    thin = wide.with_spread(wide.spread * 0).held(wide.spread * 0, WEIGHTS)
    matrices = np.asarray(thin.matrices(n, d))
    round_ = name in ("EII", "VII")
    least = (FLOORS * units).max() / units if round_ else FLOORS
    np.testing.assert_allclose(
        matrices, np.broadcast_to(np.diag(least), matrices.shape), atol=1e-12
    )
    assert thin.floored(n).all()
    assert not wide.floored(n).any()
    again = wide.held(wide.spread, WEIGHTS).spread
    np.testing.assert_allclose(again, wide.spread, rtol=1e-14, atol=1e-14)


def test_a_tilted_covariance_is_raised_in_units_of_the_floors():
    spread = jnp.asarray(RNG.normal(size=(n, d, 1)))
    spread = spread * spread.swapaxes(1, 2)  # of rank one
    kind, floor = jnp.int32(NUMBERS["VVV"]), jnp.asarray(FLOORS)
    raised = np.asarray(Constrained(spread, floor, kind, jnp.ones(d)).held(spread, WEIGHTS).spread)
    scale = np.sqrt(FLOORS[:, None] * FLOORS[None])
    for one, before in zip(raised, np.asarray(spread), strict=True):
        values, vectors = np.linalg.eigh(before / scale)
        expected = (vectors * np.maximum(values, 1)) @ vectors.T * scale
        np.testing.assert_allclose(one, expected, atol=1e-12)
