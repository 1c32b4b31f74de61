"""Targets in memory: weighted points that stand for a sample, or for a known mixture."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays
from gemjax._numerics.finite import safe_log
from gemjax._numerics.pytree import record
from gemjax._points.spread import is_far_apart, radius_about


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Target:
    """A distribution as weighted points: a sample, or a quadrature rule of a known density.

    Attributes:
      points: (N, d), float32 or float64.
      weights: (N,), same dtype, non-negative, summing to one.
      quadrature_error: () expected error of an expectation of the size of the loss, in nats per
        point, for a `population` target; None for a sample, which is exact for what it is.
      far_apart: static, whether the points are so far apart, in standard deviations of the noise,
        that densities must come from differences; None where that is not known, as for points
        that were never seen outside of `jit`. A matter of digits and speed, not of meaning.

    >>> import jax.numpy as jnp
    >>> import gemjax as gj
    >>> target = gj.Target(points=jnp.array([[0.0], [2.0]]), weights=jnp.array([0.5, 0.5]))
    >>> float(target.weights @ target.points[:, 0])
    1.0
    """

    points: jax.Array
    weights: jax.Array
    quadrature_error: jax.Array | None = None
    far_apart: bool | None = dataclasses.field(default=None, metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, d)."""
        return self.points.shape

    @property
    def dtype(self) -> Any:
        """float32 or float64, of the points."""
        return self.points.dtype

    def read(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """Points and weights of some rows (a slice or indices), on the host."""
        return np.asarray(self.points[rows]), np.asarray(self.weights[rows])

    def rows(self, index: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
        """Rows number `index` · size and on: points (size, d), weights (size,).

        The last rows reach back, so as to be as many; what they repeat has weight zero.
        """
        first = jnp.minimum(index * size, self.points.shape[0] - size)
        points = jax.lax.dynamic_slice_in_dim(self.points, first, size)
        weights = jax.lax.dynamic_slice_in_dim(self.weights, first, size)
        new = first + jnp.arange(size, dtype=jnp.int32) >= index * size
        return points, jnp.where(new, weights, 0)

    def draw(self, key: jax.Array, n: int) -> jax.Array:
        """(n, d) points by weight, distinct while points of positive weight last, then again
        in the same order (Gumbel top-n)."""
        return _first(self.points, self.weights, _scores(key, self.weights), n)

    def checked(self, name: str, *, values: bool = True) -> Target:
        """The same, once its shapes and dtypes agree and, where values are asked for, these too."""
        x, w = arrays.put(self.points), arrays.put(self.weights)
        if x.ndim == 3:
            raise ValueError(
                f"{name} must have points (N, d), got {x.shape}; for a batch of data sets use "
                "jax.vmap"
            )
        if x.ndim != 2 or 0 in x.shape or w.shape != x.shape[:1]:
            raise ValueError(
                f"{name} must have points (N, d) and weights (N,), got {x.shape} and {w.shape}; "
                "empirical makes one from raw points"
            )
        arrays.same_dtype(name, points=x, weights=w)
        if values:
            arrays.finite_rows(f"{name}.points", x)
            arrays.distribution(f"{name}.weights", w, "empirical")
        made = dataclasses.replace(self, points=x, weights=w)
        return made.told() if values else made

    def told(self) -> Target:
        """The same, and if its values are known, whether they are far apart."""
        if self.far_apart is not None or not arrays.is_concrete(self.points, self.weights):
            return self
        points, weights = np.asarray(self.points), np.asarray(self.weights)
        far_apart = is_far_apart(radius_about(points, weights @ points), self.dtype)
        return dataclasses.replace(self, far_apart=far_apart)


@functools.partial(jax.jit, inline=True)
def _scores(key: jax.Array, weights: jax.Array) -> jax.Array:
    """(N,), whose order is a random one by weight."""
    key, _ = jax.random.split(key)
    return safe_log(weights) + jax.random.gumbel(key, weights.shape, weights.dtype)


@functools.partial(jax.jit, static_argnums=3, inline=True)
def _first(points: jax.Array, weights: jax.Array, scores: jax.Array, n: int) -> jax.Array:
    order = jax.lax.top_k(scores, min(n, len(scores)))[1]
    # Those that there are, as often as it takes.
    positive = jnp.sum(weights > 0, dtype=jnp.int32)
    return points[order[jnp.arange(n, dtype=jnp.int32) % jnp.maximum(positive, 1)]]


def empirical(points: Any, weights: Any = None) -> Target:
    """The empirical distribution of a sample.

    For a batch of samples of different sizes, pad them to (B, N, d) with any finite points, give
    the padding the weight zero, and `jax.vmap` over `empirical` and `fit`.

    Args:
      points: (N, d) or (N,) for d = 1; float32 or float64 (integers take JAX's default float type).
      weights: (N,) sample weights, non-negative, normalised to sum to one; 1/N by default. A
        point of weight 2 counts as two points of weight 1, one of weight 0 not at all.

    Raises:
      ValueError: points that are empty or not finite; weights of another length, negative or all 0.

    >>> import gemjax as gj
    >>> gj.empirical([[0.0], [1.0]], weights=[1.0, 3.0]).weights.tolist()
    [0.25, 0.75]
    """
    points = arrays.points("points", points)
    N = points.shape[0]
    if weights is None:
        return Target(points, arrays.put(np.full((N,), 1 / N, points.dtype))).told()
    return Target(points, arrays.weights("weights", weights, N, points.dtype)).told()


def checked_target(name: str, value: Any, *, values: bool = True, streams: bool = False) -> Any:
    """A target, in memory or in a file, that is fit for use; without `values`, by its shapes.

    With `streams` also one that has no points to keep, but new ones at every iteration.
    """
    if not hasattr(value, "checked"):
        raise TypeError(
            f"{name} must be a Target (see empirical, population), got {type(value).__name__}"
        )
    if not (streams or hasattr(value, "rows")):
        raise TypeError(
            f"{name} must have points that stay, got a {type(value).__name__}, which draws new "
            "ones at every iteration; take gj.empirical(gj.sample(key, truth, N)), "
            "gj.population(truth), or one batch(t) of it"
        )
    return value.checked(name, values=values)


def in_memory(name: str, value: Any) -> Target:
    """A checked target whose points are all there."""
    target = checked_target(name, value)
    if not isinstance(target, Target):
        raise TypeError(
            f"{name} must be in memory, got a {type(target).__name__}; "
            "empirical holds points in memory, and of the starts from_target draws from a file"
        )
    return target
