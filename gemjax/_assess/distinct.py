"""How many components there are, once those that coincide are taken for one."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._assess.recovery import distances
from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._base.settings import ACTIVE_WEIGHT

_RADIUS = 0.5  # standard deviations: two such components are one to the eye, and to most samples


def num_distinct(
    mixture: Mixture, *, radius: Any = _RADIUS, active_weight: Any = ACTIVE_WEIGHT
) -> jax.Array:
    """Number of groups of active components, each within `radius` of another one of its group.

    Over-parameterized fits end with several components on one true mean; this counts them as one
    (single linkage). Time O(n³ log n), memory O(n²).

    Args:
      mixture: n components. For a sweep, `jax.vmap` over it.
      radius: () in standard deviations, non-negative, traced.
      active_weight: () weight from which a component counts, traced.

    Returns:
      () int32.

    Raises:
      ValueError, TypeError: a bad mixture, settings out of range.

    >>> import gemjax as gj
    >>> int(gj.num_distinct(gj.make_mixture([[0.0], [0.3], [0.6], [9.0]])))
    2
    """
    mixture = checks.mixture("mixture", mixture, finite=False)
    dtype = mixture.means.dtype
    radius = arrays.scalar("radius", radius, dtype, least=0)
    active_weight = arrays.scalar("active_weight", active_weight, dtype, least=0)
    return _count(mixture, radius, active_weight)


@functools.partial(jax.jit, inline=True)
def _count(mixture: Mixture, radius: jax.Array, active_weight: jax.Array) -> jax.Array:
    n = mixture.means.shape[0]
    active = mixture.weights >= active_weight
    near = distances(mixture.means, mixture.means) <= radius
    linked = near & active[:, None] & active[None]
    # Squaring doubles the length of the chains that are known.
    for _ in range(max(n - 1, 1).bit_length()):
        counts = linked.astype(jnp.float32)
        linked = (counts @ counts) > 0
    first = jnp.argmax(linked, axis=1) == jnp.arange(n)
    return jnp.sum(first & active, dtype=jnp.int32)
