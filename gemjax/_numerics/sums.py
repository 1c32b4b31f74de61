"""Ways to add up what blocks of points give, whatever the order and the number of devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Addition:
    """How trees of arrays are added up.

    Attributes:
      start: what is carried before the first, from the shapes of one tree.
      add: what is carried, and one more tree.
      total: the tree that stands for what is carried.
      join: trees stacked along a leading axis, as one.
      over_devices: the trees of all devices along a mesh axis, as one.
    """

    start: Callable[[Any], Any]
    add: Callable[[Any, Any], Any]
    total: Callable[[Any], Any]
    join: Callable[[Any], Any]
    over_devices: Callable[[Any, str], Any]


def _kahan(carry: tuple[Any, Any], tree: Any) -> tuple[Any, Any]:
    total, lost = carry
    more = jax.tree.map(jnp.subtract, tree, lost)
    new = jax.tree.map(jnp.add, total, more)
    return new, jax.tree.map(lambda new, total, more: (new - total) - more, new, total, more)


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


# With compensation: float32 sums over 1e7 points keep six digits (Kahan 1965).
SUM = Addition(
    start=lambda shapes: (_zeros(shapes), _zeros(shapes)),
    add=_kahan,
    total=lambda carry: carry[0],
    join=lambda trees: jax.tree.map(lambda x: jnp.sum(x, axis=0), trees),
    over_devices=jax.lax.psum,
)


def _joined(peaks: jax.Array, sums: jax.Array) -> tuple[jax.Array, jax.Array]:
    peak = jnp.max(peaks, axis=0)
    return peak, jnp.sum(jnp.exp(peaks - peak[None])[..., None] * sums, axis=0)


def _log_add(carry: tuple[jax.Array, jax.Array], more: tuple[jax.Array, jax.Array]) -> Any:
    peak = jnp.maximum(carry[0], more[0])
    scaled = jnp.exp(more[0] - peak)[:, None] * more[1]
    return peak, jnp.exp(carry[0] - peak)[:, None] * carry[1] + scaled


def _log_over_devices(total: tuple[jax.Array, jax.Array], axis: str) -> Any:
    peak = jax.lax.pmax(total[0], axis)
    return peak, jax.lax.psum(jnp.exp(total[0] - peak)[:, None] * total[1], axis)


# Trees (exponents (k,), sums (k, w) divided by their exponentials): an online log-sum-exp, for
# numbers that would overflow.
LOG_SUM = Addition(
    start=lambda shapes: (
        jnp.full(shapes[0].shape, jnp.finfo(shapes[0].dtype).min, shapes[0].dtype),
        _zeros(shapes[1]),
    ),
    add=_log_add,
    total=lambda carry: carry,
    join=lambda trees: _joined(*trees),
    over_devices=_log_over_devices,
)


def largest_rows(k: int) -> Addition:
    """Trees (k, w), of whose rows the k with the largest last entry are kept."""

    def top(rows: jax.Array) -> jax.Array:
        return rows[jax.lax.top_k(rows[:, -1], k)[1]]

    def over_devices(rows: jax.Array, axis: str) -> jax.Array:
        # All devices' rows as a sum, which is the same everywhere, unlike a gathered array.
        every = jnp.zeros((jax.lax.axis_size(axis), *rows.shape), rows.dtype)
        every = every.at[jax.lax.axis_index(axis)].set(rows)
        return top(jax.lax.psum(every, axis).reshape(-1, rows.shape[1]))

    return Addition(
        start=lambda s: jnp.full(s.shape, jnp.finfo(s.dtype).min, s.dtype),
        add=lambda rows, more: top(jnp.concatenate([rows, more])),
        total=lambda rows: rows,
        join=lambda stacked: top(stacked.reshape(-1, stacked.shape[-1])),
        over_devices=over_devices,
    )
