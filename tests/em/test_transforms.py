"""jit, vmap, grad and their compositions; compile counts; lowering for every platform."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.sharding import Mesh, PartitionSpec

import gemjax as gj

MEANS, WEIGHTS, POINTS, POINT_WEIGHTS = oracle.problem(0, N=30, n=3, d=2)
TARGET = gj.empirical(POINTS, POINT_WEIGHTS)
START = gj.make_mixture(MEANS, WEIGHTS)


def run(points=POINTS, means=MEANS, log_weights=None, T=4, **settings):
    log_weights = START.log_weights if log_weights is None else log_weights
    target = gj.Target(jnp.asarray(points), TARGET.weights)
    solver = gj.GradientEM(**settings, weight_tolerance=0.0)
    return gj.fit(solver, target, gj.Mixture(jnp.asarray(means), log_weights), num_iterations=T)


@pytest.mark.parametrize(
    "name", ["step_size", "weight_step_size", "weight_tolerance", "active_weight"]
)
def test_vmap_over_every_hyper_parameter(name):
    values = jnp.array([0.05, 0.3, 0.9])

    def fit(value):
        return gj.fit(gj.GradientEM(**{name: value}), TARGET, START, num_iterations=5)

    batch = jax.vmap(fit)(values)
    for i, value in enumerate(values):
        alone = fit(value)
        np.testing.assert_allclose(batch.mixture.means[i], alone.mixture.means, rtol=1e-10)
        assert batch.history.num_active[i].tolist() == alone.history.num_active.tolist()


def test_jit_of_vmap_of_grad():
    def final(step):
        return run(step_size=step, weight_step_size=0.05).history.loss[-1]

    steps = jnp.array([0.1, 0.7])
    together = jax.jit(jax.vmap(jax.grad(final)))(steps)
    np.testing.assert_allclose(together, [jax.grad(final)(s) for s in steps], rtol=1e-9)


def test_new_values_do_not_trace_again():
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def fit(solver, target, start):
        return gj.fit(solver, target, start, num_iterations=3)

    for step in (0.5, 0.25, 1.0):
        fit(
            gj.GradientEM(step, step, step),
            TARGET,
            gj.Mixture(START.means + step, START.log_weights),
        )
    from gemjax._em.fit import _run

    before = _run._cache_size()
    for step in (0.5, jnp.float64(0.25), np.float32(1.0), jnp.float32(0.1)):
        gj.fit(gj.GradientEM(step), TARGET, START, num_iterations=11)
    assert _run._cache_size() == before + 1


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_fit_and_sweep_lower_for(platform):
    def fit(target, start):
        return gj.fit(gj.GradientEM(), target, start, num_iterations=3).mixture.means

    def sweep(key, target):
        fits = gj.sweep(key, gj.GradientEM(), target, num_seeds=3, num_components=2,
                        num_iterations=3)  # fmt: skip
        return fits.mixture.means

    exported = jax.export.export(jax.jit(fit), platforms=[platform])(TARGET, START)
    assert exported.platforms == (platform,)
    jax.export.export(jax.jit(sweep), platforms=[platform])(jax.random.key(0), TARGET)


def test_shard_map():
    mesh = Mesh(np.array(jax.devices()[:2]), ("seed",))
    axis = PartitionSpec("seed")

    def fit(step, points):
        target = gj.Target(points, TARGET.weights)
        one = lambda s: gj.fit(gj.GradientEM(s), target, START, num_iterations=4)  # noqa: E731
        return jax.vmap(one)(step).mixture.means

    spread = jax.shard_map(fit, mesh=mesh, in_specs=(axis, PartitionSpec()), out_specs=axis)
    means = spread(jnp.array([0.3, 0.6]), TARGET.points)
    alone = gj.fit(gj.GradientEM(0.6), TARGET, START, num_iterations=4)
    np.testing.assert_allclose(means[1], alone.mixture.means, rtol=1e-10)
