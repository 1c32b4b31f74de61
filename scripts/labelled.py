"""Data with known groups, for docs/clustering.md: shipped, drawn, and public ones in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import how_many
import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA

PUBLIC = {
    "d31": "D31", "s1": "S1", "drosophila": "Drosophila", "banknote": "bank notes",
    "diabetes": "diabetes",
}  # fmt: skip
UNLIKE = ("faithful", "wine", "breast_cancer", "diabetes")  # columns of several kinds
MOST = 10  # directions, the principal ones, where there are more than twice so many columns


class Labelled(NamedTuple):
    """Points (N, d), and the group (N,) of each from 0; None where nobody knows."""

    name: str
    points: np.ndarray
    label: np.ndarray | None

    @property
    def number(self) -> int | None:
        return None if self.label is None else len(np.unique(self.label))


def all_sets(folder: Path | None) -> Iterator[Labelled]:
    yield Labelled("Old Faithful", one_kind("faithful", how_many.read("faithful")), None)
    for name in ("iris", "wine", "breast_cancer"):
        points, label = getattr(datasets, f"load_{name}")(return_X_y=True)
        points = one_kind(name, points)
        if points.shape[1] > 2 * MOST:
            points = PCA(MOST, random_state=0).fit_transform(points)
        yield Labelled(name.replace("_", " "), points, label)
    yield unequal()
    yield Labelled("heavy tails", *how_many.heavy_tails(0))
    yield squares()
    yield grid(10_000)
    for name, title in PUBLIC.items() if folder else ():
        points, label = labelled_table(folder / f"{name}.csv")
        yield Labelled(title, one_kind(name, points), label)


def one_kind(name: str, points: np.ndarray) -> np.ndarray:
    """Columns of different kinds are divided by their standard deviations."""
    return points / points.std(axis=0) if name in UNLIKE else points


def labelled_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of a table, and its column of groups."""
    head, *rows = np.loadtxt(path, delimiter=",", dtype=str)
    place = next(i for i, name in enumerate(head) if name in ("label", "class", "status"))
    table = np.array(rows)
    label = np.unique(table[:, place], return_inverse=True)[1]
    return np.delete(table, place, axis=1).astype(float), label


def unequal() -> Labelled:
    """3,000 points of twelve clusters: of 30 % down to 0.5 % of them, and four times as wide."""
    rng = np.random.default_rng(0)
    weights = np.geomspace(0.3, 0.005, 12)
    label = rng.choice(12, 3000, p=weights / weights.sum())
    places = np.stack(np.meshgrid(np.arange(4), np.arange(3)), axis=-1).reshape(-1, 2)
    centres = 10.0 * rng.permutation(places)
    widths = rng.permutation(np.linspace(0.5, 2, 12))
    return Labelled(
        "unequal", centres[label] + widths[label, None] * rng.normal(size=(3000, 2)), label
    )


def squares() -> Labelled:
    """Those of docs/how_many.md."""
    points = how_many.squares()
    far = (points > 2).astype(int)
    return Labelled("four squares", points, far[:, 0] + 2 * far[:, 1])


def grid(size: int) -> Labelled:
    """Unit Gaussians, 10 times 10 of them, four standard deviations apart."""
    rng = np.random.default_rng(0)
    centres = 4.0 * np.stack(np.meshgrid(*[np.arange(10)] * 2), axis=-1).reshape(-1, 2)
    label = rng.integers(100, size=size)
    return Labelled("grid of 100", centres[label] + rng.normal(size=(size, 2)), label)
