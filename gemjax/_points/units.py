"""The data's own units, and those of the model, in which the noise is one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Units:
    """Model points are (data − offset) / scale.

    On the host, in float64: what is fitted may be float32, what a user reads should not be rounded
    by an offset.

    Attributes:
      offset: (d,) subtracted from the data.
      scale: positive, what they are divided by after that: a standard deviation of the noise.

    >>> import gemjax as gj
    >>> units = gj.Units([10.0], 2.0)
    >>> units.to_model([[14.0]]).tolist(), units.to_data([[2.0]]).tolist()
    ([[2.0]], [[14.0]])
    """

    offset: Any
    scale: float = 1.0

    def to_model(self, points: Any) -> np.ndarray:
        """(…, d) points, means or other places of the data, in the model's units; float64."""
        return (np.asarray(points, np.float64) - np.asarray(self.offset)) / self.scale

    def to_data(self, points: Any) -> np.ndarray:
        """(…, d) points, means or other places of the model, in the data's units; float64."""
        return np.asarray(points, np.float64) * self.scale + np.asarray(self.offset)

    def loss_to_data(self, loss: Any) -> Any:
        """A loss (…), nats per point, of the density in the data's units: it grows by d log scale.

        >>> import gemjax as gj
        >>> gj.Units([0.0, 0.0], 1.0).loss_to_data(3.0)
        3.0
        """
        return loss + len(self.offset) * float(np.log(self.scale))
