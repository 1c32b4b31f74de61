"""What all figures share. Colours are Okabe and Ito's, safe for the colour-blind."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gemjax.cli.files.boundary import brief

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: dict[Any, Any] = {
    "font.size": 12, "axes.titlesize": 14, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False,
}  # fmt: skip


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches; it needs no display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(width: float, height: float) -> tuple[Figure, Any]:
    """A figure and its only axes."""
    figure = new_figure(width, height)
    return figure, figure.add_subplot()


def plain(name: str) -> str:
    """A user's name as text: a dollar starts no formula."""
    return brief(name, 40).replace("$", r"\$")


def label_of(setting: dict[str, Any]) -> str:
    """Of a grid point: n = 7, Δ = 4."""
    names = {"num_components": "n", "separation": "Δ", "dim": "d", "step_size": "η"}
    parts = [(key.split(".")[1], value) for key, value in setting.items()]
    return ", ".join(f"{names.get(k, k)} = {plain(str(v))}" for k, v in parts)
