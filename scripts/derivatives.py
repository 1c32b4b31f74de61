"""The picture and the table of docs/derivatives.md: a derivative against the iterations run.

    python scripts/derivatives.py --write docs/derivatives.md

puts the table between the comments `derivatives:growth` and `/derivatives:growth` of that page, and
the picture beside it, as derivatives.png. Without `--write` it only prints the table. Takes about a
minute on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pages
from benchmarks.measure import table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import gemjax as gj

T = 10_000
SHOWN = (10, 100, 1_000, 10_000)
FITS = {"n = m = 2": 2, "n = 6": 6}
COLOURS = {"n = m = 2": "#0072B2", "n = 6": "#D55E00"}
WHAT = ("a single mean", "a cluster's barycentre")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="replace the table in this Markdown file")
    path = parser.parse_args().write
    jax.config.update("jax_enable_x64", True)
    curves = {name: follow(n) for name, n in FITS.items()}
    text = growth_table(curves)
    print(text)
    if path:
        path.write_text(pages.replace(path.read_text(), "derivatives:growth", text))
        draw(curves).savefig(path.with_suffix(".png"), dpi=150)


def follow(n: int) -> np.ndarray:
    """(2, T) largest derivative of a mean, and of a barycentre, with respect to the data's scale.

    Population limit of two clusters on a line, 4 apart, near-optimal weights, EM's mean step, from
    draws. One forward pass gives the derivative after every iteration.
    """
    truth = gj.truth.simplex(2, 1, separation=4.0)
    target = gj.population(truth, num_nodes=64)
    start = gj.initialize.from_mixture(jax.random.key(0), truth, n)
    solver = gj.GradientEM(1.0, mean_rule="em")

    @jax.jit
    def means(scale: jax.Array) -> tuple[jax.Array, jax.Array]:
        scaled = gj.Target(scale * target.points, target.weights)

        def body(state: gj.State, _: None) -> tuple[gj.State, tuple[jax.Array, jax.Array]]:
            state, _ = solver.step(state, scaled)
            mu, weights = state.mixture.means[:, 0], state.mixture.weights
            sides = jnp.stack([jnp.where(mu < 0, weights, 0), jnp.where(mu < 0, 0, weights)])
            return state, (mu, sides @ mu / sides.sum(axis=1))

        return jax.lax.scan(body, solver.init(start), length=T)[1]

    _, slopes = jax.jvp(means, (jnp.asarray(1.0),), (jnp.asarray(1.0),))
    return np.stack([np.abs(np.asarray(x)).max(axis=1) for x in slopes])


def growth_table(curves: dict[str, np.ndarray]) -> str:
    header = ["largest derivative with respect to the data's scale", *(f"T = {t:,}" for t in SHOWN)]
    rows = [
        [f"{name}, {what}", *(f"{curve[k, t - 1]:.3g}" for t in SHOWN)]
        for name, curve in curves.items()
        for k, what in enumerate(WHAT)
    ]
    return table(header, rows)


def draw(curves: dict[str, np.ndarray]) -> Figure:
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    iterations = np.arange(1, T + 1)
    for name, curve in curves.items():
        for k, what in enumerate(WHAT):
            style = {"linestyle": ("-", "--")[k], "linewidth": (1.6, 2.2)[k]}
            axes.plot(iterations, curve[k], color=COLOURS[name], label=f"{name}: {what}", **style)
    guide = iterations[999:]
    axes.plot(guide, 0.6 * curves["n = 6"][0, 999] * (guide / 1000) ** 0.5, ":", color="0.5")
    axes.annotate("√T", (3000, 0.45 * curves["n = 6"][0, 2999]), color="0.4", va="top")
    axes.set(
        xscale="log", yscale="log", xlabel="iterations T",
        ylabel="largest |d mean / d scale of the data|",
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
