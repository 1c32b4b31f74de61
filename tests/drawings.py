"""A record that all configured figures can be drawn from, and what a test reads of them."""

from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np

from gemjax.cli.record import Record
from gemjax.cli.report.canvas import STYLE
from gemjax.cli.report.figures import KINDS

S, T, NS = 20, 30, (3, 6, 12, 30)
TIME = (np.arange(T) + 1) * 10


def hits(n, m):
    return max(0, min(S - 1, 3 * n // m))


def record_of(folder=Path("nowhere"), d=1, ms=(2, 3), deltas=(4.0,), **more):
    """Seed 0 diverges; the first ones after it recover the truth, in n Δ² iterations."""
    points, grid = [], []
    for m in ms:
        for delta in deltas:
            for n in NS:
                rng = np.random.default_rng(100 * m + n)
                settings = {"truth.num_components": m, "truth.separation": delta,
                            "model.num_components": n, "solver.mean_rule": "em"}  # fmt: skip
                shape = {"n": n, "m": m, "d": d, "N": 99, "separation": delta,
                         "truth_weights": [1 / m] * m}  # fmt: skip
                points.append({"settings": settings, "shape": shape, "record_every": 10,
                               "reach": 1e-6, "truth_loss": 1.0})  # fmt: skip
                good = (np.arange(S) > 0) & (np.arange(S) <= hits(n, m))
                excess = np.linspace(1, 2, S)[:, None] * m * TIME**-2.0
                weights = np.full((T + 1, n), 1 / n)
                weights[:, 0] = np.geomspace(1 / n, 1e-9, T + 1)
                starts = rng.normal(size=(S, n, d))
                starts[:, 0] = 0.0
                grid.append({
                    "status": (np.arange(S) == 0).astype(int), "recovered": good,
                    "outcome": np.where(good, 0, np.where(np.arange(S) == 0, 7, 1)),
                    "covered": good, "loss": 1 + excess[:, -1],
                    "excess_loss": excess[:, -1] * np.where(np.arange(S) % 2, 1, -1e-4),
                    "iterations": np.where(good, n * delta**2, 0), "history_loss": 1 + excess,
                    "history_duality_gap": excess, "history_rms_distance": excess**0.5,
                    "history_moments": -excess[..., None] * 10.0 ** -np.arange(6),
                    "start_means": starts, "followed_weights": weights,
                    "followed_means": np.cumsum(rng.normal(size=(T + 1, n, d)), axis=0),
                    "truth_means": rng.normal(size=(m, d)),
                })  # fmt: skip
    record = Record(folder, "run", {"points": points, **more})
    record.__dict__["grid"] = grid
    return record


RECORD = record_of()
LAW = record_of(deltas=(2.0, 4.0, 8.0))


def drawn(spec, record=RECORD):
    """A figure that was rendered, too: what only shows then is an error here."""
    with mpl.rc_context(STYLE):
        figure = KINDS[spec["kind"]](record, spec)
        figure.canvas.draw()
    return figure


def labels(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def touching(figure):
    """Pairs of texts of a rendered figure that lie over each other."""
    figure.canvas.draw()
    unseen = set()
    for axes in figure.axes:
        for k, axis in enumerate((axes.xaxis, axes.yaxis)):
            low, high = sorted(axis.get_view_interval())
            # matplotlib keeps labels of ticks outside of the range, and does not draw them.
            labels = axis.get_ticklabels(which="both")
            unseen |= {t for t in labels if not low <= t.get_position()[k] <= high}
    texts = [
        text for text in figure.findobj(mpl.text.Text)
        if text.get_visible() and text.get_text().strip() and text not in unseen
    ]  # fmt: skip
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    return [(a, b) for (a, x), (b, y) in combinations(boxes, 2) if x.overlaps(y)]
