"""In which units of its columns a table is looked at for clusters: a robust rule."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gemjax.cli.files.boundary import InputError

# Spreads of columns of one kind, in one unit, differ less: 1.2-fold in coordinates, up to 7-fold in
# lengths of one flower; those of columns in different units 9-fold and more, mostly 100-fold. What
# errs here costs little: ellipses of four of the six forms are the same in all units.
ONE_KIND = 8.0
_NORMAL = 1.349  # interquartile range of the normal distribution


class Scaling(NamedTuple):
    """How points become those that are fitted: (points − offset) / scale, column by column.

    Attributes:
      offset, scale: (d,) float64; the scale is one where columns stay as they are.
      spreads: (d,) float64, robust standard deviations of the columns.
      is_scaled: whether columns are divided by their spreads.
    """

    offset: np.ndarray
    scale: np.ndarray
    spreads: np.ndarray
    is_scaled: bool

    @property
    def ratio(self) -> float:
        """Of the largest spread to the smallest."""
        return float(self.spreads.max() / self.spreads.min())

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """(…, d) points as they are fitted."""
        return (points - self.offset) / self.scale

    def to_data(self, points: np.ndarray) -> np.ndarray:
        """(…, d) and back."""
        return points * self.scale + self.offset


def of_points(points: np.ndarray, weights: np.ndarray | None) -> Scaling:
    """The scaling of points (N, d), by interquartile ranges where their columns are of many kinds.

    Of all columns alike a common factor is taken out too, so that no unit is too large or too small
    for squares.

    Raises:
      InputError: a single point, a column without any spread.
    """
    if len(points) < 2:
        raise InputError("a single row makes no clusters")
    offset = np.average(points, axis=0, weights=weights)
    with np.errstate(over="ignore"):
        spreads = _spreads(points, weights)
    if not (np.isfinite(spreads) & (spreads > 0)).all():
        column = int(np.flatnonzero(~(np.isfinite(spreads) & (spreads > 0)))[0])
        raise InputError(
            f"column {column + 1} of those to look at has no spread that can be measured "
            f"({spreads[column]:g}); leave it out with --columns"
        )
    is_scaled = len(spreads) > 1 and bool(spreads.max() > ONE_KIND * spreads.min())
    # The geometric mean: the columns keep their ratios.
    common = np.full_like(spreads, np.exp(np.mean(np.log(spreads))))
    return Scaling(offset, spreads if is_scaled else common, spreads, is_scaled)


def _spreads(points: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Interquartile ranges as standard deviations; the latter where half of the values are one."""
    if weights is None:
        low, high = np.percentile(points, [25, 75], axis=0)
    else:
        low, high = np.transpose([_quartiles(column, weights) for column in points.T])
    offset = np.average(points, axis=0, weights=weights)
    deviations = np.sqrt(np.average((points - offset) ** 2, axis=0, weights=weights))
    return np.where(high > low, (high - low) / _NORMAL, deviations)


def _quartiles(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    return np.asarray(values[order][np.searchsorted(share, [0.25, 0.75]).clip(0, len(values) - 1)])
