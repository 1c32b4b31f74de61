"""Points that stay in a `.npy` file, of which the computation reads a chunk at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._numerics.pytree import record
from gemjax._points.spread import is_far_apart
from gemjax._points.units import Units

_ROWS = 2**18  # rows read at a time by the checks on the host


@record
@dataclasses.dataclass(frozen=True, eq=False)
class FileTarget:
    """Weighted points in a file, in the place of a `Target`; see `from_npy`.

    Attributes:
      centre: (d,) weighted mean of the points, after offset and scale.
      radius: () a bound on the distance of a point from the centre.
      path, weights_path: static, the files of the points and, if there are any, of their weights.
      shape: static, (N, d).
      offset, scale: static; the points are (row − offset) / scale.
      total: static, sum of the weights in the file.
      far_apart: static, as of a `Target`.

    >>> import gemjax as gj
    >>> gj.FileTarget.__name__
    'FileTarget'
    """

    centre: jax.Array
    radius: jax.Array
    path: str = dataclasses.field(metadata={"static": True})
    weights_path: str | None = dataclasses.field(metadata={"static": True})
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    offset: tuple[float, ...] = dataclasses.field(metadata={"static": True})
    scale: float = dataclasses.field(metadata={"static": True})
    total: float = dataclasses.field(metadata={"static": True})
    far_apart: bool = dataclasses.field(metadata={"static": True})

    @property
    def dtype(self) -> Any:
        """float32 or float64, in which the points are handed out."""
        return self.centre.dtype

    @property
    def units(self) -> Units:
        """The file's own units."""
        return Units(np.asarray(self.offset), self.scale)

    def read(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """Points and weights of some rows (a slice or indices), on the host."""
        found = np.asarray(_open(self.path)[rows], np.float64)
        points = self.units.to_model(found.reshape(len(found), -1))
        if self.weights_path is None:
            weights = np.full(len(points), 1 / self.shape[0])
        else:
            weights = np.asarray(_open(self.weights_path)[rows], np.float64) / self.total
        return points.astype(self.dtype), weights.astype(self.dtype)

    def rows(self, index: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
        """Rows number `index` · size and on: points (size, d), weights (size,), zero past the end.

        The file is read when the computation gets there, not before.
        """
        d = self.shape[1]

        def read(index: Any) -> tuple[np.ndarray, np.ndarray]:
            points, weights = self.read(slice(int(index) * size, (int(index) + 1) * size))
            missing = size - len(points)
            return np.pad(points, ((0, missing), (0, 0))), np.pad(weights, (0, missing))

        shapes = (
            jax.ShapeDtypeStruct((size, d), self.dtype),
            jax.ShapeDtypeStruct((size,), self.dtype),
        )
        return jax.pure_callback(read, shapes, index, vmap_method="sequential")

    def draw(self, key: jax.Array, n: int) -> jax.Array:
        """(n, d) distinct points, drawn by weight; one pass over the weights, if there are any."""
        if n > self.shape[0]:
            raise ValueError(f"n must be at most the {self.shape[0]} points of a file, got {n}")

        def choose(seed: Any) -> np.ndarray:
            generator = np.random.default_rng(np.asarray(seed))
            N = self.shape[0]
            if self.weights_path is None:
                chosen = generator.choice(N, n, replace=False)
            else:
                chosen = _heaviest_draws(generator, _open(self.weights_path), n)
            return self.read(chosen)[0]

        shape = jax.ShapeDtypeStruct((n, self.shape[1]), self.dtype)
        return jax.pure_callback(choose, shape, jax.random.key_data(key), vmap_method="sequential")

    def checked(self, name: str, *, values: bool = True) -> FileTarget:
        """Itself: all of the file was checked when this was made."""
        return self


def from_npy(
    path: Any,
    weights: Any = None,
    *,
    offset: Any = None,
    scale: float = 1.0,
    dtype: Any = jnp.float32,
) -> FileTarget:
    """Points of a `.npy` file that is too large to load, for `fit`, `sweep` and `loss`.

    Statistics are exact, over all points at every step: the file is mapped into memory, and each
    pass reads it chunk by chunk (`Blocking.copied_bytes`) while it runs. An iteration of
    `GradientEM` passes over the file once per weight step and once more; memory does not grow with
    N. Keep the file as it is while a fit runs. Not differentiable in the points.

    Args:
      path: `.npy` file of shape (N, d) or (N,), real numbers.
      weights: `.npy` file of shape (N,) of sample weights, non-negative; equal by default.
      offset: (d,) subtracted from every point, zero by default; "mean" is the weighted mean, and
        the result's `offset` says what it was. Centring data that lie far from the origin keeps
        their digits in float32.
      scale: what the points are divided by after that, the known standard deviation of the noise.
      dtype: float32 or float64, of the points as handed out.

    Raises:
      ValueError: files of another shape or kind; values that are not finite; negative or all-zero
        weights; a scale that is not positive. All of the file is checked, once.

    >>> import gemjax as gj, numpy as np, tempfile, os
    >>> file = os.path.join(tempfile.mkdtemp(), "points.npy")
    >>> np.save(file, np.array([[-2.0], [-1.0], [1.0], [2.0]]))
    >>> target = gj.from_npy(file, dtype="float64" if jax.config.jax_enable_x64 else "float32")
    >>> start = gj.initialize.from_target(jax.random.key(0), target, 2)
    >>> gj.fit(gj.GradientEM(), target, start, num_iterations=3).history.loss.shape
    (3,)
    """
    points = _load("path", path)
    if points.ndim not in (1, 2) or 0 in points.shape:
        raise ValueError(f"path {path}: must hold shape (N, d) or (N,), got {points.shape}")
    N, d = points.shape if points.ndim == 2 else (len(points), 1)
    if np.ndim(scale):
        raise ValueError(f"scale must be one number for a file, got shape {np.shape(scale)}")
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive and finite, got {scale}")
    shift = np.zeros(d)
    if isinstance(offset, str):
        if offset != "mean":
            raise ValueError(f'offset must be numbers or "mean", got {offset!r}')
    elif offset is not None:
        shift = np.asarray(offset, np.float64)
    if shift.shape != (d,) or not np.isfinite(shift).all():
        raise ValueError(f"offset must be ({d},) finite numbers, got {offset!r}")
    if jnp.dtype(dtype) not in (jnp.float32, jnp.float64):
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}")
    if jnp.dtype(dtype) != jax.dtypes.canonicalize_dtype(dtype):
        raise ValueError("dtype float64 needs jax.config.update('jax_enable_x64', True)")
    point_weights = None if weights is None else _load("weights", weights)
    if point_weights is not None and point_weights.shape != (N,):
        raise ValueError(f"weights {weights}: must hold shape ({N},), got {point_weights.shape}")
    total, mean, low, high = _survey(str(path), points, str(weights), point_weights)
    if isinstance(offset, str):
        shift = mean
    units = Units(shift, float(scale))
    centre = units.to_model(mean)
    # Rows past the end of the file are zeros.
    box = np.maximum(units.to_model(high), 0) - centre, centre - np.minimum(units.to_model(low), 0)
    radius = np.linalg.norm(np.maximum(*box))
    return FileTarget(
        centre=jnp.asarray(centre, dtype),
        radius=jnp.asarray(radius, dtype),
        path=str(Path(path).resolve()),
        weights_path=None if weights is None else str(Path(weights).resolve()),
        shape=(N, d),
        offset=tuple(shift.tolist()),
        scale=float(scale),
        total=total,
        far_apart=is_far_apart(radius, dtype),
    )


def _open(path: str) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _load(name: str, path: Any) -> np.ndarray:
    try:
        array = _open(str(path))
    except (ValueError, EOFError) as error:
        raise ValueError(f"{name} {path}: not a .npy file of numbers: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = getattr(array, "dtype", "an archive of arrays")
        raise ValueError(f"{name} {path}: must be a .npy file of real numbers, holds {kind}")
    return array


def _survey(
    path: str, points: np.ndarray, weights_path: str, weights: np.ndarray | None
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Total weight, mean (d,), least (d,) and greatest (d,) coordinates; checks every value."""
    N, d, total = len(points), points[0].size, 0.0
    sums, low, high = np.zeros(d), np.full(d, np.inf), np.full(d, -np.inf)
    for first in range(0, N, _ROWS):
        part = np.asarray(points[first : first + _ROWS], np.float64).reshape(-1, d)
        point_weights = np.ones(len(part))
        if weights is not None:
            point_weights = np.asarray(weights[first : first + _ROWS], np.float64)
            wrong = np.flatnonzero(~np.isfinite(point_weights) | (point_weights < 0))
            if len(wrong):
                raise ValueError(
                    f"weights {weights_path}: must be finite and non-negative, got "
                    f"{point_weights[wrong[0]]} at row {first + wrong[0]}"
                )
        bad = np.argwhere(~np.isfinite(part))
        if len(bad):
            raise ValueError(
                f"path {path}: must be finite, got {part[tuple(bad[0])]} at row "
                f"{first + bad[0][0]}; drop or fill these rows"
            )
        total += float(point_weights.sum())
        sums = sums + point_weights @ part
        low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
    if not total > 0:
        raise ValueError(f"weights {weights_path}: must not all be zero")
    return total, sums / total, low, high


def _heaviest_draws(generator: np.random.Generator, weights: np.ndarray, n: int) -> np.ndarray:
    """(n,) distinct rows drawn by weight: the largest log w + Gumbel noise, over all chunks."""
    best, rows = np.empty(0), np.empty(0, np.int64)
    for first in range(0, len(weights), _ROWS):
        part = np.asarray(weights[first : first + _ROWS], np.float64)
        with np.errstate(divide="ignore"):
            score = np.log(part) + generator.gumbel(size=len(part))
        best = np.concatenate([best, score])
        rows = np.concatenate([rows, first + np.arange(len(part))])
        keep = np.argsort(-best)[:n]
        best, rows = best[keep], rows[keep]
    return rows
