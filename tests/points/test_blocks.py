"""However the points are cut, results are the same to rounding; and sums keep their digits."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import gemjax as gj
from gemjax._model.densities import component_densities
from gemjax._model.statistics import expect, ratios
from gemjax._points.blocks import Blocks, Chunks, as_blocks

MEANS, WEIGHTS, POINTS, POINT_WEIGHTS = oracle.problem(0, N=301, n=5, d=3)
TARGET = gj.empirical(POINTS, POINT_WEIGHTS)
START = gj.make_mixture(MEANS, WEIGHTS)

CUTS = {
    "one block": gj.Blocking(block_size=4096),
    "small blocks": gj.Blocking(block_size=16),
    "one point a block": gj.Blocking(block_size=1),
    "not stored": gj.Blocking(block_size=16, stored_bytes=0),
    "some side by side": gj.Blocking(block_size=16, num_parallel=3),
    "all side by side": gj.Blocking(block_size=16, num_parallel=1000),
    "side by side, not stored": gj.Blocking(block_size=16, num_parallel=3, stored_bytes=0),
    "chunks": gj.Blocking(block_size=16, copied_bytes=2000),
    "chunks side by side": gj.Blocking(block_size=8, copied_bytes=2000, num_parallel=2),
    "one chunk": gj.Blocking(block_size=512, copied_bytes=0),
}


@pytest.mark.parametrize("cut", CUTS)
def test_the_cut_changes_nothing(cut):
    solver = gj.GradientEM(weight_tolerance=0.0, weight_steps=3, blocking=CUTS[cut])
    fit = gj.fit(solver, TARGET, START, num_iterations=3)
    means, weights = MEANS, WEIGHTS
    for t in range(3):
        means, weights, loss = oracle.gradient_em(
            means, weights, POINTS, POINT_WEIGHTS,
            rule="mirror", K=3, step=0.5, weight_step_size=1.0, em=False,
        )  # fmt: skip
        assert fit.history.loss[t] == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(fit.mixture.means, means, rtol=1e-11)
    np.testing.assert_allclose(fit.mixture.weights, weights, rtol=1e-11)


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param("not stored", marks=pytest.mark.slow),
        pytest.param("some side by side", marks=pytest.mark.slow),
        "chunks",
    ],
)
def test_gradients_do_not_depend_on_the_cut(cut):
    def final(points, blocking):
        solver = gj.GradientEM(weight_step_size=0.05, weight_steps=2, blocking=blocking)
        target = gj.Target(points, TARGET.weights)
        return gj.fit(solver, target, START, num_iterations=3).history.loss[-1]

    plain = jax.grad(final)(TARGET.points, CUTS["one block"])
    np.testing.assert_allclose(jax.grad(final)(TARGET.points, CUTS[cut]), plain, rtol=1e-9)


def test_joined_densities_are_those_of_the_blocks():
    log_weights = START.log_weights
    joined, apart = (
        component_densities(START, as_blocks(TARGET, 5, gj.Blocking(C, num_parallel=1)))
        for C in (16, 4096)
    )
    assert joined.scaled.shape == (1, 5, 304)  # blocks of 16 points, three of them padding
    np.testing.assert_allclose(joined.scaled[..., :301], apart.scaled[..., :301], rtol=1e-12)
    np.testing.assert_allclose(ratios(joined, log_weights), ratios(apart, log_weights), rtol=1e-12)


def test_points_are_copied_only_while_that_is_cheap():
    assert isinstance(as_blocks(TARGET, 5), Blocks)
    chunks = as_blocks(TARGET, 5, gj.Blocking(copied_bytes=8000, block_size=16))
    assert isinstance(chunks, Chunks)
    assert chunks.num_chunks == 301 // 16 + 1
    chunk = chunks.chunk(jnp.int32(18))  # reaches back over points that chunk 17 had
    assert float(chunk.weights.sum()) == pytest.approx(float(TARGET.weights[288:].sum()))


@pytest.mark.parametrize("far", [10.0, 50.0, 2000.0])
def test_a_component_without_weight_never_sets_the_scale(far):
    """Its density may be e^(far²/2) times that of the others: the loss is still theirs."""
    points = np.array([0.0, far])
    mixture = gj.make_mixture([0.5, far], [1.0, 0.0])
    expected = 0.5 * np.log(2 * np.pi) + 0.5 * np.mean((points - 0.5) ** 2)
    assert gj.loss(mixture, gj.empirical(points)) == pytest.approx(expected, rel=1e-14)
    single = gj.make_mixture(jnp.float32([0.5, far]), jnp.float32([1.0, 0.0]))
    assert gj.loss(single, gj.empirical(jnp.float32(points))) == pytest.approx(expected, rel=1e-6)


def test_ratios_of_components_without_weight_are_exact():
    weights = WEIGHTS.copy()
    weights[1] = 0.0
    weights /= weights.sum()
    found = expect(gj.make_mixture(MEANS, weights), as_blocks(TARGET, 5))
    expected = oracle.ratios(MEANS, weights, POINTS, POINT_WEIGHTS)
    np.testing.assert_allclose(found.ratios, expected, rtol=1e-12)


def test_sums_over_1e7_points_keep_six_digits_in_float32():
    points = np.random.default_rng(0).standard_normal((10_000_000, 1), np.float32)
    total = sum(float(np.sum(part.astype(np.float64) ** 2)) for part in np.split(points, 100))
    exact = 0.5 * np.log(2 * np.pi) + 0.5 * total / len(points)
    mixture = gj.make_mixture(jnp.zeros((1, 1), jnp.float32))
    assert gj.loss(mixture, gj.empirical(points)) == pytest.approx(exact, rel=3e-7)


@pytest.mark.parametrize(
    ("blocking", "message"),
    [
        (gj.Blocking(block_size=0), "blocking.block_size must be at least 1, got 0"),
        (gj.Blocking(num_parallel=1.5), "blocking.num_parallel must be an integer, got 1.5"),
        (gj.Blocking(stored_bytes=-1), "blocking.stored_bytes must be at least 0, got -1"),
        (gj.Blocking(precision="bf16"), "blocking.precision must be one of default, high, highest"),
        (512, "blocking must be a Blocking, got 512"),
    ],
)
def test_bad_cuts(blocking, message):
    with pytest.raises((ValueError, TypeError), match=message):
        gj.fit(gj.GradientEM(blocking=blocking), TARGET, START, num_iterations=1)
