"""Certificates against brute force, exact optima, and the inequalities that they stand for."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import gemjax as gj
from gemjax._assess.candidates import Candidates, farthest_points, prepare
from gemjax._assess.certificate import certify
from gemjax._assess.gains import insertion_gain, log_gradient_function, values
from gemjax._points.blocks import as_blocks

KEY = jax.random.key(5)
GALAXIES = Path(__file__).resolve().parents[2] / "configs" / "data" / "galaxies.csv"
FEW = {"num_starts": 16, "num_steps": 50}


def log_ratios(means, weights, points, centres):
    """(k, N) log φ_θ/p, by the oracle."""
    log_phi = oracle.log_joint(centres, np.ones(len(centres)), points).T
    return log_phi - oracle.log_density(means, weights, points)[None]


def problem(seed, d):
    means, weights, points, point_weights = oracle.problem(seed, N=30, n=3, d=d)
    axis = np.linspace(points.min(), points.max(), 400 if d == 1 else 40)
    grid = np.stack(np.meshgrid(*[axis] * d), axis=-1).reshape(-1, d)
    return (means, weights, points, point_weights), grid


@pytest.mark.parametrize("d", [1, 2])
def test_suprema_against_a_dense_grid(d):
    for seed in range(2):
        (means, weights, points, point_weights), grid = problem(seed, d)
        target = gj.empirical(points, point_weights)
        found = gj.certificate(gj.make_mixture(means, weights), target, KEY, **FEW)
        ratio = np.exp(log_ratios(means, weights, points, grid))
        at = np.stack([found.npmle_at, found.birth_at])
        there = np.exp(log_ratios(means, weights, points, at))

        D = there[0] @ point_weights
        assert found.npmle_gap == pytest.approx(math.log(D), abs=1e-10)
        assert 0 <= found.npmle_gap - np.log((ratio @ point_weights).max()) < 0.02
        a = point_weights * there[0] / D
        assert found.npmle_points == pytest.approx(1 / np.sum(a * a), rel=1e-8)

        alpha = float(found.birth_weight)
        gain = np.log1p(alpha * (there[1] - 1)) @ point_weights
        assert found.birth_gain == pytest.approx(gain, abs=1e-10)
        best = max((np.log1p(a * (ratio - 1)) @ point_weights).max() for a in np.arange(0, 1, 0.01))
        assert 0 <= found.birth_gain - best < 0.01
        assert found.loss == pytest.approx(oracle.loss(means, weights, points, point_weights))
        # A component of the mixture is a place like any other.
        assert math.expm1(found.npmle_gap) >= found.duality_gap - 1e-10
        r = oracle.ratios(means, weights, points, point_weights)
        assert found.duality_gap == pytest.approx(r.max() - 1)
        assert found.birth_price == pytest.approx(
            -(d + 1) / 2 * np.log(np.sum(point_weights**2)) * np.sum(point_weights**2)
        )


def galaxies():
    return gj.empirical(np.loadtxt(GALAXIES, skiprows=1) / 1000)


def test_galaxies_at_the_exact_maximum_likelihood_estimate():
    atoms = [9.71014, 16.17517, 20.00184, 23.10357, 26.23073, 33.04433]
    npmle = gj.make_mixture(jnp.array(atoms), [0.0854, 0.0246, 0.4664, 0.3483, 0.0388, 0.0366])
    best = -199.34236158
    found = gj.certificate(npmle, galaxies(), KEY, **FEW)
    assert -82 * found.loss == pytest.approx(best, abs=1e-3)
    assert 0 <= found.npmle_gap < 5e-3  # weights are known to four digits
    assert 82 * (best / 82 + found.loss) <= 82 * found.npmle_gap
    assert found.birth_optimal
    assert found.npmle_usable

    # One Gaussian, written as six.
    mean = jnp.broadcast_to(galaxies().points.mean(axis=0)[None], (6, 1))
    single = gj.certificate(gj.make_mixture(mean), galaxies(), KEY, **FEW)
    assert -82 * single.loss == pytest.approx(-918.882385, abs=1e-5)
    assert single.npmle_gap >= (best + 918.882385) / 82
    assert single.birth_price == pytest.approx(math.log(82) / 82)
    assert not single.birth_optimal


@jax.jit
@jax.vmap
def certificates(means, weights, points, point_weights):
    """Certificates of many mixtures, each against many targets; what they cost is compiling."""

    def one(points, point_weights):
        blocks = as_blocks(gj.Target(points, point_weights), 8)
        mixture = gj.Mixture(means, jnp.log(weights))
        return certify(mixture, blocks, points[:16], None, num_starts=8, num_steps=20)

    return jax.vmap(one)(points, point_weights)


def batch_log_density(means, weights, points):
    """(S, N) for S mixtures (S, n) and their points (S, N), all in one dimension."""
    squares = (points[:, :, None] - means[:, None]) ** 2
    with np.errstate(under="ignore"):
        return np.log(np.einsum("sn,sjn->sj", weights, np.exp(-0.5 * squares)) + 1e-300)


def batch_em(means, weights, points):
    """Twenty steps of EM on S samples."""
    for _ in range(20):
        joint = weights[:, None] * np.exp(-0.5 * (points[:, :, None] - means[:, None]) ** 2)
        psi = joint / np.maximum(joint.sum(axis=2, keepdims=True), 1e-300)
        mass = psi.sum(axis=1)
        means = np.einsum("sjn,sj->sn", psi, points) / np.maximum(mass, 1e-300)
        weights = mass / mass.sum(axis=1, keepdims=True)
    return means, weights


def check_the_bound(seed, S):
    """No mixture beats the bound of p, a random one and every tenth time the truth."""
    rng = np.random.default_rng(seed)
    # Weights from even to very uneven.
    truth, p, q, start = (
        (2 * rng.normal(size=(S, 3)), rng.dirichlet(np.full(3, 0.7), S)) for _ in range(4)
    )
    same = np.arange(S) % 10 == 0
    for random, true in zip(p, truth, strict=True):
        random[same] = true[same]
    # The truth in the population limit, as a trapezoid rule, and as many draws from it.
    offsets = np.linspace(-8.5, 8.5, 64)
    mass = np.exp(-0.5 * offsets**2)
    nodes = (truth[0][:, :, None] + offsets[None, None]).reshape(S, -1)
    node_weights = (truth[1][:, :, None] * (mass / mass.sum())[None, None]).reshape(S, -1)
    label = np.array([rng.choice(3, nodes.shape[1], p=w) for w in truth[1]])
    sample = np.take_along_axis(truth[0], label, axis=1) + rng.normal(size=nodes.shape)
    points = np.stack([sample, nodes], axis=1)
    point_weights = np.stack([np.full_like(nodes, 1 / nodes.shape[1]), node_weights], axis=1)
    found = certificates(p[0][..., None], p[1], points[..., None], point_weights)

    for k in range(2):
        x, w, gap = points[:, k], point_weights[:, k], np.asarray(found.npmle_gap[:, k])
        for mixture in (truth, q, batch_em(*start, sample)):
            log_ratio = batch_log_density(*mixture, x) - batch_log_density(*p, x)
            excess = (w * log_ratio).sum(axis=1) - gap
            assert (excess <= 1e-9).all(), excess.max()
        # The best birth is a mixture like any other.
        assert (found.birth_gain[:, k] - gap <= 1e-9).all()
        assert (gap[~same] > 1e-6).all()
    # In the population limit the truth is certified, though 64 nodes are too few for some.
    assert np.median(found.npmle_gap[same, 1]) < 1e-8
    assert (found.npmle_gap[same, 0] > 1e-5).all()


def test_no_mixture_gains_more_than_the_bound():
    check_the_bound(0, 300)


@pytest.mark.slow
def test_no_mixture_of_ten_thousand_gains_more_than_the_bound():
    for seed in range(1, 11):
        check_the_bound(seed, 1000)


def one_fits_many(truth):
    """Where EM with n = m = 3 gets stuck: two components on a cluster, one between the others."""
    a, b, c = truth.means
    return gj.make_mixture(jnp.stack([0.5 * (a + b), c, c]), [4, 1, 1])


def test_a_stuck_fit():
    truth = gj.truth.simplex(3, 2, separation=6.0)
    target = gj.empirical(gj.sample(KEY, truth, 30))
    stuck = one_fits_many(truth)
    found = gj.certificate(stuck, target, KEY, **FEW)
    assert found.npmle_gap >= gj.loss(stuck, target) - gj.loss(truth, target) > 0.5
    nearest = jnp.linalg.norm(truth.means - found.birth_at[None], axis=1)
    assert jnp.min(nearest[:2]) < 0.7
    assert not found.birth_optimal
    assert found.birth_weight == pytest.approx(1 / 3, abs=0.15)


@pytest.mark.slow
def test_ten_dimensions_in_float32():
    truth = gj.truth.simplex(3, 10, separation=jnp.float32(6.0))
    target = gj.empirical(gj.sample(KEY, truth, 20_000))
    found = gj.certificate(truth, target, KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {
        jnp.dtype(kind) for kind in ("float32", "int32", "bool")
    }
    assert found.birth_optimal
    assert found.birth_gain > 0
    assert not found.npmle_usable
    assert found.npmle_points == pytest.approx(1, abs=0.1)
    # The supremum is where single far points are: one alone makes D that large there.
    density = gj.log_density(truth, target.points) + math.log(20_000) + 5 * math.log(2 * math.pi)
    assert found.npmle_gap >= -jnp.min(density) - 1e-3

    stuck = gj.certificate(one_fits_many(truth), target, KEY)
    assert stuck.npmle_gap >= stuck.loss - found.loss > 0.5
    assert jnp.min(jnp.linalg.norm(truth.means - stuck.birth_at[None], axis=1)) < 0.5
    assert not stuck.birth_optimal


@jax.jit
def all_passes(context, candidates):
    gradient = log_gradient_function(context, candidates)
    gain = insertion_gain(context, candidates)
    return gradient, gain, values(context, candidates), farthest_points(context, 6)


def test_every_way_to_walk_over_the_points_gives_the_same(tmp_path):
    means, weights, points, point_weights = oracle.problem(3, N=50, n=3, d=2, offset=100.0)
    point_weights[:5] = 0.0
    point_weights /= point_weights.sum()
    points[:5] += 1e3  # far off, and of no weight
    mixture, target = gj.make_mixture(means, weights), gj.empirical(points, point_weights)
    np.save(tmp_path / "points.npy", points)
    np.save(tmp_path / "weights.npy", point_weights)
    on_disk = gj.from_npy(tmp_path / "points.npy", tmp_path / "weights.npy", dtype="float64")

    centres = points[5:10]
    alpha = np.linspace(0.1, 0.5, 5)
    log_ratio = log_ratios(means, weights, points, centres)
    D = np.exp(log_ratio) @ point_weights
    gain = np.log1p(alpha[:, None] * np.expm1(log_ratio)) @ point_weights
    tau = np.exp(log_ratio) / (1 + alpha[:, None] * np.expm1(log_ratio)) * alpha[:, None]
    a = point_weights[None] * np.exp(log_ratio) / D[:, None]
    lone = np.where(point_weights > 0, np.log(np.maximum(point_weights, 1e-300)), -np.inf)
    lone = lone - oracle.log_density(means, weights, points)
    for data, blocking in [
        (target, gj.Blocking()),
        (target, gj.Blocking(block_size=8, copied_bytes=2000)),
        (on_disk, gj.Blocking(block_size=8, num_parallel=2, copied_bytes=800)),
    ]:
        blocks = as_blocks(data, 3, blocking)
        candidates = Candidates(centres - blocks.centre[None], jnp.asarray(alpha), None)
        directional, birth, known, far = all_passes(prepare(mixture, blocks), candidates)
        np.testing.assert_allclose(directional.value, np.log(D), rtol=1e-9)
        moved = (np.exp(log_ratio) * point_weights[None]) @ points / D[:, None]
        np.testing.assert_allclose(directional.step.centres + blocks.centre[None], moved)
        np.testing.assert_allclose(birth.value, gain, rtol=1e-9)
        np.testing.assert_allclose(birth.step.weights, tau @ point_weights, rtol=1e-9)
        np.testing.assert_allclose(known.heights, np.log(D), rtol=1e-9)
        np.testing.assert_allclose(known.gains, gain, rtol=1e-9)
        np.testing.assert_allclose(known.numbers, 1 / np.sum(a * a, axis=1), rtol=1e-9)
        assert known.num_points == pytest.approx(1 / np.sum(point_weights**2))
        expected = points[np.argsort(-lone)[:6]]
        np.testing.assert_allclose(far + blocks.centre[None], expected, atol=1e-9)


def test_exponents_beyond_the_range_of_floats():
    points = jnp.linspace(-1, 1, 30).at[0].set(1000.0)
    found = gj.certificate(gj.make_mixture(jnp.zeros(3)), gj.empirical(points), KEY, **FEW)
    assert found.npmle_gap == pytest.approx(0.5e6 - math.log(30), rel=1e-9)
    assert found.npmle_at[0] == pytest.approx(1000)
    assert found.npmle_points == pytest.approx(1)
    assert found.birth_weight == pytest.approx(1 / 30, abs=1e-6)
