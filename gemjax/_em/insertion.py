"""Out of local optima: a component where one pays, in the slot of one that is not needed."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gemjax._assess.certificate import checked_price, search, starting_places
from gemjax._base import checks as _checks
from gemjax._base.numerics import safe_divide, safe_log
from gemjax._base.records import Mixture, Target
from gemjax._model.statistics import expect
from gemjax._points.blocks import Blocks, Chunks
from gemjax._points.file_target import FileTarget

EVERY = 25  # iterations between looks
_STATIC = {"static": True}


def insert(mixture: Mixture, at: Any, *, weight: Any = None) -> Mixture:
    """Puts a component at a place, in the slot of one that is not needed.

    The number of components stays. The pair of components whose merging costs least, by Ward's
    w_i w_j/(w_i + w_j) |μ_i − μ_j|²/2, is merged: into the barycentre, with both weights. That
    costs nothing where a component has no weight or two coincide. The freed slot, that of the
    lighter one, takes the new component, and the other weights make room in proportion.

    Args:
      mixture: n components in d dimensions, n at least 2.
      at: (d,) where, same dtype; for instance a certificate's `birth_at`.
      weight: () of the new component, in [0, 1), traced; 1/n by default.

    Returns:
      a `Mixture` of n components. Differentiable, but for the choice of the pair.

    Raises:
      ValueError, TypeError: one component only, a place of another dimension, a weight out of
        range.

    >>> import gemjax as gj
    >>> stuck = gj.make_mixture([[0.0], [8.9], [9.1]])
    >>> gj.insert(stuck, [3.0], weight=0.5).means.round(3).tolist()
    [[0.0], [9.0], [3.0]]
    """
    mixture = _checks.mixture("mixture", mixture)
    (n, d), dtype = mixture.means.shape, mixture.means.dtype
    if n < 2:
        raise ValueError("mixture must have at least 2 components: insert merges a pair of them")
    at = _checks.floating("at", at).astype(dtype)
    if at.shape != (d,):
        raise ValueError(f"at must have shape ({d},), got {at.shape}")
    _checks.finite_rows("at", at)
    weight = _checks.scalar("weight", 1 / n if weight is None else weight, dtype, positive=False)
    if _checks.is_concrete(weight) and not weight < 1:
        raise ValueError(f"weight must be less than 1, got {float(weight)}")
    return place(mixture, at, weight)


def place(mixture: Mixture, at: jax.Array, weight: jax.Array) -> Mixture:
    """`insert` without its checks."""
    means, weights = mixture.means, mixture.weights
    n = len(weights)
    square = jnp.sum((means[:, None] - means[None]) ** 2, axis=-1)
    product, total = weights[:, None] * weights[None], weights[:, None] + weights[None]
    cost = jnp.where(jnp.tri(n, dtype=bool), jnp.inf, safe_divide(product, total) * square)
    i, j = jnp.divmod(jnp.argmin(cost), n)
    lighter = jnp.where(weights[i] < weights[j], i, j)
    heavier = i + j - lighter
    share = safe_divide(weights[lighter], weights[i] + weights[j])
    # From the heavier one, so that a component of no weight leaves it exactly where it is.
    merged = means[heavier] + share * (means[lighter] - means[heavier])
    means = means.at[heavier].set(merged).at[lighter].set(at)
    weights = weights.at[heavier].add(weights[lighter]).at[lighter].set(0)
    weights = ((1 - weight) * weights).at[lighter].set(weight)
    return Mixture(means, safe_log(weights))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Escape:
    """What `fit` and `sweep` do about a fit that is stuck: look for a component that pays.

    Every `every` iterations, a fit whose loss fell by at most `stall` since the last time is
    given a `certificate`, unless it has hardly moved since one that found nothing. Where one more
    component pays, it is put in by `insert`, unless the loss, with what the merging costs, would
    fall by less than the price. So the loss still never increases, and a fit ends birth-optimal, to
    the search's best knowledge, as long as it has a slot to spare and iterations to go: it settles
    for `every` or twice that between two insertions, and for `every` after the last.

    Differentiable through: what is inserted, and where, is held fixed.

    Args:
      key: a JAX random key, for the search. All seeds of a sweep share its starting places.
      price: () what a component must gain, nats per point, traced; None is the price of
        `certificate`. 0 goes on to the nonparametric MLE.
      stall: () fall of the loss over `every` iterations, nats per point, up to which a fit is
        looked at, traced. Looking too early costs time and nothing else. With a smaller price
        choose a smaller `stall`, too.
      every: static, iterations between looks, from 1 to half of the fit's. Under `vmap` every look
        takes the time of a certificate, whether a fit stalls or not.
      num_starts, num_steps: static, as for `certificate`.

    >>> import gemjax as gj
    >>> target = gj.population(gj.make_mixture([[-3.0], [3.0], [12.0]]))
    >>> start = gj.make_mixture([[0.0], [11.6], [12.4]])
    >>> solver, escape = gj.GradientEM(1.0, mean_rule="em"), gj.Escape(jax.random.key(0))
    >>> fit = gj.fit(solver, target, start, num_iterations=200, escape=escape)
    >>> sorted(fit.mixture.means[:, 0].round(1).tolist()), int(fit.num_insertions)
    ([-3.0, 3.0, 12.0], 1)
    """

    key: jax.Array
    price: ArrayLike | None = None
    stall: ArrayLike = 1e-3
    every: int = dataclasses.field(default=EVERY, kw_only=True, metadata=_STATIC)
    num_starts: int = dataclasses.field(default=64, kw_only=True, metadata=_STATIC)
    num_steps: int = dataclasses.field(default=50, kw_only=True, metadata=_STATIC)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Exit:
    """A checked `Escape` for one target and one length of run.

    Attributes:
      candidates: (k, d) where to look.
      price, stall: () nats per point; price None is BIC's.
      last: () int32, the last iteration after which something may be inserted.
      every, num_starts, num_steps: static.
    """

    candidates: jax.Array
    price: jax.Array | None
    stall: jax.Array
    last: jax.Array
    every: int = dataclasses.field(metadata=_STATIC)
    num_starts: int = dataclasses.field(metadata=_STATIC)
    num_steps: int = dataclasses.field(metadata=_STATIC)


def prepare(
    escape: Escape, target: Target | FileTarget, num_components: int, num_iterations: int
) -> Exit:
    """Checks an `Escape`, and draws the places where its searches start."""
    if not isinstance(escape, Escape):
        raise TypeError(f"escape must be an Escape, got {escape!r}")
    if num_components < 2:
        raise ValueError("escape needs at least 2 components: it merges a pair to insert one")
    every = _checks.count("escape.every", escape.every)
    if 2 * every > num_iterations:
        raise ValueError(
            f"escape.every must be at most half of num_iterations = {num_iterations}, so that "
            f"there is a look and time to settle after it; got {every}"
        )
    num_starts = _checks.count("escape.num_starts", escape.num_starts)
    dtype = target.dtype if isinstance(target, FileTarget) else target.points.dtype
    return Exit(
        candidates=starting_places(escape.key, target, num_starts),
        price=checked_price("escape.price", escape.price, target, dtype),
        stall=_checks.scalar("escape.stall", escape.stall, dtype, positive=False),
        last=jnp.int32(num_iterations - every),
        every=every,
        num_starts=num_starts,
        num_steps=_checks.count("escape.num_steps", escape.num_steps),
    )


def leave(way: Exit, mixture: Mixture, blocks: Blocks | Chunks) -> tuple[Mixture, jax.Array]:
    """The mixture with a component that pays for itself and the merging, and whether there is one.

    Without one it stays as it is. What is inserted is a choice, and held fixed under
    differentiation.
    """
    mixture_now, blocks, way = jax.lax.stop_gradient((mixture, blocks, way))
    found = search(
        mixture_now,
        blocks,
        way.candidates,
        way.price,
        num_starts=way.num_starts,
        num_steps=way.num_steps,
    )
    new = place(mixture, found.birth_at, found.birth_weight)
    gain = found.loss - expect(jax.lax.stop_gradient(new), blocks).loss
    pays = (gain > found.birth_price) & ~found.birth_optimal
    return jax.tree.map(lambda a, b: jnp.where(pays, a, b), new, mixture), pays
