"""Where to look from at points in many dimensions, and the outlines of Gaussians."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_ANGLES = np.linspace(0, 2 * np.pi, 73)


class Directions(NamedTuple):
    """Linear coordinates (x − centre) @ vectors.

    Attributes:
      centre: (d,) the mixture's mean.
      vectors: (d, k) with covariances within components of one, and none between coordinates.
      spread: (k,) how far the means spread along each, as a variance.
      share: (k,) of the spread along all d of them; zero where there is none.
    """

    centre: np.ndarray
    vectors: np.ndarray
    spread: np.ndarray
    share: np.ndarray

    def of(self, points: np.ndarray) -> np.ndarray:
        """(…, k) the coordinates of points (…, d)."""
        return np.asarray((points - self.centre) @ self.vectors)


def discriminant(
    means: np.ndarray, weights: np.ndarray, matrices: np.ndarray, most: int = 4
) -> Directions:
    """Fisher's directions of a mixture, along which its means lie farthest apart for their widths.

    With B the covariance of the means (n, d) and W the mean covariance, B v = λ W v. At least two
    directions are found: where means spread along one alone, the next are those along which
    covariances (n, d, d) differ most from W (after Scrucca 2010, "Dimension reduction for
    model-based clustering").
    """
    weights = weights / weights.sum()
    centre = weights @ means
    apart = means - centre
    within = np.einsum("n,nij->ij", weights, matrices)
    inverse = np.linalg.inv(np.linalg.cholesky(within))
    whitened = apart @ inverse.T
    values, basis = np.linalg.eigh(whitened.T @ (weights[:, None] * whitened))
    values, basis = np.maximum(values[::-1], 0), basis[:, ::-1]
    rank = int(np.sum(values > 1e-9 * max(values[0], 1e-9)))
    rest = basis[:, rank:]
    differ = inverse @ matrices @ inverse.T - np.eye(len(within))
    differ = np.einsum("n,nij,njk->ik", weights, differ, differ)
    _, turn = np.linalg.eigh(rest.T @ differ @ rest)
    basis = np.concatenate([basis[:, :rank], rest @ turn[:, ::-1]], axis=1)
    k = min(most, max(rank, 2), len(within))
    vectors = inverse.T @ basis[:, :k]
    # Signs are arbitrary: the largest entry of each is positive.
    largest = np.abs(vectors).argmax(axis=0)
    vectors *= np.where(vectors[largest, np.arange(k)] < 0, -1.0, 1.0)
    total = values.sum()
    return Directions(centre, vectors, values[:k], values[:k] / (total if total > 0 else 1.0))


def ellipse(mean: np.ndarray, matrix: np.ndarray, share: float = 0.9) -> np.ndarray:
    """(T, 2) the outline inside of which so large a share of a Gaussian in the plane is."""
    radius = math.sqrt(-2 * math.log1p(-share))
    values, axes = np.linalg.eigh(matrix)
    circle = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    return np.asarray(mean + radius * ((axes * np.sqrt(np.maximum(values, 0))) @ circle).T)
