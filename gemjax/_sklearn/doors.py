"""What comes in from outside: points, weights of points, settings; each refused with its name."""

from __future__ import annotations

import numbers
import warnings
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from gemjax._base import checks

REG_COVAR = 1e-6
_BLURRED = 100  # times the least variance
COVARIANCE_TYPES = ("full", "tied", "diag", "spherical", "identity", "auto")


def checked_points(estimator: Any, X: Any, *, reset: bool) -> np.ndarray:
    """(N, d) finite float32 or float64, as scikit-learn takes them; at least 2 where fitted."""
    points = validate_data(
        estimator,
        X,
        reset=reset,
        dtype=[np.float64, np.float32],
        order="C",  # so that rounding is the same from whatever holds the points
        ensure_all_finite=False,
        ensure_min_samples=2 if reset else 1,
    )
    bad = ~np.isfinite(points)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        names = getattr(estimator, "feature_names_in_", range(points.shape[1]))
        what = "NaN" if np.isnan(points[bad]).any() else "infinity (inf)"
        raise ValueError(
            f"Input X contains {what} in {bad.any(axis=1).sum()} of {len(points)} rows, first in "
            f"row {row}, column {names[column]!r}; drop or fill these rows"
        )
    return points


def warn_of_units(points: np.ndarray, reg_covar: float) -> None:
    """Warns where the least variance that is allowed, in squared units, blurs a column, unless it
    was given: then that may be what it is for."""
    if reg_covar != REG_COVAR:
        return
    varies = points.min(axis=0) < points.max(axis=0)
    variances = np.where(varies, points.var(axis=0, dtype=np.float64), np.inf)
    column = int(variances.argmin())
    if variances[column] < _BLURRED * reg_covar:
        warnings.warn(
            f"reg_covar = {reg_covar:g} is large beside the variance {variances[column]:.3g} of "
            f"column {column}, in which clusters are blurred; scale the columns, or give a smaller "
            "reg_covar",
            UserWarning,
            stacklevel=3,
        )


def checked_sample_weight(sample_weight: Any, points: np.ndarray) -> np.ndarray:
    """(N,) of the points' dtype."""
    if sample_weight is None:
        return np.ones(len(points), points.dtype)
    weights = np.asarray(sample_weight, np.float64)
    if weights.ndim == 0:
        weights = np.full(len(points), float(weights))
    if weights.shape != (len(points),):
        raise ValueError(f"sample_weight must have shape ({len(points)},), got {weights.shape}")
    if not np.isfinite(weights).all() or (weights < 0).any():
        row = int(np.flatnonzero(~np.isfinite(weights) | (weights < 0))[0])
        raise ValueError(
            f"sample_weight must be finite and non-negative, got {weights[row]} in row {row}"
        )
    if not (weights > 0).any():
        raise ValueError("sample_weight must not be zero for all rows")
    return weights.astype(points.dtype)


def check_settings(estimator: Any) -> None:
    """Raises ValueError or TypeError where a setting is none."""
    if estimator.n_components != "auto":
        checks.count("n_components", estimator.n_components)
    if estimator.covariance_type not in (None, *COVARIANCE_TYPES):
        raise ValueError(
            f"covariance_type must be None or one of {', '.join(COVARIANCE_TYPES)}; "
            f"got {estimator.covariance_type!r}"
        )
    for name in ("tol", "reg_covar"):
        value = getattr(estimator, name)
        if not isinstance(value, numbers.Real) or not 0 <= float(value) < np.inf:
            raise ValueError(f"{name} must be a finite number that is not negative, got {value!r}")
    checks.count("max_iter", estimator.max_iter, 0)
    if estimator.n_init != "auto":
        checks.count("n_init", estimator.n_init)
    checks.count("verbose", int(estimator.verbose), 0)
    checks.count("verbose_interval", estimator.verbose_interval)
