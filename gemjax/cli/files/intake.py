"""TEMPORARY until the branch `reading` is merged."""

from typing import NamedTuple

import numpy as np

from gemjax.cli.files.read import read_weighted


class Table(NamedTuple):
    points: np.ndarray
    weights: np.ndarray | None
    names: list[str]
    rows: np.ndarray
    lines: list[int] | None
    num_rows: int
    told: list[str]


def read_table(path, *, columns, weights, header, delimiter, decimal, drop_missing) -> Table:
    d = read_weighted(path, columns, weights)
    return Table(d.points, d.weights, d.names, np.arange(len(d.points)), d.lines, len(d.points), [])
