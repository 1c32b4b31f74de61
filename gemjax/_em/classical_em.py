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
from gemjax._em.solver import moved_to, observed, ready
from gemjax._model.layout import Data
from gemjax._model.statistics import expect
from gemjax._model.stream import Prepared, Source, prepare_for
from gemjax._numerics.finite import safe_log
from gemjax._points.blocks import AUTOMATIC, Blocking, Blocks, Chunks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ClassicalEM:
    """Textbook EM; see `classical_em`.

    >>> import gemjax as gj
    >>> isinstance(gj.classical_em(), gj.ClassicalEM)
    True
    """

    active_weight: ArrayLike = setting(ACTIVE_WEIGHT, least=0)
    blocking: Blocking = setting(AUTOMATIC, static=True, kw_only=True)

    def prepare(
        self, target: Source, mixture: Mixture, axis: str | None = None
    ) -> tuple[ClassicalEM, Prepared]:
        """The same solver with checked settings, and the target laid out in blocks."""
        solver = checks.settings(self, mixture.means.dtype)
        return solver, prepare_for(mixture, target, self.blocking, axis)

    def init(self, mixture: Mixture) -> State:
        """The state before the first iteration."""
        return State(checks.mixture("mixture", mixture), ())

    def step(self, state: State, target: Data) -> tuple[State, Info]:
        """One iteration; `Info` is that of the mixture before it."""
        solver, blocks = ready(self, target, state.mixture)
        return _iterate(solver, state, blocks)


@functools.partial(jax.jit, inline=True)
def _iterate(solver: ClassicalEM, state: State, blocks: Blocks | Chunks) -> tuple[State, Info]:
    mixture = state.mixture
    statistics = expect(mixture, blocks)
    moved = moved_to(mixture, mixture.means + em_step(statistics), statistics)
    log_weights = safe_log(statistics.mass / jnp.sum(statistics.mass))
    info = observed(statistics, mixture, solver.active_weight)
    return State(dataclasses.replace(moved, log_weights=log_weights), ()), info


def classical_em(
    *, active_weight: ArrayLike = ACTIVE_WEIGHT, blocking: Blocking = AUTOMATIC
) -> ClassicalEM:
    """Textbook EM (Dempster, Laird and Rubin 1977), same protocol.

    One E-step; then weights π_i = E[ψ_i], means μ_i = E[ψ_i x]/E[ψ_i] and the covariances that the
    family says from the same responsibilities. A component without mass stays where it is, with
    weight 0.

    Args:
      active_weight: () weight from which a component counts as active in `Info`, traced.
      blocking: static, how the E-step walks over the points.

    >>> import gemjax as gj
    >>> target = gj.empirical([[-2.0], [2.0]])
    >>> em = gj.classical_em()
    >>> state, _ = em.step(em.init(gj.make_mixture([[-9.0], [9.0]])), target)
    >>> state.mixture.means.round(4).tolist()
    [[-2.0], [2.0]]
    """
    return ClassicalEM(active_weight, blocking=blocking)
