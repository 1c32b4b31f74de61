"""What a covariance family answers: all that the rest of the package asks about a Gaussian's shape.

Every Gaussian family has log φ_i(x) = η_i · f(x) + b(x) − (d/2) log 2π, "natural parameters times
features", with a part b that all components share. One product and one exponential per block of
points then serve them all.
"""

from __future__ import annotations

import math
from typing import Self

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
    along a leading axis n. What is not overridden holds for a covariance that is known and shared.

    >>> import gemjax as gj
    >>> isinstance(gj.make_mixture([[0.0]]).covariance, gj.covariance.Covariance)
    True
    """

    @staticmethod
    def features(points: jax.Array) -> jax.Array:
        """(…, F, C) f(x) of points (…, d, C): their coordinates first, a one last."""
        raise NotImplementedError

    @staticmethod
    def base(points: jax.Array) -> jax.Array:
        """(…, C) b(x) of points (…, d, C)."""
        raise NotImplementedError

    def natural(self, means: jax.Array) -> jax.Array:
        """(n, F) η_i of components with means (n, d)."""
        raise NotImplementedError

    def whiten(self, vectors: jax.Array) -> jax.Array:
        """(n, d) Σ_i⁻¹ v_i for vectors (n, d)."""
        raise NotImplementedError

    def colour(self, noise: jax.Array, component: jax.Array) -> jax.Array:
        """Σ_i^{1/2} z for noise z (…, d) and the numbers i of components (…)."""
        raise NotImplementedError

    def reach(self, means: jax.Array, radius: jax.Array) -> jax.Array:
        """() a bound on |log φ_i(x) − log φ_k(x)| over pairs and over |x| <= radius.

        By default from the features' largest values there, for features that are products of
        coordinates.
        """
        d = means.shape[1]
        most = jnp.abs(self.features(jnp.broadcast_to(radius, (d, 1)))[:, 0])
        natural = self.natural(means)
        return jnp.sum((jnp.max(natural, axis=0) - jnp.min(natural, axis=0)) * most)

    def maximise(self, means: jax.Array, mass: jax.Array, moments: jax.Array) -> Self:
        """The family's parameters that fit best at given means (n, d): EM's step for them.

        From mass (n,) E[ψ_i] and moments (n, F) E[ψ_i f(x)]; a component without mass keeps its
        own. By default they are known, and stay.
        """
        return self

    def merge_costs(self, means: jax.Array, weights: jax.Array) -> jax.Array:
        """(n, n) what merging two components costs, nats per point.

        By default Ward's w_i w_j/(w_i + w_j) |μ_i − μ_j|²/2 in the metric of the covariance.
        """
        product, total = weights[:, None] * weights[None], weights[:, None] + weights[None]
        apart = means[:, None] - means[None]
        square = jnp.sum(apart * jax.vmap(self.whiten, 1, 1)(apart), axis=-1)
        return 0.5 * safe_divide(product, total) * square

    def merge_and_insert(
        self, means: jax.Array, weights: jax.Array, kept: jax.Array, freed: jax.Array
    ) -> Self:
        """The family after components number `kept` and `freed` were merged, and a new one put in
        the place of the latter; by default nothing changes."""
        return self

    def candidates(self, n: int) -> Self:
        """The covariance of n candidates for one more component."""
        return self

    def num_parameters(self, n: int, d: int) -> int:
        """Free parameters of n components, beside means and weights; 0 by default: all known."""
        return 0
