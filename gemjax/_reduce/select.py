"""How many components, of what form: the answer, and what it was chosen from."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._assess.certificate import Certificate
from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._families.kind import AXES
from gemjax._families.registry import FAMILIES, NAMES
from gemjax._model.mixture import responsibilities
from gemjax._numerics.programs import make_room
from gemjax._numerics.pytree import record
from gemjax._points.file_target import FileTarget
from gemjax._points.padding import padded, size_for
from gemjax._points.target import Target, checked_target
from gemjax._reduce.choosing import FEWEST, MOST, SAMPLE, Setup, choose, num_fitted
from gemjax._reduce.criteria import least_points
from gemjax._reduce.descent import Merges
from gemjax._reduce.stages import per_piece

CRITERIA = ("bicc", "bic", "icl", "held_out")
_PER_CLUSTER, _LEAST = 4, 16  # pieces where the number of clusters is known, at most or 32
_RESTARTS = 8  # at least, where the number is known
_MATRICES = 32  # dimensions up to which families with matrices are tried unasked


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """What `select` found, in the data's units; and what it chose from.

    Attributes:
      mixture: the `Mixture` chosen, heaviest component first, its covariance of the family chosen;
        under a transformation with empty slots, and its covariance `Full`.
      num_components: () int32, of the mixture.
      cluster: (n,) int32, the number of the cluster that each component belongs to; −1 of a
        background under several clusters, whose points belong to the likeliest of these.
      num_clusters: () int32. Fewer than components where clusters are not Gaussian.
      family: () int32, the place in `families` of the one chosen.
      loss: () −E[log p] of the mixture over all points, nats per point.
      criterion: () of the mixture, as far as it was chosen by the sample; smaller is better.
      certificate: the mixture's `Certificate` on all points, by 32 starts: what one component more
        could still gain. Values that repeat are spread over their steps there.
      num_born: () int32, components that were added in the end since the certificate found them
        and the criterion, for the sample's number of points, agreed: what a sample does not show.
      num_by_height: () int32, the number of components after which merging becomes expensive, in
        the family chosen. It does not count the pieces of heavy tails, as BIC does.
      agree: () bool, whether that is `num_components`, but for those added in the end.
      status: () int32, FLOORED where variances are at their floor, 1e-6 of the data's, or of what
        the quartiles say, if that is less; DIVERGED where values are not finite; else OK. Nor is a
        variance below a sixth of the square of the step by which most values are rounded.
      sizes, heights, losses, criteria: (families, levels) what was chosen from: numbers of
        components on the way down, costs of the mergings (nats per point), losses and criteria
        in standardised units; before the last fit, of the start that was best.
      best_criteria: (families,) of each family's best level, fitted to its end.
      merges: the tree of the family chosen, (s,) each of s slots at the beginning: `kept`, `freed`
        int32 and `height`, nats per point, in row k the merging that left k + 1 components; −1 and
        NaN where there was none.
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
    certificate: Certificate
    num_born: jax.Array
    num_by_height: jax.Array
    agree: jax.Array
    status: jax.Array
    sizes: jax.Array
    heights: jax.Array
    losses: jax.Array
    criteria: jax.Array
    best_criteria: jax.Array
    merges: Merges
    families: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    @property
    def family_name(self) -> str:
        """mclust's name of the family chosen; where its number is known."""
        return self.families[int(self.family)]

    def probabilities(self, points: Any) -> jax.Array:
        """(N, n) probabilities of the clusters given points (N, d); 0 from `num_clusters` on."""
        logs = jnp.where(self.cluster < 0, -jnp.inf, self.mixture.log_weights)
        logs = logs - jax.scipy.special.logsumexp(logs)
        psi = responsibilities(dataclasses.replace(self.mixture, log_weights=logs), points)
        return jax.ops.segment_sum(psi.T, self.cluster, psi.shape[1]).T

    def predict(self, points: Any) -> jax.Array:
        """(N,) int32, the most probable cluster of points (N, d), from 0, heaviest first."""
        return jnp.argmax(self.probabilities(points), axis=1).astype(jnp.int32)


def select(
    target: Target | FileTarget,
    key: jax.Array,
    *,
    families: tuple[str, ...] | None = None,
    num_components: int | None = None,
    criterion: str = "bicc",
    num_starts: int | None = None,
) -> Selection:
    """Fits Gaussian mixtures of all families and sizes, from many components down, and chooses.

    1. Many pieces, by D² seeding, on a sample of at most 10,000 points. Values that repeat, as
       whole numbers do, are spread over their steps up to stage 4: else criteria would pay for a
       component on each line of their grid. Rows that are repeated, as in resamples, count once,
       with their weights together.
    2. Down to one with one variance for all, pair by pair, EM at each level (as `merge_path`):
       where BIC has its minimum is about where the others begin.
    3. Down from there in each family. On the way each component is held up by 1.5 (d + 2) points
       as wide as a piece, so that none collapses on a few. The three best levels are fitted to
       their end, without; the best of all families and starts is chosen.
    4. EM on all points as they are. Where these are more than the sample, and their certificate
       finds one component more that pays even for no more points than the sample has, it is
       added, and so on: a rare cluster shows on all points.
       Where the number is known, a pair is merged for it, as long as the loss falls.
    5. Clusters: components between which there is no valley of the density (below 0.95 of the
       lower peak, along the ridge of Ray and Lindsay 2005) and of which one's points are taken for
       the other's (2 %, Hennig 2010) make one. Where `agree` is False, so do the pieces of a
       square, a crescent or a ring: components between which the points have no valley either
       (below 0.35), if all others are clearly apart (below 0.15).

    Pure; under `jit` and `vmap`, over resamples for instance, sizes that otherwise follow what was
    found are the largest, which takes several times as long. Not differentiable.

    Args:
      target: N weighted points in d dimensions, a `Target` or a `FileTarget`. Coordinates may have
        any units; spherical families are round in these.
      key: a JAX random key, for the sample and the seeds.
      families: static, names of `gj.covariance.family`, each once; by default mclust's six, and
        above 32 dimensions the four along the axes, EII, VII, EEI, VVI: matrices have d² numbers.
        In one dimension the first of those that are the same there.
      num_components: static, where it is known: then only the family is chosen.
      criterion: static; "bic", 2 N loss + p log N for p parameters (Schwarz 1978); "bicc", the
        default, with the price of parameters N/(N − p − 2) times as high (McQuarrie 1999), which
        keeps mixtures of few points per parameter from being chosen: at most about twice as high,
        unless there are hardly points enough for the moments; "icl", BIC + 2 N entropy of the
        responsibilities (Biernacki, Celeux and Govaert 2000); "held_out", 2 N times the loss of
        every third point of the sample, drawn at random, which the stages before the last do not
        see. N is the sample's effective number of points.
      num_starts: static, how many times the stages 1 to 3 are done; 24 up to 500 points, 6 up to
        2,000, above that 1. Where the number is known a quarter of them, and all of them, 8 at
        least, from as many pieces as components: mergings end in few of the optima. The starts of
        fewer are among those of more.

    Returns:
      a `Selection`.

    Raises:
      ValueError, TypeError: unknown or repeated names, counts out of range, no mixture that the
        points are enough for, and as `fit`; before any work starts.

    >>> import gemjax as gj
    >>> truth = gj.make_mixture([[-4.0], [0.0], [9.0]])
    >>> target = gj.empirical(gj.sample(jax.random.key(0), truth, 400))
    >>> found = gj.select(target, jax.random.key(1), num_starts=1)
    >>> [round(x) for x in found.mixture.means[:, 0].sort().tolist()], bool(found.agree)
    ([-4, 0, 9], True)
    """
    target = checked_target("target", target)
    checks.key("key", key)
    checks.one_of("criterion", criterion, CRITERIA)
    N, d = target.shape
    names = _checked(
        (tuple(FAMILIES) if d <= _MATRICES else AXES) if families is None else families
    )
    if d == 1:  # there are two forms: one variance for all, or one for each
        names = tuple(
            name for i, name in enumerate(names) if name[0] not in {one[0] for one in names[:i]}
        )
    starts = _starts(N) if num_starts is None else num_starts
    starts = checks.count("num_starts", starts)
    size = min(N, SAMPLE) if criterion != "held_out" else num_fitted(min(N, SAMPLE))
    restarts = 0
    may_pad = N <= SAMPLE and criterion != "held_out"  # which parts points by their number
    room = size_for(N, SAMPLE) if may_pad else size
    n = int(np.clip(room // per_piece(d), min(FEWEST, size), MOST))
    wanted = (1, n)
    if num_components is not None:
        m = checks.count("num_components", num_components)
        if m > size // 2:
            raise ValueError(
                f"num_components must be at most half of the {size} points that are looked at, "
                f"got {m}"
            )
        n, wanted = max(min(n, max(_LEAST, _PER_CLUSTER * m)), min(2 * m, size)), (m, m)
        starts, restarts = -(-starts // 4), max(starts, _RESTARTS)
    _check_enough(size, d, names, wanted[0])
    if isinstance(target, FileTarget):  # read once: each stage goes over the points many times
        points, weights = target.read(slice(0, N))
        target = Target(jnp.asarray(points), jnp.asarray(weights))
    if may_pad:
        target = padded(target, room)
    setup = Setup(names, wanted, n, criterion, starts, restarts)
    if arrays.is_concrete(target.points):
        make_room(target.shape, target.dtype, setup)
    chosen = choose(target, key, setup)
    return Selection(**chosen._asdict(), families=names)


def _starts(N: int) -> int:
    """Few points have many optima, and cost little."""
    return 24 if N <= 500 else 6 if N <= 2000 else 1


def _check_enough(size: int, d: int, names: tuple[str, ...], number: int) -> None:
    least, name = min((least_points(name, number, d), name) for name in names)
    if size < least:
        simplest = least_points("EII", number, d)
        form, less = (f" of {name}", f", and {simplest} for EII") if simplest < least else ("", "")
        raise ValueError(
            f"target must have at least {least} points to look at for {number} "
            f"component{'s' * (number > 1)}{form} in {d} dimension{'s' * (d > 1)}{less}; got {size}"
        )


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
