"""What a covariance family answers: all that the rest of the package asks about a Gaussian's shape.

Every Gaussian family has log φ_i(x) = η_i · f(x) + b(x) − (d/2) log 2π, "natural parameters times
features", with a part b that all components share. One product and one exponential per block of
points then serve them all.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from gemjax._numerics.finite import safe_divide
from gemjax._numerics.pytree import Node


def log_normaliser(d: int) -> float:
    """(d/2) log 2π: the part of a log density that is left out until the end."""
    return 0.5 * d * math.log(2 * math.pi)


class Covariance(Node):
    """A covariance family: derive a frozen dataclass from it to add one, which is then a pytree.

    Its leaves are parameters, of the means' dtype: shared by all components, or one per component
    along a leading axis n (their names in `per_component`). What is not overridden holds for a
    covariance that is known and shared.

    >>> import gemjax as gj
    >>> isinstance(gj.make_mixture([[0.0]]).covariance, gj.covariance.Covariance)
    True
    """

    has_differences: ClassVar[bool] = False  # whether `differences` is there
    per_component: ClassVar[tuple[str, ...]] = ()
    # At most one name: parameters that are a covariance times a factor if multiplied by it.
    # For a `gj.Prior`: of the array of one covariance, 0 for a variance (), 1 for variances (d,),
    # 2 for a matrix (d, d); None where the covariance is known. The products among the features
    # or in `squares` are then |x|², x_a², or x_a x_b with a <= b.
    covariance_ndim: ClassVar[int | None] = None

    @staticmethod
    def features(points: jax.Array) -> jax.Array:
        """(…, F, C) f(x) of points (…, d, C): their coordinates first, a one last."""
        raise NotImplementedError

    @staticmethod
    def base(points: jax.Array) -> jax.Array:
        """(…, C) what is kept of points (…, d, C) for b(x): b itself where it has no parameters."""
        raise NotImplementedError

    def shared(self, points: jax.Array, base: jax.Array) -> jax.Array:
        """(…, C) b(x) of points (…, d, C), whose `base` is known."""
        return base

    @staticmethod
    def squares(points: jax.Array) -> jax.Array | None:
        """(…, G, C) products g(x) of coordinates whose sum over components and points `maximise`
        wants; None if none."""
        return None

    def natural(self, means: jax.Array) -> jax.Array:
        """(n, F) η_i of components with means (n, d)."""
        raise NotImplementedError

    def differences(self, means: jax.Array, features: jax.Array) -> jax.Array:
        """(n, C) η_i · f(x) + b(x) from the differences x − μ_i, for points so spread that the
        products lose their digits: large numbers that cancel."""
        raise NotImplementedError

    def moments_of(self, share: jax.Array, apart: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """(n, F − 1) Σ share · f(x − μ_i) without the one, and (n, G) Σ share · g(x − μ_i), from
        shares (n, C) and differences x − μ_i (n, d, C)."""
        features, squares = self.features(apart)[:, :-1], self.squares(apart)
        total = None if squares is None else jnp.sum(share[:, None] * squares, axis=2)
        return jnp.sum(share[:, None] * features, axis=2), total

    def whiten(self, vectors: jax.Array) -> jax.Array:
        """(n, d) Σ_i⁻¹ v_i for vectors (n, d)."""
        raise NotImplementedError

    def colour(self, noise: jax.Array, component: jax.Array) -> jax.Array:
        """Σ_i^{1/2} z for noise z (…, d) and the numbers i of components (…)."""
        raise NotImplementedError

    def matrices(self, n: int, d: int) -> jax.Array:
        """(n, d, d) Σ_i of n components."""
        raise NotImplementedError

    def least_deviation(self) -> jax.Array | float:
        """() a standard deviation that none of a component in any direction is below."""
        return 1.0

    def reach(self, means: jax.Array, radius: jax.Array) -> jax.Array:
        """() a bound on |log φ_i(x) − log φ_k(x)| over pairs and over |x| <= radius.

        By default from the features' largest values there, for features that are products of
        coordinates.
        """
        d = means.shape[1]
        most = jnp.abs(self.features(jnp.broadcast_to(radius, (d, 1)))[:, 0])
        natural = self.natural(means)
        return jnp.sum((jnp.max(natural, axis=0) - jnp.min(natural, axis=0)) * most)

    def maximise(
        self, means: jax.Array, mass: jax.Array, moments: jax.Array, total: jax.Array | None = None
    ) -> Self:
        """The family's parameters that fit best at given means (n, d): EM's step for them.

        From mass (n,) E[ψ_i], moments (n, F) E[ψ_i f(x)], and, in a family with `squares`, the
        total (G,) Σ_i E[ψ_i g(x)], all about one origin per component, as the means are. A
        component without mass keeps its own. By default they are known, and stay.
        """
        return self

    def floored(self, n: int) -> jax.Array:
        """(n,) bool, the components that a floor keeps from being narrower."""
        return jnp.zeros((n,), bool)

    def merge_costs(self, means: jax.Array, weights: jax.Array) -> jax.Array:
        """(n, n) what merging two components costs, nats per point: an upper bound of the loss's
        rise.

        By default Ward's w_i w_j/(w_i + w_j) |μ_i − μ_j|²/2 in the metric of the covariance.
        """
        return 0.5 * shares(weights) * self.squared_distances(means)

    def squared_distances(self, means: jax.Array) -> jax.Array:
        """(n, n) |μ_i − μ_j|² in the metric of a covariance that all share."""
        apart = means[:, None] - means[None]
        return jnp.sum(apart * jax.vmap(self.whiten, 1, 1)(apart), axis=-1)

    def merge(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        """The family after components number `kept` and `freed` were merged into the former's slot,
        with the moments of the pair; by default nothing changes."""
        return self

    def merge_and_insert(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        """The same, with a candidate for a new component in the place of the latter."""
        return self.merge(means, weights, kept, freed).put(freed, self.candidates(1))

    @property
    def own(self) -> Any:
        """(n, …) the parameters of each component's own covariance; None where all have one."""
        return getattr(self, self.per_component[0]) if self.per_component else None

    def with_own(self, spread: Any) -> Self:
        """The family with such parameters, and what else it has."""
        return dataclasses.replace(self, **{self.per_component[0]: spread})  # type: ignore[type-var]

    def scaled(self, factor: jax.Array) -> Self:
        """The family with each component's own covariance times a factor (n,), none narrower than
        the floor."""
        spread = factor.reshape(-1, *(1,) * (self.own.ndim - 1)) * self.own
        return self.with_own(self.at_floor(spread))

    def at_floor(self, spread: jax.Array) -> jax.Array:
        """(…) parameters of own covariances, none narrower than the floor; by default there is
        none."""
        return spread

    def divergence(self, other: Self, d: int) -> jax.Array:
        """(n,) ½ tr(Σ Σ'⁻¹ + Σ' Σ⁻¹) − d, the symmetrised Kullback-Leibler divergence of each
        component's covariance from another's (Jeffreys 1946), where they have their own: by how
        much EM's step for it is known to gain. By default 0: a search then ends with the means'."""
        return jnp.zeros(())

    def with_floor(self, least: jax.Array) -> Self:
        """The family, in which no variance is fitted below `least` () either."""
        floor = getattr(self, "floor", None)
        if floor is None:
            return self
        floor = jnp.maximum(jnp.asarray(floor, least.dtype), least)
        return dataclasses.replace(self, floor=floor)  # type: ignore[type-var]

    def candidates(self, n: int) -> Self:
        """The covariance of n candidates for one more component; by default the components' mean,
        which is that of all where it is shared."""
        mean = {
            name: jnp.broadcast_to(jnp.mean(leaf, axis=0)[None], (n, *leaf.shape[1:]))
            for name in self.per_component
            for leaf in [getattr(self, name)]
        }
        return dataclasses.replace(self, **mean) if mean else self  # type: ignore[type-var]

    def take(self, numbers: Any) -> Self:
        """The covariance of some of the components, by their numbers (k,)."""
        some = {name: getattr(self, name)[numbers] for name in self.per_component}
        return dataclasses.replace(self, **some) if some else self  # type: ignore[type-var]

    def put(self, number: jax.Array, one: Self) -> Self:
        """The same with the covariance of `one` component in a slot; what is shared stays."""
        some = {
            name: getattr(self, name).at[number].set(getattr(one, name)[0])
            for name in self.per_component
        }
        return dataclasses.replace(self, **some) if some else self  # type: ignore[type-var]

    def to_free(self) -> Any:
        """Parameters that may be any real numbers, as a tree: logarithms, Cholesky factors."""
        return ()

    def from_free(self, free: Any) -> Self:
        """The family with such parameters."""
        return self

    def num_parameters(self, n: int, d: int) -> int:
        """Free parameters of n components, beside means and weights; 0 by default: all known."""
        return 0

    def check(self, name: str, n: int, d: int) -> None:
        """Raises ValueError where the parameters do not suit n components in d dimensions."""


def shares(weights: jax.Array) -> jax.Array:
    """(n, n) w_i w_j/(w_i + w_j)."""
    return safe_divide(weights[:, None] * weights[None], weights[:, None] + weights[None])
