"""Heat maps, and the figures in which a seed is a dot or its components are lines."""

import matplotlib as mpl
import numpy as np
import pytest
from drawings import NS, RECORD, S, T, drawn, hits, labels, record_of

import gemjax as gj
from gemjax.cli.files.boundary import InputError
from gemjax.cli.report.canvas import OUTCOME_COLOURS


def test_heat():
    figure = drawn({"kind": "heat", "x": "n", "by": ["m"]})
    axes, bar = figure.axes
    cells = axes.collections[0].get_array()
    np.testing.assert_allclose(cells, [[hits(n, m) / S for n in NS] for m in (2, 3)])
    assert [t.get_text() for t in axes.texts] == [f"{v:.3g}" for v in cells.ravel()]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["2", "3"]
    assert "recover" in bar.get_ylabel()
    record = record_of()
    record.grid[1]["iterations"] = np.zeros(S)
    axes, bar = drawn({"kind": "heat", "x": "n", "y": "iterations", "by": ["m"]}, record).axes
    assert [t.get_text() for t in axes.texts][:3] == ["48", "none", "192"]


def test_heat_tells_what_is_not_in_the_grid_from_what_has_no_value():
    record = record_of()
    record.grid[1]["iterations"] = np.zeros(S)
    del record.grid[6], record.summary["points"][6]  # n = 12, m = 3
    spec = {"kind": "heat", "x": "n", "y": "iterations", "by": ["m"]}
    axes, _ = drawn(spec, record).axes
    told = {text.get_position(): text.get_text() for text in axes.texts}
    assert told[1.5, 0.5] == "none"
    assert (2.5, 1.5) not in told
    assert len(told) == 7


@pytest.mark.parametrize("share", np.linspace(0, 1, 11))
def test_numbers_in_a_heat_map_stand_out(share):
    """By the contrast of WCAG 2, 4.5 at least."""
    record = record_of(ms=[2])
    for arrays in record.grid:
        arrays["recovered"] = np.arange(S) < share * S
        arrays["status"] = np.zeros(S, int)
    axes, _ = drawn({"kind": "heat", "x": "n", "by": ["m"]}, record).axes
    mesh = axes.collections[0]
    behind, text = ([*map(float, mpl.colors.to_rgb(colour))]
                    for colour in (mesh.to_rgba(share), axes.texts[0].get_color()))  # fmt: skip
    lights = sorted(
        np.dot([0.2126, 0.7152, 0.0722], [((c + 0.055) / 1.055) ** 2.4 if c > 0.04 else c / 12.92
                                          for c in rgb])
        for rgb in (behind, text)
    )  # fmt: skip
    assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5


def test_heat_with_panels():
    """The second key of `by` makes panels, and seeds are not pooled over it."""
    figure = drawn({"kind": "heat", "x": "solver.mean_rule", "by": ["n", "m"]})
    *panels, _ = figure.axes
    assert [axes.get_title() for axes in panels] == ["m = 2", "m = 3"]
    for axes, m in zip(panels, (2, 3), strict=True):
        cells = axes.collections[0].get_array()
        np.testing.assert_allclose(cells[:, 0], [hits(n, m) / S for n in NS])


def test_weights():
    figure = drawn({"kind": "weights", "where": {"m": 2, "n": [3, 12]}})
    assert [axes.get_title() for axes in figure.axes] == ["n = 3", "n = 12"]
    lines = [[x for x in axes.lines if len(x.get_xdata())] for axes in figure.axes]
    assert [len(there) for there in lines] == [3, 12]
    # The first component has died, and is grey.
    assert [sum(mpl.colors.same_color(x.get_color(), "0.6") for x in there) for there in lines] == [
        1,
        1,
    ]
    assert labels(figure) == ["weight ends below 1e-06"]


@pytest.mark.parametrize("kind", ["weights", "paths"])
def test_the_title_tells_which_grid_points_are_shown(kind):
    one = drawn({"kind": kind, "where": {"m": 2, "n": 6}}).axes[0].get_title()
    assert one.replace("\n", " ").endswith(": m = 2, n = 6")
    assert drawn({"kind": kind, "where": {"m": 2}}).get_suptitle().endswith(": m = 2")
    own = drawn({"kind": kind, "where": {"m": 2, "n": 6}, "title": "Mine"})
    assert own.axes[0].get_title() == "Mine"
    record = record_of()
    for index, point in enumerate(record.summary["points"]):
        point["settings"]["case"] = f"case {index % 2}, {point['settings']['truth.num_components']}"
    one = drawn({"kind": kind, "where": {"m": 2, "n": [3, 12]}}, record).get_suptitle()
    assert one.endswith(": case 0, 2")  # m is what the case says


def test_paths_in_one_dimension():
    figure = drawn({"kind": "paths", "where": {"m": 2, "n": 6}})
    (axes,) = figure.axes
    ways = [c for c in axes.collections if hasattr(c, "get_segments")]
    assert len(ways) == 5  # the sixth is dead
    means = RECORD.grid[1]["followed_means"][..., 0]
    np.testing.assert_allclose(np.array(ways[0].get_segments())[:, 1, 1], means[1:, 1])
    assert any(line.get_linestyle() == "--" for line in axes.lines)
    crosses = next(line for line in axes.lines if line.get_marker() == "x")
    np.testing.assert_allclose(crosses.get_ydata(), RECORD.grid[1]["truth_means"][:, 0])
    assert labels(figure) == ["start", "end (area: weight)", "true mean", "weight ends below 1e-06"]


@pytest.mark.parametrize("d", [2, 4])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_paths_in_the_plane(d, m):
    record = record_of(d=d, ms=[m])
    (axes,) = drawn({"kind": "paths", "where": {"n": 6}}, record).axes
    arrays = record.grid[1]
    ways = [line for line in axes.lines if len(line.get_xdata()) == T + 1]
    assert len(ways) == 6
    assert axes.get_aspect() == 1
    crosses = next(line for line in axes.lines if line.get_marker() == "x")
    plane = np.array(crosses.get_data())
    truth = arrays["truth_means"].T
    if d == 2:
        np.testing.assert_allclose(plane, truth)
        np.testing.assert_allclose(np.array(ways[0].get_data()).T, arrays["followed_means"][:, 0])
    elif m > 1:  # no other plane shows more of their spread
        spread = np.linalg.svd(truth - truth.mean(axis=1, keepdims=True))[1][:2]
        shown = np.linalg.norm(plane - plane.mean(axis=1, keepdims=True))
        assert shown == pytest.approx(np.linalg.norm(spread))


def test_distribution():
    figure = drawn({"kind": "distribution", "x": "n", "y": "iterations", "by": ["m"]})
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == [*map(str, NS)]
    points = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    counts = [len(line.get_xdata()) for line in points]
    assert counts == [hits(n, m) for m in (2, 3) for n in NS]
    for line in points:
        assert np.ptp(line.get_xdata()) < 0.4
    bars = [line for line in axes.lines if line.get_marker() == "None"]
    assert [bar.get_ydata()[0] for bar in bars] == [n * 16 for _ in (2, 3) for n in NS]
    for dots, bar in zip(points, bars, strict=True):  # beside the dots, and over none of them
        left, inner, _, other, right = bar.get_xdata()
        x = dots.get_xdata()
        assert left < inner < x.min() <= x.max() < other < right


def test_distribution_of_mixed_signs_and_without_x():
    (axes,) = drawn({"kind": "distribution", "x": "n", "y": "excess_loss"}).axes
    assert axes.get_yscale() == "symlog"
    figure = drawn({"kind": "distribution", "y": "loss"})
    assert figure.axes[0].get_title() == "Loss of every seed, and the median"


@pytest.mark.parametrize("kind", ["distribution", "scaling"])
def test_figures_of_numbers_refuse_flags(kind):
    with pytest.raises(InputError, match="true or false"):
        drawn({"kind": kind, "x": "n", "y": "success"})


@pytest.mark.parametrize("kind", ["distribution", "scaling", "heat"])
def test_figures_of_numbers_refuse_names(kind):
    with pytest.raises(InputError, match=r"is a name, not a number; outcome\.NAME is a share"):
        drawn({"kind": kind, "x": "n", "y": "outcome", "by": ["m"]})


def test_map():
    figure = drawn({"kind": "map", "where": {"n": 6, "m": 2}})
    (axes,) = figure.axes
    by_label = {c.get_label(): c for c in axes.collections if len(c.get_offsets())}
    assert by_label.keys() == {"recovered", "one-fits-many", "diverged"}
    starts, outcome = (RECORD.grid[1][name] for name in ("start_means", "outcome"))
    recovered = starts[outcome == 0][:, [1, 2], 0]  # all begin with the same first mean
    np.testing.assert_allclose(by_label["recovered"].get_offsets(), recovered)
    face = by_label["one-fits-many"].get_facecolor()[0]
    assert mpl.colors.same_color(face, OUTCOME_COLOURS[gj.Outcome.ONE_FITS_MANY])
    assert axes.get_xlabel() == "start of mean 2"


def test_map_of_numbers_and_rates():
    figure = drawn({"kind": "map", "y": "loss", "by": ["n"], "where": {"m": 2}})
    *panels, bar = figure.axes
    assert [axes.get_title() for axes in panels] == [f"n = {n}" for n in NS]
    np.testing.assert_allclose(panels[0].collections[-1].get_array(), RECORD.grid[0]["loss"][1:])
    assert "loss" in bar.get_ylabel()
    figure = drawn({"kind": "map", "y": "success", "where": {"n": 6}}, record_of(d=2))
    assert [axes.get_title() for axes in figure.axes] == ["m = 2", "m = 3"]
    assert labels(figure) == ["no success", "success"]
    assert figure.axes[0].get_xlabel() == "start of mean 2, coordinate 1"


def test_map_has_a_panel_per_grid_point():
    figure = drawn({"kind": "map", "by": ["n"]})
    assert "6 of 8 panels" in figure.get_suptitle()
    assert [axes.get_title() for axes in figure.axes] == [
        "n = 3, m = 2", "n = 6, m = 2", "n = 30, m = 2",
        "n = 3, m = 3", "n = 12, m = 3", "n = 30, m = 3",
    ]  # fmt: skip
    dots = sum(len(c.get_offsets()) for c in figure.axes[0].collections)
    assert dots == S
