"""The pictures of a selection: what they say is read back, and held against scipy and sklearn."""

import dataclasses
import importlib
import pathlib

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
from drawings import touching
from matplotlib.path import Path
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import gemjax as gj
from gemjax.cli.report import cluster_figures, directions, selection_figures
from gemjax.cli.report.canvas import COLOURS, STYLE, new_axes, tidy

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
FAMILIES = ("EII", "VII", "EEI", "VVI", "EEE", "VVV")


def merges_of(joined, n, end=1):
    """scipy's linkage as `Selection.merges` has it: slots, row k the merging that left k + 1."""
    kept, freed, height = np.full(n, -1), np.full(n, -1), np.full(n, np.nan)
    slot = {i: i for i in range(n)}
    for k, (a, b, cost, _) in enumerate(joined[: n - end]):
        row = n - 2 - k
        kept[row], freed[row], height[row] = slot[int(a)], slot[int(b)], cost
        slot[n + k] = slot[int(a)]
    return kept, freed, height


def under(tree, k):
    """The slots under merging number k."""
    inside = [
        under(tree, made) if made >= 0 else {tree.leaves[round(x)]}
        for x, made in zip(tree.at[k], tree.made[k], strict=True)
    ]
    return set.union(*inside)


@pytest.fixture(scope="module")
def joined():
    return linkage(np.random.default_rng(0).normal(size=(12, 2)), "average")


def test_the_tree_is_scipys(joined):
    tree = selection_figures.tree_of(merges_of(joined, 12))
    assert sorted(tree.leaves) == [*range(12)]
    assert tree.left.tolist() == [*range(11, 0, -1)]
    np.testing.assert_allclose(tree.height, joined[:, 2])
    sets = [{i} for i in range(12)]
    for k, (a, b, *_) in enumerate(joined):
        sets.append(sets[int(a)] | sets[int(b)])
        assert under(tree, k) == sets[-1]
        places = [tree.leaves.index(slot) for slot in sets[-1]]
        assert max(places) - min(places) == len(places) - 1  # no lines cross
        for x, made in zip(tree.at[k], tree.made[k], strict=True):
            assert made < 0 or x == tree.at[made].mean()
    for number in (2, 5):
        cut = selection_figures.level_height(tree, number)
        labels = fcluster(joined, cut, "distance")
        assert len(set(labels)) == number
        # A cut crosses as many branches.
        stems = [(m, tree.height[k]) for k in range(11) for m in tree.made[k]]
        feet = [0 if m < 0 else tree.height[m] for m, _ in stems]
        assert sum(f < cut < h for f, (_, h) in zip(feet, stems, strict=True)) == number


def test_a_part_of_a_tree(joined):
    tree = selection_figures.tree_of(merges_of(joined, 12), most=5)
    assert (len(tree.leaves), tree.left.tolist()) == (5, [4, 3, 2, 1])
    np.testing.assert_allclose(tree.cost, joined[-4:, 2])
    unfinished = selection_figures.tree_of(merges_of(joined, 12, end=3))
    assert (len(unfinished.roots), len(unfinished.leaves)) == (3, 12)
    none = selection_figures.tree_of(([-1], [-1], [np.nan]))
    assert (none.leaves, none.roots) == ([-1], [(0.0, -1)])


def test_a_merging_cheaper_than_those_before_is_as_high():
    tree = selection_figures.tree_of(([0, 0, 0, -1], [3, 2, 1, -1], [4.0, 1.0, 2.0, np.nan]))
    assert (tree.cost.tolist(), tree.height.tolist()) == ([2.0, 1.0, 4.0], [2.0, 2.0, 4.0])
    assert selection_figures.level_height(tree, 3) is None
    assert selection_figures.level_height(tree, 2) == pytest.approx(8**0.5)


def test_directions_are_those_of_linear_discriminant_analysis():
    rng = np.random.default_rng(1)
    label = rng.integers(4, size=300)
    spread = rng.normal(size=(5, 5))
    points = rng.normal(size=(300, 5)) @ spread + 3 * rng.normal(size=(4, 5))[label]
    groups = [points[label == c] for c in range(4)]
    found = directions.discriminant(
        np.stack([g.mean(0) for g in groups]),
        np.array([len(g) / 300 for g in groups]),
        np.stack([np.cov(g.T, bias=True) for g in groups]),
    )
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(points, label)
    np.testing.assert_allclose(found.share, theirs.explained_variance_ratio_[:3], rtol=1e-6)
    for i in range(3):
        a, b = found.vectors[:, i], theirs.scalings_[:, i]
        assert abs(a @ b) == pytest.approx(np.linalg.norm(a) * np.linalg.norm(b), rel=1e-6)
    np.testing.assert_allclose(found.of(points).mean(0), 0, atol=1e-9)


def test_where_means_are_on_a_line_the_next_direction_is_that_of_the_covariances():
    matrices = np.stack([np.diag([1.0, 1.0, 4.0]), np.diag([1.0, 1.0, 1.0])])
    means = np.array([[3.0, 0.0, 0.0], [-3.0, 0.0, 0.0]])
    found = directions.discriminant(means, np.full(2, 0.5), matrices)
    assert found.vectors.shape == (3, 2)
    np.testing.assert_allclose(found.vectors[:, 1], [0, 0, 2.5**-0.5], atol=1e-9)
    np.testing.assert_allclose(found.share, [1, 0])
    one = directions.discriminant(means[:1], np.ones(1), matrices[:1])
    assert one.vectors.shape == (3, 2)
    np.testing.assert_allclose(one.share, 0)


def test_an_ellipse_holds_its_share():
    matrix = np.array([[2.0, 1.2], [1.2, 1.0]])
    points = np.random.default_rng(0).multivariate_normal([1, -1], matrix, size=20_000)
    outline = directions.ellipse(np.array([1.0, -1.0]), matrix, 0.9)
    assert Path(outline).contains_points(points).mean() == pytest.approx(0.9, abs=0.01)


def selection_of(means, cluster, chosen=None, jump=None, matrices=None):
    """A selection by hand, with criteria that are least at the number chosen, in family EEE."""
    means = np.asarray(means, float)
    n, d = means.shape
    if matrices is None:
        matrices = np.stack([np.eye(d)] * n)
    levels = np.arange(2 * n + 2, 0, -1)
    joined = linkage(np.random.default_rng(0).normal(size=(2 * n + 2, 2)), "single")
    rows = np.arange(6)[:, None]
    criteria = 100 + 9.0 * np.abs(levels - n)[None] + 5 * np.abs(rows - 4)
    criteria[5, :4] = np.inf
    covariance = gj.covariance.Full(jnp.asarray(matrices))
    return gj.Selection(
        gj.make_mixture(means, covariance=covariance), n, np.asarray(cluster),
        1 + max(cluster), 4, 1.0, criteria.min() - 3, None, 0, jump or n, jump is None, 0,
        np.stack([levels] * 6), np.zeros_like(criteria), np.zeros_like(criteria), criteria,
        criteria.min(axis=1) - 3, merges_of(joined, len(levels)), FAMILIES,
    )  # fmt: skip


def rendered(draw, *args, **more):
    with mpl.rc_context(STYLE):
        figure = draw(*args, **more)
        tidy(figure)
        assert not touching(figure)
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    assert (image < 250).any(axis=-1).mean() > 0.005
    return figure


PLANE = selection_of([[0, 0], [1, 0], [9, 9]], [0, 0, 1])


@pytest.mark.parametrize("jump", [None, 2])
def test_the_levels_are_marked(jump):
    found = dataclasses.replace(PLANE, num_by_height=jump or 3)
    left, right = rendered(selection_figures.tree, found).axes
    told = [text.get_text() for text in right.get_legend().get_texts()]
    if jump is None:
        assert told == ["3 components: criterion and jump in cost"]
    else:
        assert told == ["3 components: criterion", "2 components: jump in cost"]
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert len(dots) == 3
    assert "EEE" in left.get_title(loc="left")


@pytest.mark.parametrize("merged", [True, False])
def test_a_single_component(merged):
    found = selection_of([[0.0, 0.0]], [0])
    if not merged:
        none = np.full(1, -1)
        found = dataclasses.replace(found, merges=(none, none, np.full(1, np.nan)))
    left, right = rendered(selection_figures.tree, found).axes
    (told,) = right.get_legend().get_texts()
    assert told.get_text() == "1 component: criterion and jump in cost"
    assert len([line for line in left.lines if line.get_marker() == "o"]) == 1


def test_criteria_are_above_that_of_the_fit_chosen():
    figure = rendered(selection_figures.criteria, PLANE)
    (axes,) = figure.axes
    lines = {line.get_label()[:3]: line for line in axes.lines if line.get_label()[:3] in FAMILIES}
    assert lines.keys() == {*FAMILIES}
    assert min(lines["EEE"].get_ydata()) == pytest.approx(3)
    assert len(lines["VVV"].get_ydata()) == 4  # of 8, the others infinite
    (star,) = (line for line in axes.lines if line.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (3, 0)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "EEE (of any form, equal): chosen"
    assert labels[-1] == "EII (round, equal): +20.0"
    # One that was chosen from a part of the points has ends that are not comparable.
    part = rendered(selection_figures.criteria, PLANE, sampled=True).axes[0]
    assert not any(line.get_marker() == "<" for line in part.lines)


def test_in_one_dimension_forms_are_widths():
    found = selection_of([[0.0], [9.0]], [0, 1])
    two = {name: getattr(found, name)[4:] for name in ("sizes", "criteria", "best_criteria")}
    found = dataclasses.replace(found, families=("EII", "VII"), family=0, **two)
    figure = rendered(selection_figures.criteria, found)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["EII (equal widths): chosen", "VII (any width): +5.0"]


def outlines(axes):
    (edges,) = (c for c in axes.collections if isinstance(c, mpl.collections.LineCollection))
    return edges


def test_components_of_a_cluster_share_its_colour():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(50, 2)), rng.normal(size=(50, 2)) + 9])
    axes = rendered(cluster_figures.clusters, PLANE, points, ["a", "$b"]).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", r"\$b")
    assert axes.get_title() == "3 components in 2 clusters, 100 points"
    shown = [mpl.colors.to_hex(c) for c in outlines(axes).get_colors()]
    assert shown == [c.lower() for c in (COLOURS[0], COLOURS[0], COLOURS[1])]
    assert [text.get_text() for text in axes.texts] == ["0", "1"]
    many = np.concatenate([points] * 80)
    rendered(cluster_figures.clusters, PLANE, many)


def test_a_density_and_its_parts():
    found = selection_of([[0.0], [0.5], [9.0]], [0, 0, 1])
    points = np.random.default_rng(0).normal(size=100) + 9 * (np.arange(100) % 3 == 0)
    axes = rendered(cluster_figures.clusters, found, points).axes[0]
    curves = {line.get_color(): line for line in axes.lines if len(line.get_xdata()) > 999}
    area = {c: np.trapezoid(line.get_ydata(), line.get_xdata()) for c, line in curves.items()}
    assert area["black"] == pytest.approx(1, abs=0.02)
    assert len([line for line in axes.lines if line.get_linestyle() == "--"]) == 2


@pytest.mark.parametrize(("n", "panels"), [(2, 1), (9, 6)])
def test_a_matrix_of_directions(n, panels):
    rng = np.random.default_rng(0)
    found = selection_of(6 * rng.normal(size=(n, 5)), [*range(n)])
    points = rng.normal(size=(90, 5)) + np.asarray(found.mixture.means)[np.arange(90) % n]
    figure = rendered(cluster_figures.clusters, found, points, [*"abcde"])
    assert len(figure.axes) == panels
    assert len(outlines(figure.axes[0]).get_segments()) == n
    assert figure.axes[-1].get_xlabel().startswith("direction")


def test_many_clusters_have_numbers_and_neighbours_of_other_colours():
    means = 5.0 * np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2)
    points = np.concatenate([means + 0.5, means - 0.5])
    figure = rendered(cluster_figures.clusters, selection_of(means, [*range(36)]), points)
    assert len(figure.axes[0].texts) == 36
    given = np.array(cluster_figures.colours_of(means))
    apart = np.linalg.norm(means[:, None] - means[None], axis=-1)
    same = (given[:, None] == given[None]) & (apart > 0)
    assert apart[same].min() > 5


def test_a_saved_picture_keeps_the_colours_of_thin_lines(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    figure, axes = new_axes(4, 3)
    many = np.random.default_rng(0).uniform(size=(3, 2000))
    axes.scatter(*many[:2], c=many[2], cmap="viridis", alpha=0.5)
    for i, colour in enumerate(COLOURS):
        axes.plot([0, 1], [i / 6, i / 6], color=colour, lw=2)
    importlib.import_module("how_many").save(figure, tmp_path / "picture.png")
    found = Image.open(tmp_path / "picture.png").convert("RGB").getcolors()
    shown = {"#{:02X}{:02X}{:02X}".format(*colour): count for count, colour in found}
    assert shown.keys() >= {*COLOURS}
    assert max(shown, key=shown.get) == "#FFFFFF"
