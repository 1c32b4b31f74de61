"""Checks at the public door. Shapes and dtypes always; values only where they are known.

A traced array has no value to look at, so under `jit`, `vmap` or `grad` only its shape and dtype
are checked, and a bad value shows up in the status of the fit.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base.records import Mixture, Target
from gemjax._points.blocks import Blocking
from gemjax._points.file_target import FileTarget

_PART = 2**20  # numbers checked at a time
_BLOCKING_LEAST = {"block_size": 1, "num_parallel": 1, "stored_bytes": 0, "copied_bytes": 0}


def is_concrete(*arrays: Any) -> bool:
    """True if no argument is a tracer."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays))


def count(name: str, value: Any, least: int = 1) -> int:
    """A static integer that is at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def scalar(name: str, value: Any, dtype: Any, *, positive: bool) -> jax.Array:
    """A real scalar as a strong () array of the data's dtype: a new value never recompiles."""
    array = jnp.asarray(value)
    if array.shape != () or jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must be a real scalar, got an array of shape {array.shape}")
    if is_concrete(array):
        number = float(array)
        if not (number > 0 if positive else number >= 0) or not np.isfinite(number):
            bound = "positive" if positive else "non-negative"
            raise ValueError(f"{name} must be {bound} and finite, got {number}")
    return jax.lax.convert_element_type(array, dtype)


def code(name: str, value: Any) -> jax.Array:
    """One integer as a () array, such as a `Status`."""
    array = jnp.asarray(value)
    if array.shape != () or not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(
            f"{name} must be one integer, got {array.dtype} of shape {array.shape}; "
            "jax.vmap goes over the seeds of a sweep"
        )
    return array


def flag(name: str, value: Any) -> None:
    """A static True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def floating(name: str, value: Any) -> jax.Array:
    """A float32 or float64 array; integers and Python numbers take JAX's default float type."""
    if is_concrete(value) and not isinstance(value, jax.Array):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name} must be a rectangular array: {error}") from None
        if value.dtype.kind not in "fiub":
            raise TypeError(f"{name} must be an array of numbers, got {value.dtype}")
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == jnp.bool_:
        array = array.astype(jnp.result_type(float))
    if array.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"{name} must be float32 or float64, got {array.dtype}")
    return array


def points(name: str, value: Any) -> jax.Array:
    """(N, d) with N, d >= 1 and finite values; (N,) means (N, 1)."""
    array = floating(name, value)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape (N, d) or (N,), got {array.shape}")
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    finite_rows(name, array)
    return array


def finite_rows(name: str, array: jax.Array) -> None:
    """No NaN and no infinity, where the values are known; names the first bad row."""
    if is_concrete(array):
        values = np.asarray(array)
        bad = sum(int(np.sum(~np.isfinite(part))) for part in _parts(values))
        if bad:
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise ValueError(
                f"{name} must be finite, got {values[where]} at index {where} "
                f"({bad} such values); drop or fill these rows"
            )


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    """Rows, some at a time, so that checking needs no memory that grows with them."""
    rows = max(1, _PART // max(1, values[:1].size))
    return (values[first : first + rows] for first in range(0, len(values), rows))


def weights(name: str, value: Any, size: int, dtype: Any) -> jax.Array:
    """(size,) non-negative weights with a positive sum, normalised to sum to one."""
    array = floating(name, value).astype(dtype)
    if array.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {array.shape}")
    if is_concrete(array):
        values = np.asarray(array)
        if not np.isfinite(values).all() or (values < 0).any():
            bad = int(np.flatnonzero(~np.isfinite(values) | (values < 0))[0])
            raise ValueError(
                f"{name} must be finite and non-negative, got {values[bad]} at index {bad}"
            )
        if not values.sum() > 0:
            raise ValueError(f"{name} must not all be zero")
    # Dividing by the largest first keeps the sum from overflowing or vanishing.
    array = array / array.max()
    return array / array.sum()


def one_of(name: str, value: Any, options: tuple[str, ...]) -> None:
    """A string out of a fixed set."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}; got {value!r}")


def blocking(name: str, value: Any) -> Blocking:
    """A `Blocking` whose fields are counts, or None, and whose precision exists."""
    if not isinstance(value, Blocking):
        raise TypeError(f"{name} must be a Blocking, got {value!r}")
    for field, least in _BLOCKING_LEAST.items():
        if getattr(value, field) is not None:
            count(f"{name}.{field}", getattr(value, field), least)
    one_of(f"{name}.precision", value.precision, ("default", "high", "highest"))
    return value


def mixture(name: str, value: Any, *, finite: bool = True) -> Mixture:
    """A `Mixture` whose shapes and dtypes agree."""
    if not isinstance(value, Mixture):
        raise TypeError(f"{name} must be a Mixture (see make_mixture), got {type(value).__name__}")
    means, log_weights = jnp.asarray(value.means), jnp.asarray(value.log_weights)
    if means.ndim != 2 or 0 in means.shape or log_weights.shape != means.shape[:1]:
        raise ValueError(
            f"{name} must have means (n, d) and log_weights (n,), "
            f"got {means.shape} and {log_weights.shape}"
        )
    if means.dtype not in (jnp.float32, jnp.float64) or log_weights.dtype != means.dtype:
        raise TypeError(
            f"{name} must be float32 or float64 throughout, got means {means.dtype} "
            f"and log_weights {log_weights.dtype}"
        )
    if finite:
        finite_rows(f"{name}.means", means)
        if is_concrete(log_weights):
            total = float(np.exp(np.asarray(log_weights, np.float64)).sum())
            if not abs(total - 1) < 1e-3:
                raise ValueError(
                    f"{name}.log_weights must be logarithms of weights that sum to one, "
                    f"they sum to {total}; make_mixture normalises"
                )
    return Mixture(means, log_weights)


def target(name: str, value: Any) -> Target:
    """A `Target` whose shapes and dtypes agree and whose weights are a distribution."""
    if not isinstance(value, Target):
        raise TypeError(
            f"{name} must be a Target (see empirical, population), got {type(value).__name__}"
        )
    x, w = jnp.asarray(value.points), jnp.asarray(value.weights)
    if x.ndim != 2 or 0 in x.shape or w.shape != x.shape[:1]:
        raise ValueError(
            f"{name} must have points (N, d) and weights (N,), got {x.shape} and {w.shape}; "
            "empirical makes one from raw points"
        )
    if x.dtype not in (jnp.float32, jnp.float64) or w.dtype != x.dtype:
        raise TypeError(
            f"{name} must be float32 or float64 throughout, got points {x.dtype} and "
            f"weights {w.dtype}"
        )
    finite_rows(f"{name}.points", x)
    if is_concrete(w):
        parts = list(_parts(np.asarray(w)))
        total = sum(float(part.sum(dtype=np.float64)) for part in parts)
        if not abs(total - 1) < 1e-3 or any((part < 0).any() for part in parts):
            raise ValueError(
                f"{name}.weights must be non-negative and sum to one, "
                f"they sum to {total}; empirical normalises"
            )
    return Target(x, w, value.quadrature_error)


def data(name: str, value: Any) -> Target | FileTarget:
    """A `FileTarget`, which was checked when it was made, or a checked `Target`."""
    return value if isinstance(value, FileTarget) else target(name, value)


def same_space(
    mixture_name: str, dim: int, dtype: Any, target_name: str, x: jax.Array | Target | FileTarget
) -> None:
    """The mixture and the points live in the same space and have the same dtype."""
    array = x.points if isinstance(x, Target) else x
    if array.shape[1] != dim:
        raise ValueError(
            f"{mixture_name} has dimension {dim} and {target_name} has dimension "
            f"{array.shape[1]}; they must agree"
        )
    if array.dtype != dtype:
        raise TypeError(
            f"{mixture_name} is {dtype} and {target_name} is {array.dtype}; "
            "convert one of them so that they agree"
        )
