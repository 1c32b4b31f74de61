"""What in a table may spoil its clusters: values far from all others, and what has no width."""

from __future__ import annotations

from typing import Any

import numpy as np

import gemjax as gj
from gemjax.cli.scaling import Scaling

_FAR = 20.0  # spreads of the column between a value and the next one
_RARE = 0.1  # share of the rows with that value, at most
_MOST = 6  # values and columns that are named
_LEANS = 0.3  # of a direction of length one on a column that counts


def far_values(table: Any, units: Scaling) -> list[dict[str, Any]]:
    """The least and the largest values of columns, where nothing is near: a slip of the pen, or a
    code for what is missing. Per value its column, rows and first place, farthest first."""
    told = []
    for j, name in enumerate(table.names):
        values, spread = table.points[:, j], units.spreads[j]
        for sign in (1, -1):
            end = sign * np.max(sign * values)
            rows = np.flatnonzero(values == end)
            rest = values[values != end]
            gap = abs(end - sign * np.max(sign * rest)) / spread if len(rest) else 0.0
            if gap >= _FAR and len(rows) <= _RARE * len(values):
                first = int(rows[0])
                at = table.rows[first] + 1 if table.lines is None else table.lines[first]
                told.append({
                    "column": name, "value": float(end), "num_rows": len(rows),
                    "first": f"{table.line} {at}", "spreads": float(gap),
                })  # fmt: skip
    return sorted(told, key=lambda one: -one["spreads"])[:_MOST]


def without_width(
    table: Any, units: Scaling, found: gj.Selection, label: np.ndarray
) -> dict[str, Any]:
    """Where the narrowest component has no width left: along which columns, and how many rows,
    different rows and different values of these columns its cluster has, by the rows' labels."""
    mixture, cluster = found.mixture, np.asarray(found.cluster)
    n, d = mixture.means.shape
    square = units.spreads[:, None] * units.spreads[None]
    matrices = np.asarray(mixture.covariance.matrices(n, d), float) / square
    values, vectors = np.linalg.eigh(matrices)
    narrowest = int(values[:, 0].argmin())
    leaning = np.abs(vectors[narrowest, :, 0])
    order = np.argsort(-leaning, kind="stable")
    columns = [int(j) for j in order if leaning[j] >= _LEANS]
    own = label == cluster[narrowest] if cluster[narrowest] >= 0 else np.ones(len(label), bool)
    rows = table.points[own]
    return {
        "columns": [table.names[j] for j in columns[:_MOST]],
        "num_rows": len(rows),
        "num_different_rows": len(np.unique(rows, axis=0)),
        "num_different_values": len(np.unique(rows[:, columns], axis=0)),
    }
