"""Certificates inside of computations: on devices, in loops, differentiated; what they refuse."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.sharding import Mesh, PartitionSpec

import gemjax as gj
from gemjax._assess.certificate import _certify, certify
from gemjax._points.blocks import as_blocks

KEY = jax.random.key(5)
FEW = {"num_starts": 16, "num_steps": 50}


def small():
    means, weights, points, point_weights = oracle.problem(1, N=30, n=3, d=2)
    return gj.make_mixture(means, weights), gj.empirical(points, point_weights)


def test_points_spread_over_devices():
    mixture, target = small()
    alone = gj.certificate(mixture, target, KEY, **FEW)
    candidates = gj.initialize.from_target(KEY, target, 30).means

    def spread(points, weights):
        blocks = as_blocks(gj.Target(points, weights), 3, axis="data")
        return certify(mixture, blocks, candidates, None, **FEW)

    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    share = PartitionSpec("data")
    run = jax.shard_map(spread, mesh=mesh, in_specs=(share, share), out_specs=PartitionSpec())
    together = jax.jit(run)(target.points, target.weights)
    for field in dataclasses.fields(alone):
        if "agreed" not in field.name:
            pairs = (jax.tree.leaves(getattr(found, field.name)) for found in (alone, together))
            for a, b in zip(*pairs, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-9, err_msg=field.name)


def test_inside_a_loop_under_vmap_with_its_gradient():
    mixture, target = small()
    blocks, candidates = as_blocks(target, 3), gj.initialize.from_target(KEY, target, 30).means
    moved = lambda shift: gj.Mixture(mixture.means + shift, mixture.log_weights)  # noqa: E731

    def gap(shift):
        def body(total, number):
            found = jax.lax.cond(
                number == 1,
                lambda: certify(moved(shift), blocks, candidates, shift, **FEW).npmle_gap,
                lambda: jnp.zeros(()),
            )
            return total + found, None

        return jax.lax.scan(body, jnp.zeros(()), jnp.arange(3))[0]

    shifts = jnp.array([0.0, 0.5])
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(gap)))(shifts)
    alone = [gj.certificate(moved(shift), target, KEY, **FEW).npmle_gap for shift in shifts]
    np.testing.assert_allclose(values, alone, rtol=1e-8)
    width = 1e-5
    up, down = (jax.jit(jax.vmap(gap))(shifts + h) for h in (width, -width))
    np.testing.assert_allclose(slopes, (up - down) / (2 * width), rtol=1e-6)


def test_values_are_differentiable_at_the_places_found():
    mixture, target = small()

    def found(means, points):
        moved = gj.Mixture(means, mixture.log_weights)
        one = gj.certificate(moved, gj.Target(points, target.weights), KEY, **FEW)
        return jnp.stack([one.loss, one.duality_gap, one.npmle_gap, one.birth_gain])

    rng = np.random.default_rng(0)
    moves = (rng.normal(size=mixture.means.shape), rng.normal(size=target.points.shape))
    inputs = (mixture.means, target.points)
    _, forward = jax.jvp(found, inputs, moves)
    reverse = jax.jacrev(found, argnums=(0, 1))(*inputs)
    h = 1e-5
    up, down = (found(*(x + s * dx for x, dx in zip(inputs, moves, strict=True))) for s in (h, -h))
    # The search stops just below the top, which the differences feel and the slope does not.
    np.testing.assert_allclose(forward, (up - down) / (2 * h), rtol=1e-4, atol=1e-7)
    together = sum(jnp.tensordot(r, dx, axes=dx.ndim) for r, dx in zip(reverse, moves, strict=True))
    np.testing.assert_allclose(together, forward, rtol=1e-10)


def test_the_price_is_traced_and_decides():
    mixture, target = small()
    gain = gj.certificate(mixture, target, KEY, price=0.0, **FEW).birth_gain
    assert gain > 1e-3
    compiled = _certify._cache_size()
    priced = lambda price: gj.certificate(mixture, target, KEY, price=price, **FEW)  # noqa: E731
    assert not priced(0.5 * gain).birth_optimal
    assert priced(2 * gain).birth_optimal
    for error, price in [(1e-3, 1e-3), (1e-9, 1e-6)]:
        population = gj.Target(target.points, target.weights, jnp.asarray(error))
        assert gj.certificate(mixture, population, KEY, **FEW).birth_price == price
    assert _certify._cache_size() == compiled


def test_ascents_that_end_early_do_not_change_a_decision():
    decisions = set()
    for seed in range(6):
        points = (
            np.random.default_rng(seed).normal(size=(300, 2))
            + 2.5 * (seed % 2) * (np.arange(300) < 100)[:, None]
        )
        start = gj.make_mixture([[0.0, 0.0]], covariance=gj.covariance.Full(jnp.eye(2)[None]))
        target = gj.empirical(points)
        mixture = gj.fit(gj.classical_em(), target, start, num_iterations=20).mixture
        early = gj.certificate(mixture, target, KEY, num_starts=16)
        late = gj.certificate(mixture, target, KEY, num_starts=16, price=0.0)
        pays = bool(late.birth_gain > early.birth_price)
        assert bool(early.birth_optimal) != pays
        if pays:
            np.testing.assert_allclose(early.birth_gain, late.birth_gain, rtol=1e-9)
        else:
            assert early.birth_gain <= late.birth_gain * (1 + 1e-9)
        decisions.add(pays)
    assert decisions == {True, False}


def test_what_is_not_finite_is_not_certified():
    mixture, target = small()
    bad = gj.Mixture(mixture.means * jnp.nan, mixture.log_weights)
    candidates = gj.initialize.from_target(KEY, target, 30).means
    lost = _certify(bad, as_blocks(target, 16), candidates, None, **FEW)
    assert not lost.birth_optimal
    assert not lost.npmle_usable
    assert jnp.isnan(lost.npmle_gap)


def test_bad_arguments_are_named():
    mixture, target = small()
    with pytest.raises(ValueError, match="num_starts must be at least 1, got 0"):
        gj.certificate(mixture, target, KEY, num_starts=0)
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        gj.certificate(mixture, target, KEY, num_steps=0)
    with pytest.raises(ValueError, match="price must be non-negative and finite, got -1"):
        gj.certificate(mixture, target, KEY, price=-1.0)
    with pytest.raises(ValueError, match="mixture has dimension 1"):
        gj.certificate(gj.make_mixture([[0.0]]), target, KEY)
    with pytest.raises(TypeError, match="target must be a Target"):
        gj.certificate(mixture, target.points, KEY)
