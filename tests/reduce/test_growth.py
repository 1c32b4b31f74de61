"""What select's stages on a sample cannot see: rare clusters, certificates, unseen points."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from sklearn.metrics import adjusted_rand_score

import gemjax as gj
from gemjax._base.records import Mixture
from gemjax._families.constrained import Constrained
from gemjax._families.kind import NUMBERS
from gemjax._points.blocks import as_blocks
from gemjax._reduce import choosing, criteria, stages
from gemjax._reduce import select as select_module
from gemjax._reduce.criteria import Settings
from gemjax._reduce.descent import Level
from gemjax._reduce.growth import Points, complete, exchange
from gemjax._reduce.rounding import rounding
from gemjax._reduce.standard import standard

KEY = jax.random.key(0)


@pytest.mark.slow
def test_a_rare_cluster_that_the_sample_does_not_show(monkeypatch):
    for module in (choosing, select_module):
        monkeypatch.setattr(module, "SAMPLE", 300)
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=6000)
    common = np.array([[0.0, 0.0], [9.0, 0.0]])[label] + rng.normal(size=(6000, 2))
    rare = np.array([4.5, 40.0]) + rng.normal(size=(6, 2))  # 0.3 of its points are in the sample
    points = np.concatenate([common, rare])
    target = gj.empirical(points)
    key = jax.random.key(1)  # with this none is
    found = gj.select(target, key, families=("EII",), num_starts=1)
    assert (int(found.num_components), int(found.num_born)) == (3, 1)
    assert bool(found.certificate.birth_optimal)
    label = np.concatenate([label, np.full(6, 2)])
    assert adjusted_rand_score(label, found.predict(points)) > 0.99
    np.testing.assert_allclose(found.mixture.means[-1], rare.mean(0), atol=1e-3)
    assert gj.loss(found.mixture, target) == pytest.approx(float(found.loss), abs=1e-9)
    # A number that is given is kept.
    two = gj.select(target, key, families=("EII",), num_starts=1, num_components=2)
    assert (int(two.num_components), int(two.num_born)) == (2, 0)


def test_a_known_number_gives_up_a_pair_for_a_cluster_that_was_missed():
    rng = np.random.default_rng(4)
    centres = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0], [20.0, 20.0]])
    points = np.repeat(centres, 60, axis=0) + rng.normal(size=(240, 2))
    target = gj.empirical(points)
    whitened, units, settings = standard(
        target.points, target.weights, rounding(target.points, target.weights)
    )
    standardised = gj.Target(whitened, target.weights)
    everything = Points(target, standardised, standardised, units)
    # Two components on one cluster, and one on two: EM stays there.
    stuck = np.array([[-0.5, 0.0], [0.5, 0.0], [20.0, 0.0], [10.0, 20.0]])
    means = (jnp.asarray(stuck) - units.centre[None]) / units.scale[None]
    matrices = jnp.stack([jnp.eye(2) * v for v in (0.01, 0.01, 0.01, 1.0)])
    family = Constrained(matrices, settings.floor, jnp.int32(NUMBERS["VII"]), settings.units)
    mixture = Mixture(means, jnp.log(jnp.asarray([0.125, 0.125, 0.25, 0.5])), family)
    level = Level(mixture, jnp.int32(4), jnp.asarray(0.0), jnp.asarray(0.0))
    done = complete(level, everything, KEY, gj.covariance.Spherical)
    assert not done.certificate.birth_optimal
    cut = stages.pieces(KEY, whitened, target.weights, 16, False, 16)
    found = exchange(done, everything, KEY, cut, settings)
    assert bool(found.certificate.birth_optimal)
    one = gj.covariance.Spherical(np.ones(4))
    start = gj.make_mixture(centres, covariance=one)
    best = gj.fit(gj.classical_em(), target, start, num_iterations=50)
    assert gj.loss(found.mixture, target) == pytest.approx(float(best.history.loss[-1]), abs=1e-5)
    assert gj.loss(done.mixture, target) > float(best.history.loss[-1]) + 0.1


@pytest.mark.slow
def test_the_certificate_is_that_of_the_mixture():
    rng = np.random.default_rng(1)
    points = 50 + 20 * np.concatenate([rng.normal(size=(100, 1)), 9 + rng.normal(size=(100, 1))])
    target = gj.empirical(points)
    found = gj.select(target, KEY, families=("EII",), num_starts=1)
    said = found.certificate
    assert said.loss == pytest.approx(float(gj.loss(found.mixture, target)), rel=1e-12)
    assert said.birth_price == pytest.approx(np.log(200) / 200)  # (d + 1)/2 log N / N
    covariance = found.mixture.covariance.matrices(2, 1)[0, 0, 0]
    new = np.exp(-0.5 * (points[:, 0] - float(said.birth_at[0])) ** 2 / covariance)
    new /= np.sqrt(2 * np.pi * covariance)
    old = np.exp(gj.log_density(found.mixture, points))
    share = float(said.birth_weight)
    gain = np.mean(np.log1p(share * (new / old - 1)))
    assert said.birth_gain == pytest.approx(gain, rel=1e-6, abs=1e-12)


def test_unseen_points_judge():
    rng = np.random.default_rng(2)
    means, weights, unseen = (
        rng.normal(size=(3, 2)),
        np.array([0.2, 0.3, 0.5]),
        rng.normal(size=(7, 2)),
    )
    family = Constrained(jnp.stack([jnp.eye(2)] * 3), 1e-9, jnp.int32(NUMBERS["EII"]), jnp.ones(2))
    mixture = Mixture(jnp.asarray(means), jnp.log(jnp.asarray(weights)), family)
    level = Level(mixture, jnp.int32(3), jnp.asarray(99.0), jnp.asarray(0.0))
    settings = Settings(jnp.asarray(10.0), jnp.full(2, 1e-9), jnp.full(2, 1e-9), jnp.ones(2))
    blocks = as_blocks(gj.empirical(unseen), 3, family=Constrained)
    value = criteria.judged(level, blocks, settings, "held_out", blocks)
    expected = -20 * oracle.log_density(means, weights, unseen).mean()
    assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_held_out_points_choose_the_number():
    rng = np.random.default_rng(3)
    points = np.concatenate([c + rng.normal(size=(80, 2)) for c in ([0, 0], [8, 0], [0, 8])])
    target = gj.empirical(points)
    found = gj.select(target, KEY, families=("EII",), num_starts=1, criterion="held_out")
    assert int(found.num_components) == 3
    # Per point, twice the number of those that were fitted: 160 of 240.
    scale = np.log(points.std(0)).sum()
    assert found.criterion / 320 + scale == pytest.approx(float(found.loss), abs=0.15)
    assert choosing.num_fitted(240) == 160
