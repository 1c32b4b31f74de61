"""Points of no weight: the same distribution, and the same programs for many sizes."""

import jax
import numpy as np
import pytest

import gemjax as gj
from gemjax._numerics import programs
from gemjax._points.padding import padded, size_for
from gemjax._reduce import stages

KEY = jax.random.key(0)


def test_sizes_are_few_and_no_more_than_an_eighth_too_large():
    allowed = sorted({k << j for k in range(8, 16) for j in range(14)} | set(range(1, 8)))
    for N in range(1, 3000):
        assert size_for(N, 10_000) == next(size for size in allowed if size >= N)
    assert (size_for(9500, 10_000), size_for(10_000, 10_000)) == (10_000, 10_000)
    assert size_for(10_001, 10_000) == 10_240


def test_a_padded_target_is_the_same_distribution():
    x = np.random.default_rng(0).normal(size=(37, 3))
    target = gj.empirical(x, np.arange(1.0, 38))
    more = padded(target, 40)
    mixture = gj.make_mixture(x[:4])
    assert more.shape == (40, 3)
    assert padded(target, 37) is target
    np.testing.assert_array_equal(more.weights[37:], 0)
    np.testing.assert_allclose(gj.loss(mixture, more), gj.loss(mixture, target), rtol=1e-14)
    one, other = (gj.certificate(mixture, t, KEY, num_starts=8) for t in (target, more))
    np.testing.assert_allclose(other.birth_price, one.birth_price, rtol=1e-14)


def clusters(N):
    rng = np.random.default_rng(N)
    return gj.empirical(rng.normal(size=(N, 2)) + 8.0 * (np.arange(N) % 2)[:, None])


def test_a_table_of_nearly_the_same_size_needs_no_new_programs():
    first = gj.select(clusters(91), KEY, families=("EII",), num_starts=1)
    known = stages.compare._cache_size()
    second = gj.select(clusters(95), KEY, families=("EII",), num_starts=1)
    assert stages.compare._cache_size() == known
    assert (int(first.num_clusters), int(second.num_clusters)) == (2, 2)


@pytest.mark.parametrize(("taken", "is_room"), [(40, True), (60, False)])
def test_programs_are_forgotten_where_half_of_the_maps_are_taken(
    tmp_path, monkeypatch, taken, is_room
):
    (tmp_path / "maps").write_text("map\n" * taken)
    (tmp_path / "limit").write_text("100\n")
    monkeypatch.setattr(programs, "_MAPS", tmp_path / "maps")
    monkeypatch.setattr(programs, "_LIMIT", tmp_path / "limit")
    programs.make_room.cache_clear()
    select = lambda: gj.select(clusters(91), KEY, families=("EII",), num_starts=1)  # noqa: E731
    before = select()
    assert stages.compare._cache_size() > 0
    programs.make_room("another")
    assert (stages.compare._cache_size() > 0) == is_room
    np.testing.assert_array_equal(select().mixture.means, before.mixture.means)


def test_other_systems_have_no_such_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_MAPS", tmp_path / "none")
    programs.make_room.cache_clear()
    programs.make_room("a shape")
    assert programs.make_room.cache_info().currsize == 1
