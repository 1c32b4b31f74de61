"""Textbook EM."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gemjax._base import checks
from gemjax._base.records import Info, Mixture, State
from gemjax._base.settings import ACTIVE_WEIGHT, setting
from gemjax._em.mean_rules import em_step
from gemjax._em.posterior import effective_share, with_prior
from gemjax._em.prior import Prior
from gemjax._em.solver import moved_to, observed, ready
from gemjax._model.layout import Data
from gemjax._model.statistics import expect
from gemjax._model.stream import Prepared, Source, prepare_for
from gemjax._numerics.finite import safe_log
from gemjax._points.blocks import AUTOMATIC, Blocking, Blocks, Chunks
from gemjax._points.target import Target


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ClassicalEM:
    """Textbook EM; see `classical_em`.

    >>> import gemjax as gj
    >>> isinstance(gj.classical_em(), gj.ClassicalEM)
    True
    """

    active_weight: ArrayLike = setting(ACTIVE_WEIGHT, least=0)
    prior: Prior | None = setting(None, kw_only=True)
    num_points: ArrayLike | None = setting(None, above=0, kw_only=True)
    blocking: Blocking = setting(AUTOMATIC, static=True, kw_only=True)

    def prepare(
        self, target: Source, mixture: Mixture, axis: str | None = None
    ) -> tuple[ClassicalEM, Prepared]:
        """The same solver with checked settings, and the target laid out in blocks."""
        solver = checks.settings(self, mixture.means.dtype)
        if self.prior is not None:
            if not isinstance(self.prior, Prior):
                raise TypeError(f"prior must be a gj.Prior or None, got {self.prior!r}")
            _check_num_points(self.num_points, target)
            solver = dataclasses.replace(solver, prior=self.prior.checked("prior", mixture))
        return solver, prepare_for(mixture, target, self.blocking, axis)

    def init(self, mixture: Mixture) -> State:
        """The state before the first iteration."""
        return State(checks.mixture("mixture", mixture), ())

    def step(self, state: State, target: Data) -> tuple[State, Info]:
        """One iteration; `Info` is that of the mixture before it."""
        solver, blocks = ready(self, target, state.mixture)
        return _iterate(solver, state, blocks)


def _check_num_points(num_points: ArrayLike | None, target: Source) -> None:
    """Only of points in memory that are a sample is their number known."""
    sample = isinstance(target, Target) and target.quadrature_error is None
    if num_points is None and not (sample or isinstance(target, Blocks | Chunks)):
        kind = "population target" if isinstance(target, Target) else type(target).__name__
        raise ValueError(
            f"num_points must be given with a prior for a {kind}, got None; it is how many points "
            "the prior is weighed against"
        )


@functools.partial(jax.jit, inline=True)
def _iterate(solver: ClassicalEM, state: State, blocks: Blocks | Chunks) -> tuple[State, Info]:
    mixture = state.mixture
    statistics = expect(mixture, blocks)
    if solver.prior is None:
        weights, means, fitted = statistics.mass, mixture.means + em_step(statistics), statistics
    else:
        number = solver.num_points
        share = effective_share(blocks) if number is None else 1 / jnp.asarray(number)
        weights, means, fitted = with_prior(solver.prior, share, mixture, statistics)
    moved = moved_to(mixture, means, fitted)
    log_weights = safe_log(weights / jnp.sum(weights))
    info = observed(statistics, mixture, solver.active_weight)
    return State(dataclasses.replace(moved, log_weights=log_weights), ()), info


def classical_em(
    *,
    active_weight: ArrayLike = ACTIVE_WEIGHT,
    prior: Prior | None = None,
    num_points: ArrayLike | None = None,
    blocking: Blocking = AUTOMATIC,
) -> ClassicalEM:
    """Textbook EM (Dempster, Laird and Rubin 1977), same protocol; with a prior, MAP-EM.

    One E-step; then weights π_i = E[ψ_i], means μ_i = E[ψ_i x]/E[ψ_i] and the covariances that the
    family says from the same responsibilities. A component without mass stays where it is, with
    weight 0.

    With a `Prior` the M-step is the mode of the posterior, given the responsibilities (Fraley and
    Raftery 2007). With N_i = N E[ψ_i], x̄_i and S_i the points, mean and scatter of component i:

        π_i ∝ N_i + α_i − 1,    μ_i = (N_i x̄_i + κ_i m_i) / (N_i + κ_i),
        Σ_i = (S_i + N_i κ_i/(N_i + κ_i) (x̄_i − m_i)(x̄_i − m_i)ᵀ + Ψ_i) / (N_i + ν_i + d + 2)

    for "full"; a tied covariance sums the numerators without Ψ, adds it once, and divides by
    N + n + ν + d + 1. Diagonal families take numerators per coordinate and divide by N_i + ν_i + 3,
    or N + n + ν + 2 where shared; round ones take traces, ψ added once, and divide by
    (N_i + 1) d + ν_i + 2, or (N + n) d + ν + 2. A component with no prior of its mean counts one
    less in these. Floors of the family hold as ever.

    An iteration never raises `loss − prior.log_density(mixture) / N`; `Info` and `tolerance` speak
    of the loss alone. A component without points goes to the prior's mode; one with a prior of its
    mean alone has no covariance there, so give `scatter` too, or a floor.

    Args:
      active_weight: () weight from which a component counts as active in `Info`, traced.
      prior: traced, arrays of its own; `jax.vmap` goes over several, `jax.grad` with respect to it.
      num_points: () N, how many points the prior is weighed against, positive, traced. By default
        Kish's effective number 1/Σ w_j² of the target's weights: k for k points of equal weight,
        whatever the padding. A weight of 2 that stands for two points is not known as such, and a
        population, a file or a stream has no number: give it there.
      blocking: static, how the E-step walks over the points.

    Raises (from `prepare`, `fit`, and `step` on a target that is not prepared):
      ValueError, TypeError: bad settings, a prior that does not suit the mixture, `num_points` left
        out where it must be given.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-2.0], [2.0]])
    >>> em = gj.classical_em()
    >>> state, _ = em.step(em.init(gj.make_mixture([[-9.0], [9.0]])), target)
    >>> state.mixture.means.round(4).tolist()
    [[-2.0], [2.0]]
    >>> em = gj.classical_em(prior=gj.Prior(mean=[0.0], mean_strength=1.0))
    >>> state, _ = em.step(em.init(gj.make_mixture([[-9.0], [9.0]])), target)
    >>> state.mixture.means.round(4).tolist()  # one point each, and one at 0
    [[-1.0], [1.0]]
    """
    return ClassicalEM(active_weight, prior=prior, num_points=num_points, blocking=blocking)
