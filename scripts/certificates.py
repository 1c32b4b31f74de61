"""The picture and the tables of docs/certificates.md.

    python scripts/certificates.py --write docs/certificates.md

computes them, puts the tables between the comments `certificates:NAME` and `/certificates:NAME` of
that page, and the picture beside it, as certificates.png. Without `--write` it only prints the
tables. Takes about five minutes on one core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pages
from benchmarks.measure import table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import gemjax as gj

DRAWS = 20
N = 20_000
COMPONENT, BIRTH = "#D55E00", "#CC79A7"
LEVELS = [0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="replace the tables in this Markdown file")
    path = parser.parse_args().write
    target, fits = example()
    found = {name: gj.certificate(fit, target, jax.random.key(2)) for name, fit in fits.items()}
    tables = {
        "example": example_table(found),
        "truth": truth_table(),
        "families": families_table(),
        "cost": cost_table(),
    }
    document = path.read_text() if path else ""
    for name, text in tables.items():
        print(f"{text}\n")
        if path:
            document = pages.replace(document, f"certificates:{name}", text)
    if path:
        path.write_text(document)
        draw(target, fits, found).savefig(path.with_suffix(".png"), dpi=150)


def example() -> tuple[gj.Target, dict[str, gj.Mixture]]:
    """Three clusters, and a fit of three components that is stuck and one of seven that is not."""
    truth = gj.truth.ring(3, 2, separation=6.0)
    target = gj.empirical(gj.sample(jax.random.key(0), truth, 2000))
    a, b, c = truth.means
    bad = gj.make_mixture(jnp.stack([0.5 * (a + b), c + 0.3, c - 0.3]))
    good = gj.initialize.from_target(jax.random.key(1), target, 7)
    runs = {"stuck": (bad, 300), "good": (good, 300)}
    fits = {
        name: gj.fit(gj.GradientEM(), target, start, num_iterations=T).mixture
        for name, (start, T) in runs.items()
    }
    return target, {**fits, "truth": truth}


def example_table(found: dict[str, gj.Certificate]) -> str:
    """Certificates of the example's mixtures, and what they really lack."""
    best = float(found["good"].loss)
    names = {"stuck": "n = 3, stuck", "good": "n = 7", "truth": "the truth itself"}
    rows = [
        [
            names[name],
            f"{c.loss:.4f}",
            f"{float(c.loss) - best:.4f}",
            f"{c.duality_gap:.1e}",
            f"{c.npmle_gap:.4f}",
            f"{c.npmle_points:.1f}",
            "yes" if c.npmle_usable else "no",
            f"{c.birth_gain:.5f}",
            f"{c.birth_price:.5f}",
            "yes" if c.birth_optimal else "no",
            f"{c.birth_weight:.4f}",
        ]
        for name, c in found.items()
    ]
    head = [
        "mixture", "loss", "loss above the n = 7 fit", "`duality_gap`", "`npmle_gap`",
        "`npmle_points`", "`npmle_usable`", "`birth_gain`", "`birth_price`", "`birth_optimal`",
        "`birth_weight`",
    ]  # fmt: skip
    return table(head, rows)


def truth_table() -> str:
    """Certificates of the true mixture, on samples and in the population limit."""
    rows = []
    for d in (1, 2, 3, 5, 10):
        truth = gj.truth.grid(3, 1, 6.0) if d == 1 else gj.truth.simplex(min(3, d + 1), d, 6.0)
        sample = [
            gj.certificate(
                truth,
                gj.empirical(gj.sample(jax.random.key(s), truth, N)),
                jax.random.key(DRAWS + s),
            )
            for s in range(DRAWS)
        ]
        rows.append([f"sample, d = {d}", *summary(sample)])
    for d in (1, 2):
        truth = gj.truth.grid(3, 1, 6.0) if d == 1 else gj.truth.simplex(3, d, 6.0)
        limit = [gj.certificate(truth, gj.population(truth), jax.random.key(0))]
        rows.append([f"population, d = {d}", *summary(limit)])
    head = [
        "target", "`npmle_gap`", "`npmle_points`", "`npmle_usable`", "`birth_gain`",
        "`birth_price`", "`birth_optimal`",
    ]  # fmt: skip
    return table(head, rows)


def families_table() -> str:
    """Fits from the truth, and with a cluster left out, where variances are of three sizes."""
    d, variances = 2, [0.05, 1.0, 4.0]
    means = jnp.asarray([[0.0, 0.0], [5.0, 0.0], [0.0, 9.0]])
    v = jnp.asarray(variances)
    families = {
        "VII": gj.covariance.Spherical(v),
        "VVI": gj.covariance.Diagonal(jnp.broadcast_to(v[:, None], (3, d))),
        "VVV": gj.covariance.Full(v[:, None, None] * jnp.eye(d)[None]),
    }
    rows = []
    for name, covariance in families.items():
        truth = gj.make_mixture(means, covariance=covariance)
        for size in (100, 500, 5000):
            optimal, better = 0, dict.fromkeys(variances, 0)
            for s in range(DRAWS):
                target = gj.empirical(gj.sample(jax.random.key(s), truth, size))
                fit = gj.fit(gj.classical_em(), target, truth, num_iterations=100)
                key = jax.random.key(DRAWS + s)
                optimal += bool(gj.certificate(fit.mixture, target, key).birth_optimal)
                for i, missing in enumerate(variances):
                    # Another component twice, in the slot of the one that is left out.
                    slots = jnp.asarray([(i + 1) % 3 if k == i else k for k in range(3)])
                    start = gj.make_mixture(means[slots], covariance=covariance.take(slots))
                    birth = gj.certificate(start, target, key)
                    start = gj.insert(
                        start,
                        birth.birth_at,
                        weight=birth.birth_weight,
                        covariance=birth.birth_covariance,
                    )
                    end = gj.fit(gj.classical_em(), target, start, num_iterations=100)
                    better[missing] += bool(end.loss < fit.loss + 1e-3)
            told = [f"{better[v]} of {DRAWS}" for v in variances]
            rows.append([name, str(size), f"{optimal} of {DRAWS}", *told])
    head = ["family", "points", "`birth_optimal` at the fit from the truth"]
    head += [f"as good once a cluster of variance {v:g} is put back" for v in variances]
    return table(head, rows)


def summary(found: list[gj.Certificate]) -> list[str]:
    def middle(name: str, places: str) -> str:
        values = np.array([float(getattr(c, name)) for c in found])
        low, high = values.min(), values.max()
        text = f"{np.median(values):{places}}"
        return text if len(found) == 1 else f"{text} ({low:{places}} to {high:{places}})"

    def share(name: str) -> str:
        return f"{sum(bool(getattr(c, name)) for c in found)} of {len(found)}"

    return [
        middle("npmle_gap", ".3g"),
        middle("npmle_points", ".3g"),
        share("npmle_usable"),
        middle("birth_gain", ".1e"),
        middle("birth_price", ".1e"),
        share("birth_optimal"),
    ]


def cost_table() -> str:
    """Seconds of a certificate at N = 20,000, d = 10, n = 20, after and with compiling."""
    rows = []
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            truth = gj.truth.simplex(3, 10, jnp.asarray(6.0, dtype))
            target = gj.empirical(gj.sample(jax.random.key(0), truth, N))
            start = gj.initialize.from_target(jax.random.key(1), target, 20)
            fit = gj.fit(gj.GradientEM(), target, start, num_iterations=300).mixture
            seconds = []
            for seed in range(6):
                began = time.perf_counter()
                jax.block_until_ready(gj.certificate(fit, target, jax.random.key(seed)))
                seconds.append(time.perf_counter() - began)
        rows.append([dtype, f"{np.median(seconds[1:]):.2f}", f"{seconds[0]:.1f}"])
    return table(["dtype", "seconds", "seconds, the first time"], rows)


def log_directional(mixture: gj.Mixture, points: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """log D at every row of the grid, for equal weights of the points."""
    log_p = np.asarray(gj.log_density(mixture, jnp.asarray(points)), np.float64)
    out = []
    for centres in np.array_split(grid, 200):
        squares = ((centres[:, None] - points[None]) ** 2).sum(axis=2)
        exponent = -0.5 * squares - np.log(2 * np.pi) - log_p[None]
        top = exponent.max(axis=1)
        out.append(top + np.log(np.exp(exponent - top[:, None]).mean(axis=1)))
    return np.concatenate(out)


def draw(target: gj.Target, fits: dict[str, Any], found: dict[str, gj.Certificate]) -> Figure:
    """log D over the plane for the two fits."""
    points = np.asarray(target.points, np.float64)
    x, y = (np.linspace(c.min() - 1, c.max() + 1, 240) for c in points.T)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    shades = mpl.colormaps["YlGnBu"](np.linspace(0.03, 0.85, len(LEVELS) - 1))
    titles = {"stuck": "Stuck: three components", "good": "Good: seven components"}
    with mpl.rc_context({"font.size": 11, "axes.titlesize": 12}):
        figure = Figure(figsize=(11.5, 6.3), layout="compressed")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, (name, title) in zip(panels, titles.items(), strict=True):
            D = log_directional(fits[name], points, grid).reshape(len(y), len(x))
            filled = axes.contourf(x, y, D, levels=LEVELS, colors=list(shades))
            axes.contour(x, y, D, levels=[0.0], colors="0.2", linewidths=1.0)
            axes.scatter(*points.T, s=3, color="0.35", lw=0, alpha=0.55, rasterized=True)
            means, weights = np.asarray(fits[name].means), np.asarray(fits[name].weights)
            axes.scatter(
                *means.T, s=40 + 600 * weights, facecolor="none", edgecolor=COMPONENT, lw=2.4,
                label="components (area: weight)",
            )  # fmt: skip
            c = found[name]
            for at, marker, size, colour, label in (
                (c.npmle_at, "*", 280, "black", "supremum of D"),
                (c.birth_at, "P", 150, BIRTH, "best place for one more component"),
            ):
                axes.scatter(
                    *np.asarray(at), marker=marker, s=size, color=colour, edgecolor="white",
                    lw=1.0, zorder=4, label=label,
                )  # fmt: skip
            sign = "≤" if c.birth_optimal else ">"
            axes.set_title(
                f"{title}\nlog sup D = {c.npmle_gap:.1f};  "
                f"birth gain {c.birth_gain:.4f} {sign} price {c.birth_price:.4f}"
            )
            axes.set_aspect("equal")
            axes.set_xlabel("$x_1$")
        panels[0].set_ylabel("$x_2$")
        bar = figure.colorbar(filled, ax=panels, shrink=0.92, pad=0.015)
        bar.set_ticks(LEVELS, labels=[f"{level:g}" for level in LEVELS])
        bar.set_label("log D(θ), nats per point; white: D ≤ 1")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


if __name__ == "__main__":
    main()
