"""The records that travel: what is fitted, what it is fitted to, and what comes back.

Every record is a frozen dataclass and a pytree. No constructor checks anything, because JAX
rebuilds pytrees with tracers and placeholders inside; the checks are at the public door
(`_checks.py`).
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import jax
import numpy as np

from gemjax._base.numerics import safe_exp


def _record(cls: type) -> type:
    names = [field.name for field in dataclasses.fields(cls)]
    return jax.tree_util.register_dataclass(cls, data_fields=names, meta_fields=[])


@_record
@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of n Gaussians in d dimensions, each with identity covariance.

    Attributes:
      means: (n, d), float32 or float64, the centres of the components.
      log_weights: (n,), same dtype, logarithms of the mixing weights; `-inf` is a weight of zero.
        They are used as they stand: `make_mixture` normalises them, the solver keeps them so.

    >>> import jax.numpy as jnp
    >>> import gemjax as gj
    >>> mixture = gj.Mixture(means=jnp.zeros((2, 3)), log_weights=jnp.log(jnp.array([0.25, 0.75])))
    >>> mixture.weights.round(2).tolist()
    [0.25, 0.75]
    """

    means: jax.Array
    log_weights: jax.Array

    @property
    def weights(self) -> jax.Array:
        """(n,) mixing weights, `exp(log_weights)`."""
        return safe_exp(self.log_weights)


@_record
@dataclasses.dataclass(frozen=True, eq=False)
class Target:
    """A distribution as weighted points: a sample, a quadrature rule of a known density, or a file.

    Attributes:
      points: (N, d), float32 or float64.
      weights: (N,), same dtype, non-negative, summing to one.
      quadrature_error: () expected error of an expectation of the size of the loss, in nats per
        point, for a `population` target; None for a sample, which is exact for what it is.

    >>> import jax.numpy as jnp
    >>> import gemjax as gj
    >>> target = gj.Target(points=jnp.array([[0.0], [2.0]]), weights=jnp.array([0.5, 0.5]))
    >>> float(target.weights @ target.points[:, 0])
    1.0
    """

    points: jax.Array
    weights: jax.Array
    quadrature_error: jax.Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, d)."""
        return self.points.shape


@_record
@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """What one iteration carries to the next.

    Attributes:
      mixture: the current `Mixture`.
      mean_state: state of the mean rule: an optax state, or what a named rule carries, if anything.

    >>> import gemjax as gj
    >>> state = gj.GradientEM().init(gj.make_mixture([[0.0], [1.0]]))
    >>> state.mixture.means.shape
    (2, 1)
    """

    mixture: Mixture
    mean_state: Any


@_record
@dataclasses.dataclass(frozen=True, eq=False)
class Info:
    """What one iteration observed, after its weight step and before its mean step.

    Attributes:
      loss: () −E[log p(x)], nats per point.
      duality_gap: () duality gap of the weights, max_i r_i − 1, nats per point: the loss is at most
        this far above its minimum over all weights at the same means.
      gradient_norm: () Euclidean norm of ∇L with respect to all means.
      num_active: () int32, components whose weight is at least the solver's `active_weight`.

    >>> import gemjax as gj
    >>> solver, target = gj.GradientEM(), gj.empirical([[-1.0], [1.0]])
    >>> _, info = solver.step(solver.init(gj.make_mixture([[0.0]])), target)
    >>> round(float(info.loss), 6)  # log(2π)/2 + 1/2
    1.418939
    """

    loss: jax.Array
    duality_gap: jax.Array
    gradient_norm: jax.Array
    num_active: jax.Array


class Status(enum.IntEnum):
    """How a fit or a weight problem ended. Stored as int32, so that a sweep carries one per seed.

    A fit ends with OK or DIVERGED; `solve_weights` knows all of them.

    >>> import gemjax as gj
    >>> gj.Status(0)
    <Status.OK: 0>
    >>> print(gj.Status.DIVERGED.message)
    an iteration gave a value that is not finite; the fit is frozen at its last finite state;...
    """

    OK = 0
    DIVERGED = 1
    STEP_LIMIT = 2
    STALLED = 3
    IMPOSSIBLE = 4

    @property
    def message(self) -> str:
        """What happened, and what to try next."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.OK: "finished; every value is finite",
    Status.DIVERGED: (
        "an iteration gave a value that is not finite; the fit is frozen at its last finite state; "
        "check the input, or try a smaller step_size"
    ),
    Status.STEP_LIMIT: "the steps ran out above the tolerance; try a larger max_steps",
    Status.STALLED: (
        "rounding leaves no step that lowers the duality gap to the tolerance; try float64"
    ),
    Status.IMPOSSIBLE: "a point of positive weight has no density under any component",
}


@_record
@dataclasses.dataclass(frozen=True, eq=False)
class WeightSolution:
    """What `solve_weights` returns.

    Attributes:
      weights: (n,) on the simplex, exactly zero for inactive components.
      loss: () −Σ_j w_j log Σ_i π_i φ_ij, nats per point; infinite with the
        statuses DIVERGED and IMPOSSIBLE.
      duality_gap: () max_i r_i − 1, nats per point: the loss is at most this far above
        its minimum. Not negative; infinite with the same two statuses.
      num_steps: () int32, Newton steps taken.
      status: () int32, a `Status`.

    >>> import jax.numpy as jnp
    >>> import gemjax as gj
    >>> solution = gj.solve_weights(jnp.zeros((5, 1)))
    >>> solution.weights.tolist(), int(solution.num_steps)
    ([1.0], 0)
    """

    weights: jax.Array
    loss: jax.Array
    duality_gap: jax.Array
    num_steps: jax.Array
    status: jax.Array


@_record
@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """What a fit returns.

    Attributes:
      mixture: the `Mixture` after the last iteration, or the last finite one.
      history: `Info` with a leading axis of length T // record_every: iterations record_every,
        2 record_every, … A diverged run repeats its last finite entry (infinite loss if the first
        iteration failed).
      status: () int32, a `Status`.
      num_insertions: () int32, components that an `Escape` put in; 0 without one.

    After `sweep` each leaf has a leading axis of seeds.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-3.0], [-2.0], [2.0], [3.0]])
    >>> fit = gj.fit(gj.GradientEM(), target, gj.make_mixture([[-1.0], [1.0]]), num_iterations=50)
    >>> fit.history.loss.shape, gj.Status(int(fit.status)).name
    ((50,), 'OK')
    """

    mixture: Mixture
    history: Info
    status: jax.Array
    num_insertions: jax.Array


class DivergedError(RuntimeError):
    """Raised by `raise_for_status`, never by a fit itself.

    >>> import gemjax as gj
    >>> issubclass(gj.DivergedError, RuntimeError)
    True
    """


def raise_for_status(fit: Fit) -> None:
    """Raises `DivergedError` if the fit, or any seed of a sweep, did not end with `Status.OK`.

    Reads the status on the host, so it is not for use under `jit`.

    Args:
      fit: result of `fit` or `sweep`.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-1.0], [1.0]])
    >>> fit = gj.fit(gj.GradientEM(), target, gj.make_mixture([[0.0]]), num_iterations=3)
    >>> gj.raise_for_status(fit)
    """
    status = np.asarray(fit.status)
    bad = np.flatnonzero(status.ravel() != Status.OK)
    if bad.size == 0:
        return
    message = Status(int(status.ravel()[bad[0]])).message
    if status.ndim == 0:
        raise DivergedError(message)
    shown = ", ".join(str(s) for s in bad[:10]) + (", …" if bad.size > 10 else "")
    raise DivergedError(f"{bad.size} of {status.size} seeds ({shown}): {message}")
