"""Expectations of Hermite tensors: Σ π_i μ_i^⊗k under a mixture with identity covariance, without
a trace of the noise, and under weighted points an estimate of that."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._families.identity import Identity
from gemjax._model.hermite_tensors import (
    last_two,
    scaled_polynomial,
    tensor_order,
    without_traces,
)
from gemjax._numerics.subspace import mean_and_covariance, principal
from gemjax._points.target import Target, in_memory
from gemjax._points.walk import sum_points

_NUMBERS = 2**22  # most numbers in a block of points

times = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def expectation(order: int, distribution: Mixture | Target) -> jax.Array:
    """E[He_k(x)] as a tensor: Σ π_i μ_i^⊗k of a mixture, Σ w_j He_k(x_j) of a target.

    Time O(n d^k) or O(N d^k), memory O(d^k). Differentiable to every order.

    Args:
      order: static, k, at least 0, with max(d, 2)^k at most 2^20.
      distribution: a `Mixture` with identity covariance, or a `Target` in memory; traced. In
        standard deviations of the noise; the entries have their k-th power as unit.

    Returns:
      (d, …, d) with k axes, symmetric.

    Raises:
      ValueError: an order that is negative or makes too large a tensor; values that are not finite.
      TypeError: anything but a mixture with identity covariance, or a target in memory.

    >>> import gemjax as gj
    >>> gj.hermite.expectation(2, gj.make_mixture([[1.0, 0.0], [0.0, 3.0]])).tolist()
    [[0.5, 0.0], [0.0, 4.5]]
    """
    distribution = checked_distribution("distribution", distribution)
    return _expectation(tensor_order(order, space(distribution)[0]), distribution)


def along(order: int, distribution: Mixture | Target, directions: Any) -> jax.Array:
    """E[⟨He_k(x), v⊗…⊗v⟩] for vectors v, without a tensor.

    Σ π_i (μ_i·v)^k of a mixture; Σ w_j |v|^k He_k(x_j·v / |v|) of a target, by a recursion in which
    |v|² stands for 1, so that v = 0 is no exception. Time O(n d K) or O(N K (d + k)), memory O(K)
    beyond the data. Differentiable to every order.

    Args:
      order: static, k, at least 0.
      distribution: a `Mixture` with identity covariance, or a `Target` in memory, in standard
        deviations of the noise; traced.
      directions: (K, d), K vectors of any length, or (K,) for d = 1; same dtype, traced.

    Returns:
      (K,).

    Raises:
      ValueError: a negative order; dimensions that disagree; values that are not finite.
      TypeError: dtypes that disagree; anything but a mixture with identity covariance, or a target
        in memory.

    >>> import gemjax as gj
    >>> mixture = gj.make_mixture([[2.0, 0.0], [0.0, 1.0]])
    >>> gj.hermite.along(3, mixture, [[1.0, 0.0], [1.0, 1.0]]).tolist()
    [4.0, 4.5]
    """
    order = checks.count("order", order, least=0)
    distribution = checked_distribution("distribution", distribution)
    directions = arrays.points("directions", directions)
    found = (directions.shape[1], directions.dtype)
    same_spaces("distribution", space(distribution), "directions", found)
    return along_of(order, distribution, directions)


def principal_subspace(distribution: Mixture | Target, rank: int) -> jax.Array:
    """The directions in which the means vary most: top eigenvectors of E[He_2(x − E[x])].

    About the distribution's own mean, that is its covariance less the identity: Σ π_i (μ_i − E[x])
    (μ_i − E[x])ᵀ. With `rank` = m − 1 they span the differences of m means (Vempala and Wang 2004).
    Differentiable as a subspace, so functions of V Vᵀ, to second order: that needs a gap between
    the eigenvalues kept and dropped, and no other. Time O(n d² + d³) or O(N d² + d³).

    Args:
      distribution: a `Mixture` with identity covariance, or a `Target` in memory; traced.
      rank: static, from 1 to d.

    Returns:
      (d, rank) orthonormal columns V, that of the largest eigenvalue first; their signs, and their
      order where eigenvalues tie, mean nothing.

    Raises:
      ValueError: a rank beyond d; values that are not finite.
      TypeError: anything but a mixture with identity covariance, or a target in memory.

    >>> import gemjax as gj
    >>> mixture = gj.make_mixture([[9.0, -2.0], [9.0, 2.0]])
    >>> abs(gj.hermite.principal_subspace(mixture, 1)).round(6).tolist()
    [[0.0], [1.0]]
    """
    distribution = checked_distribution("distribution", distribution)
    rank, d = checks.count("rank", rank), space(distribution)[0]
    if rank > d:
        raise ValueError(f"rank must be at most the dimension d = {d}, got {rank}")
    return _principal_subspace(distribution, rank)


def checked_distribution(name: str, value: Any) -> Any:
    """A mixture whose Hermite moments are those of its means, or a target in memory."""
    if not isinstance(value, Mixture):
        if not hasattr(value, "checked"):
            raise TypeError(f"{name} must be a Mixture or a Target, got {type(value).__name__}")
        return in_memory(name, value)
    mixture = checks.mixture(name, value)
    if not isinstance(mixture.covariance, Identity):
        raise TypeError(
            f"{name}.covariance must be Identity(), got {mixture.covariance!r}; of a mixture of "
            "another family take a target, such as population(mixture)"
        )
    return mixture


def places(distribution: Mixture | Target) -> jax.Array:
    """The means, or the points."""
    return distribution.means if isinstance(distribution, Mixture) else distribution.points


def space(distribution: Mixture | Target) -> tuple[int, Any]:
    """d and the dtype."""
    at = places(distribution)
    return at.shape[1], at.dtype


def same_spaces(name: str, one: tuple[int, Any], other_name: str, other: tuple[int, Any]) -> None:
    """The dimensions agree, and the dtypes."""
    if one[0] != other[0]:
        raise ValueError(
            f"{name} has dimension {one[0]} and {other_name} has dimension {other[0]}; "
            "they must agree"
        )
    if one[1] != other[1]:
        raise TypeError(
            f"{name} is {one[1]} and {other_name} is {other[1]}; convert one of them so that they "
            "agree"
        )


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _expectation(order: int, distribution: Mixture | Target) -> jax.Array:
    d, _ = space(distribution)
    if isinstance(distribution, Mixture):
        means = distribution.means
        powers = [jnp.ones_like(means[:, :1])]
        for _ in range(order - order // 2):
            powers.append((powers[-1][:, :, None] * means[:, None]).reshape(len(means), -1))
        weighted = distribution.weights[:, None] * powers[order // 2]
        return times(weighted.T, powers[-1]).reshape((d,) * order)
    if order == 0:
        return jnp.sum(distribution.weights)

    # The last axis comes from a product over the points, so that they need only He_{k−1} each.
    def block(points: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        now, before = last_two(order - 1, points)
        C = len(points)
        product = times((weights[:, None] * points).T, now.reshape(C, -1))
        return product, times(weights, before.reshape(C, -1))

    product, before = sum_points(block, distribution, max(1, _NUMBERS // d ** (order - 1)))
    lower = before.reshape((d,) * max(order - 2, 0))
    return without_traces(product.reshape((d,) * order), lower, order - 1)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def along_of(order: int, distribution: Mixture | Target, directions: jax.Array) -> jax.Array:
    """`along` of what was checked."""
    if isinstance(distribution, Mixture):
        return times(distribution.weights, times(distribution.means, directions.T) ** order)
    square = jnp.sum(directions * directions, axis=1)

    def block(points: jax.Array, weights: jax.Array) -> jax.Array:
        inside = times(points, directions.T)
        return times(weights, scaled_polynomial(order, inside, square[None]))

    return sum_points(block, distribution, max(1, _NUMBERS // len(directions)))


@functools.partial(jax.jit, static_argnums=1, inline=True)
def _principal_subspace(distribution: Mixture | Target, rank: int) -> jax.Array:
    # The identity that He_2 takes off moves no eigenvector.
    _, covariance = mean_and_covariance(places(distribution), distribution.weights)
    return principal(covariance, rank)[:, ::-1]
