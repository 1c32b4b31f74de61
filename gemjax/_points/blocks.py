"""Points laid out for the E-step: all of them as blocks, or one chunk at a time.

Points are centred, so that data far from the origin lose no digits, and laid out [blocks, F, C], so
that a block's densities [n, C] stay in a core's cache. Where the copy would be large, the points
stay where they are, and a chunk at a time is laid out, used and forgotten.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import checks
from gemjax._base.settings import setting
from gemjax._families.covariance import Covariance
from gemjax._families.identity import Identity
from gemjax._points.file_target import FileTarget
from gemjax._points.spread import extent
from gemjax._points.target import Target

# Entries of one block of densities, n·C, on a CPU: 2^17 float32 numbers are 512 KiB.
_BLOCK_ENTRIES = 2**17
# The same where blocks run side by side and together must fit a device's memory.
_PARALLEL_ENTRIES = 2**26
_PARALLEL_BLOCK = 512
# Points laid out up to this size at once.
_COPIED_BYTES = {"cpu": 2**27}
_ACCELERATOR_COPIED_BYTES = 2**31
_CHUNKS = 32  # in that size: what is laid out anew should stay in a cache
_STATIC = {"static": True}
_PRECISIONS = {name: jax.lax.Precision(name) for name in ("default", "high", "highest")}


@dataclasses.dataclass(frozen=True)
class Blocking:
    """How the E-step is cut into pieces. Results do not depend on it beyond rounding.

    None, the default of each field, is the rule below, which depends on the platform and the sizes.

    Args:
      block_size: C, points per block. On a CPU n·C = 2^17, from 256 to 4,096 points, so that a
        block's densities stay in cache; elsewhere 512. Sums run within a block, then over
        blocks with the rounding errors carried along, so larger blocks are also less accurate.
      num_parallel: blocks side by side. 1 on a CPU; elsewhere as many as keep 2^26 densities.
      stored_bytes: densities up to this size (of one mixture) are kept between the weight steps of
        an iteration, above it they are recomputed. 40 MiB on a CPU, 1 GiB elsewhere.
      copied_bytes: points up to this size are laid out once for all iterations; above it, chunks
        of a 32nd of it are laid out anew each time. 128 MiB on a CPU, 2 GiB elsewhere.
      precision: of all matrix products, a name of `jax.lax.Precision`. "highest" is full float32 on
        every device; "default" has fewer digits on NVIDIA GPUs and TPUs, and fits are wrong there.

    >>> import gemjax as gj
    >>> target, start = gj.empirical([[-2.0], [1.0], [2.0]]), gj.make_mixture([[-1.0], [1.0]])
    >>> solver = gj.GradientEM(blocking=gj.Blocking(block_size=2))
    >>> round(float(gj.fit(solver, target, start, num_iterations=1).history.loss[0]), 4)
    1.8515
    """

    block_size: int | None = setting(None, least=1, static=True)
    num_parallel: int | None = setting(None, least=1, static=True)
    stored_bytes: int | None = setting(None, least=0, static=True)
    copied_bytes: int | None = setting(None, least=0, static=True)
    precision: str = setting("highest", choices=_PRECISIONS, static=True)


AUTOMATIC = Blocking()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """One of the blocks: features (F, C), weights (C,), base (C,), and total (G,), or None, of the
    family's `squares` by weight."""

    features: jax.Array
    weights: jax.Array
    base: jax.Array
    total: jax.Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """A target laid out for the E-step: B blocks of C points, padded with points of weight zero.

    Attributes:
      features: (B, F, C), f(x) of the points relative to `centre`: their d coordinates first, a
        one last.
      weights: (B, C).
      base: (B, C), what the family keeps of the part of the log density that all share.
      total: (B, G) Σ_j w_j g(x_j) of each block, or None where the family has no `squares`.
      centre: (d,), the target's mean. Results do not depend on it, only their rounding does.
      radius: () largest distance of a point from the centre.
      blocking: static, the cut.
      family: static, the covariance family whose features these are.
      apart: static, whether exponents come from differences x − μ; see `spread.py`.
      axis: static, the mesh axis over which the points are spread, if any.
    """

    features: jax.Array
    weights: jax.Array
    base: jax.Array
    total: jax.Array | None
    centre: jax.Array
    radius: jax.Array
    blocking: Blocking = dataclasses.field(metadata=_STATIC)
    family: type[Covariance] = dataclasses.field(metadata=_STATIC)
    apart: bool = dataclasses.field(default=False, metadata=_STATIC)
    axis: str | None = dataclasses.field(default=None, metadata=_STATIC)

    @property
    def num_entries(self) -> int:
        """Number of points, padding included."""
        return self.weights.size

    @property
    def parallel(self) -> int:
        """Blocks side by side."""
        return min(self.blocking.num_parallel or 1, self.weights.shape[0])

    @property
    def block(self) -> Block:
        """All blocks, along a leading axis."""
        return Block(self.features, self.weights, self.base, self.total)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Chunks:
    """A target left where it is, of which one chunk at a time is laid out as `Blocks`.

    Attributes:
      target: N points (N, d) and weights (N,), in memory or in a file.
      centre, radius, blocking, family, apart, axis: as in `Blocks`.
      size: static, points per chunk.
    """

    target: Target | FileTarget
    centre: jax.Array
    radius: jax.Array
    blocking: Blocking = dataclasses.field(metadata=_STATIC)
    size: int = dataclasses.field(metadata=_STATIC)
    family: type[Covariance] = dataclasses.field(metadata=_STATIC)
    apart: bool = dataclasses.field(default=False, metadata=_STATIC)
    axis: str | None = dataclasses.field(default=None, metadata=_STATIC)

    @property
    def num_chunks(self) -> int:
        return -(-self.target.shape[0] // self.size)

    def chunk(self, index: jax.Array) -> Blocks:
        """The chunk of a number, laid out."""
        points, weights = self.target.rows(index, self.size)
        static = (self.blocking, self.family, self.apart, self.axis)
        return lay_out(points, weights, self.centre, self.radius, *static)


def as_blocks(
    target: Target | FileTarget | Blocks | Chunks,
    num_components: int,
    blocking: Blocking = AUTOMATIC,
    family: type[Covariance] = Identity,
    axis: str | None = None,
    apart: bool | None = None,
) -> Blocks | Chunks:
    """Lays a target out for mixtures of `num_components`; what is laid out stays as it is.

    With `axis`, the target is one device's share of the points, under `shard_map`, and the weights
    of all shares together sum to one. `apart` is whether exponents come from differences; by
    default where the target says that unit noise wants them.
    """
    if isinstance(target, Blocks | Chunks):
        return target
    cut = resolve(checks.settings(blocking, None, "blocking."), num_components)
    N, d = target.shape
    # One block is one block, whatever its size might have been: it compiles once.
    cut = dataclasses.replace(cut, block_size=min(cut.block_size, N))
    row = _row_bytes(d, target.dtype, family)  # type: ignore[arg-type]  # a class is hashable
    if isinstance(target, FileTarget):
        centre, radius = target.centre, target.radius
    else:
        centre, radius = extent(target, axis)
    apart = family.has_differences and bool(target.far_apart if apart is None else apart)
    if apart:  # they are exact between points as they are, and not after centring
        radius, centre = radius + jnp.linalg.norm(centre), jnp.zeros_like(centre)
    if isinstance(target, Target) and N * row <= cut.copied_bytes:
        static = (cut, family, apart, axis)
        return lay_out(target.points, target.weights, centre, radius, *static)
    chunk = cut.copied_bytes // _CHUNKS
    size = min(N, cut.block_size * max(1, chunk // (row * cut.block_size)))
    return Chunks(target, centre, radius, cut, size, family, apart, axis)


@functools.cache
def _row_bytes(d: int, dtype: Any, family: type[Covariance]) -> int:
    """Of a point laid out: features, weight and base."""
    features = jax.eval_shape(family.features, jax.ShapeDtypeStruct((d, 1), dtype))
    return (features.shape[0] + 2) * jnp.dtype(dtype).itemsize


def resolve(blocking: Blocking, num_components: int) -> Any:
    """`blocking` by the rule in its docstring; only `stored_bytes` is left to the E-step."""
    platform = jax.default_backend()
    if platform == "cpu":
        block_size = int(np.clip(_BLOCK_ENTRIES // num_components, 256, 4096))
    else:
        block_size = _PARALLEL_BLOCK
    block_size = blocking.block_size or block_size
    if platform == "cpu":
        num_parallel = 1
    else:
        num_parallel = max(1, _PARALLEL_ENTRIES // (num_components * block_size))
    copied = blocking.copied_bytes
    if copied is None:
        copied = _COPIED_BYTES.get(platform, _ACCELERATOR_COPIED_BYTES)
    return dataclasses.replace(
        blocking,
        block_size=block_size,
        num_parallel=blocking.num_parallel or num_parallel,
        copied_bytes=copied,
    )


@functools.partial(jax.jit, static_argnums=(4, 5, 6, 7))
def lay_out(
    points: jax.Array,
    weights: jax.Array,
    centre: jax.Array,
    radius: jax.Array,
    blocking: Any,
    family: type[Covariance],
    apart: bool,
    axis: str | None,
) -> Blocks:
    """Points (N, d) as equal blocks of at most `block_size` points."""
    N, d = points.shape
    B = -(-N // blocking.block_size)
    C = -(-N // B)
    if B > 1:
        parallel = min(blocking.num_parallel, B)
        C = -(-C // 8) * 8
        B = -(-B // parallel) * parallel
    pad = B * C - N

    def one(x: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, Any]:
        points, weights = (x[0] - centre[None]).T, x[1]
        features, base, squares = family.features(points), family.base(points), None
        if apart:  # differences have them in them
            return features, jnp.zeros_like(base), None
        squares = family.squares(points)
        total = (
            None
            if squares is None
            else jnp.matmul(squares, weights, precision=jax.lax.Precision.HIGHEST)
        )
        return features, base, total

    # Block by block, since a transposed whole does not fit a cache. The last point is repeated.
    whole = jnp.pad(points, ((0, pad), (0, 0)), mode="edge").reshape(B, C, d)
    weights = jnp.pad(weights, (0, pad)).reshape(B, C)
    if B == 1:
        features, base, total = jax.tree.map(lambda leaf: leaf[None], one((whole[0], weights[0])))
    else:
        parallel = min(blocking.num_parallel, B)
        features, base, total = jax.lax.map(
            one, (whole, weights), batch_size=None if parallel == 1 else parallel
        )
    return Blocks(features, weights, base, total, centre, radius, blocking, family, apart, axis)
