"""Out of local optima: a component where one pays, in the slot of one that is not needed."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gemjax._assess.certificate import certify, checked_price, starting_points
from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._base.settings import setting
from gemjax._families.covariance import Covariance
from gemjax._model.statistics import expect
from gemjax._numerics.finite import safe_divide, safe_log
from gemjax._numerics.pytree import record
from gemjax._points.blocks import Blocks, Chunks
from gemjax._points.target import checked_target


def insert(
    mixture: Mixture, at: Any, *, weight: Any = None, covariance: Covariance | None = None
) -> Mixture:
    """Puts a component at a place, in the slot of one that is not needed.

    The number of components stays. The pair of components whose merging costs least, by Ward's
    w_i w_j/(w_i + w_j) |μ_i − μ_j|²/2 (or as the covariance family says), is merged: into the
    barycentre, with both weights. That costs nothing where a component has no weight or two
    coincide. The freed slot, that of the lighter one, takes the new component, and the other
    weights make room in proportion.

    Args:
      mixture: n components in d dimensions, n at least 2.
      at: (d,) where, same dtype; for instance a certificate's `birth_at`.
      weight: () of the new component, in [0, 1), traced; 1/n by default.
      covariance: of the new component, of the mixture's family with one component; for instance
        a certificate's `birth_covariance`. By default the mean of the others', and always what all
        share where they do.

    Returns:
      a `Mixture` of n components. Differentiable, but for the choice of the pair.

    Raises:
      ValueError, TypeError: one component only, a place of another dimension, a weight out of
        range, a covariance of another family.

    >>> import gemjax as gj
    >>> stuck = gj.make_mixture([[0.0], [8.9], [9.1]])
    >>> gj.insert(stuck, [3.0], weight=0.5).means.round(3).tolist()
    [[0.0], [9.0], [3.0]]
    """
    mixture = checks.mixture("mixture", mixture)
    (n, d), dtype = mixture.means.shape, mixture.means.dtype
    if n < 2:
        raise ValueError("mixture must have at least 2 components: insert merges a pair of them")
    at = arrays.floating("at", at).astype(dtype)
    if at.shape != (d,):
        raise ValueError(f"at must have shape ({d},), got {at.shape}")
    arrays.finite_rows("at", at)
    weight = arrays.scalar("weight", 1 / n if weight is None else weight, dtype, least=0)
    if arrays.is_concrete(weight) and not weight < 1:
        raise ValueError(f"weight must be less than 1, got {float(weight)}")
    if covariance is None:
        covariance = mixture.covariance.candidates(1)
    if type(covariance) is not type(mixture.covariance):
        raise TypeError(
            f"covariance must be {type(mixture.covariance).__name__}, as the mixture's, "
            f"got {type(covariance).__name__}"
        )
    covariance.check("covariance", 1, d)
    covariance = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), covariance)
    return merge_and_insert(mixture, at, weight, covariance)


@functools.partial(jax.jit, inline=True)
def merge_and_insert(
    mixture: Mixture, at: jax.Array, weight: jax.Array, one: Covariance
) -> Mixture:
    """`insert` without its checks."""
    means, weights = mixture.means, mixture.weights
    n = len(weights)
    costs = mixture.covariance.merge_costs(means, weights)
    i, j = jnp.divmod(jnp.argmin(jnp.where(jnp.tri(n, dtype=bool), jnp.inf, costs)), n)
    lighter = jnp.where(weights[i] < weights[j], i, j)
    heavier = i + j - lighter
    covariance = mixture.covariance.merge_and_insert(means, weights, heavier, lighter)
    covariance = covariance.put(lighter, one)
    share = safe_divide(weights[lighter], weights[i] + weights[j])
    # From the heavier one, so that a component of no weight leaves it exactly where it is.
    merged = means[heavier] + share * (means[lighter] - means[heavier])
    means = means.at[heavier].set(merged).at[lighter].set(at)
    weights = weights.at[heavier].add(weights[lighter]).at[lighter].set(0)
    weights = ((1 - weight) * weights).at[lighter].set(weight)
    return Mixture(means, safe_log(weights), covariance)


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Escape:
    """What `fit` and `sweep` do about a fit that is stuck: look for a component that pays.

    Every `every` iterations, a fit whose loss fell by at most `stall` since the last time is
    given a `certificate`, unless it has hardly moved since one that found nothing. Where one more
    component pays, it is put in by `insert`, unless the loss, with what the merging costs, would
    fall by less than the price. So the loss still never increases, and a fit ends birth-optimal, to
    the search's best knowledge, as long as it has a slot to spare and iterations to go: it settles
    for `every` or twice that between two insertions, and for `every` after the last.

    Differentiable through: what is inserted, and where, is held fixed. A fit that goes on remembers
    where a search found nothing; to have it searched by another price, start from `fit.mixture`.

    Args:
      key: a JAX random key, for the search. All seeds of a sweep share its starting places.
      price: () what a component must gain, nats per point, traced; None is the price of
        `certificate`. 0 goes on to the nonparametric MLE.
      stall: () fall of the loss over `every` iterations, nats per point, up to which a fit is
        looked at, traced. Looking too early costs time and nothing else. With a smaller price
        choose a smaller `stall`, too.
      last: () the last iteration of the fit after which something may be inserted, traced; by
        default `every` before the end of the call, which a fit that goes on needs to know.
      every: static, iterations between checks, from 1 to half of the call's. Under `vmap` every
        check takes the time of a certificate, whether a fit stalls or not.
      num_starts, num_steps: static, as for `certificate`.

    >>> import gemjax as gj
    >>> target = gj.population(gj.make_mixture([[-3.0], [3.0], [12.0]]))
    >>> start = gj.make_mixture([[0.0], [11.6], [12.4]])
    >>> solver, escape = gj.GradientEM(1.0, mean_rule="em"), gj.Escape(jax.random.key(0))
    >>> fit = gj.fit(solver, target, start, num_iterations=200, escape=escape)
    >>> sorted(fit.mixture.means[:, 0].round(1).tolist()), int(fit.num_insertions)
    ([-3.0, 3.0, 12.0], 1)
    """

    key: Any
    price: ArrayLike | None = setting(None, least=0)
    stall: ArrayLike = setting(1e-3, least=0)
    last: ArrayLike | None = dataclasses.field(default=None, kw_only=True)
    every: int = setting(25, least=1, static=True, kw_only=True)
    num_starts: int = setting(64, least=1, static=True, kw_only=True)
    num_steps: int = setting(50, least=1, static=True, kw_only=True)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PreparedEscape:
    """A checked `Escape` for one target and one length of run.

    Attributes:
      points: (k, d) where to search.
      escape: with every setting an array, and its key used up; its price None is BIC's.
    """

    points: jax.Array
    escape: Escape


def prepare_escape(
    escape: Escape | None,
    target: Any,
    num_components: int,
    end: Any,
    num_iterations: int,
) -> PreparedEscape | None:
    """Checks an `Escape`, if there is one, and draws the points where its searches start.

    `end` () is the number of the last iteration of the call, `num_iterations` how many it has.
    """
    if escape is None:
        return None
    if not isinstance(escape, Escape):
        raise TypeError(f"escape must be an Escape, got {escape!r}")
    target = checked_target("target, with an escape,", target, values=False)
    if num_components < 2:
        raise ValueError("escape needs at least 2 components: it merges a pair to insert one")
    escape = checks.settings(escape, target.dtype, "escape.")
    if escape.last is None and 2 * escape.every > num_iterations:
        raise ValueError(
            f"escape.every must be at most half of num_iterations = {num_iterations}, so that "
            f"there is a check and time to settle after it; got {escape.every}"
        )
    last = end - escape.every if escape.last is None else escape.last
    checks.key("escape.key", escape.key)
    points = starting_points(escape.key, target, escape.num_starts)
    escape = dataclasses.replace(
        escape,
        key=None,
        price=checked_price("escape.price", escape.price, target),
        last=arrays.integer("escape.last", last),
    )
    return PreparedEscape(points, escape)


def try_insert(
    prepared: PreparedEscape, mixture: Mixture, blocks: Blocks | Chunks
) -> tuple[Mixture, jax.Array]:
    """The mixture with a component that pays for itself and the merging, and whether there is one.

    Without one it stays as it is. What is inserted is a choice, and held fixed under
    differentiation.
    """
    mixture_now, blocks, prepared = jax.lax.stop_gradient((mixture, blocks, prepared))
    escape = prepared.escape
    found = certify(
        mixture_now,
        blocks,
        prepared.points,
        escape.price,  # type: ignore[arg-type]
        num_starts=escape.num_starts,
        num_steps=escape.num_steps,
    )
    new = merge_and_insert(mixture, found.birth_at, found.birth_weight, found.birth_covariance)
    gain = found.loss - expect(jax.lax.stop_gradient(new), blocks).loss
    pays = (gain > found.birth_price) & ~found.birth_optimal
    return jax.tree.map(lambda a, b: jnp.where(pays, a, b), new, mixture), pays
