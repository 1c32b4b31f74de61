"""The records that travel: what is fitted, what a fit carries, and what comes back.

Every record is a frozen dataclass and a pytree, also to `jax.export`. No constructor checks
anything, because JAX rebuilds pytrees with tracers and placeholders inside; the checks are at the
public door (`checks.py`).
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._families.covariance import Covariance
from gemjax._families.identity import Identity
from gemjax._numerics.finite import safe_exp
from gemjax._numerics.pytree import record


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of n Gaussians in d dimensions.

    Attributes:
      means: (n, d), float32 or float64, the centres of the components.
      log_weights: (n,), same dtype, logarithms of the mixing weights; `-inf` is a weight of zero.
        They are used as they stand: `make_mixture` normalises them, the solver keeps them so.
      covariance: a `gj.covariance.Covariance`, the family of the components' covariances and its
        parameters; identity by default.

    >>> import jax.numpy as jnp
    >>> import gemjax as gj
    >>> mixture = gj.Mixture(means=jnp.zeros((2, 3)), log_weights=jnp.log(jnp.array([0.25, 0.75])))
    >>> mixture.weights.round(2).tolist(), mixture.covariance
    ([0.25, 0.75], Identity())
    """

    means: jax.Array
    log_weights: jax.Array
    covariance: Covariance = Identity()

    @property
    def weights(self) -> jax.Array:
        """(n,) mixing weights, `exp(log_weights)`."""
        return safe_exp(self.log_weights)


@record
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


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Info:
    """What one iteration observed, after its weight step and before its mean step.

    Attributes:
      loss: () −E[log p(x)], nats per point.
      duality_gap: () of the weights, max_i r_i − 1, nats per point: the loss is at most
        this far above its minimum over all weights at the same means.
      gradient_norm: () Euclidean norm of ∇L with respect to all means.
      num_active: () int32, components whose weight is at least the solver's `active_weight`.
      num_floored: () int32, of these, those that the covariance family's floor keeps from being
        narrower; 0 for a covariance that is known.

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
    num_floored: jax.Array = dataclasses.field(default_factory=lambda: jnp.int32(0))


class Status(enum.IntEnum):
    """How a fit or a weight problem ended. Stored as int32, so that a sweep carries one per seed.

    A fit ends with OK, CONVERGED, FLOORED, IMPRECISE or DIVERGED, and `solve_weights` with OK,
    DIVERGED,
    STEP_LIMIT, STALLED or IMPOSSIBLE.

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
    CONVERGED = 5
    IMPRECISE = 6
    FLOORED = 7

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
    Status.CONVERGED: "the loss changed by less than the tolerance in one iteration",
    Status.FLOORED: (
        "finished, but components with weight are as narrow as the floor of the variances allows: "
        "they sit on a few points, on repeated values, or on a subspace; `Info.num_floored` counts "
        "them. Try fewer components, a shared covariance, a higher floor, or a prior"
    ),
    Status.IMPRECISE: (
        "finished, but the points are spread over so many standard deviations of the noise that "
        "losses and responsibilities have lost their digits; take float64, or centre the points, "
        "or make the target outside of jit"
    ),
}


@record
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


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Monitor:
    """What decides whether a fit stops, or is searched for a way out.

    Attributes:
      iteration: () int32, iterations of the loop, those of a frozen fit too.
      change: () |change of the loss| in the last iteration, nats per point.
      checked_loss: () the loss when it was last checked for a stall, or the first loss.
      searched_loss: () the loss when a search last found nothing that pays; infinite since the
        last insertion, and before.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-1.0], [1.0]])
    >>> fit = gj.fit(gj.GradientEM(), target, gj.make_mixture([[0.0]]), num_iterations=3)
    >>> int(fit.monitor.iteration)
    3
    """

    iteration: jax.Array
    change: jax.Array
    checked_loss: jax.Array
    searched_loss: jax.Array


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A fit, as far as it has come: what `fit` and `sweep` return, and go on from.

    It holds all that the loop carries, so that 10 iterations and 10 more are 20. After `sweep` each
    leaf has a leading axis of seeds.

    Attributes:
      state: the solver's `State` after the last iteration, or the last finite one.
      info: `Info` of the last iteration; infinite before the first.
      history: `Info` with a leading axis: iterations record_every, 2 record_every, … of each call.
        A fit that has stopped repeats its last entry.
      status: () int32, a `Status`.
      num_iterations: () int32, iterations done; a fit that has stopped does none.
      num_insertions: () int32, components that an `Escape` put in; 0 without one.
      monitor: what decides whether it stops.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-3.0], [-2.0], [2.0], [3.0]])
    >>> fit = gj.fit(gj.GradientEM(), target, gj.make_mixture([[-1.0], [1.0]]), num_iterations=50)
    >>> fit.history.loss.shape, gj.Status(int(fit.status)).name
    ((50,), 'OK')
    """

    state: Any
    info: Info
    history: Any
    status: jax.Array
    num_iterations: jax.Array
    num_insertions: jax.Array
    monitor: Monitor

    @property
    def mixture(self) -> Mixture:
        """The `Mixture` after the last iteration, or the last finite one."""
        return self.state.mixture

    @property
    def loss(self) -> jax.Array:
        """() of the last iteration, before its mean step; nats per point."""
        return self.info.loss


class DivergedError(RuntimeError):
    """Raised by `raise_for_status`, never by a fit itself.

    >>> import gemjax as gj
    >>> issubclass(gj.DivergedError, RuntimeError)
    True
    """


def raise_for_status(fit: Fit) -> None:
    """Raises `DivergedError` if the fit, or any seed of a sweep, is not to be trusted: it DIVERGED
    or is IMPRECISE.

    Reads the status on the host, so it is not for use under `jit`.

    Args:
      fit: result of `fit` or `sweep`.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-1.0], [1.0]])
    >>> fit = gj.fit(gj.GradientEM(), target, gj.make_mixture([[0.0]]), num_iterations=3)
    >>> gj.raise_for_status(fit)
    """
    status = np.asarray(fit.status)
    bad = np.flatnonzero(~np.asarray(succeeded(status)).ravel())
    if bad.size == 0:
        return
    message = Status(int(status.ravel()[bad[0]])).message
    if status.ndim == 0:
        raise DivergedError(message)
    shown = ", ".join(str(s) for s in bad[:10]) + (", …" if bad.size > 10 else "")
    raise DivergedError(f"{bad.size} of {status.size} seeds ({shown}): {message}")


def succeeded(status: Any) -> Any:
    """Where a fit ended well: OK, CONVERGED or FLOORED."""
    good = (Status.OK, Status.CONVERGED, Status.FLOORED)
    return jnp.isin(jnp.asarray(status), jnp.asarray([int(s) for s in good], jnp.int32))
