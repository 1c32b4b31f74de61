"""The pictures and the tables of docs/how_many.md: how many clusters there are.

    python scripts/how_many.py --write docs/how_many.md

computes them, puts the tables between the comments `how_many:NAME` and `/how_many:NAME` of that
page, and the pictures beside it, as how_many_NAME.png. Without `--write` it only prints the tables.
Takes about five minutes on one core.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
import pages
from benchmarks.measure import table
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import gemjax as gj
from gemjax.cli.report import cluster_figures, selection_figures
from gemjax.cli.report.canvas import COLOURS, STYLE, tidy

DATA = Path(__file__).parents[1] / "configs" / "data"
KEY = jax.random.key(0)
CRITERIA = ("bicc", "bic", "icl")
EQUAL = ("EII", "EEI", "EEE")
DRAWS = 5
NAMES = {
    "faithful": ["eruption (minutes)", "waiting time (minutes)"],
    "galaxies": ["velocity (km/s)"],
    "tails": ["x", "y"],
    "squares": ["x", "y"],
}
TITLES = {
    "faithful": "Old Faithful",
    "galaxies": "galaxies",
    "tails": "heavy tails",
    "squares": "four squares",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="replace the tables in this Markdown file")
    path = parser.parse_args().write
    jax.config.update("jax_enable_x64", True)
    data = {name: read(name) for name in ("faithful", "galaxies")}
    data |= {"tails": heavy_tails(0)[0], "squares": squares()}
    found = {
        (name, criterion): select(points, criterion=criterion)
        for name, points in data.items()
        for criterion in CRITERIA
    }
    tables = {
        "criteria": criteria_table(found),
        "certificates": certificate_table(data, found),
        "tails": tails_table(),
        "rounded": rounded_table(),
        "limits": limits_table(),
    }
    document = path.read_text() if path else ""
    for name, text in tables.items():
        print(f"{text}\n")
        if path:
            document = pages.replace(document, f"how_many:{name}", text)
    if path:
        path.write_text(document)
        with mpl.rc_context(STYLE):
            for name, figure in pictures(data, found):
                tidy(figure)
                save(figure, path.with_name(f"{path.stem}_{name}.png"))


def save(figure: Figure, path: Path) -> None:
    """In 128 colours, which takes a third of the place."""
    whole = io.BytesIO()
    figure.savefig(whole, dpi=90, format="png")
    picture = Image.open(whole).convert("RGB")
    # Colours that tell lines apart and their tints, of which thin lines are, and white are given:
    # chosen by frequency alone, one of few pixels would become another.
    pure = 255 - 255 * to_rgba_array(COLOURS)[:, :3]
    tints = 255 - np.concatenate([share * pure for share in (1, 0.8, 0.6, 0.4, 0.2)])
    given = np.round([[255, 255, 255], *tints]).astype(int)
    frequent = np.reshape(picture.quantize(128 - len(given)).getpalette(), (-1, 3))
    palette = np.concatenate([given, frequent])
    # Pillow's own search for the nearest is rough, and takes white for almost white.
    pixels = np.asarray(picture)
    colours, place = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = cdist(colours, palette).argmin(axis=1)[place].reshape(pixels.shape[:2])
    reduced = Image.fromarray(nearest.astype(np.uint8), "P")
    reduced.putpalette(palette.ravel().tolist())
    reduced.save(path, optimize=True)


def select(points: np.ndarray, **more: Any) -> gj.Selection:
    return gj.select(gj.empirical(points), KEY, **more)


def read(name: str) -> np.ndarray:
    points = np.loadtxt(DATA / f"{name}.csv", delimiter=",", skiprows=1)
    return points.reshape(len(points), -1)


def heavy_tails(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """900 points of three t distributions with 3 degrees of freedom, 12 apart, and their labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(3, size=900)
    centres = 12 * np.array([[0, 0], [1, 0], [0.5, 0.75**0.5]])
    narrow = np.sqrt(rng.chisquare(3, size=900) / 3)
    return centres[label] + rng.normal(size=(900, 2)) / narrow[:, None], label


def squares() -> np.ndarray:
    """1,000 points in four squares of side one, evenly filled."""
    rng = np.random.default_rng(0)
    corners = 3.0 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    return corners[rng.integers(4, size=1000)] + rng.uniform(size=(1000, 2))


def criteria_table(found: dict[tuple[str, str], gj.Selection]) -> str:
    """What each criterion chooses of the examples."""
    rows = [[TITLES[name], f'"{criterion}"', *answer(s)] for (name, criterion), s in found.items()]
    head = ["data", "`criterion`", "family", "components", "clusters", "`num_by_height`", "`agree`"]
    return table(head, rows)


def answer(found: gj.Selection) -> list[str]:
    return [
        found.family_name,
        str(int(found.num_components)),
        str(int(found.num_clusters)),
        str(int(found.num_by_height)),
        "yes" if found.agree else "no",
    ]


def certificate_table(
    data: dict[str, np.ndarray], found: dict[tuple[str, str], gj.Selection]
) -> str:
    """Whether one more component would pay in the fits chosen."""
    rows = []
    for name in data:
        c = found[name, "bicc"].certificate
        told = "yes" if c.birth_optimal else "no"
        rows.append([TITLES[name], f"{c.birth_gain:.4f}", f"{c.birth_price:.4f}", told])
    return table(["data", "`birth_gain`", "`birth_price`", "`birth_optimal`"], rows)


def tails_table() -> str:
    """Of three heavy-tailed clusters: what is counted in some draws, and whose points are whose."""
    rows = []
    for name, more in (("all six", {}), ("those of equal components", {"families": EQUAL})):
        numbers, right = [], []
        for seed in range(DRAWS):
            points, label = heavy_tails(seed)
            found = select(points, **more)
            numbers.append(
                [int(found.num_components), int(found.num_by_height), int(found.num_clusters)]
            )
            right.append(share_right(np.asarray(found.predict(points)), label))
        rows.append(
            [
                name,
                *(", ".join(map(str, column)) for column in np.array(numbers).T),
                f"{np.min(right):.0%} to {np.max(right):.0%}",
            ]
        )
    head = ["families", "components", "`num_by_height`", "clusters", "points in their cluster"]
    return table(head, rows)


def share_right(found: np.ndarray, label: np.ndarray) -> float:
    """The share of points in the cluster of their label, with the best names for clusters."""
    size = 1 + max(label.max(), found.max())
    counts = np.zeros((size, size))
    np.add.at(counts, (label, found), 1)
    return float(counts[linear_sum_assignment(-counts)].sum() / len(label))


def rounded_table() -> str:
    """Of values that repeat: how many clusters in some draws, and whose points are whose."""
    drawn = [dict(rounded(np.random.default_rng(seed))) for seed in range(DRAWS)]
    rows = []
    for name, (points, label) in drawn[0].items():
        numbers, right = [], []
        for points, label in (draw[name] for draw in drawn):
            found = select(points)
            numbers.append(int(found.num_clusters))
            right.append(share_right(np.asarray(found.predict(points)), label))
        said = ", ".join(map(str, numbers)), f"{min(right):.0%} to {max(right):.0%}"
        rows.append([name, "{} x {}".format(*points.shape), str(1 + label.max()), *said])
    return table(["data", "points x columns", "really", "clusters", "points in theirs"], rows)


Labelled = tuple[np.ndarray, np.ndarray]


def rounded(rng: np.random.Generator) -> Iterator[tuple[str, Labelled]]:
    """Tables of values that repeat, with their labels."""
    label = np.arange(1000) % 2
    two = 8.0 * label[:, None] * [1, 0] + rng.normal(size=(1000, 2))
    yield "as measured", (two, label)
    yield "whole numbers, clusters 7 wide", (np.round(7 * two), label)
    yield "whole numbers, clusters 1 wide", (np.round(two), label)
    counts = rng.poisson(np.where(label[:, None] == 0, [2.0, 30.0], [40.0, 3.0]))
    yield "logarithms of counts + 1", (np.log1p(counts), label)
    yield "measured, and three columns of 0 and 1", (
        np.column_stack([two, rng.random((1000, 3)) < 0.5]), label,
    )  # fmt: skip
    three = np.arange(600) % 3
    answers = np.array([[1.5, 4.5, 1.5], [4.3, 1.8, 2.0], [3.0, 3.0, 4.6]])
    said = answers[three] + 0.7 * rng.normal(size=(600, 3))
    yield "a scale of 1 to 5", (np.clip(np.round(said), 1, 5), three)
    both = 3 + 0.7 * rng.normal(size=(500, 1)) + 0.7 * rng.normal(size=(500, 5))
    yield "a scale of 1 to 5, one group", (np.clip(np.round(both), 1, 5), np.zeros(500, int))
    yield "200 rows, each three times", (np.repeat(two[:200], 3, axis=0), np.repeat(label[:200], 3))


def limits_table() -> str:
    """Where the answer is not what one would say who sees the data."""
    rows = [
        [
            name,
            str(number),
            "{} x {}".format(*points.shape),
            f'"{criterion}"',
            *answer(select(points, criterion=criterion)),
        ]
        for name, number, points in hard_cases()
        for criterion in ("bicc", "bic")
    ]
    head = [
        "data", "really", "points x columns", "`criterion`", "family", "components", "clusters",
        "`num_by_height`", "`agree`",
    ]  # fmt: skip
    return table(head, rows)


def hard_cases() -> Iterator[tuple[str, int, np.ndarray]]:
    rng = np.random.default_rng(0)
    yield "a square alone", 1, rng.uniform(size=(1000, 2))
    turn = np.pi * rng.uniform(size=600)
    upper = np.arange(600) % 2 == 0
    moons = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    moons = np.where(upper[:, None], moons, np.array([1, 0.5]) - moons)
    noise = rng.normal(size=moons.shape)
    yield "two moons", 2, moons + 0.08 * noise
    yield "two moons, blurred", 2, moons + 0.2 * noise
    for N in (30, 60):
        means = 0.7 * rng.normal(size=(3, 20))
        yield "three round clusters", 3, means[np.arange(N) % 3] + rng.normal(size=(N, 20))


def pictures(
    data: dict[str, np.ndarray], found: dict[tuple[str, str], gj.Selection]
) -> Iterator[tuple[str, Figure]]:
    for name, points in data.items():
        chosen = found[name, "bicc"]
        yield f"{name}_clusters", cluster_figures.clusters(chosen, points, NAMES[name])
        if name in ("faithful", "tails"):
            yield f"{name}_tree", selection_figures.tree(chosen)
        if name in ("faithful", "galaxies"):
            yield f"{name}_criteria", selection_figures.criteria(chosen)
    rng = np.random.default_rng(5)
    means = 4 * rng.normal(size=(6, 8))
    points = means[rng.integers(6, size=600)] + rng.normal(size=(600, 8))
    yield "matrix", cluster_figures.clusters(select(points), points, [*"abcdefgh"])


if __name__ == "__main__":
    main()
