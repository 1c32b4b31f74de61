"""One covariance of all is what the same covariance is, held once per component."""

import jax.numpy as jnp
import numpy as np
import pytest

import gemjax as gj
from gemjax._base.records import Mixture
from gemjax._families.constrained import ConstrainedShared
from gemjax._families.kind import NUMBERS, SHARED
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
