import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

import gemjax as gj

KEY = jax.random.key(7)
TRUTH = gj.truth.ring(3, 2, separation=5.0)
TARGET = gj.empirical(gj.sample(jax.random.key(0), TRUTH, 400))


def sweep(**changes):
    settings = {"num_seeds": 5, "num_components": 4, "num_iterations": 12} | changes
    return gj.sweep(KEY, gj.GradientEM(), TARGET, **settings)


def assert_same(a, b):
    np.testing.assert_allclose(a.mixture.means, b.mixture.means, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(a.history.loss, b.history.loss, rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 100])
def test_batch_size_does_not_matter(batch_size):
    assert_same(sweep(batch_size=batch_size), sweep())


def test_a_seed_depends_on_its_number_alone():
    whole, tail = sweep(), sweep(num_seeds=2, first_seed=3)
    np.testing.assert_allclose(whole.mixture.means[3:], tail.mixture.means, rtol=1e-8)
    start = gj.initialize.from_target(jax.random.fold_in(KEY, 4), TARGET, 4)
    alone = gj.fit(gj.GradientEM(), TARGET, start, num_iterations=12)
    np.testing.assert_allclose(whole.mixture.means[4], alone.mixture.means, rtol=1e-8)


def test_mesh():
    mesh = Mesh(np.array(jax.devices()[:2]), ("seed",))
    assert_same(sweep(mesh=mesh), sweep())
    with pytest.raises(ValueError, match='axis "seed"'):
        sweep(mesh=Mesh(np.array(jax.devices()[:2]), ("data",)))


def test_leaves_have_a_seed_axis():
    fits = sweep(record_every=3)
    assert fits.history.loss.shape == (5, 4)
    assert fits.status.shape == (5,)
    assert len({float(v) for v in fits.history.loss[:, 0]}) == 5


def test_vmap_over_the_solver():
    fits = jax.vmap(
        lambda s: gj.sweep(KEY, gj.GradientEM(s), TARGET, num_seeds=2, num_components=3,
                           num_iterations=4)
    )(jnp.array([0.2, 0.5]))  # fmt: skip
    assert fits.mixture.means.shape == (2, 2, 3, 2)


def test_init_must_return_the_right_mixture():
    with pytest.raises(TypeError, match="init must return a Mixture of 4"):
        sweep(init=lambda key, target, n: gj.initialize.from_target(key, target, n + 1))
