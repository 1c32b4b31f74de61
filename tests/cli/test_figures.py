"""The figures show what they are given: the drawn data, labels and scales are read back."""

import numpy as np
import pytest

from gemjax.cli.report import fit_figures


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
