"""How many components, of what form: the answer, and what it was chosen from."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays, checks
from gemjax._base.records import Mixture, Status
from gemjax._families.constrained import NUMBERS, Constrained
from gemjax._families.full import Full
from gemjax._families.registry import FAMILIES, NAMES
from gemjax._model.mixture import responsibilities
from gemjax._numerics.pytree import record
from gemjax._points.blocks import as_blocks
from gemjax._points.file_target import FileTarget
from gemjax._points.target import Target, checked_target
from gemjax._reduce import stages
from gemjax._reduce.stages import Compared, Pieces, Settings
from gemjax._reduce.unions import clusters

CRITERIA = ("bicc", "bic", "icl")
_SAMPLE = 10_000  # points that the stages before the last see at most
_MOST = 320  # components to begin with, at most
_FLOOR = 1e-6  # of variances, where every coordinate has variance one
_SIZES = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, _MOST)  # slots that are compiled for
_SINGLY = 64  # components from which on levels differ by one


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """What `select` found, in the data's units; and what it chose from.

    Attributes:
      mixture: the `Mixture` chosen, heaviest component first, its covariance of the family chosen;
        under a transformation with empty slots, and its covariance `Full`.
      num_components: () int32, of the mixture.
      cluster: (n,) int32, the number of the cluster that each component belongs to.
      num_clusters: () int32. Fewer than components where clusters are not Gaussian.
      family: () int32, the place in `families` of the one chosen.
      loss: () −E[log p] of the mixture over all points, nats per point.
      criterion: () of the mixture, as far as it was chosen by the sample; smaller is better.
      num_by_height: () int32, the number of components after which merging becomes expensive, in
        the family chosen. It does not count the pieces of heavy tails, as BIC does.
      agree: () bool, whether that is `num_components`.
      status: () int32, FLOORED where variances are at their floor, DIVERGED where values are not
        finite, else OK.
      sizes, heights, losses, criteria: (families, levels) what was chosen from: numbers of
        components on the way down, costs of the mergings (nats per point), losses and criteria
        in standardised units; before the last fit, of the start that was best.
      best_criteria: (families,) of each family's best level, fitted to its end.
      families: static, mclust's names.

    >>> import gemjax as gj
    >>> truth = gj.truth.ring(3, 2, separation=6.0)
    >>> points = gj.sample(jax.random.key(0), truth, 500)
    >>> found = gj.select(gj.empirical(points), jax.random.key(1), families=("EII",), num_starts=1)
    >>> int(found.num_components), found.family_name, found.predict(points).shape
    (3, 'EII', (500,))
    """

    mixture: Mixture
    num_components: jax.Array
    cluster: jax.Array
    num_clusters: jax.Array
    family: jax.Array
    loss: jax.Array
    criterion: jax.Array
    num_by_height: jax.Array
    agree: jax.Array
    status: jax.Array
    sizes: jax.Array
    heights: jax.Array
    losses: jax.Array
    criteria: jax.Array
    best_criteria: jax.Array
    families: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    @property
    def family_name(self) -> str:
        """mclust's name of the family chosen; where its number is known."""
        return self.families[int(self.family)]

    def probabilities(self, points: Any) -> jax.Array:
        """(N, n) the probability of each cluster given points (N, d); zero from `num_clusters` on."""
        psi = responsibilities(self.mixture, points)
        return jax.ops.segment_sum(psi.T, self.cluster, psi.shape[1]).T

    def predict(self, points: Any) -> jax.Array:
        """(N,) int32, the most probable cluster of points (N, d), from 0, heaviest first."""
        return jnp.argmax(self.probabilities(points), axis=1).astype(jnp.int32)


def select(
    target: Target | FileTarget,
    key: jax.Array,
    *,
    families: tuple[str, ...] = tuple(FAMILIES),
    num_components: int | None = None,
    criterion: str = "bicc",
    num_starts: int | None = None,
) -> Selection:
    """Fits Gaussian mixtures of all families and sizes, from many components down, and chooses.

    1. Many pieces, by D² seeding, on a sample of at most 10,000 points.
    2. Down to one with one variance for all, pair by pair, EM at each level (as `merge_path`): where
       BIC has its minimum is about where the others begin.
    3. Down from there in each family. On the way each component is held up by 1.5 (d + 2) points
       as wide as a piece, so that none collapses on a few. The three best levels are fitted to
       their end, without; the best of all families and starts is chosen.
    4. EM on all points, and clusters: components between which there is no valley of the density
       (below 0.95 of the lower peak, along the ridge of Ray and Lindsay 2005) and of which one's
       points are taken for the other's (5 %, Hennig 2010) make one.

    Pure; under `jit` and `vmap`, over resamples for instance, sizes that otherwise follow what was
    found are the largest, which takes several times as long. Not differentiable.

    Args:
      target: N weighted points in d dimensions, a `Target` or a `FileTarget`. Coordinates may have
        any units; spherical families are round in these.
      key: a JAX random key, for the sample and the seeds.
      families: static, names of `gj.covariance.family`, each once; mclust's six by default.
      num_components: static, where it is known: then only the family is chosen.
      criterion: static; "bic", 2 N loss + p log N for p parameters (Schwarz 1978); "bicc", the
        default, with the price of parameters N/(N − p − 2) times as high (McQuarrie 1999), which
        keeps mixtures of few points per parameter from being chosen; "icl", BIC + 2 N entropy of
        the responsibilities (Biernacki, Celeux and Govaert 2000). N is the sample's effective
        number of points.
      num_starts: static, how many times the stages 1 to 3 are done; 8 up to 500 points, 3 up to
        2,000, above that 1.

    Returns:
      a `Selection`.

    Raises:
      ValueError, TypeError: unknown or repeated names, counts out of range, no mixture that the
        points are enough for, and as `fit`; before any work starts.

    >>> import gemjax as gj
    >>> truth = gj.make_mixture([[-4.0], [0.0], [9.0]])
    >>> target = gj.empirical(gj.sample(jax.random.key(0), truth, 400))
    >>> found = gj.select(target, jax.random.key(1), num_starts=1)
    >>> found.mixture.means.round(0)[:, 0].sort().tolist(), bool(found.agree)
    ([-4.0, 0.0, 9.0], True)
    """
    target = checked_target("target", target)
    checks.key("key", key)
    names = _checked(families)
    checks.one_of("criterion", criterion, CRITERIA)
    N, d = target.shape
    starts = _starts(N) if num_starts is None else num_starts
    starts = checks.count("num_starts", starts)
    size = min(N, _SAMPLE)
    n = int(np.clip(size // (d + 1), min(8, size), _MOST))
    wanted = (1, n)
    if num_components is not None:
        m = checks.count("num_components", num_components)
        if m > size // 2:
            raise ValueError(
                f"num_components must be at most half of the {size} points that are looked at, "
                f"got {m}"
            )
        n, wanted = max(n, min(2 * m, size)), (m, m)
    return _select(target, key, names, wanted, n, size, criterion, starts)


def _starts(N: int) -> int:
    """Few points have many optima, and cost little."""
    return 8 if N <= 500 else 3 if N <= 2000 else 1


def _checked(families: Any) -> tuple[str, ...]:
    """mclust's names of the families."""
    if isinstance(families, str) or not families:
        raise ValueError(f"families must be a tuple of names, got {families!r}")
    by_class = {cls: name for name, cls in FAMILIES.items()}
    for name in families:
        if name not in NAMES or NAMES[name] not in by_class:
            raise ValueError(
                f"families must be of {', '.join(FAMILIES)}, or scikit-learn's names; got {name!r}"
            )
    names = tuple(by_class[NAMES[name]] for name in families)
    if len(set(names)) < len(names):
        raise ValueError(f"families must name each once, got {tuple(families)}")
    return names


def _select(
    target: Any,
    key: jax.Array,
    names: tuple[str, ...],
    wanted: tuple[int, int],
    n: int,
    size: int,
    criterion: str,
    starts: int,
) -> Selection:
    N, d = target.shape
    key, key_sample = jax.random.split(key)
    whole = isinstance(target, Target) and size == N
    points = target.points if whole else target.draw(key_sample, size)
    weights = target.weights if whole else jnp.full((size,), 1 / size, points.dtype)
    centre, scale, settings = _units(points, weights)
    x = (points - centre[None]) / scale[None]
    data = Target(x, weights)
    kinds = jnp.asarray([NUMBERS[name] for name in names], jnp.int32)
    best: Any = None
    for s in range(starts):
        found = stages.pieces(jax.random.fold_in(key, s), x, weights, n)
        compared = _one_start(data, found, settings, kinds, wanted, criterion)
        best = compared if best is None else _better(best, compared)
    chosen = jnp.argmin(best.best_criterion)
    level = jax.tree.map(lambda leaf: leaf[chosen], best.best)
    everything = data if whole else _standardised(target, centre, scale)
    blocks = as_blocks(everything, len(level.mixture.means), family=Constrained)
    mixture, loss = stages.finish(level.mixture, blocks)
    cluster = _clusters(mixture, blocks)
    price = 0.5 * (d + 1) * jnp.log(settings.num_points) / settings.num_points
    jump = stages.by_height(best.size[chosen], best.height[chosen], price)
    floored = jnp.any(mixture.covariance.floored(len(cluster)) & (mixture.weights > 0))
    status = jnp.where(floored, int(Status.FLOORED), int(Status.OK))
    status = jnp.where(jnp.isfinite(loss), status, int(Status.DIVERGED)).astype(jnp.int32)
    mixture, cluster = _in_data_units(mixture, cluster, level.size, centre, scale, chosen, names)
    return Selection(
        mixture=mixture,
        num_components=level.size,
        cluster=cluster,
        num_clusters=1 + jnp.max(cluster),
        family=chosen.astype(jnp.int32),
        loss=loss + jnp.sum(jnp.log(scale)),
        criterion=best.best_criterion[chosen],
        num_by_height=jump,
        agree=jump == level.size,
        status=status,
        sizes=best.size,
        heights=best.height,
        losses=best.loss,
        criteria=best.criterion,
        best_criteria=best.best_criterion,
        families=names,
    )


@jax.jit
def _units(points: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array, Settings]:
    """Mean and standard deviation (d,) of the coordinates, and the settings of the stages."""
    centre = jnp.sum(weights[:, None] * points, axis=0)
    variance = jnp.sum(weights[:, None] * (points - centre[None]) ** 2, axis=0)
    scale = jnp.sqrt(jnp.where(variance > 0, variance, 1))
    units = jnp.where(variance > 0, variance, 1) / jnp.mean(jnp.where(variance > 0, variance, 1))
    floor = jnp.asarray(_FLOOR, points.dtype)
    return centre, scale, Settings(1 / jnp.sum(weights**2), floor, units)


def _one_start(
    data: Target,
    found: Pieces,
    settings: Settings,
    kinds: jax.Array,
    wanted: tuple[int, int],
    criterion: str,
) -> Compared:
    """Stages 2 and 3 from one set of pieces."""
    n = len(found.mass)
    blocks = as_blocks(data, n, family=Constrained)
    levels, bic = stages.overview(found, blocks, settings, stages.schedule(n, 16))
    around = levels.size[jnp.nanargmin(bic)] if wanted[0] == 1 else jnp.int32(wanted[0])
    begin = jnp.minimum(n, (13 * around) // 10 + 6)
    # The last level with at least so many, in as few slots as suffice where that is known.
    first = jnp.maximum(0, jnp.sum(levels.size >= begin) - 1)
    mixture = jax.tree.map(lambda leaf: leaf[first], levels.mixture)
    slots, lowest = n, wanted[0]
    if arrays.is_concrete(around):
        slots = min([*(s for s in _SIZES if s >= int(levels.size[first])), n][0], n)
        lowest = max(lowest, 1 if slots <= 96 else int(around) // 4)
    order = jnp.argsort(-mixture.log_weights)[:slots]
    mixture = Mixture(
        mixture.means[order], mixture.log_weights[order], mixture.covariance.take(order)
    )
    limits = (jnp.int32(lowest), jnp.int32(wanted[1]))
    counts = stages.schedule(slots, _SINGLY)
    if wanted[0] == wanted[1]:
        counts = tuple(sorted({*counts, wanted[0]}, reverse=True))
    blocks = as_blocks(data, slots, family=Constrained)
    return stages.compare(mixture, found, blocks, settings, kinds, limits, counts, criterion)


def _better(one: Compared, other: Compared) -> Compared:
    """Per family the better of two starts; slots and levels of the larger."""
    slots = [len(c.best.mixture.log_weights[0]) for c in (one, other)]
    one, other = (
        _padded(c, max(slots), max(one.size.shape[1], other.size.shape[1])) for c in (one, other)
    )
    first = one.best_criterion <= other.best_criterion

    def pick(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(first.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, one, other)


def _padded(compared: Compared, slots: int, levels: int) -> Compared:
    """The same with empty slots, and levels that repeat the last, added."""
    more, longer = slots - compared.best.mixture.means.shape[1], levels - compared.size.shape[1]
    mixture = compared.best.mixture
    edge = lambda leaf: jnp.pad(  # noqa: E731
        leaf, [(0, 0), (0, more), *[(0, 0)] * (leaf.ndim - 2)], mode="edge"
    )
    covariance = dataclasses.replace(
        mixture.covariance, covariances=edge(mixture.covariance.covariances)
    )
    logs = jnp.pad(mixture.log_weights, [(0, 0), (0, more)], constant_values=-jnp.inf)
    mixture = Mixture(edge(mixture.means), logs, covariance)
    tail = [(0, 0), (0, longer)]
    return compared._replace(
        best=compared.best._replace(mixture=mixture),
        size=jnp.pad(compared.size, tail, mode="edge"),
        height=jnp.pad(compared.height, tail, mode="edge"),
        loss=jnp.pad(compared.loss, tail, mode="edge"),
        criterion=jnp.pad(compared.criterion, tail, constant_values=jnp.inf),
    )


@functools.partial(jax.jit, inline=True)
def _clusters(mixture: Mixture, blocks: Any) -> jax.Array:
    return clusters(mixture, blocks)


def _standardised(target: Any, centre: jax.Array, scale: jax.Array) -> Target:
    """All points in the units of the stages, in memory."""
    if isinstance(target, FileTarget):
        points, weights = target.read(slice(0, target.shape[0]))
        target = Target(jnp.asarray(points), jnp.asarray(weights))
    return Target((target.points - centre[None]) / scale[None], target.weights)


def _in_data_units(
    mixture: Mixture,
    cluster: jax.Array,
    size: jax.Array,
    centre: jax.Array,
    scale: jax.Array,
    chosen: jax.Array,
    names: tuple[str, ...],
) -> tuple[Mixture, jax.Array]:
    """Heaviest first; without empty slots and in its own family, where these are known."""
    order = jnp.argsort(-mixture.log_weights, stable=True)
    floor = jnp.asarray(mixture.covariance.floor) * jnp.min(scale) ** 2
    if arrays.is_concrete(size):
        order = order[: int(size)]
    covariances = mixture.covariance.covariances[order]
    covariances = 0.5 * (covariances + covariances.swapaxes(1, 2))
    covariances = covariances * (scale[:, None] * scale[None])[None]
    means, logs = centre[None] + scale[None] * mixture.means[order], mixture.log_weights[order]
    family: Any = Full
    if arrays.is_concrete(chosen):
        family = FAMILIES[names[int(chosen)]]
    covariance = family.nearest(covariances, jnp.exp(logs), floor)
    return Mixture(means, logs, covariance), cluster[order]
