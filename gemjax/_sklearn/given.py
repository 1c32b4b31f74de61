"""Starting values that are given: their checks."""

from __future__ import annotations

from typing import Any

import numpy as np

from gemjax._sklearn.forms import Form, inverted


def checked_weights(value: Any, n: int, dtype: Any) -> np.ndarray:
    weights = _shaped("weights", value, (n,), dtype)
    if (weights < 0).any() or (weights > 1).any():
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}"
        )
    if abs(weights.sum() - 1) > 1e-6:
        raise ValueError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{weights.sum():.5f}"
        )
    return weights


def checked_means(value: Any, n: int, d: int, dtype: Any) -> np.ndarray:
    return _shaped("means", value, (n, d), dtype)


def checked_covariances(value: Any, form: Form, n: int, d: int, dtype: Any) -> np.ndarray:
    """From precisions in scikit-learn's shape for the form."""
    shape = {"full": (n, d, d), "tied": (d, d), "diag": (n, d), "spherical": (n,)}[
        form.covariance_type
    ]
    name = f"{form.covariance_type} precision"
    precisions = _shaped(name, value, shape, dtype)
    if form.is_matrix:
        matrices = precisions.reshape(-1, d, d)
        good = np.allclose(matrices, matrices.swapaxes(1, 2))
        if not (good and (np.linalg.eigvalsh(matrices) > 0).all()):
            raise ValueError(f"'{name}' should be symmetric, positive-definite")
    elif not (precisions > 0).all():
        raise ValueError(f"'{name}' should be positive")
    return inverted(form, precisions)


def _shaped(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Finite numbers of a shape; messages as scikit-learn has them."""
    array = np.array(value, dtype=dtype)
    if array.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"The parameter '{name}' should be finite, but got NaN or infinity")
    return array
