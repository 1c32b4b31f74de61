"""Certificates where components have covariances of their own: the search over place and width."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gemjax as gj

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
