"""The population limit of a known mixture, as a target: nodes and weights of a quadrature rule."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._model.layout import lay_out_for
from gemjax._model.mixture import sample
from gemjax._model.statistics import expect
from gemjax._numerics.finite import safe_exp, safe_norm
from gemjax._points.target import Target

_HALF_WIDTH = 8.5  # standard deviations: a normal has 2e-17 beyond
_GRID_NODES = {0: 1, 1: 256, 2: 64, 3: 40}  # per axis, by the number of axes
_SOBOL_NODES = 2**16
_SOBOL_NUMBERS = 2**22  # most numbers per component that the default draws
_ANTITHETIC_PAIRS = 2**14
_MOST_NODES = 2**26
_REPLICATES = 4
_PROBES = 8


def population(mixture: Mixture, *, num_nodes: int | None = None) -> Target:
    """The population limit of a known mixture: a quadrature rule of weighted points.

    Each component has its own nodes, at offsets from its mean that turn with the span of the means,
    so expectations are differentiable in the means and the weights. With r the number of dimensions
    that the means span (known under `jit` only as at most m − 1):

    - d <= 3: a truncated trapezoid product grid, which converges faster than any power of its
      spacing; nodes outside a ball of 8.5 standard deviations are dropped.
    - r <= 3 < d: the same grid in the span of the means, where a fit ends, and antithetic scrambled
      Sobol normals in the other directions. Exact to the grid's error once the fitted means
      lie in that span.
    - otherwise: scrambled Sobol normals, whose first coordinates lie in the span of the means.

    `quadrature_error` of the result is the largest difference in loss between this rule and three
    replicates of it (shifted grids, other scramblings) at the true means and at eight mixtures of
    draws from the truth: what to expect of the loss of a fit, in nats per point, not a bound. A
    fit with components much farther apart than the truth's is less accurate.

    Args:
      mixture: the truth, m components in d dimensions.
      num_nodes: static. For grids nodes per axis (256, 64, 40 in 1, 2, 3 dimensions by default),
        for Sobol normals nodes per component (2^16, fewer beyond d = 64).

    Raises:
      ValueError: fewer than 2 nodes, or more than 2^26 in all.

    >>> import gemjax as gj
    >>> target = gj.population(gj.make_mixture([[-2.0], [2.0]]))
    >>> bool(abs(target.weights @ target.points[:, 0] ** 2 - 5.0) < 1e-5)  # variance 1 + 2²
    True
    >>> bool(target.quadrature_error < 1e-5)
    True
    """
    mixture = checks.mixture("mixture", mixture)
    if num_nodes is not None:
        num_nodes = checks.count("num_nodes", num_nodes, least=2)
    m, d = mixture.means.shape
    span = _spanning(mixture.means)
    num_axes = d if d <= 3 else len(span) if len(span) <= 3 else 0
    basis = jnp.eye(d, dtype=mixture.means.dtype) if d <= 3 else _basis(mixture.means, span)
    rules = [_offsets(num_axes, d, num_nodes, m, replicate) for replicate in range(_REPLICATES)]
    targets = [_place(mixture, basis, offsets, g).told() for offsets, g in rules]
    return dataclasses.replace(targets[0], quadrature_error=_spread(mixture, targets))


def _spanning(means: jax.Array) -> list[int]:
    """Numbers of means whose differences from the first one span those of all.

    Where the means are traced, of as many as there can be.
    """
    m, d = means.shape
    if not arrays.is_concrete(means):
        return list(range(1, min(m - 1, d) + 1))
    rest = np.asarray(means, np.float64) - np.asarray(means[0], np.float64)
    least = 1e-6 * max(1.0, float(np.linalg.norm(rest, axis=1).max()))
    span: list[int] = []
    while len(span) < d:
        lengths = np.linalg.norm(rest, axis=1)
        if lengths.max() <= least:
            break
        # The first of those that are long enough: a tie does not hang on rounding.
        span.append(int(np.argmax(lengths > 0.5 * lengths.max())))
        direction = rest[span[-1]] / lengths[span[-1]]
        rest = rest - np.outer(rest @ direction, direction)
    return span


def _basis(means: jax.Array, span: list[int]) -> jax.Array:
    """(d, d) rotation, a smooth function of the means, whose first rows span their differences.

    Householder's reflections, one for each spanning difference.
    """
    d, dtype = means.shape[1], means.dtype
    times = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    scale = jnp.max(safe_norm(jax.lax.stop_gradient(means - means[:1]), axis=1))
    rotation = jnp.eye(d, dtype=dtype)
    for k, i in enumerate(span):
        rest = jnp.where(jnp.arange(d) < k, 0, times(rotation, means[i] - means[0]))
        length = safe_norm(rest)
        # Away from the axis: no cancellation.
        axis = jnp.where(rest[k] < 0, -1, 1) * jnp.eye(d, dtype=dtype)[k]
        mirror = rest + length * axis
        # Under a trace a mean may be no new direction. Then there is nothing to reflect.
        new = length > 1e-6 * scale
        mirror = jnp.where(new, mirror, 0)
        square = jnp.where(new, jnp.sum(mirror * mirror), 1)
        rotation = rotation - (2 / square) * mirror[:, None] * times(mirror, rotation)[None]
    return rotation


def _offsets(
    num_axes: int, d: int, num_nodes: int | None, m: int, replicate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (G, d) and weights (G,), summing to one, of the standard normal in d dimensions."""
    if d > 3 and num_axes == 0:
        default = min(_SOBOL_NODES, 2 ** int(np.log2(_SOBOL_NUMBERS / d)))
        G = num_nodes or default
        _limit(G * m, num_nodes)
        return _sobol_normals(G, d, replicate), np.full(G, 1 / G)
    per_axis = num_nodes or _GRID_NODES[num_axes]
    _limit(per_axis**num_axes * m, num_nodes)
    nodes, weights = _grid(per_axis, num_axes, replicate / _REPLICATES)
    if num_axes == d:
        return nodes, weights
    # In the other directions a node gets draws in proportion to its weight, and their negatives.
    repeats = np.ceil(weights * _ANTITHETIC_PAIRS).astype(int)
    nodes = np.repeat(nodes, repeats, axis=0)
    weights = np.repeat(weights / repeats, repeats)
    _limit(2 * len(nodes) * m, num_nodes)
    other = _sobol_normals(len(nodes), d - num_axes, replicate)
    nodes = np.concatenate([np.hstack([nodes, other]), np.hstack([nodes, -other])])
    return nodes, np.concatenate([weights, weights]) / 2


def _limit(total: int, num_nodes: int | None) -> None:
    if total > _MOST_NODES:
        raise ValueError(
            f"num_nodes = {num_nodes} makes {total} nodes in all, more than {_MOST_NODES}; for a "
            "grid it counts nodes per axis"
        )


def _grid(per_axis: int, num_axes: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Trapezoid product grid for the standard normal, moved by `shift` spacings, within a ball."""
    if num_axes == 0:
        return np.zeros((1, 0)), np.ones(1)
    spacing = 2 * _HALF_WIDTH / (per_axis - 1)
    axis = -_HALF_WIDTH + spacing * np.arange(per_axis)
    nodes = np.stack(np.meshgrid(*[axis] * num_axes, indexing="ij"), axis=-1).reshape(-1, num_axes)
    nodes = nodes[(nodes**2).sum(axis=1) <= _HALF_WIDTH**2 * (1 + 1e-12)] + shift * spacing
    weights = np.exp(-0.5 * (nodes**2).sum(axis=1))
    return nodes, weights / weights.sum()


def _sobol_normals(num: int, d: int, scramble: int) -> np.ndarray:
    """(num, d) scrambled Sobol points (Owen's scrambling, fixed seed) as standard normals."""
    # scipy takes half a second to import, and most programs never come here.
    from scipy.special import ndtri
    from scipy.stats import qmc

    sequence = qmc.Sobol(d, scramble=True, bits=32, rng=np.random.default_rng(scramble))
    uniform = sequence.random_base2(int(np.ceil(np.log2(num))))[:num]
    return ndtri(np.clip(uniform, 2.0**-33, 1 - 2.0**-33))


def _place(mixture: Mixture, basis: jax.Array, offsets: np.ndarray, weights: np.ndarray) -> Target:
    """The rule for the standard normal, moved to every component."""
    dtype = mixture.means.dtype
    moved = jnp.matmul(jnp.asarray(offsets, dtype), basis, precision=jax.lax.Precision.HIGHEST)
    noise = jnp.broadcast_to(moved[None], (len(mixture.means), *moved.shape))
    component = jnp.broadcast_to(jnp.arange(len(noise), dtype=jnp.int32)[:, None], noise.shape[:2])
    points = mixture.means[:, None, :] + mixture.covariance.colour(noise, component)
    product = safe_exp(mixture.log_weights)[:, None] * jnp.asarray(weights, dtype)[None]
    return Target(points.reshape(-1, basis.shape[0]), product.reshape(-1))


@jax.jit
def _spread(mixture: Mixture, rules: list[Target]) -> jax.Array:
    """() largest difference in loss between rules, over the probes."""
    m = mixture.means.shape[0]
    n = min(2 * m, 16)
    equal = jnp.full((n,), -math.log(n), mixture.means.dtype)
    draws = [sample(jax.random.key(probe), mixture, n) for probe in range(_PROBES)]
    probes = jnp.stack([mixture.means[jnp.arange(n) % m], *draws])
    covariance, losses = mixture.covariance.candidates(n), []
    for rule in rules:
        blocks = lay_out_for(Mixture(probes[0], equal, covariance), rule)
        one = lambda means, blocks=blocks: expect(Mixture(means, equal, covariance), blocks).loss  # noqa: E731
        losses.append(jax.lax.map(one, probes))
    first, *others = losses
    # Where probes miss clusters that are far away, losses are huge, and so are their errors: they
    # count as those of losses ten times the truth's.
    size, rounding = 1 + jnp.abs(first), 8 * jnp.finfo(mixture.means.dtype).eps
    share = jnp.minimum(1, 10 * size[0] / size)
    errors = [share * (jnp.abs(other - first) + rounding * size) for other in others]
    return jnp.max(jnp.stack(errors))
