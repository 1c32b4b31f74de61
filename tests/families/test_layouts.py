"""Each family gives one fit, however its points come: from a file, cut up, on devices, streamed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from marks import mostly_slow

import gemjax as gj

NAMES = ["EII", "VII", "EEI", "VVI", "EEE", "VVV"]
# Of what compiles much: a shared and an own covariance always, the others among the slow tests.
LONG = [
    name if name in ("EEE", "VVI") else pytest.param(name, marks=pytest.mark.slow) for name in NAMES
]
KEY = jax.random.key(0)
K, D = 3, 2
RNG = np.random.default_rng(0)
FORMS = RNG.normal(size=(K, D, D)) + 1.5 * np.eye(D)
TRUTH_MEANS = np.array([[0.0, 0.0], [6.0, 1.0], [1.0, 7.0]]) + 20.0
# An odd number, in no order: shares of devices and last blocks are unequal.
LABELS = RNG.integers(0, K, 203)
POINTS = TRUTH_MEANS[LABELS] + np.einsum("jab,jb->ja", FORMS[LABELS], RNG.normal(size=(203, D)))
POINT_WEIGHTS = RNG.uniform(0.1, 2.0, 203)
TARGET = gj.empirical(POINTS, POINT_WEIGHTS)
CHUNKS = gj.Blocking(block_size=16, copied_bytes=2000)
SOLVERS = {
    "classical": gj.classical_em,
    "gradient": lambda **more: gj.GradientEM(0.7, weight_step_size=0.3, weight_steps=2, **more),
}


def start(name, size=1.0, floor=0.0, means=TRUTH_MEANS + 0.8):
    """Another covariance for each component, correlated, where the family allows it."""
    matrices = size * np.stack([(k + 1) * (np.eye(D) + 0.2) for k in range(K)])
    weights = np.array([0.5, 0.3, 0.2])
    family = gj.covariance.family(name)
    covariance = family.nearest(jnp.asarray(matrices), jnp.asarray(weights), floor)
    return gj.make_mixture(means, weights, covariance=covariance)


def assert_same(a, b, rtol=1e-9):
    assert jax.tree.structure(a.mixture) == jax.tree.structure(b.mixture)
    np.testing.assert_allclose(a.history.loss, b.history.loss, rtol=1e-12)
    np.testing.assert_allclose(a.mixture.weights, b.mixture.weights, rtol=rtol)
    np.testing.assert_allclose(a.mixture.means, b.mixture.means, rtol=rtol)
    for x, y in zip(
        jax.tree.leaves(a.mixture.covariance), jax.tree.leaves(b.mixture.covariance), strict=True
    ):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)
    np.testing.assert_array_equal(a.status, b.status)
    np.testing.assert_array_equal(a.info.num_floored, b.info.num_floored)


def moved(fit, begun):
    """That covariances are far from their start, so that what agrees is not what was given."""
    before = np.asarray(begun.covariance.matrices(K, D))
    after = np.asarray(fit.mixture.covariance.matrices(K, D))
    return np.abs(after - before).max() > 0.1 * before.max()


@pytest.mark.parametrize("name", mostly_slow(NAMES[::-1], 2))
def test_a_file(name, tmp_path):
    offset, scale = [18.0, 19.0], 0.5
    np.save(tmp_path / "points.npy", POINTS)
    np.save(tmp_path / "weights.npy", POINT_WEIGHTS)
    files = (tmp_path / "points.npy", tmp_path / "weights.npy")
    on_disk = gj.from_npy(*files, offset=offset, scale=scale, dtype="float64")
    target = gj.empirical((POINTS - offset) / scale, POINT_WEIGHTS)
    begun = start(name, 3.0, means=(TRUTH_MEANS + 0.8 - offset) / scale)
    for solver in SOLVERS.values() if name in ("EEE", "VVI") else [gj.classical_em]:
        found = gj.fit(solver(blocking=CHUNKS), on_disk, begun, num_iterations=5)
        expected = gj.fit(solver(), target, begun, num_iterations=5)
        assert_same(found, expected)
        assert moved(found, begun)
    same = float(gj.loss(expected.mixture, target))
    assert gj.loss(expected.mixture, on_disk) == pytest.approx(same, rel=1e-13)


BLOCKINGS = {
    "one point": gj.Blocking(block_size=1),
    "blocks": gj.Blocking(block_size=16),
    "side by side": gj.Blocking(block_size=16, num_parallel=5),
    "recomputed": gj.Blocking(block_size=64, stored_bytes=0),
    "chunks": CHUNKS,
    "chunks, recomputed": gj.Blocking(block_size=8, copied_bytes=1000, stored_bytes=0),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize(
    "cut",
    [c if "recomputed" in c else pytest.param(c, marks=pytest.mark.slow) for c in BLOCKINGS],
)
def test_blockings(name, cut):
    """With weight steps, so that densities are kept or computed again."""
    solver, begun = SOLVERS["gradient"], start(name)
    found = gj.fit(solver(blocking=BLOCKINGS[cut]), TARGET, begun, num_iterations=5)
    assert_same(found, gj.fit(solver(), TARGET, begun, num_iterations=5))
    assert moved(found, begun)


@pytest.mark.skipif(len(jax.devices()) < 2, reason="one device, not a CPU's two")
@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize(
    ("solver", "blocking"),
    [
        ("classical", gj.Blocking(block_size=16)),
        pytest.param("gradient", gj.Blocking(), marks=pytest.mark.slow),
        pytest.param("gradient", CHUNKS, marks=pytest.mark.slow),
    ],
)
def test_points_over_devices(name, solver, blocking):
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    begun = start(name, floor=0.5)  # binds for some of the components
    made = SOLVERS[solver](blocking=blocking)
    spread = gj.fit(made, TARGET, begun, num_iterations=5, mesh=mesh)
    assert_same(spread, gj.fit(made, TARGET, begun, num_iterations=5))
    assert moved(spread, begun)


def test_a_floor_binds_in_the_tests_of_devices():
    fit = gj.fit(gj.classical_em(), TARGET, start("VVV", floor=0.5), num_iterations=5)
    assert 0 < fit.info.num_floored < K


@pytest.mark.skipif(len(jax.devices()) < 2, reason="one device, not a CPU's two")
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_points_far_apart_over_devices(name):
    """Exponents from differences, in float32, at what would be no digit of a product."""
    far = np.float32(POINTS + 1e4 * (np.arange(203) % 2)[:, None])
    means = np.concatenate([TRUTH_MEANS, TRUTH_MEANS + 1e4]).astype(np.float32)
    like = start(name).covariance
    covariance = jax.tree.map(jnp.float32, like.take(np.arange(6) % K))
    begun, target = gj.make_mixture(means, covariance=covariance), gj.empirical(far)
    assert target.far_apart
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    spread = gj.fit(gj.classical_em(), target, begun, num_iterations=3, mesh=mesh)
    alone = gj.fit(gj.classical_em(), target, begun, num_iterations=3)
    np.testing.assert_allclose(spread.history.loss, alone.history.loss, rtol=1e-5)
    for x, y in zip(*(jax.tree.leaves(f.mixture.covariance) for f in (spread, alone)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3)


def drawn(name):
    """`init` of a sweep: means from the points, covariances of another size for every seed."""

    def init(key, target, n):
        begun = gj.initialize.from_target(key, target, n)
        factor = 1 + jax.random.uniform(key, dtype=begun.means.dtype)
        covariance = start(name).covariance
        covariance = covariance.from_free(jax.tree.map(lambda x: x * factor, covariance.to_free()))
        return dataclasses.replace(begun, covariance=covariance)

    return init


@pytest.mark.parametrize("name", LONG)
def test_sweeps_are_single_fits(name):
    solver, init = gj.classical_em(), drawn(name)
    settings = {"num_seeds": 3, "num_components": K, "num_iterations": 5, "init": init}
    loop = gj.sweep(KEY, solver, TARGET, batch_size=1, **settings)
    batch = gj.sweep(KEY, solver, TARGET, batch_size=3, **settings)
    for s in range(3):
        begun = init(jax.random.fold_in(KEY, s), TARGET, K)
        alone = gj.fit(solver, TARGET, begun, num_iterations=5)
        for fits in (loop, batch):
            assert_same(jax.tree.map(lambda leaf, s=s: leaf[s], fits), alone)
    assert len({float(loss) for loss in loop.loss}) == 3


@pytest.mark.skipif(len(jax.devices()) < 2, reason="one device, not a CPU's two")
@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("shape", [(2, 1), (1, 2)])
def test_sweeps_over_devices(name, shape):
    solver, init = gj.GradientEM(0.7, mean_rule="em"), drawn(name)
    settings = {"num_seeds": 3, "num_components": K, "num_iterations": 5, "init": init}
    mesh = Mesh(np.array(jax.devices()[:2]).reshape(shape), ("seed", "data"))
    spread = gj.sweep(KEY, solver, TARGET, mesh=mesh, **settings)
    assert_same(spread, gj.sweep(KEY, solver, TARGET, **settings))


def streamed_truth(name):
    matrices = np.einsum("kab,kcb->kac", FORMS, FORMS)
    weights = np.array([0.3, 0.3, 0.4])
    family = gj.covariance.family(name)
    covariance = family.nearest(jnp.asarray(matrices), jnp.asarray(weights), 0.0)
    return gj.make_mixture(TRUTH_MEANS, weights, covariance=covariance)


@pytest.mark.parametrize("name", mostly_slow(NAMES[::-1], 2))
def test_a_stream_leads_to_the_truths_covariance(name):
    truth, size, begun = streamed_truth(name), 2000, start(name, 3.0)
    solver, stream = gj.GradientEM(0.3, mean_rule="em"), gj.stream(KEY, truth, size)
    fit = gj.fit(solver, stream, begun, num_iterations=30)
    gj.raise_for_status(fit)
    exact = np.asarray(truth.covariance.matrices(K, D))
    found = np.asarray(fit.mixture.covariance.matrices(K, D))
    L = np.linalg.inv(np.linalg.cholesky(exact))

    def apart(matrices):
        return np.abs(L @ matrices @ L.swapaxes(1, 2) - np.eye(D)).max()

    # A variance of 600 points has a standard error of √(2/600) of itself.
    assert apart(found) < 5 * np.sqrt(2 / (0.3 * size))
    assert apart(np.asarray(begun.covariance.matrices(K, D))) > 0.5


@pytest.mark.parametrize("name", LONG)
def test_a_fit_of_a_stream_is_a_loop_over_its_batches_and_known_by_its_key(name):
    truth = streamed_truth(name)
    solver, stream = SOLVERS["gradient"](), gj.stream(KEY, truth, 64)
    fit = gj.fit(solver, stream, start(name), num_iterations=6)
    state, losses = solver.init(start(name)), []
    for t in range(6):
        points = gj.sample(jax.random.fold_in(KEY, t), truth, 64)
        state, info = solver.step(state, gj.empirical(points))
        losses.append(info.loss)
    np.testing.assert_allclose(fit.history.loss, jnp.stack(losses), rtol=1e-12)
    for x, y in zip(jax.tree.leaves(fit.mixture), jax.tree.leaves(state.mixture), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-10)
    half = gj.fit(solver, stream, start(name), num_iterations=3)
    assert_same(gj.fit(solver, stream, half, num_iterations=3), fit)
    other = gj.stream(jax.random.key(1), truth, 64)
    assert abs(gj.fit(solver, other, start(name), num_iterations=6).loss - fit.loss) > 1e-3
