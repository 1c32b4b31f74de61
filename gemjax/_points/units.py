"""The data's own units, and those of the model, in which the noise is one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Units:
    """Model points are (data − offset) / scale, or L⁻¹ (data − offset) for a matrix L.

    On the host, in float64: what is fitted may be float32, what a user reads should not be rounded
    by an offset.

    A covariance Σ = L Lᵀ that is known and the same for all components is the identity in units of
    L: points there, fitted with the default covariance, are fitted with Σ in the data's units, at
    the identity's speed.

    Attributes:
      offset: (d,) subtracted from the data.
      scale: positive, what they are divided by after that: a standard deviation of the noise. Or
        (d, d) L with L Lᵀ the noise's covariance, as `numpy.linalg.cholesky` gives it.

    >>> import gemjax as gj
    >>> units = gj.Units([10.0], 2.0)
    >>> units.to_model([[14.0]]).tolist(), units.to_data([[2.0]]).tolist()
    ([[2.0]], [[14.0]])

    With a known covariance, and the same mixture in the data's units:

    >>> import jax
    >>> known = np.array([[4.0, 1.0], [1.0, 1.0]])
    >>> points = np.array([[9.0, 0.0], [11.0, 1.0], [-9.0, 0.0], [-11.0, -2.0]])
    >>> units = gj.Units(points.mean(axis=0), np.linalg.cholesky(known))
    >>> target = gj.empirical(units.to_model(points))
    >>> start = gj.initialize.from_target(jax.random.key(0), target, 2)
    >>> fit = gj.fit(gj.classical_em(), target, start, num_iterations=20)
    >>> covariance = gj.covariance.Tied(known)
    >>> means = units.to_data(fit.mixture.means)
    >>> mixture = gj.make_mixture(means, fit.mixture.weights, covariance=covariance)
    >>> loss = float(gj.loss(mixture, gj.empirical(points)))
    >>> abs(loss - float(units.loss_to_data(gj.loss(fit.mixture, target)))) < 1e-5
    True
    """

    offset: Any
    scale: Any = 1.0

    def to_model(self, points: Any) -> np.ndarray:
        """(…, d) points, means or other places of the data, in the model's units; float64."""
        centred = np.asarray(points, np.float64) - np.asarray(self.offset)
        if np.ndim(self.scale) == 0:
            return centred / self.scale
        columns = centred.reshape(-1, centred.shape[-1]).T
        return np.linalg.solve(np.asarray(self.scale), columns).T.reshape(centred.shape)

    def to_data(self, points: Any) -> np.ndarray:
        """(…, d) points, means or other places of the model, in the data's units; float64."""
        x = np.asarray(points, np.float64)
        scaled = x * self.scale if np.ndim(self.scale) == 0 else x @ np.asarray(self.scale).T
        return scaled + np.asarray(self.offset)

    def loss_to_data(self, loss: Any) -> Any:
        """A loss (…), nats per point, of the density in the data's units: it grows by d log scale,
        or log |det L|.

        >>> import gemjax as gj
        >>> gj.Units([0.0, 0.0], 1.0).loss_to_data(3.0)
        3.0
        """
        if np.ndim(self.scale) == 0:
            return loss + len(self.offset) * float(np.log(self.scale))
        return loss + float(np.linalg.slogdet(np.asarray(self.scale, np.float64))[1])
