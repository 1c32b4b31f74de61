"""Targets laid out for mixtures of a family: checked, cut into blocks, and by differences where
products would lose their digits."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import numpy as np

from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._families.covariance import Covariance
from gemjax._families.identity import Identity
from gemjax._points.blocks import AUTOMATIC, Blocking, Blocks, Chunks, as_blocks
from gemjax._points.file_target import FileTarget
from gemjax._points.spread import is_far_apart, radius_about
from gemjax._points.target import Target, checked_target

Data: TypeAlias = Target | FileTarget | Blocks | Chunks


def lay_out_for(
    mixture: Mixture,
    target: Data,
    blocking: Blocking = AUTOMATIC,
    axis: str | None = None,
    *,
    num_candidates: int = 0,
) -> Blocks | Chunks:
    """A target, checked and in blocks for mixtures like this one, of which only shapes count.

    Blocks suit as many candidates for one more component, too.
    """
    if isinstance(target, Blocks | Chunks):
        return target
    points = checked_for(mixture, target, blocking)
    n, family = max(len(mixture.means), num_candidates), type(mixture.covariance)
    return as_blocks(points, n, blocking, family, axis, _apart(mixture.covariance, points))


def _apart(covariance: Covariance, target: Any) -> bool | None:
    """Whether the points are so far apart, in standard deviations of the narrowest component, that
    exponents must come from differences; where values are known. None is as for unit noise."""
    if isinstance(covariance, Identity) or not isinstance(target, Target | FileTarget):
        return None
    leaves = jax.tree.leaves(covariance)
    # Of the mixture of a sweep only shapes are known.
    if not arrays.is_concrete(covariance, target) or not all(hasattr(x, "max") for x in leaves):
        return None
    if isinstance(target, FileTarget):
        radius = float(target.radius)
    else:
        points = np.asarray(target.points)
        radius = radius_about(points, np.asarray(target.weights) @ points)
    with jax.ensure_compile_time_eval():  # also where a function under `jit` closes over them
        narrowest = float(covariance.least_deviation())
    return is_far_apart(radius / narrowest, target.dtype)


def checked_for(mixture: Mixture, target: Any, blocking: Any, *, streams: bool = False) -> Any:
    """A target that is fit for use with mixtures like this one; see `checked_target`."""
    if mixture.means.ndim != 2:
        raise ValueError(
            f"mixture must have means (n, d), got {mixture.means.shape}; for a batch use jax.vmap"
        )
    points = checked_target("target", target, streams=streams)
    checks.same_space("mixture", mixture, "target", points.shape, points.dtype)
    if not isinstance(blocking, Blocking):
        raise TypeError(f"blocking must be a Blocking, got {blocking!r}")
    return points
