"""What a solver is to the loop, and what its steps have in common."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gemjax._base.records import Info, Mixture
from gemjax._model.statistics import Statistics, duality_gap
from gemjax._numerics.finite import safe_exp, safe_norm
from gemjax._points.blocks import Blocks, Chunks
from gemjax._points.target import checked_target


class Solver(Protocol):
    """What `fit` needs: a pytree with `init` and `step`; a state has a `mixture`.

    If it also has `prepare(target, mixture)`, `fit` calls that once, before it traces anything, to
    check settings and to put the target in the form that `step` likes best; of the mixture it may
    use shapes and dtypes only. A `Stream` it may hand back as it is: `step` gets one batch at a
    time. To spread points over devices, `fit` and `sweep` call it under `jax.shard_map` as
    `prepare(target, mixture, axis)`: the target is then one device's share, and expectations are
    sums over that mesh axis.

    >>> import gemjax as gj
    >>> solver: gj.Solver = gj.classical_em()
    """

    def init(self, mixture: Mixture) -> Any: ...

    def step(self, state: Any, target: Any) -> tuple[Any, Info]: ...


def ready(solver: Any, target: Any, mixture: Mixture) -> tuple[Any, Any]:
    """A solver and what one step sees, prepared if they are not; a stream is more than a step's."""
    if isinstance(target, Blocks | Chunks):
        return solver, target
    return solver.prepare(checked_target("target", target, values=False), mixture)


def moved_to(mixture: Mixture, means: jax.Array, statistics: Statistics) -> Mixture:
    """The mixture with new means (n, d), and the covariances that fit best at them."""
    about: tuple[jax.Array, ...] = (means - statistics.origin, statistics.mass, statistics.moments)
    if statistics.total is not None:
        about = (*about, statistics.total)
    covariance = mixture.covariance.maximise(*about)
    return dataclasses.replace(mixture, means=means, covariance=covariance)


def observed(statistics: Statistics, mixture: Mixture, active_weight: ArrayLike) -> Info:
    """What an iteration tells of the mixture that its E-step saw."""
    active = safe_exp(mixture.log_weights) >= active_weight
    floored = mixture.covariance.floored(len(active))
    return Info(
        loss=statistics.loss,
        duality_gap=duality_gap(statistics.ratios),
        gradient_norm=safe_norm(statistics.gradient),
        num_active=jnp.sum(active, dtype=jnp.int32),
        num_floored=jnp.sum(active & floored, dtype=jnp.int32),
    )
