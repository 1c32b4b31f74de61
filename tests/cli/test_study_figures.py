"""The configured figures: each kind is drawn from a record, and its artists hold its numbers."""

import numpy as np
import pytest
from drawings import LAW, NS, RECORD, TIME, S, T, drawn, hits, labels, record_of

from gemjax.cli.files.boundary import InputError
from gemjax.cli.report import canvas, estimates, figures
from gemjax.cli.report.canvas import COLOURS, colours
from gemjax.cli.report.figures import KINDS
from gemjax.cli.results import wilson


def test_success():
    spec = {"kind": "success", "x": "n", "by": ["m"], "theory": "coverage", "title": "Rates"}
    figure = drawn(spec)
    (axes,) = figure.axes
    assert axes.get_title() == "Rates"
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "number of components n"
    for m, container in zip((2, 3), axes.containers, strict=True):
        line, _, (bars,) = container
        np.testing.assert_allclose(line.get_xdata(), NS, rtol=0.02)
        counts = [hits(n, m) for n in NS]
        np.testing.assert_allclose(line.get_ydata(), np.array(counts) / S)
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends, [wilson(k, S) for k in counts], atol=1e-12)
    dashed = [line for line in axes.lines if line.get_linestyle() == "--" and len(line.get_xdata())]
    for m, line in zip((2, 3), dashed, strict=True):
        expected = [estimates.coverage((1 / m,) * m, int(n)) for n in line.get_xdata()]
        np.testing.assert_allclose(line.get_ydata(), expected)
    assert labels(figure) == ["m = 2", "m = 3", "probability that the start covers"]


def test_lines_of_success_that_coincide_are_all_seen():
    record = record_of()
    for arrays in record.grid:
        arrays["recovered"] = np.arange(S) > 0
    for spec in ({"x": "n"}, {"x": "solver.mean_rule"}, {"x": "n", "where": {"n": 6}}):
        (axes,) = drawn({"kind": "success", "by": ["m"], **spec}, record).axes
        first, last = (container[0] for container in axes.containers)
        assert (first.get_xdata() < last.get_xdata()).all()
        assert first.get_linewidth() > last.get_linewidth()
        assert first.get_marker() != last.get_marker()
        np.testing.assert_allclose(first.get_ydata(), last.get_ydata())


def test_success_in_panels_with_a_number_as_theory():
    spec = {"kind": "success", "x": "n/(m log m)", "by": ["solver.mean_rule", "m"], "theory": 1}
    figure = drawn(spec)
    assert [axes.get_title() for axes in figure.axes] == ["m = 2", "m = 3"]
    x = figure.axes[1].containers[0][0].get_xdata()
    np.testing.assert_allclose(x, np.array(NS) / (3 * np.log(3)))
    assert all(axes.lines[-1].get_xdata() == [1, 1] for axes in figure.axes)
    assert labels(figure) == ["mean rule = em", "theory: 1"]


def test_success_at_names_and_more_panels_than_fit():
    record = record_of(ms=range(2, 11))
    figure = drawn({"kind": "success", "x": "solver.mean_rule", "by": ["n", "m"]}, record)
    assert len(figure.axes) == 6
    assert "6 of 9 panels" in figure.get_suptitle()
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == ["em"]


def test_outcomes():
    figure = drawn({"kind": "outcomes", "by": ["m"]})
    (axes,) = figure.axes
    bars = {c.get_label(): [b.get_width() for b in c] for c in axes.containers}
    shares = [sum(hits(n, m) for n in NS) / (len(NS) * S) for m in (2, 3)]
    np.testing.assert_allclose(bars["recovered"], shares)
    np.testing.assert_allclose(bars["diverged"], 1 / S)
    np.testing.assert_allclose(np.sum([*bars.values()], axis=0), 1)
    assert [t.get_text() for t in axes.get_yticklabels()] == ["m = 2", "m = 3"]
    assert len(drawn({"kind": "outcomes"}).axes[0].containers[0]) == len(RECORD.grid)


def test_curves():
    figure = drawn({"kind": "curves", "by": ["m"], "theory": -2, "window": [50, 200]})
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    for m, line in zip((2, 3), axes.lines, strict=False):
        np.testing.assert_allclose(line.get_xdata(), TIME)
        middle = np.median(np.linspace(1, 2, S)[1:]) * m
        np.testing.assert_allclose(line.get_ydata(), middle * TIME**-2.0, rtol=1e-6)
    guide = axes.lines[2]
    x, y = guide.get_xdata(), guide.get_ydata()
    assert x[1] == 200
    assert y[1] == pytest.approx(axes.lines[0].get_ydata()[19])
    assert np.log(y[1] / y[0]) / np.log(x[1] / x[0]) == pytest.approx(-2)
    assert labels(figure) == ["m = 2", "m = 3", "$T^{-2}$"]


@pytest.mark.parametrize("y", ["duality_gap", "rms_distance"])
def test_curves_of_other_histories(y):
    (axes,) = drawn({"kind": "curves", "y": y}).axes
    assert axes.get_yscale() == "log"
    assert len(axes.lines) == 1


def test_curves_of_the_loss_may_be_of_either_sign():
    record = record_of()
    for arrays in record.grid:
        arrays["history_loss"] = arrays["history_loss"] - 2
    (axes,) = drawn({"kind": "curves", "y": "loss"}, record).axes
    assert axes.get_yscale() == "linear"
    assert np.isfinite(axes.lines[0].get_ydata()).all()


def test_a_band_that_reaches_to_zero_reaches_the_axis():
    """A median of zero, too: it goes down, and does not stop in the midst of its band."""
    record = record_of(ms=[2])
    for arrays in record.grid:
        path = np.where(np.arange(S)[:, None] % 4 > 0, 0.0, 1.0) * TIME**-1.0
        arrays["history_rms_distance"] = np.where(TIME < 100, 1.0 / TIME, path)
    (axes,) = drawn({"kind": "curves", "y": "rms_distance"}, record).axes
    bottom, top = axes.get_ylim()
    band = axes.collections[0].get_paths()[0].vertices
    late = band[band[:, 0] >= 100]
    assert late[:, 1].min() < bottom < 1 / TIME[-1] < late[:, 1].max() < top
    line = axes.lines[0].get_ydata()
    assert np.isfinite(line).all()
    assert (line[TIME >= 100] < bottom).all()


def test_minor_ticks_have_no_names_that_touch():
    for exponent, names in ((1, 3), (2.5, 0)):
        figure, axes = canvas.new_axes(6, 4)
        axes.set(xscale="log", xlim=(1, 10**exponent))
        canvas.tidy(figure)
        figure.canvas.draw()
        assert not any(tick.get_text() for tick in axes.get_xticklabels(minor=True))
        shown = [t.get_text() for t in axes.get_xticklabels() if 1 <= t.get_position()[0] <= 10]
        if names:
            assert shown == ["1", "2", "5", "10"]
        else:
            assert len(shown) == 2


def test_curves_of_moments():
    figure = drawn({"kind": "curves", "y": "moments", "by": ["m"]})
    assert [axes.get_title() for axes in figure.axes] == ["m = 2", "m = 3"]
    ends = [line.get_ydata()[-1] for line in figure.axes[0].lines]
    np.testing.assert_allclose(np.diff(np.log10(ends)), -1)
    assert labels(figure) == [f"order {k}" for k in range(1, 7)]
    title = drawn({"kind": "curves", "y": "rms_distance"}).axes[0].get_title()
    assert title == "RMS distance: median, 10 % to 90 % band"


def test_curves_of_nothing_but_zeros_and_below_the_truths():
    record = record_of()
    for arrays in record.grid:
        arrays["history_duality_gap"] = np.zeros((S, T))
        arrays["history_loss"] = arrays["history_loss"] - 0.01
    drawn({"kind": "curves", "y": "duality_gap"}, record)
    below = [axes.get_yscale() for axes in drawn({"kind": "curves"}, record).axes]
    assert below == ["symlog"]
    record.grid[0]["history_loss"] += 0.01  # one panel of several without negative values
    figure = drawn({"kind": "curves", "by": ["solver.mean_rule", "n"]}, record)
    assert [axes.get_yscale() for axes in figure.axes] == ["symlog"] * len(NS)


def test_scaling():
    spec = {"kind": "scaling", "x": "truth.separation", "y": "iterations", "law": "power",
            "theory": 2, "where": {"n": 6, "m": 2}}  # fmt: skip
    figure = drawn(spec, LAW)
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    (container,) = axes.containers
    np.testing.assert_allclose(container[0].get_ydata(), 6 * np.array([2.0, 4.0, 8.0]) ** 2)
    assert axes.get_ylabel().replace("\n", " ") == "iterations to the excess loss 1e-06"
    # A seed that diverged or failed has no iterations; the fit is exact.
    assert [text.get_text() for text in axes.texts] == [f"{hits(6, 2)} of {S}"] * 3
    assert labels(figure) == ["slope 2 (2 to 2)", "theory: slope 2"]


@pytest.mark.parametrize(("law", "scale"), [("exponential", "linear"), ("gaussian", "function")])
def test_scaling_of_other_laws(law, scale):
    spec = {"kind": "scaling", "x": "separation", "y": "iterations", "by": ["n", "m"], "law": law}
    figure = drawn(spec, LAW)
    assert [axes.get_xscale() for axes in figure.axes] == [scale] * 2
    told = labels(figure)
    assert len(told) == 2 * len(NS)
    assert told[0].startswith("m = 2, n = 3: slope")
    assert told[0].endswith(f"{hits(3, 2)} of {S} seeds")


def test_scaling_without_any_value():
    record = record_of()
    for arrays in record.grid:
        arrays["iterations"] = np.zeros(S)
    (axes,) = drawn({"kind": "scaling", "x": "n", "law": "power", "theory": 1}, record).axes
    assert [text.get_text() for text in axes.texts] == [f"0 of {2 * S}"] * len(NS)


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"map", "paths", "weights"}))
def test_nothing_to_draw_is_an_empty_figure(kind):
    drawn({"kind": kind, "where": {"n": 99}, "by": ["m"], "theory": 1, "law": "power"})


@pytest.mark.parametrize("kind", ["map", "paths", "weights"])
def test_what_was_not_followed_is_told(kind):
    record = record_of()
    for arrays in record.grid:
        for name in ("start_means", "followed_means", "followed_weights"):
            del arrays[name]
    with pytest.raises(InputError, match="no grid point selected"):
        drawn({"kind": kind}, record)


def test_colours_are_told_apart_by_name_or_by_rank():
    assert colours(7) == [*COLOURS]
    ramp = colours(12)
    assert len({tuple(colour) for colour in ramp}) == 12
    lightness = [np.dot(colour[:3], [0.2, 0.7, 0.1]) for colour in ramp]
    assert lightness == sorted(lightness)


@pytest.mark.parametrize(
    "spec",
    [{"kind": "success", "x": "truth.dim"}, {"kind": "success", "x": "n", "by": ["truth.dim"]},
     {"kind": "heat", "x": "n", "by": ["truth.dim", "m"]}, {"kind": "map", "by": ["truth.dim"]},
     {"kind": "scaling", "x": "truth.dim", "where": {"truth.dim": 5}},
     {"kind": "curves", "by": ["truth.dim", "m"]}, {"kind": "outcomes", "by": ["truth.dim"]},
     {"kind": "curves", "by": ["m", "truth.dim"]}, {"kind": "weights", "by": ["truth.dim", "n"]}],
)  # fmt: skip
def test_what_does_not_vary_can_be_named_and_is_in_no_label(spec):
    figure = drawn(spec, record_of(constants={"truth.dim": 5, "sweep.num_seeds": S}))
    texts = [*labels(figure), *(axes.get_title() for axes in figure.axes)]
    texts += [] if spec["kind"] == "heat" else [
        t.get_text() for axes in figure.axes for t in axes.get_yticklabels()
    ]  # fmt: skip
    assert not any("d = 5" in text for text in texts)
    if spec["kind"] == "heat":
        assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["5"]


@pytest.mark.parametrize(
    ("kind", "theory"), [("success", "Coverage"), ("curves", "coverage"), ("scaling", "2")]
)
def test_a_theory_that_is_no_number_is_refused(tmp_path, kind, theory):
    record = record_of(tmp_path, figures=[{"kind": kind, "x": "n", "theory": theory}])
    with pytest.raises(InputError, match=r"figure 1: theory = .*: must be a number"):
        figures.draw(record)


def test_configured_figures_are_drawn_and_no_others(tmp_path):
    specs = [{"kind": "success", "x": "n", "by": None, "where": None}, {"kind": "curves"}]
    record = record_of(tmp_path, figures=specs)
    figures.draw(record)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "1-success.png", "2-curves.png"
    }  # fmt: skip


def test_what_is_wrong_with_one_keeps_none_of_the_others_from_being_drawn(tmp_path):
    specs = [{"kind": "bar"}, {"kind": "success", "x": "size"}, {"kind": "heat", "by": ["m"]},
             {"kind": "success", "where": {"n": 99}}]  # fmt: skip
    with pytest.raises(InputError, match=r"figure 1: kind = 'bar': is unknown; known are success"):
        figures.draw(record_of(tmp_path, figures=specs))
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["3-heat.png"]
