"""Hermite tensors and their moments: `gj.hermite.residuals(a, b)` and others."""

from gemjax._model.hermite import along, expectation, principal_subspace
from gemjax._model.hermite_products import inner, residuals
from gemjax._model.hermite_tensors import polynomial, tensor

__all__ = [
    "along",
    "expectation",
    "inner",
    "polynomial",
    "principal_subspace",
    "residuals",
    "tensor",
]
