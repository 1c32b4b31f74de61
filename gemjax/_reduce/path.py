"""The path from many components to one: merged pair by pair, each level fitted again."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base import checks
from gemjax._base.records import Mixture
from gemjax._em.mean_rules import em_step
from gemjax._em.solver import moved_to
from gemjax._model.layout import lay_out_for
from gemjax._model.statistics import expect, loss_and_entropy
from gemjax._numerics.finite import safe_log
from gemjax._numerics.pytree import record, vary_alike
from gemjax._points.blocks import AUTOMATIC, Blocking, Blocks, Chunks
from gemjax._points.file_target import FileTarget
from gemjax._points.target import Target
from gemjax._points.walk import fold
from gemjax._reduce.merge import cheapest


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Path:
    """The levels from n components to one; see `merge_path`. Level l has n − l components.

    Attributes:
      num_components: (n,) int32, from n to 1.
      kept, freed: (n,) int32, which two components of the level before were merged; 0 and 0 at the
        first level. The pair is in the slot of the one that was kept, the other's is empty.
      height: (n,) what that cost, nats per point, by the bound that `merge` tells; 0 at the first.
      loss: (n,) −E[log p], nats per point, of the level's mixture after its EM steps.
      entropy: (n,) E[−Σ ψ_i log ψ_i] of the responsibilities, nats per point.
      num_parameters: (n,) int32: weights, means, and the covariances' free parameters.
      bic: (n,) 2 N loss + num_parameters log N (Schwarz 1978): smaller is better, as in
        scikit-learn; mclust's has the other sign. N is the effective number of points 1/Σw².
      icl: (n,) bic + 2 N entropy (Biernacki, Celeux and Govaert 2000), likewise; mclust's counts
        only −log of each point's largest responsibility.
      mixtures: `Mixture` with a leading axis of levels, n slots each; `gj.prune` drops empty ones.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-3.0], [-2.9], [2.9], [3.0], [3.1]])
    >>> path = gj.merge_path(gj.make_mixture([[-3.0], [2.8], [3.1]]), target)
    >>> path.num_components.tolist(), path.at(2).means.round(2).tolist()
    ([3, 2, 1], [[3.0], [-2.95]])
    """

    num_components: jax.Array
    kept: jax.Array
    freed: jax.Array
    height: jax.Array
    loss: jax.Array
    entropy: jax.Array
    num_parameters: jax.Array
    bic: jax.Array
    icl: jax.Array
    mixtures: Mixture

    def at(self, num_components: int) -> Mixture:
        """The mixture with so many components, static, heaviest first."""
        n = self.num_components.shape[-1]
        size = checks.count("num_components", num_components)
        if size > n:
            raise ValueError(f"num_components must be at most {n}, got {size}")
        level = jax.tree.map(lambda leaf: leaf[n - size], self.mixtures)
        order = jnp.argsort(-level.log_weights, stable=True)[:size]
        return Mixture(level.means[order], level.log_weights[order], level.covariance.take(order))


def merge_path(
    mixture: Mixture,
    target: Target | FileTarget,
    *,
    num_iterations: int = 5,
    between: tuple[int, int] | None = None,
    blocking: Blocking = AUTOMATIC,
) -> Path:
    """Merges components, pair by pair, until one is left, and fits every level again.

    At each level the pair that costs least is merged (see `merge`), then EM's steps follow. A path
    from an over-parameterized fit passes close by the truth where the number of components is right
    and clusters are Gaussian; what number that is, BIC or the jump of the heights tells. Without EM
    and with known covariances it is the dendrogram of mixing measures of Do, Do, McKinley, Terhorst
    and Nguyen (arXiv 2403.01684), with half their heights.

    One computation of static shapes, compiled once for n, N and d, for `jit` and `vmap`; it takes
    a pass over the points per level, and one more per EM step. Differentiable, but for the
    choice of pairs.

    Args:
      mixture: n components in d dimensions, the first level.
      target: N points, a `Target` or a `FileTarget`, same space and dtype. Of a `population` target
        N is the number of nodes, so bic and icl mean nothing.
      num_iterations: static, EM steps per level, at least 0; none at the first level.
      between: static, fewest and most components of levels that get EM steps; all by default.
      blocking: static, how the points are walked over; a speed and memory setting only.

    Raises:
      ValueError, TypeError: bad counts, shapes or dtypes, or values that are not finite.

    >>> import gemjax as gj
    >>> truth = gj.truth.ring(3, 2, separation=6.0)
    >>> target = gj.empirical(gj.sample(jax.random.key(0), truth, 1000))
    >>> start = gj.initialize.from_target(jax.random.key(1), target, 12)
    >>> fit = gj.fit(gj.GradientEM(), target, start, num_iterations=100)
    >>> path = gj.merge_path(fit.mixture, target)
    >>> int(path.num_components[path.bic.argmin()])
    3
    """
    mixture = checks.mixture("mixture", mixture)
    num_iterations = checks.count("num_iterations", num_iterations, 0)
    n = len(mixture.log_weights)
    fewest, most = (1, n) if between is None else between
    fewest = checks.count("between[0]", fewest)
    most = checks.count("between[1]", most, fewest)
    blocks = lay_out_for(mixture, target, blocking)
    return _merge_path(mixture, blocks, num_iterations, (fewest, most))


def effective_number(blocks: Blocks | Chunks) -> jax.Array:
    """() Kish's 1/Σw², N where all weights are the same."""
    return 1 / fold(lambda block, _: jnp.sum(block.weights**2), blocks)


def em_iteration(mixture: Mixture, blocks: Blocks | Chunks) -> tuple[Mixture, jax.Array]:
    """EM's step, and the loss () before it."""
    statistics = expect(mixture, blocks)
    moved = moved_to(mixture, mixture.means + em_step(statistics), statistics)
    log_weights = safe_log(statistics.mass / jnp.sum(statistics.mass))
    return dataclasses.replace(moved, log_weights=log_weights), statistics.loss


@functools.partial(jax.jit, static_argnums=(2, 3))
def _merge_path(
    mixture: Mixture,
    blocks: Blocks | Chunks,
    num_iterations: int,
    between: tuple[int, int],
) -> Path:
    n, d = mixture.means.shape
    mixture, N = vary_alike((mixture, effective_number(blocks)), blocks, but=blocks.axis)

    def fitted(mixture: Mixture) -> Mixture:
        for _ in range(min(num_iterations, 1)):
            step = lambda mixture, _: (em_iteration(mixture, blocks)[0], None)  # noqa: E731
            mixture, _ = jax.lax.scan(step, mixture, length=num_iterations)
        return mixture

    def seen(mixture: Mixture, alive: jax.Array, kept: Any, freed: Any, height: Any) -> Path:
        loss, unsure = loss_and_entropy(mixture, blocks)
        count = jnp.sum(alive, dtype=jnp.int32)
        counts = [mixture.covariance.num_parameters(k, d) + k * (d + 1) - 1 for k in range(n + 1)]
        parameters = jnp.asarray(counts, jnp.int32)[count]
        bic = 2 * N * loss + parameters.astype(N.dtype) * jnp.log(N)
        icl = bic + 2 * N * unsure
        return Path(count, kept, freed, height, loss, unsure, parameters, bic, icl, mixture)

    def level(carry: tuple[Mixture, jax.Array], _: None) -> tuple[Any, Path]:
        mixture, alive = carry
        merged = cheapest(mixture, alive)
        alive = alive.at[merged.freed].set(False)
        count = jnp.sum(alive)
        polished = (count >= between[0]) & (count <= between[1])
        mixture = jax.lax.cond(polished, fitted, lambda mixture: mixture, merged.mixture)
        return (mixture, alive), seen(mixture, alive, merged.kept, merged.freed, merged.height)

    alive = jnp.ones_like(mixture.log_weights, bool)
    none = jnp.zeros_like(jnp.int32(0))
    first = seen(mixture, alive, none, none, jnp.zeros_like(N))
    (_, _), rest = jax.lax.scan(level, (mixture, alive), length=n - 1)
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)
