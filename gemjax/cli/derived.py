"""Columns that follow from others: when something happened along the iterations."""

from __future__ import annotations

import numpy as np

from gemjax.cli.study.settings import GridPoint

Arrays = dict[str, np.ndarray]
_REACHED_MOMENT = 0.01  # of how far it was at first
_ALL_BUT = 0.01  # of the weight may be elsewhere


def reached(history_loss: np.ndarray, floor: float, reach: float, every: int) -> np.ndarray:
    """(S,) first recorded iteration with excess loss <= reach, 0 where there is none."""
    hit = history_loss - floor <= reach
    return np.where(hit.any(axis=1), (hit.argmax(axis=1) + 1) * every, 0)


def largest_rise(history_loss: np.ndarray) -> np.ndarray:
    """(S,) by how much the recorded loss rose at most from one record to the next."""
    if history_loss.shape[1] < 2:
        return np.zeros(len(history_loss), history_loss.dtype)
    return np.maximum(np.diff(history_loss, axis=1).max(axis=1), 0)


def entry(arrays: Arrays, point: GridPoint) -> tuple[np.ndarray, np.ndarray]:
    """(S,) first recorded iteration from which on nearly all weight is near the true means, 0 where
    there is none, and the loss there: where the local phase begins."""
    away = arrays["history_stray_mass"] > _ALL_BUT
    first = np.where(away.any(axis=1), away.shape[1] - np.argmax(away[:, ::-1], axis=1), 0)
    inside = first < away.shape[1]
    loss = np.take_along_axis(
        arrays["history_loss"], np.minimum(first, away.shape[1] - 1)[:, None], axis=1
    )[:, 0]
    iterations = np.where(inside, (first + 1) * point.solver.record_every, 0)
    return iterations, np.where(inside, loss, np.nan).astype(loss.dtype)


def moment(arrays: Arrays, point: GridPoint, truth_loss: object, order: int) -> np.ndarray:
    """(S,) first recorded iteration at which that moment is as good as reached, 0 if none is."""
    away = arrays["history_moments"][:, :, order - 1]
    hit = away <= _REACHED_MOMENT * away[:, :1]
    return np.where(hit.any(axis=1), (hit.argmax(axis=1) + 1) * point.solver.record_every, 0)
