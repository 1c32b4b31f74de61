"""Where EM begins: found by a search, or from points near means that are given or drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from gemjax._sklearn.engine import Found, has_room, in_order, search
from gemjax._sklearn.forms import Form, Parameters, fitted, form_of, moments, own
from gemjax._sklearn.given import checked_covariances, checked_means, checked_weights


def begin(
    points: np.ndarray,
    weights: np.ndarray,
    num_components: int | None,
    covariance_type: str,
    inits: tuple[Any, Any, Any],
    num_starts: int | None,
    floor: float,
    seed: int,
) -> Found:
    """Where EM begins on points (N, d) with weights (N,): of so many components, or as many as the
    search says; `inits` are weights, means and precisions that are given, or None each."""
    n, form = num_components, None if covariance_type == "auto" else form_of(covariance_type)
    if all(value is None for value in inits):
        return _without(points, weights, n, covariance_type, form, num_starts, floor, seed)
    if n is None or form is None:
        raise ValueError(
            "weights_init, means_init and precisions_init need an integer n_components and a "
            f"covariance_type by name, got {'auto' if n is None else n!r} and {covariance_type!r}"
        )
    (_, d), dtype = points.shape, points.dtype
    shares, means, precisions = inits
    if shares is not None:
        shares = checked_weights(shares, n, dtype)
    if precisions is not None:
        precisions = checked_covariances(precisions, form, n, d, dtype)
    if means is None:
        found = _without(points, weights, n, covariance_type, form, num_starts, floor, seed)
    else:
        means = checked_means(means, n, d, dtype)
        found = _as_given(form, about(points, weights, form, means, floor))
    start = found.start
    start = Parameters(
        start.weights if shares is None else shares,
        start.means,
        start.covariances if precisions is None else precisions,
    )
    return found._replace(start=start)


def _without(
    points: np.ndarray,
    weights: np.ndarray,
    n: int | None,
    covariance_type: str,
    form: Form | None,
    num_starts: int | None,
    floor: float,
    seed: int,
) -> Found:
    """Where nothing is given."""
    room = has_room(points.shape, n or 1, form)
    if form is not None and (n == 1 or (n is None and not room)):
        return _as_given(form, one_component(points, weights, form, floor))
    if n is None or room:
        found = search(points, weights, seed, n, covariance_type, num_starts)
        # Fewer where not so many points differ.
        if n is None or form is None or len(found.start.weights) == n:
            return found._replace(start=_not_below(floor, found.form, found.start))
    elif form is None:
        raise ValueError(
            f"n_components must be at most half of the {len(points)} rows where covariance_type is "
            f"'auto', got {n}"
        )
    assert n is not None
    assert form is not None
    return _as_given(form, drawn(points, weights, form, n, floor, seed))


def _not_below(floor: float, form: Form, start: Parameters) -> Parameters:
    """The search has a floor of its own: else EM would begin higher than it can end."""
    covariances = fitted(form, start.weights, own(form, start), floor)
    return start._replace(covariances=covariances)


def _as_given(form: Form, start: Parameters) -> Found:
    return Found(form, start, np.arange(len(start.weights)), None, None)


def one_component(points: np.ndarray, weights: np.ndarray, form: Form, floor: float) -> Parameters:
    """The best fit of one component to points (N, d) with weights (N,)."""
    resp = np.ones((len(points), 1), points.dtype)
    share = weights / weights.sum()
    centre = share @ points
    one, means, spread = moments(form, points - centre, share, resp)
    covariances = fitted(form, np.ones_like(one), spread, floor)
    return Parameters(np.ones_like(one), means + centre, covariances)


def drawn(
    points: np.ndarray, weights: np.ndarray, form: Form, n: int, floor: float, seed: int
) -> Parameters:
    """n components about points drawn by D² seeding: for nearly as many as there are points."""
    from sklearn.cluster import kmeans_plusplus  # takes time to import

    points, weights = in_order(points, weights)
    means, _ = kmeans_plusplus(points, n, sample_weight=weights, random_state=seed)
    return about(points, weights, form, means, floor)


def about(
    points: np.ndarray, weights: np.ndarray, form: Form, means: np.ndarray, floor: float
) -> Parameters:
    """Components with means (n, d), their weights and covariances those of the points that are
    nearest to each; of one without points the covariance is that of all."""
    from sklearn.metrics import pairwise_distances_argmin  # as above

    n = len(means)
    label = pairwise_distances_argmin(points, means)
    mass, _, spread = moments(form, points, weights, np.eye(n, dtype=points.dtype)[label])
    _, _, whole = moments(form, points, weights, np.ones((len(points), 1), points.dtype))
    some = mass > 0
    spread = np.where(some.reshape(-1, *(1,) * (spread.ndim - 1)), spread, whole)
    tiny = np.finfo(points.dtype).eps * weights.sum()
    shares = (mass + tiny) / np.sum(mass + tiny)
    return Parameters(shares, means, fitted(form, shares, spread, floor))
