"""New samples at every iteration: a known mixture in the place of points."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._families.covariance import Covariance
from gemjax._model.layout import Data, checked_for, lay_out_for
from gemjax._model.mixture import sample
from gemjax._numerics.pytree import record, vary_alike
from gemjax._points.blocks import AUTOMATIC, Blocking, Blocks, Chunks, as_blocks
from gemjax._points.spread import is_far_apart
from gemjax._points.target import Target

_STATIC = {"static": True}


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """Samples of a mixture, new ones at every iteration, in the place of a `Target`; see `stream`.

    Attributes:
      key: a JAX random key.
      mixture: the `Mixture` that is sampled.
      batch_size: static, points per iteration.
      far_apart: static, as of a `Target`.

    >>> import gemjax as gj
    >>> stream = gj.stream(jax.random.key(0), gj.make_mixture([[-3.0], [3.0]]), 4)
    >>> stream.shape, bool((stream.batch(0).points == stream.batch(1).points).any())
    ((4, 1), False)
    """

    key: jax.Array
    mixture: Mixture
    batch_size: int = dataclasses.field(metadata=_STATIC)
    far_apart: bool | None = dataclasses.field(default=None, metadata=_STATIC)

    @property
    def shape(self) -> tuple[int, int]:
        """(batch_size, d)."""
        return self.batch_size, self.mixture.means.shape[1]

    @property
    def dtype(self) -> Any:
        """float32 or float64, of the points."""
        return self.mixture.means.dtype

    def batch(self, t: Any) -> Target:
        """The sample that a fit sees after t iterations: all points alike in weight."""
        t = arrays.integer("t", t, 0)
        points = sample(jax.random.fold_in(self.key, t), self.mixture, self.batch_size)
        weights = jnp.full((self.batch_size,), 1 / self.batch_size, points.dtype)
        return Target(points, vary_alike(weights, points), far_apart=self.far_apart)

    def of_seed(self, s: Any) -> Stream:
        """The stream that seed s of a `sweep` sees."""
        key = jax.random.fold_in(self.key, arrays.integer("s", s, 0))
        return dataclasses.replace(self, key=key)

    def draw(self, key: jax.Array, n: int) -> jax.Array:
        """(n, d) further samples, of a key of their own."""
        return sample(key, self.mixture, n)

    def checked(self, name: str, *, values: bool = True) -> Stream:
        """The same, once key, mixture and batch size are fit for use."""
        checks.key(f"{name}.key", self.key)
        checks.count(f"{name}.batch_size", self.batch_size)
        mixture = checks.mixture(f"{name}.mixture", self.mixture, finite=values)
        made, known = dataclasses.replace(self, mixture=mixture), arrays.is_concrete(mixture)
        if not values or not known or made.far_apart is not None:
            return made
        with jax.ensure_compile_time_eval():  # also where the key is traced
            far_apart = is_far_apart(_extent(mixture)[1], made.dtype)
        return dataclasses.replace(made, far_apart=far_apart)


def stream(key: jax.Array, mixture: Mixture, batch_size: int) -> Stream:
    """A target that draws `batch_size` new samples of a mixture at every iteration.

    For `fit` and `sweep`: stochastic EM, of which every iteration sees a sample of its own, without
    a data set. Iteration t + 1 of a fit, counted over all its calls, sees `batch(t)`, sampled with
    `fold_in(key, t)`: 10 iterations and 10 more are 20. In a sweep seed s sees batches of its own,
    those of `of_seed(s)`. One batch at a time is in memory. On a CPU sampling it takes several
    times as long as a step on it.

    The loss of an iteration is that of its batch. So the change that `tolerance` looks at is mostly
    noise, of the size √(2 Var[log p] / batch_size), and a fit may stop by chance; `best` chooses by
    one batch each; `monotone` compares on the same batch; "overrelaxed" and "polyak" take for a
    fall or an excess what may be noise. A constant `step_size` ends in noise about the truth, the
    less, the smaller it is.

    `loss`, `certificate` and an `Escape` want points that stay: `gj.empirical(gj.sample(key,
    mixture, N))` or `gj.population(mixture)`.

    Args:
      key: a JAX random key, traced; another one does not compile anew. Of JAX's default kind: with
        others what a seed of a sweep sees may depend on the batch of seeds.
      mixture: what is sampled, m components in d dimensions, traced. Differentiable in the means
        through the samples, as `sample` is, not in the weights.
      batch_size: static, at least 1.

    Raises:
      ValueError, TypeError: a bad key, mixture or batch size.

    >>> import gemjax as gj
    >>> truth = gj.make_mixture([[-3.0, 0.0], [3.0, 0.0]])
    >>> stream = gj.stream(jax.random.key(0), truth, 256)
    >>> start = gj.initialize.from_target(jax.random.key(1), stream, 6)
    >>> fit = gj.fit(gj.GradientEM(0.2), stream, start, num_iterations=100)
    >>> bool(gj.recovery(fit.mixture, truth, tolerance=0.3).recovered)
    True
    """
    return Stream(key, mixture, batch_size).checked("stream")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """A stream that is ready for the loop: each batch is laid out when its turn comes.

    Attributes:
      stream: checked.
      centre: (d,) mean of the samples.
      radius: () how far from it they come, but for rare noise.
      num_components, blocking, family: static, what batches are laid out for.
      apart: static, as of `Blocks`.
    """

    stream: Stream
    centre: jax.Array
    radius: jax.Array
    num_components: int = dataclasses.field(metadata=_STATIC)
    blocking: Blocking = dataclasses.field(metadata=_STATIC)
    family: type[Covariance] = dataclasses.field(metadata=_STATIC)
    apart: bool = dataclasses.field(metadata=_STATIC)

    def batch(self, t: Any) -> Blocks | Chunks:
        """`Stream.batch`, laid out."""
        return as_blocks(self.stream.batch(t), self.num_components, self.blocking, self.family)

    def of_seed(self, s: Any) -> Batches:
        """Those of seed s of a sweep."""
        return dataclasses.replace(self, stream=self.stream.of_seed(s))


# What a solver's `prepare` takes, and what it makes of it.
Source: TypeAlias = Data | Stream | Batches
Prepared: TypeAlias = Blocks | Chunks | Batches


def prepare_for(
    mixture: Mixture, target: Source, blocking: Blocking = AUTOMATIC, axis: str | None = None
) -> Prepared:
    """What `lay_out_for` makes of a target, and of a stream `Batches`."""
    if isinstance(target, Batches):
        return target
    if not isinstance(target, Stream):
        return lay_out_for(mixture, target, blocking, axis)
    stream = checked_for(mixture, target, blocking, streams=True)
    family, (centre, radius) = type(mixture.covariance), _extent(stream.mixture)
    apart = family.has_differences and bool(stream.far_apart)
    return Batches(stream, centre, radius, len(mixture.means), blocking, family, apart)


def seen(target: Any, t: jax.Array) -> Any:
    """What an iteration sees after t others: a batch of a stream, of all else everything."""
    return target.batch(t) if isinstance(target, Stream | Batches) else target


def seen_by(target: Any, s: jax.Array) -> Any:
    """What seed s of a sweep sees: batches of its own, of all else the same as all."""
    return target.of_seed(s) if isinstance(target, Stream | Batches) else target


@jax.jit
def _extent(mixture: Mixture) -> tuple[jax.Array, jax.Array]:
    """Mean (d,) of a mixture's samples, and about the largest distance () from it.

    Of rare components, too; noise is as long as a vector of ones, √d where it is white.
    """
    means, weights = mixture.means, mixture.weights
    centre = jnp.sum(weights[:, None] * means, axis=0)
    numbers = jnp.arange(len(means), dtype=jnp.int32)
    noise = mixture.covariance.colour(jnp.ones_like(means), numbers)
    distance = jnp.linalg.norm(means - centre[None], axis=1) + jnp.linalg.norm(noise, axis=1)
    return centre, jnp.max(jnp.where(weights > 0, distance, 0))
