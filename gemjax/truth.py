"""Ground-truth mixtures for studies: `gj.truth.simplex(m, d, separation)` and others."""

from gemjax._model.truths import KINDS, grid, random, ring, simplex

__all__ = ["KINDS", "grid", "random", "ring", "simplex"]
