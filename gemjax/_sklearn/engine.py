"""What the estimator has the library do: the search for a start, and EM from it.

JAX computes in the dtype of the points, whatever its configuration: float64 is enabled within a
context of this thread alone. Points come in, and NumPy arrays come out.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from gemjax._assess.certificate import Certificate, certificate
from gemjax._base.records import Status
from gemjax._em.classical_em import classical_em
from gemjax._em.fit import fit
from gemjax._families.registry import FAMILIES
from gemjax._model.starts import plus_plus
from gemjax._numerics.programs import make_room
from gemjax._points.padding import size_for
from gemjax._points.target import Target, empirical
from gemjax._reduce.choosing import SAMPLE
from gemjax._reduce.criteria import least_points
from gemjax._reduce.path import Path, merge_path
from gemjax._reduce.select import Selection, select
from gemjax._sklearn.forms import (
    COLLAPSED,
    FORMS,
    Form,
    Parameters,
    form_of,
    from_mixture,
    to_mixture,
)

_PER_CLUSTER, _FEWEST, _MOST = 8, 32, 320  # components that known covariances begin with
_REPEATED = 10  # times as many points as rows at most, where weights are counts
_SETTLE = 30  # iterations of EM before they are merged
_FLOORED = (
    "some components have no width left in some direction: rows or values that repeat, or columns "
    "that follow from others. Their number may be wrong; drop such rows or columns, or give "
    "n_components"
)


class Found(NamedTuple):
    """What a search found: where EM begins, the number of the cluster of each component, the
    certificate, and what was chosen from; None where it began from what was given."""

    form: Form
    start: Parameters
    cluster: np.ndarray
    certificate: Certificate | None
    path: Selection | Path | None


def has_room(shape: tuple[int, ...], num_components: int, form: Form | None) -> bool:
    """Whether a search for so many components has anything to choose from, of points (N, d)."""
    N, d = shape
    least = 2 * num_components
    if form is not None and form.name in FAMILIES:
        least = max(least, least_points(form.name, num_components, d))
    return least <= min(N, SAMPLE)


def search(
    points: np.ndarray,
    weights: np.ndarray,
    seed: int,
    num_components: int | None,
    covariance_type: str,
    num_starts: int | None,
) -> Found:
    """The best start of EM for points (N, d), and their number where it is None."""
    with jax.enable_x64(True):
        target, key = _target(*in_order(points, weights)), jax.random.key(seed)
        if covariance_type == "identity":
            return _search_known(target, key, num_components, num_starts or 1)
        families = None if covariance_type == "auto" else (form_of(covariance_type).name,)
        found = select(
            target, key, families=families, num_components=num_components, num_starts=num_starts
        )
        form = FORMS[found.family_name]
        found = jax.device_get(found)
        if num_components is None and found.status == Status.FLOORED:
            warnings.warn(_FLOORED, UserWarning, stacklevel=6)
        return Found(
            form, from_mixture(form, found.mixture), found.cluster, found.certificate, found
        )


def in_order(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same points in an order that does not depend on that of the rows, so that the seeds do
    not; a point as often as its weight says where that is a whole number."""
    total, whole = weights.sum(dtype=float), (weights == np.round(weights)).all()
    if whole and len(points) < total <= _REPEATED * len(points):
        points = np.repeat(points, weights.astype(np.int64), axis=0)
        weights = np.ones(len(points), points.dtype)
    direction = np.asarray(np.random.default_rng(0).normal(size=points.shape[1]), points.dtype)
    order = np.argsort(points @ direction, kind="stable")
    return points[order], weights[order]


def _search_known(
    target: Target, key: jax.Array, num_components: int | None, num_starts: int
) -> Found:
    """With the unit covariance: EM from many components, which are then merged pair by pair. The
    number is where BIC has its minimum."""
    N, d = target.shape
    key, key_sample, key_certificate = jax.random.split(key, 3)
    sample = target if N <= SAMPLE else empirical(target.draw(key_sample, SAMPLE))
    m = num_components
    most = min(_MOST, max(1, sample.shape[0] // (min(d, 8) + 1)))
    n = most if m is None else max(m, min(most, max(_FEWEST, _PER_CLUSTER * m)))
    best: Any = None
    for s in range(num_starts):
        start = plus_plus(jax.random.fold_in(key, s), sample, n)
        many = fit(classical_em(), sample, start, num_iterations=_SETTLE).mixture
        path = merge_path(many, sample, between=(1, n) if m is None else (m, min(n, 2 * m)))
        number = int(path.num_components[path.bic.argmin()]) if m is None else m
        score = float(path.bic[n - number])
        if best is None or score < best[0]:
            best = score, number, path
    _, number, path = best
    mixture = path.at(number)
    proof = certificate(mixture, target, key_certificate, num_starts=32)
    form = FORMS["identity"]
    mixture, proof, path = jax.device_get((mixture, proof, path))
    cluster = np.arange(number, dtype=np.int32)
    return Found(form, from_mixture(form, mixture), cluster, proof, path)


class Ended(NamedTuple):
    """Where EM ended, the mean log-likelihoods (T,) before each iteration, and whether it had
    converged."""

    parameters: Parameters
    lower_bounds: np.ndarray
    converged: bool


def run_em(
    points: np.ndarray,
    weights: np.ndarray,
    form: Form,
    start: Parameters,
    floor: float,
    tolerance: float,
    max_iter: int,
) -> Ended:
    """EM on points (N, d), until the mean log-likelihood changes by less than the tolerance."""
    with jax.enable_x64(True):
        mixture, target = to_mixture(form, start, floor), _target(points, weights)
        make_room(target.shape, target.dtype, form.name, len(mixture.means))
        rest: dict[str, Any] = {"num_iterations": max_iter, "tolerance": tolerance}
        end = jax.device_get(fit(classical_em(), target, mixture, **rest))
        if end.status == Status.DIVERGED:
            raise ValueError(COLLAPSED)
        bounds = -end.history.loss[: int(end.num_iterations)]
        parameters = from_mixture(form, end.mixture)
        if end.status == Status.IMPRECISE:
            warnings.warn(Status.IMPRECISE.message, ConvergenceWarning, stacklevel=2)
        return Ended(parameters, bounds, bool(end.monitor.change < tolerance))


def _target(points: np.ndarray, weights: np.ndarray) -> Target:
    """With points of weight zero up to one of few sizes, each of which is compiled once."""
    more = size_for(len(points), SAMPLE) - len(points)
    points = np.concatenate([points, np.broadcast_to(points[:1], (more, points.shape[1]))])
    return empirical(points, np.concatenate([weights, np.zeros(more, weights.dtype)]))
