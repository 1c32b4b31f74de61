"""The few operations that must stay finite, in value and in gradient, where the plain ones do not.

Each masks its input first, so that no infinite derivative is ever formed, and its output second.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def tiny(dtype: jnp.dtype) -> jax.Array:
    """() smallest positive normal number of the dtype."""
    return jnp.asarray(jnp.finfo(dtype).tiny, dtype)


def safe_log(x: jax.Array) -> jax.Array:
    """log x where x > 0, −inf with zero gradient elsewhere. NaN stays NaN."""
    zero = x <= 0
    return jnp.where(zero, -jnp.inf, jnp.log(jnp.where(zero, 1, x)))


def safe_divide(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """numerator / denominator where the denominator is not zero, 0 with zero gradient elsewhere."""
    zero = denominator == 0
    return jnp.where(zero, 0, numerator / jnp.where(zero, 1, denominator))


def safe_sqrt(x: jax.Array) -> jax.Array:
    """√x for x >= 0, with gradient 0 at 0."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def safe_norm(x: jax.Array) -> jax.Array:
    """() Euclidean norm of all entries, with gradient 0 at 0."""
    square = jnp.sum(x * x)
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


def log_normalise(log_weights: jax.Array) -> jax.Array:
    """(n,) log-weights shifted so that the weights sum to one. Entries of −inf stay −inf.

    The gradient is finite there too: a weight of zero is left out of the sum, not subtracted.
    """
    zero = jnp.isneginf(log_weights)
    finite = jnp.where(zero, 0, log_weights)
    peak = jax.lax.stop_gradient(jnp.max(jnp.where(zero, -jnp.inf, finite)))
    total = peak + jnp.log(jnp.sum(jnp.where(zero, 0, jnp.exp(finite - peak))))
    return jnp.where(zero, -jnp.inf, finite - total)


def safe_exp(log_weights: jax.Array) -> jax.Array:
    """exp, with value and gradient 0 at −inf."""
    zero = jnp.isneginf(log_weights)
    return jnp.where(zero, 0, jnp.exp(jnp.where(zero, 0, log_weights)))


def vary_alike(tree: Any, *others: Any, but: str | None = None) -> Any:
    """`tree`, each leaf marked under `shard_map` as varying over every axis that any leaf does.

    Loops need this: what is carried must vary alike from the first round on. Leaves of `others`
    count too; the axis `but` does not.
    """
    axes = frozenset().union(*(_axes(leaf) for leaf in jax.tree.leaves((tree, others)))) - {but}

    def mark(leaf: Any) -> Any:
        missing = tuple(axes - _axes(leaf))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(mark, tree)


def _axes(leaf: Any) -> frozenset[str]:
    kind = jax.typeof(leaf)
    return kind.mat.varying if hasattr(kind, "mat") else kind.vma
