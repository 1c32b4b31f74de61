"""Keyed starting points for a fit: `gj.initialize.from_target(key, target, n)` and others."""

from gemjax._model.starts import STARTS, from_mixture, from_target, plus_plus, spectral, tensor

__all__ = ["STARTS", "from_mixture", "from_target", "plus_plus", "spectral", "tensor"]
