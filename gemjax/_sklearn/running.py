"""Stepwise EM (Cappé and Moulines 2009): one step of EM on a batch, towards running statistics.

A mixture of one of the families is the same as the statistics it follows from: weights are those of
mass, means of first moments, covariances of second ones, and what a family asks of covariances
(equal, round, along the axes) is linear in them. So the running statistics are kept as parameters.
"""

from __future__ import annotations

import numpy as np

from gemjax._sklearn.forms import Form, Parameters, fitted, moments, own

DECAY = 0.6  # what Cappé and Moulines recommend


def step(
    form: Form,
    before: Parameters,
    points: np.ndarray,
    weights: np.ndarray,
    resp: np.ndarray,
    seen: float,
    floor: float,
) -> Parameters:
    """The mixture after a batch of points (N, d) with weights (N,) and responsibilities (N, n),
    of which the weights of those before add up to `seen`.

    s ← (1 − γ) s + γ s(batch), with γ = (share of the batch in all that was seen)^0.6.
    """
    gamma = (weights.sum() / (seen + weights.sum())) ** DECAY
    mass, means, spread = moments(form, points, weights / weights.sum(), resp)
    old, new = (1 - gamma) * before.weights, gamma * mass
    total = old + new
    share = new / total
    none = mass == 0  # whose statistics stay
    means = np.where(none[:, None], before.means, means)
    spread = np.where(none.reshape(-1, *(1,) * (spread.ndim - 1)), own(form, before), spread)
    apart = means - before.means
    between = apart[:, :, None] * apart[:, None] if form.is_matrix else apart**2
    p = share.reshape(-1, *(1,) * (spread.ndim - 1))
    spread = (1 - p) * own(form, before) + p * spread + p * (1 - p) * between
    moved = before.means + share[:, None] * apart
    shares = total / total.sum()
    return Parameters(shares, moved, fitted(form, shares, spread, floor))
