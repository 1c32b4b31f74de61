"""The pictures and the table of docs/how_many.md.

    python scripts/how_many.py --write docs/how_many.md

runs the page's examples, puts the table between the comments `how_many:examples` and
`/how_many:examples` of that page, and the pictures beside it, as how_many_NAME.png. Without
`--write` it only prints the table. Takes about two minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import matplotlib as mpl
import numpy as np
import pages
from benchmarks.measure import table
from matplotlib.figure import Figure

import gemjax as gj
from gemjax.cli.report import cluster_figures
from gemjax.cli.report.canvas import STYLE

DATA = Path(__file__).resolve().parents[1] / "configs" / "data"
CORNERS = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0]])


def faithful() -> tuple[np.ndarray, list[str]]:
    return _read("faithful"), ["eruption (minutes)", "waiting (minutes)"]


def galaxies() -> tuple[np.ndarray, list[str]]:
    return _read("galaxies").reshape(-1, 1), ["velocity (km/s)"]


def heavy_tails() -> tuple[np.ndarray, list[str]]:
    """Four clusters of Student's t with three degrees of freedom."""
    rng = np.random.default_rng(0)
    return np.repeat(CORNERS, 300, 0) + rng.standard_t(3, (1200, 2)), ["x", "y"]


def squares() -> tuple[np.ndarray, list[str]]:
    """Four squares, each filled evenly."""
    rng = np.random.default_rng(0)
    return np.repeat(CORNERS, 250, 0) + rng.uniform(-2.5, 2.5, (1000, 2)), ["x", "y"]


EXAMPLES: dict[str, Callable[[], tuple[np.ndarray, list[str]]]] = {
    "faithful": faithful, "galaxies": galaxies, "heavy_tails": heavy_tails, "squares": squares,
}  # fmt: skip
PICTURES: dict[str, tuple[str, ...]] = {
    "faithful": ("clusters", "criteria", "tree"), "galaxies": ("clusters",),
    "heavy_tails": ("clusters", "tree"), "squares": ("clusters", "tree"),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="replace the table in this Markdown file")
    path = parser.parse_args().write
    rows = []
    for name, make in EXAMPLES.items():
        points, columns = make()
        target = gj.empirical(points)
        chosen = {
            criterion: gj.select(target, jax.random.key(0), criterion=criterion)
            for criterion in ("bicc", "bic", "icl")
        }
        rows.append(row(name, target, chosen))
        if path:
            draw(path, name, points, chosen["bicc"], columns)
    head = [
        "data", "BICc", "BIC", "ICL", "jump in heights", "clusters", "`agree`", "certificate",
    ]  # fmt: skip
    text = table(head, rows)
    print(text)
    if path:
        path.write_text(pages.replace(path.read_text(), "how_many:examples", text))


def row(name: str, target: gj.Target, chosen: dict[str, gj.Selection]) -> list[str]:
    """What each criterion chooses, and what else the default's selection says."""
    found = chosen["bicc"]
    told = [f"{int(s.num_components)} ({s.family_name})" for s in chosen.values()]
    certificate = gj.certificate(found.mixture, target, jax.random.key(1))
    return [
        name.replace("_", " "),
        *told,
        str(int(found.num_by_height)),
        str(int(found.num_clusters)),
        "yes" if found.agree else "no",
        "birth-optimal" if certificate.birth_optimal else "one more would pay",
    ]


def draw(
    path: Path, name: str, points: np.ndarray, found: gj.Selection, columns: list[str]
) -> None:
    with mpl.rc_context(STYLE):
        figures: dict[str, Callable[[], Figure]] = {
            "clusters": lambda: cluster_figures.clusters(points, found, columns),
            "criteria": lambda: cluster_figures.criteria(found),
            "tree": lambda: cluster_figures.tree(found),
        }
        for kind in PICTURES[name]:
            at = path.with_name(f"{path.stem}_{name}_{kind}.png")
            figures[kind]().savefig(at, dpi=80)


def _read(name: str) -> np.ndarray:
    return np.loadtxt(DATA / f"{name}.csv", delimiter=",", skiprows=1)


if __name__ == "__main__":
    main()
