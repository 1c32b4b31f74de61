"""Certificates where components have covariances of their own: the search over place and width."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gemjax as gj
from gemjax._assess.candidates import Candidates, prepare
from gemjax._assess.certificate import certify
from gemjax._assess.gains import insertion_gain, values
from gemjax._assess.search import best_of
from gemjax._points.blocks import as_blocks

KEY = jax.random.key(3)
FEW = {"num_starts": 24, "num_steps": 60}
MEANS = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 9.0]])
VARIANCES = np.array([0.05, 1.0, 4.0])


def family(name, variances, d, dtype=float):
    v = jnp.asarray(variances, dtype)
    if name == "VII":
        return gj.covariance.Spherical(v)
    if name == "VVI":
        return gj.covariance.Diagonal(jnp.broadcast_to(v[:, None], (len(v), d)))
    return gj.covariance.Full(v[:, None, None] * jnp.eye(d, dtype=dtype)[None])


def sample(N, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, N)
    return MEANS[label] + np.sqrt(VARIANCES[label])[:, None] * rng.normal(size=(N, 2))


def test_the_best_birth_against_a_grid():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, 1, 20), rng.normal(4, 0.2, 10)])
    mixture = gj.make_mixture([[0.0]], covariance=family("VII", [2.0], 1))
    found = gj.certificate(mixture, gj.empirical(x[:, None]), KEY, num_starts=48)
    p = np.exp(-x * x / 4) / np.sqrt(4 * np.pi)

    def gain(theta, v, alpha):
        ratio = np.exp(-((x - theta) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v) / p
        tau = alpha * ratio / (1 - alpha + alpha * ratio)
        # Fewer than d + 2 points could be fitted by anything.
        few = tau.sum() ** 2 < 3 * (tau**2).sum()
        return -np.inf if few else np.log1p(alpha * (ratio - 1)).mean()

    at = found.birth_at[0], found.birth_covariance.variances[0], found.birth_weight
    assert found.birth_gain == pytest.approx(gain(*map(float, at)), abs=1e-9)
    best = max(
        gain(theta, v, alpha)
        for theta in np.linspace(-2, 5, 71)
        for v in np.geomspace(1e-3, 5, 40)
        for alpha in np.linspace(0.05, 0.95, 19)
    )
    assert best - 1e-3 < found.birth_gain < best + 0.02
    assert not found.birth_optimal
    assert found.birth_price == pytest.approx(1.5 * np.log(30) / 30)  # place, weight, variance


def in_family(name, matrices):
    """What of covariances (k, d, d) the family has."""
    axes = np.diagonal(matrices, axis1=1, axis2=2)
    return {"VII": axes.mean(axis=1), "VVI": axes, "VVV": matrices}[name]


@pytest.mark.parametrize("name", ["VII", "VVI", "VVV"])
@pytest.mark.parametrize("apart", [False, True])
def test_one_step_against_numpy(name, apart):
    # Exponents and moments from products, and from differences.
    rng, x = np.random.default_rng(4), sample(40)
    w = rng.dirichlet(np.full(40, 5.0))
    centres, alpha = x[[0, 5, 25]], np.array([0.3, 0.1, 0.02])
    scales = np.array([9.0, 4.0, 1e-6])
    mixture = gj.make_mixture(x[[1, 30]], covariance=family(name, [9.0, 9.0], 2))
    target, kind = gj.empirical(x, w), type(mixture.covariance)
    blocks = as_blocks(target, 3, gj.Blocking(), kind, apart=apart)
    own = family(name, scales, 2).own
    candidates = Candidates(jnp.asarray(centres) - blocks.centre[None], jnp.asarray(alpha), own)
    context = prepare(mixture, blocks)
    found, known = insertion_gain(context, candidates), values(context, candidates)

    def phi(at, v):
        square = ((x[None] - at[:, None]) ** 2).sum(axis=2)
        return np.exp(-square / (2 * v[:, None])) / (2 * np.pi * v[:, None])

    p = np.maximum(phi(x[[1, 30]], np.array([9.0, 9.0])).mean(axis=0), 1e-300)
    ratio = phi(centres, scales) / p[None]
    tau = alpha[:, None] * ratio / (1 + alpha[:, None] * (ratio - 1)) * w[None]
    mass = tau.sum(axis=1)
    few = mass**2 < 4 * (tau**2).sum(axis=1)
    assert few.tolist() == [False, False, True]
    gain = np.where(few, -np.inf, np.log1p(alpha[:, None] * (ratio - 1)) @ w)
    np.testing.assert_allclose(found.value, gain, rtol=1e-8)
    np.testing.assert_allclose(known.gains, gain, rtol=1e-8)
    np.testing.assert_allclose(found.step.weights, mass, rtol=1e-8)
    means = tau @ x / mass[:, None]
    np.testing.assert_allclose((found.step.centres + blocks.centre[None])[:2], means[:2], rtol=1e-8)
    away = x[None] - means[:, None]
    second = np.einsum("kj,kja,kjb->kab", tau, away, away) / mass[:, None, None]
    np.testing.assert_allclose(found.step.spread[:2], in_family(name, second)[:2], rtol=1e-5)


@pytest.mark.parametrize("name", ["VII", "VVI", "VVV"])
def test_no_birth_is_narrower_than_the_floor(name):
    # So few and so close that a start below the floor is as good as an end.
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(594, 2)), [7.0, 0.0] + 0.02 * rng.normal(size=(6, 2))])
    covariance = dataclasses.replace(family(name, np.ones(3), 2), floor=0.5)
    mixture = gj.make_mixture(np.zeros((3, 2)), covariance=covariance)
    found = gj.certificate(mixture, gj.empirical(x), KEY, **FEW)
    np.testing.assert_allclose(found.birth_covariance.matrices(1, 2)[0], 0.5 * np.eye(2), atol=1e-9)
    assert found.birth_covariance.floor == 0.5
    assert not found.birth_optimal


def test_fewer_points_than_a_birth_needs():
    mixture = gj.make_mixture([[0.0, 0.0]], covariance=family("VII", [1.0], 2))
    target = gj.empirical([[0.0, 0.0], [3.0, 1.0], [1.0, 4.0]])
    found = gj.certificate(mixture, target, KEY, **FEW)
    assert found.birth_gain == 0
    assert found.birth_weight == 0
    assert found.birth_optimal


def test_starts_that_cannot_move_are_taken_last():
    scores = jnp.asarray([-jnp.inf, 3.0, -jnp.inf, 1.0, 5.0, -jnp.inf, 2.0, 4.0, -jnp.inf])
    pool = Candidates(jnp.arange(9.0)[:, None], jnp.full(9, 0.1), jnp.ones(9))
    chosen = lambda k: set(scores[best_of(pool, scores, k).centres[:, 0].astype(int)].tolist())  # noqa: E731
    assert chosen(4) == {5.0, 4.0, 3.0, 2.0}
    assert chosen(6) == {5.0, 4.0, 3.0, 2.0, 1.0, -jnp.inf}


@pytest.mark.parametrize(
    ("name", "dtype"), [("VII", float), ("VVI", float), ("VVV", float), ("VVV", np.float32)]
)
def test_at_the_truth_no_birth_pays(name, dtype):
    truth = gj.make_mixture(jnp.asarray(MEANS, dtype), covariance=family(name, VARIANCES, 2, dtype))
    for seed in range(3):
        target = gj.empirical(sample(600, seed).astype(dtype))
        found = gj.certificate(truth, target, KEY, **FEW)
        assert 0 <= found.birth_gain <= found.birth_price
        assert found.birth_optimal


@pytest.mark.parametrize("covariance", [
    gj.covariance.SharedDiagonal([2.0, 3.0]),
    gj.covariance.Tied([[2.0, 0.5], [0.5, 3.0]]),
])  # fmt: skip
def test_where_all_share_a_covariance_a_birth_has_it_too(covariance):
    mixture = gj.make_mixture(MEANS[:2], covariance=covariance)
    x = sample(100)
    found = gj.certificate(mixture, gj.empirical(x), KEY, **FEW)
    S = np.asarray(covariance.matrices(1, 2)[0])
    np.testing.assert_array_equal(found.birth_covariance.matrices(1, 2)[0], S)
    assert found.birth_price == pytest.approx(1.5 * np.log(100) / 100)

    def phi(at):
        apart = x - np.asarray(at)
        square = np.einsum("ja,ab,jb->j", apart, np.linalg.inv(S), apart)
        return np.exp(-0.5 * square) / (2 * np.pi * np.sqrt(np.linalg.det(S)))

    ratio = phi(found.birth_at) / (0.5 * (phi(MEANS[0]) + phi(MEANS[1])))
    gain = np.log1p(float(found.birth_weight) * (ratio - 1)).mean()
    assert found.birth_gain == pytest.approx(gain, rel=1e-8)


def test_under_vmap_with_its_gradient():
    x = sample(120)
    blocks = as_blocks(gj.empirical(x), 24, gj.Blocking(), gj.covariance.Full)

    def gain(scale):
        covariance = gj.covariance.Full(
            scale * jnp.eye(2)[None] * jnp.asarray([1.0, 2.0])[:, None, None]
        )
        mixture = gj.make_mixture(MEANS[[1, 2]], covariance=covariance)
        found = certify(mixture, blocks, jnp.asarray(x[:40]), scale * 0, **FEW)
        return found.birth_gain, found

    scales = jnp.array([1.0, 1.5])
    run = jax.jit(jax.vmap(jax.value_and_grad(gain, has_aux=True)))
    (gains, found), slopes = run(scales)
    alone = jax.jit(gain)
    for i, scale in enumerate(scales):
        np.testing.assert_allclose(gains[i], alone(scale)[0], rtol=1e-8)
        wide = alone(scale)[1].birth_covariance.covariances
        np.testing.assert_allclose(found.birth_covariance.covariances[i], wide, rtol=1e-4)
        up, down = (alone(scale + h)[0] for h in (1e-4, -1e-4))
        np.testing.assert_allclose(slopes[i], (up - down) / 2e-4, rtol=1e-3)


SLOW = pytest.param("VVI", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["VII", SLOW, "VVV"])
def test_a_missing_cluster_of_any_width_is_found_and_put_in(name):
    x = sample(600)
    target = gj.empirical(x)
    truth = gj.make_mixture(MEANS, covariance=family(name, VARIANCES, 2))
    fit = jax.jit(lambda start: gj.fit(gj.classical_em(), target, start, num_iterations=80))
    whole = fit(truth)
    assert gj.certificate(whole.mixture, target, KEY, **FEW).birth_optimal
    for missing in range(3):
        # Another component twice, in the place of the one that is missing.
        slots = jnp.asarray([missing - 1 if i == missing else i for i in range(3)])
        start = gj.make_mixture(MEANS[slots], covariance=truth.covariance.take(slots))
        found = gj.certificate(start, target, KEY, **FEW)
        assert not found.birth_optimal
        np.testing.assert_allclose(found.birth_at, MEANS[missing], atol=0.5)
        wide = jnp.trace(found.birth_covariance.matrices(1, 2)[0]) / 2
        assert 0.7 < wide / VARIANCES[missing] < 1.4
        more = {"weight": found.birth_weight, "covariance": found.birth_covariance}
        freed = fit(gj.insert(start, found.birth_at, **more))
        assert float(freed.loss) == pytest.approx(float(whole.loss), abs=1e-3)


@pytest.mark.slow
def test_single_precision_finds_the_same():
    x = sample(400)
    found = []
    for dtype in (np.float32, np.float64):
        mixture = gj.make_mixture(
            jnp.asarray(MEANS[:2], dtype), covariance=family("VVV", VARIANCES[:2], 2, dtype)
        )
        found.append(gj.certificate(mixture, gj.empirical(x.astype(dtype)), KEY, **FEW))
    single, double = found
    assert single.birth_gain.dtype == jnp.float32
    np.testing.assert_allclose(single.birth_gain, double.birth_gain, rtol=1e-4)
    np.testing.assert_allclose(single.birth_at, double.birth_at, atol=0.02)
    single, double = (one.birth_covariance.covariances for one in found)
    np.testing.assert_allclose(single, double, atol=0.05)


def test_an_escape_puts_a_narrow_cluster_in():
    target = gj.empirical(sample(500))
    start = gj.make_mixture(MEANS[[1, 1, 2]], covariance=family("VVI", VARIANCES[[1, 1, 2]], 2))
    escape = gj.Escape(KEY, every=20, num_starts=24)
    free = gj.fit(gj.classical_em(), target, start, num_iterations=100, escape=escape)
    assert free.num_insertions >= 1
    nearest = jnp.argmin(jnp.linalg.norm(free.mixture.means, axis=1))
    np.testing.assert_allclose(free.mixture.means[nearest], MEANS[0], atol=0.1)
    np.testing.assert_allclose(free.mixture.covariance.variances[nearest], 0.05, atol=0.02)


def test_insert_takes_a_covariance_of_the_family():
    mixture = gj.make_mixture(MEANS, covariance=family("VII", VARIANCES, 2))
    one = gj.covariance.Spherical([0.3])
    new = gj.insert(mixture, [7.0, 7.0], covariance=one)
    slot = jnp.argmin(jnp.linalg.norm(new.means - 7, axis=1))
    assert new.covariance.variances[slot] == 0.3
    with pytest.raises(TypeError, match="covariance must be Spherical"):
        gj.insert(mixture, [7.0, 7.0], covariance=family("VVI", [1.0], 2))
    with pytest.raises(ValueError, match=r"covariance.variances must have shape \(1,\)"):
        gj.insert(mixture, [7.0, 7.0], covariance=gj.covariance.Spherical([1.0, 1.0]))
