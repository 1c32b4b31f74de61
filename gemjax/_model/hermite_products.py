"""Inner products and distances of Hermite moments, from Gram matrices: no tensor is made."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gemjax._base import checks
from gemjax._base.records import Mixture
from gemjax._model.hermite import along_of, checked_distribution, same_spaces, space, times
from gemjax._numerics.finite import safe_sqrt
from gemjax._points.target import Target


def inner(order: int, a: Mixture | Target, b: Mixture | Target) -> jax.Array:
    """⟨E_a[He_k(x)], E_b[He_k(x)]⟩, the sum of the products of all entries.

    Σ_ij π_i ρ_j (μ_i·ν_j)^k of two mixtures. Of a mixture and a target, E_b of what `along` gives
    for the means. Time O(n m d) or O(n N (d + k)). Differentiable to every order.

    Args:
      order: static, k, at least 0.
      a, b: two `Mixture`s with identity covariance, or one and a `Target` in memory, in any order,
        of the same dimension and dtype; traced. In standard deviations of the noise.

    Returns:
      (), in the unit's 2k-th power.

    Raises:
      ValueError: a negative order; dimensions that disagree; values that are not finite.
      TypeError: dtypes that disagree; another covariance; two targets, which would take N² pairs.

    >>> import gemjax as gj
    >>> a, b = gj.make_mixture([[2.0, 1.0]]), gj.make_mixture([[1.0, 0.0], [0.0, 4.0]])
    >>> float(gj.hermite.inner(2, a, b))  # (2² + 4²) / 2
    10.0
    """
    order = checks.count("order", order, least=0)
    a, b = checked_distribution("a", a), checked_distribution("b", b)
    same_spaces("a", space(a), "b", space(b))
    if isinstance(a, Target) and isinstance(b, Target):
        raise TypeError("a or b must be a Mixture, got two targets")
    return _inner(order, b, a) if isinstance(a, Target) else _inner(order, a, b)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _inner(order: int, mixture: Mixture, other: Mixture | Target) -> jax.Array:
    return times(mixture.weights, along_of(order, other, mixture.means))


def residuals(a: Mixture, b: Mixture, max_order: int = 6) -> jax.Array:
    """‖E_a[He_k(x)] − E_b[He_k(x)]‖ for k = 1, …, max_order: how far the moments are apart.

    Both mixtures' components are first matched with each other, the nearest ones first, so that
    what enters the Gram matrices are differences of means: where a is near b, the rounding error is
    of the size √eps k R^(k−1) times the distance by which weight would have to be moved, R the
    largest norm of a mean, and not √eps R^k. The order of components means nothing.

    Moments are about the origin. Another origin mixes each order with lower ones: the first
    that is not zero stays as it is, later ones do not. Subtract the same point from all means for
    moments about that point; far from the origin the higher ones tell nothing but their distance.
    Divided by √k!, squares and sum, they make ∫ (p_a − p_b)² / N(x; 0, I) dx.

    Differentiable to every order where they are not zero; the norm has a kink at zero, and there
    the derivative is taken as zero. Time O((n + m) n m + (n + m)² (d + max_order)).

    Args:
      a, b: `Mixture`s of n and m components with identity covariance, of the same dimension and
        dtype, in standard deviations of the noise; traced.
      max_order: static, at least 1.

    Returns:
      (max_order,) Frobenius norms, that of order k in the k-th power of the unit.

    Raises:
      ValueError: dimensions that disagree; values that are not finite; a max_order below 1.
      TypeError: dtypes that disagree; anything but mixtures with identity covariance.

    >>> import gemjax as gj
    >>> one, two = gj.make_mixture([[0.0]]), gj.make_mixture([[-1.0], [1.0]])
    >>> gj.hermite.residuals(one, two, 4).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    max_order = checks.count("max_order", max_order)
    for name, value in {"a": a, "b": b}.items():
        if not isinstance(value, Mixture):
            raise TypeError(f"{name} must be a Mixture, got {type(value).__name__}")
    a, b = checked_distribution("a", a), checked_distribution("b", b)
    same_spaces("a", space(a), "b", space(b))
    return _residuals(a, b, max_order)


@functools.partial(jax.jit, static_argnums=2, inline=True)
def _residuals(a: Mixture, b: Mixture, max_order: int) -> jax.Array:
    """With shares γ_s that a's component i brings to b's component j, the difference is

        Σ_s γ_s (μ_s^⊗k − ν_s^⊗k) + Σ_i c_i z_i^⊗k,

    z all means and c what is left of the weights, a's less b's: rounding errors. That is so for any
    shares, so they are held fixed, and the derivatives with respect to the weights are those of c.
    """
    i, j, share = _matched(*jax.lax.stop_gradient((a, b)))
    left = a.weights.at[i].add(-share), b.weights.at[j].add(-share)
    rest = jnp.concatenate([left[0], -left[1]])
    means, nu = jnp.concatenate([a.means, b.means]), b.means[j]
    delta = a.means[i] - nu
    gram, p, u, w = (
        times(x, y.T) for x, y in ((means, means), (nu, nu), (delta, nu), (delta, delta))
    )
    cross, moved = times(means, nu.T), times(means, delta.T)

    def step(powers: _Powers, _: None) -> tuple[_Powers, jax.Array]:
        second = (p + u + u.T + w) * powers.second + u.T * powers.first + u * powers.first.T
        second = second + w * (powers.pairs + powers.first + powers.first.T)
        new = _Powers(
            pairs=powers.pairs * p,
            first=(p + u) * powers.first + u * powers.pairs,
            second=second,
            cross=powers.cross * cross,
            cross_first=(cross + moved) * powers.cross_first + moved * powers.cross,
            rest=powers.rest * gram,
        )
        square = times(share, times(new.second, share))
        square = square + 2 * times(rest, times(new.cross_first, share))
        return new, square + times(rest, times(new.rest, rest))

    one, zero = jnp.ones_like, jnp.zeros_like
    start = _Powers(one(p), zero(p), zero(p), one(cross), zero(cross), one(gram))
    _, squares = jax.lax.scan(step, start, None, max_order)
    # Rounding may bring a square below zero.
    return safe_sqrt(jnp.maximum(squares, 0))


class _Powers(NamedTuple):
    """k-th powers of inner products, and their differences where means move.

    With p = ν_s·ν_t, and u, uᵀ, w what it gains as ν_s moves by δ_s, ν_t by δ_t, and both, pairs =
    p^k, first = (p + u)^k − p^k, second = (p + u + uᵀ + w)^k − (p + u)^k − (p + uᵀ)^k + p^k.
    cross and cross_first are those of z_i·ν_s. In their recursions nothing cancels.
    """

    pairs: jax.Array
    first: jax.Array
    second: jax.Array
    cross: jax.Array
    cross_first: jax.Array
    rest: jax.Array


def _matched(a: Mixture, b: Mixture) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Shares (n + m − 1,) of the weights, each from one of a's components to one of b's.

    Of the pairs that still have weight the nearest has all that both have; one of them is then
    used up, exactly, so that so many shares are enough.
    """
    n, m = len(a.means), len(b.means)
    distance = jnp.sum((a.means[:, None] - b.means[None]) ** 2, axis=2)

    def ship(
        left: tuple[jax.Array, jax.Array], _: None
    ) -> tuple[tuple[jax.Array, jax.Array], tuple]:
        there = (left[0][:, None] > 0) & (left[1][None] > 0)
        i, j = jnp.divmod(jnp.argmin(jnp.where(there, distance, jnp.inf)), m)
        share = jnp.minimum(left[0][i], left[1][j])
        return (left[0].at[i].add(-share), left[1].at[j].add(-share)), (i, j, share)

    return jax.lax.scan(ship, (a.weights, b.weights), None, n + m - 1)[1]
