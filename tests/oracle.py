"""Independent NumPy float64 loops: nothing here is shared with the package."""

import functools
import math

import numpy as np


def log_joint(means, weights, points):
    """(N, n) log π_i N(x_j; μ_i, I), one pair at a time."""
    N, n, d = len(points), len(means), means.shape[1]
    out = np.empty((N, n))
    for j in range(N):
        for i in range(n):
            square = math.fsum((points[j, k] - means[i, k]) ** 2 for k in range(d))
            log_weight = math.log(weights[i]) if weights[i] > 0 else -math.inf
            out[j, i] = log_weight - 0.5 * square - 0.5 * d * math.log(2 * math.pi)
    return out


def log_density(means, weights, points):
    out = []
    for row in log_joint(means, weights, points):
        top = row.max()
        out.append(top + math.log(math.fsum(math.exp(v - top) for v in row)))
    return np.array(out)


def responsibilities(means, weights, points):
    return np.exp(log_joint(means, weights, points) - log_density(means, weights, points)[:, None])


def loss(means, weights, points, point_weights):
    return -math.fsum(point_weights * log_density(means, weights, points))


def ratios(means, weights, points, point_weights):
    """(n,) r_i = E[φ_i / p], also where π_i = 0."""
    ones = np.ones(len(means))
    log_phi = log_joint(means, ones, points)
    relative = np.exp(log_phi - log_density(means, weights, points)[:, None])
    return np.array([math.fsum(point_weights * relative[:, i]) for i in range(len(means))])


def gradient(means, weights, points, point_weights):
    """(n, d) ∂L/∂μ."""
    psi = responsibilities(means, weights, points) * point_weights[:, None]
    return np.array(
        [(psi[:, i, None] * (means[i] - points)).sum(axis=0) for i in range(len(means))]
    )


def project_simplex(v):
    """Euclidean projection by bisection on the threshold."""
    low, high = v.min() - 1, v.max()
    for _ in range(200):
        middle = (low + high) / 2
        if np.maximum(v - middle, 0).sum() > 1:
            low = middle
        else:
            high = middle
    p = np.maximum(v - high, 0)
    return p / p.sum()


def weight_step(rule, weights, r, step, loss_at=None):
    if rule == "multiplicative":
        new = weights * r
    elif rule == "mirror":
        new = weights * np.exp(min(step, 1 / r.max()) * r)
    elif rule == "euclidean":
        whole = project_simplex(weights + min(step, 1 / r.max()) * r)
        # As much of the way as does not raise the loss.
        for share in (1, 0.5, 0.25, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-6, 0):
            new = weights + share * (whole - weights)
            if loss_at(new) <= loss_at(weights):
                break
    else:
        new = weights
    return new / new.sum()


def gradient_em(means, weights, points, point_weights, *, rule, K, step, weight_step_size, em):
    """One iteration of Algorithm 1 without early stop: new means, weights, and the loss."""
    for _ in range(K):
        r = ratios(means, weights, points, point_weights)
        at = functools.partial(loss, means, points=points, point_weights=point_weights)
        weights = weight_step(rule, weights, r, weight_step_size, at)
    g = gradient(means, weights, points, point_weights)
    if em:
        mass = weights * ratios(means, weights, points, point_weights)
        g = g / mass[:, None]
    return means - step * g, weights, loss(means, weights, points, point_weights)


def classical_em(means, weights, points, point_weights):
    psi = responsibilities(means, weights, points) * point_weights[:, None]
    mass = psi.sum(axis=0)
    return (psi.T @ points) / mass[:, None], mass / mass.sum()


def problem(seed, N=40, n=4, d=3, offset=0.0):
    """Means, weights, points and point weights of a random problem."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(N, d)) * 2 + offset
    means = rng.normal(size=(n, d)) * 2 + offset
    return means, rng.dirichlet(np.ones(n)), points, rng.dirichlet(np.ones(N))
