"""What in a table may spoil its clusters: slips and codes among values, and what has no width."""

from __future__ import annotations

from typing import Any

import numpy as np

import gemjax as gj
from gemjax.cli.scaling import Scaling

_FAR = 20.0  # spreads of the column between a value and the next one
_RARE = 0.1  # share of the rows with that value, at most
_CODES = {1.0, *(float("9" * digits) for digits in range(1, 10))}
_FEW, _APART = 3, 1.5  # rows with a code, at least, and spreads between it and the next value
_MOST = 6  # values and columns that are named
_LEANS = 0.3  # of a direction of length one on a column that counts


def odd_values(table: Any, units: Scaling) -> list[dict[str, Any]]:
    """Values at the ends of columns that may be slips of the pen, as nothing is near, or codes for
    what is missing: per value its column, rows and first place, farthest first."""
    told = []
    for j, name in enumerate(table.names):
        values, spread = table.points[:, j], units.spreads[j]
        for sign in (1, -1):
            rest = values
            for _ in range(_MOST):
                end = sign * np.max(sign * rest)
                rows, rest = np.flatnonzero(values == end), rest[rest != end]
                if not len(rest):
                    break
                gap = abs(end - sign * np.max(sign * rest)) / spread
                is_far = gap >= _FAR and len(rows) <= _RARE * len(values)
                if not (is_far or _is_code(end, len(rows), gap, rest)):
                    break
                first = int(rows[0])
                at = table.rows[first] + 1 if table.lines is None else table.lines[first]
                told.append({
                    "column": name, "value": float(end), "num_rows": len(rows),
                    "first": f"{table.line} {at}", "spreads": float(gap),
                })  # fmt: skip
    return sorted(told, key=lambda one: -one["spreads"])[:_MOST]


def _is_code(value: float, num_rows: int, gap: float, rest: np.ndarray) -> bool:
    """Whether a value at an end is one that people write for what is missing: of several rows, and
    apart from the others, or the only negative one."""
    if abs(value) not in _CODES or not _FEW <= num_rows <= len(rest):
        return False
    return bool(value < 0 <= rest.min()) or (gap >= _APART and (value < 0 or value > 9))


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
