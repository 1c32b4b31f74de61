"""The figures show what they are given: the drawn data, labels and scales are read back."""

import numpy as np
import pytest

from gemjax.cli.report import fit_figures, study_figures
from gemjax.cli.results import wilson


def test_success():
    varying = [{"model.num_components": n} for n in (7, 3)]
    results = [
        {"recovered": np.array([True] * k + [False] * (8 - k)), "status": np.zeros(8)}
        for k in (8, 5)
    ]
    axes = study_figures.success(varying, results).axes[0]
    line = axes.containers[0]
    np.testing.assert_allclose(line[0].get_xdata(), [3, 7])
    np.testing.assert_allclose(line[0].get_ydata(), [5 / 8, 1])
    bars = line[2][0].get_segments()
    ends = np.array([segment[:, 1] for segment in bars], float)
    np.testing.assert_allclose(ends, [wilson(5, 8), wilson(8, 8)], atol=1e-12)
    assert axes.get_xlabel()
    assert axes.get_ylabel()


def test_outcomes_are_stacked_shares():
    results = [{"outcome": np.array([0, 0, 1, 7])}, {"outcome": np.array([1, 1, 1, 1])}]
    figure = study_figures.outcomes([{"model.num_components": n} for n in (3, 7)], results)
    axes = figure.axes[0]
    bars = {c.get_label(): [(b.get_x(), b.get_width()) for b in c] for c in axes.containers}
    assert bars == {
        "recovered": [(0, 0.5), (0, 0)],
        "one-fits-many": [(0.5, 0.25), (0, 1)],
        "diverged": [(0.75, 0.25), (1, 0)],
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["n = 3", "n = 7"]
    assert len({c[0].get_facecolor() for c in axes.containers}) == 3


def test_loss_curves_are_medians_over_good_seeds():
    history = np.array([[3.0, 2.0], [5.0, 4.0], [9.0, 9.0], [4.0, 3.0]])
    results = [{"history_loss": history, "status": np.array([0, 0, 1, 0])}]
    axes = study_figures.loss_curves([{}], results, [1.0], [10]).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [10, 20])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [3.0, 2.0])
    assert axes.get_yscale() == "log"
    assert "nats per point" in axes.get_ylabel()


def test_loss_below_the_truths_is_shown():
    results = [{"history_loss": np.array([[2.0, 0.5]]), "status": np.array([0])}]
    axes = study_figures.loss_curves([{}], results, [1.0], [1]).axes[0]
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylim()[0] < -0.5


def test_loss_that_rounds_below_the_truths_keeps_its_log_axis():
    results = [{"history_loss": np.array([[2.0, 1.0 - 1e-12]]), "status": np.array([0])}]
    axes = study_figures.loss_curves([{}], results, [1.0], [1]).axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] == 1e-9


def test_weights_has_a_line_per_component():
    followed = np.array([[0.25] * 4, [0.5, 0.5, 1e-9, 0.0]])
    axes = study_figures.weights(followed, 10, "title").axes[0]
    assert len(axes.lines) == 4
    assert axes.get_yscale() == "log"


def test_iterations_on_log_axes():
    varying = [{"truth.separation": s} for s in (2.0, 4.0)]
    results = [{"iterations": np.array([100, 200, 300])}, {"iterations": np.array([10, 0, 20])}]
    axes = study_figures.iterations(varying, results, 1e-4).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    np.testing.assert_allclose(axes.containers[0][0].get_ydata(), [200, 15])


def test_mean_rules_with_the_seeds_that_arrive():
    varying = [
        {"model.num_components": n, "solver.mean_rule": rule}
        for n in (3, 20)
        for rule in ("gradient", "em")
    ]
    counts = [[40, 0, 60, 50], [10, 10, 10, 10], [0, 0, 0, 0], [300, 400, 500, 600]]
    results = [{"iterations": np.array(c)} for c in counts]
    axes = study_figures.mean_rules(varying, results, 1e-6).axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gradient", "em"]
    middles = [float(container[0].get_xdata()[0]) for container in axes.containers]
    assert middles == [50, 10, 450]
    ends = axes.containers[2][2][0].get_segments()[0][:, 0]
    np.testing.assert_allclose(ends, [375, 525])
    texts = {text.get_text() for text in axes.texts}
    assert texts == {"50  (3 of 4 seeds)", "10", "450", "0 of 4 seeds"}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["n = 3", "n = 20"]


@pytest.mark.parametrize("d", [1, 2])
def test_components(d):
    rng = np.random.default_rng(0)
    points = 50 + 3 * rng.normal(size=(100, d))
    means, weights = np.full((2, d), 50.0) + np.array([[-1.0], [1.0]]), np.array([0.999999, 1e-6])
    figure = fit_figures.components(points, np.ones(100), means, weights, 3.0, ["a", "b"][:d], 100)
    axes = figure.axes[0]
    assert axes.get_xlabel() == "a"
    assert "1 components" in axes.get_title()
    if d == 1:
        line = axes.lines[0]
        area = np.trapezoid(line.get_ydata(), line.get_xdata())
        assert area == pytest.approx(1.0, abs=0.01)


def test_convergence():
    history = {
        "loss": np.array([2.0, 1.0]),
        "duality_gap": np.array([0.1, 0.0]),
        "gradient_norm": np.array([1.0, 0.5]),
    }
    top, bottom = fit_figures.convergence(history).axes
    assert top.lines[0].get_ydata().tolist() == [2.0, 1.0]
    assert len(bottom.lines) == 2
