"""Pictures of selections: the tree as it was merged, directions, ellipses, and what is drawn."""

import jax
import matplotlib as mpl
import numpy as np
import pytest
from scipy.cluster.hierarchy import dendrogram, linkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import gemjax as gj
from gemjax._reduce.descent import Merges
from gemjax.cli.report import cluster_figures
from gemjax.cli.report.canvas import STYLE


def merges_of(points):
    """scipy's single linkage, as rows of merges of slots."""
    link, n = linkage(points, "single"), len(points)
    kept, freed, height = np.full(n, -1), np.full(n, -1), np.full(n, np.nan)
    slot = dict(enumerate(range(n)))
    for step, (a, b, h, _) in enumerate(link):
        kept[n - 2 - step], freed[n - 2 - step] = slot[int(a)], slot[int(b)]
        height[n - 2 - step] = h
        slot[n + step] = slot[int(a)]
    return link, kept, freed, height


def test_the_tree_is_that_of_scipy():
    points = np.random.default_rng(0).normal(size=(12, 2))
    link, *merges = merges_of(points)
    joins = cluster_figures.joins_of(*merges)
    np.testing.assert_allclose([join.height for join in joins], link[:, 2])
    theirs = dendrogram(link, no_plot=True)
    # Branches begin where others end: the same multiset of heights at both feet of each join.
    ours = sorted((j.height, *sorted((j.left[1], j.right[1]))) for j in joins)
    feet = sorted((d[1], *sorted((d[0], d[3]))) for d in theirs["dcoord"])
    np.testing.assert_allclose(ours, feet)
    # No branches cross: every join spans leaves next to each other.
    leaves = {(x, 0.0): {x} for x in range(12)}
    for join in joins:
        both = leaves[join.left] | leaves[join.right]
        assert len(both) == max(both) - min(both) + 1
        leaves[0.5 * (join.left[0] + join.right[0]), join.height] = both
    assert sorted(both) == list(range(12))


def test_a_height_that_falls_is_drawn_as_high_as_the_one_before():
    kept, freed = np.array([0, 0, -1]), np.array([2, 1, -1])
    joins = cluster_figures.joins_of(kept, freed, np.array([0.5, 0.7, np.nan]))
    assert [join.height for join in joins] == [0.7, 0.7]
    assert cluster_figures.joins_of(*np.full((3, 4), -1)) == []


def test_directions_are_those_of_linear_discriminant_analysis():
    rng = np.random.default_rng(1)
    label = np.repeat(range(4), 50)
    x = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)) + 3 * rng.normal(size=(4, 5))[label]
    means = np.stack([x[label == k].mean(0) for k in range(4)])
    within = np.stack([np.cov(x[label == k].T, ddof=0) for k in range(4)])
    ours = cluster_figures.discriminants(means, np.full(4, 0.25), within)
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(x, label).scalings_[:, :3]
    assert ours.shape == (5, 3)
    cosines = np.sum(ours * theirs, 0) / np.linalg.norm(ours, axis=0)
    np.testing.assert_allclose(np.abs(cosines) / np.linalg.norm(theirs, axis=0), 1, rtol=1e-8)
    np.testing.assert_allclose(ours.T @ within.mean(0) @ ours, np.eye(3), atol=1e-9)


def test_ellipses_hold_the_share_of_two_deviations():
    covariance, rng = np.array([[2.0, 1.2], [1.2, 1.0]]), np.random.default_rng(0)
    points = rng.multivariate_normal([1, -2], covariance, 20_000)
    patch = cluster_figures.ellipse(np.array([1.0, -2.0]), covariance)
    inside = patch.get_path().contains_points(
        patch.get_patch_transform().inverted().transform(points)
    )
    assert inside.mean() == pytest.approx(1 - np.exp(-2), abs=0.01)


def selection_of(means, cluster, families=("EII", "VVV")):
    """A selection as `select` gives it, by hand."""
    n, d = means.shape
    order = np.arange(n)
    merges = Merges(
        np.r_[np.zeros(n - 1, int), -1], np.r_[order[1:], -1], np.r_[1 / (1.0 + order[1:]), np.nan]
    )
    sizes = np.tile(order[::-1] + 1, (2, 1))
    criteria = (sizes - 3.0) ** 2 + np.array([[0.0], [5.0]])
    criteria[1, 0] = np.inf
    mixture = gj.make_mixture(means, covariance=gj.covariance.Full(np.tile(np.eye(d), (n, 1, 1))))
    number = np.int32
    return gj.Selection(
        mixture=mixture, num_components=number(n), cluster=np.asarray(cluster, number),
        num_clusters=number(max(cluster) + 1), family=number(0), loss=1.0, criterion=0.0,
        num_by_height=number(2), agree=False, status=number(0), sizes=sizes, heights=sizes * 0.1,
        losses=sizes * 1.0, criteria=criteria, best_criteria=np.array([0.0, 5.0]), merges=merges,
        families=families,
    )  # fmt: skip


@pytest.mark.parametrize("d", [1, 2, 4])
def test_pictures_show_all_points_and_components(d):
    means = 6.0 * np.random.default_rng(d).normal(size=(9, d))
    found = selection_of(means, [0, 0, 1, 2, 3, 4, 5, 6, 7])
    points = np.asarray(gj.sample(jax.random.key(0), found.mixture, 300))
    with mpl.rc_context(STYLE):
        figures = [
            cluster_figures.tree(found),
            cluster_figures.criteria(found),
            cluster_figures.clusters(points, found, ["a$b", "c", "d", "e"][:d]),
        ]
        for figure in figures:
            figure.draw_without_rendering()
    tree, criteria, clusters = figures
    assert {"kept apart"} <= {text.get_text() for text in tree.legends[0].get_texts()}
    told = [text.get_text() for text in criteria.legends[0].get_texts()]
    assert told == ["EII (chosen)", "VVV (+5.0)"]
    if d == 2:
        (axes,) = clusters.axes
        assert len(axes.patches) == 9
        assert [text.get_text() for text in axes.texts] == [str(k) for k in range(8)]
        assert len(axes.collections[0].get_offsets()) == 300
    if d == 4:
        assert len(clusters.axes) == 6  # pairs of four directions


def test_one_component_has_no_tree():
    found = selection_of(np.zeros((1, 2)), [0])
    with mpl.rc_context(STYLE):
        figure = cluster_figures.tree(found)
    assert "nothing to merge" in figure.axes[0].texts[0].get_text()
