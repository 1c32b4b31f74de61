"""Arrays at the public door: numbers of any kind that a program hands over, as they should be.

A traced array has no value to look at: its shape and dtype are checked, and what is not allowed
becomes a NaN, of which a status tells later on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_PART = 2**20  # numbers checked at a time


def is_concrete(*arrays: Any) -> bool:
    """True if no argument is a tracer."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays))


def put(value: Any) -> jax.Array:
    """An array as JAX has it. Of one of NumPy's it compiles something, unless told the dtype."""
    if isinstance(value, np.ndarray | np.generic):
        return jnp.asarray(value, jax.dtypes.canonicalize_dtype(value.dtype))
    return jnp.asarray(value)


def scalar(
    name: str, value: Any, dtype: Any, *, least: float | None = None, above: float | None = None
) -> jax.Array:
    """A real scalar as a strong () array of the data's dtype: a new value never recompiles."""
    if is_concrete(value):
        array = _numbers(name, value)
        if array.shape != ():
            raise ValueError(f"{name} must be a real scalar, got an array of shape {array.shape}")
        with np.errstate(over="ignore", under="ignore"):
            cast = array.astype(dtype)
        for number, where in ((float(array), ""), (float(cast), f" in {np.dtype(dtype)}")):
            good = (least is None or number >= least) and (above is None or number > above)
            if not good or not np.isfinite(number):
                raise ValueError(
                    f"{name} must be {_bounds(least, above)}finite{where}, got {float(array)}"
                )
        return put(cast)
    if value.shape != () or not jnp.isrealobj(value):
        raise ValueError(f"{name} must be a real scalar, got an array of shape {value.shape}")
    traced = jax.lax.convert_element_type(value, dtype)
    # What is not allowed has no value to be told of here, so it becomes one that a status tells of.
    if least is not None:
        traced = jnp.where(traced >= least, traced, jnp.nan)
    return traced if above is None else jnp.where(traced > above, traced, jnp.nan)


def _bounds(least: float | None, above: float | None) -> str:
    if above is not None:
        return "positive and " if above == 0 else f"greater than {above:g} and "
    if least is not None and least > -np.inf:
        return "non-negative and " if least == 0 else f"at least {least:g} and "
    return ""


def integer(name: str, value: Any, least: int = -(2**31), most: int = 2**31 - 1) -> jax.Array:
    """One integer as a () int32 array, such as a `Status` or the number of a seed; traced."""
    array = _numbers(name, value) if is_concrete(value) else value
    if array.shape != () or not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(
            f"{name} must be one integer, got {array.dtype} of shape {array.shape}; "
            "jax.vmap goes over several"
        )
    if isinstance(array, np.ndarray) and not least <= int(array) <= most:
        raise ValueError(f"{name} must be from {least} to {most}, got {int(array)}")
    return put(array.astype(np.int32))


def _numbers(name: str, value: Any) -> np.ndarray:
    """Whatever holds real numbers as a NumPy array, in native order; long doubles as float64."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name} must not be masked anywhere; drop or fill these rows")
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O" and hasattr(value, "to_numpy"):  # a nullable column
            array = value.to_numpy(dtype=np.float64, na_value=np.nan)
    except Exception as error:  # what other libraries raise has nothing in common
        reason = str(error).split("\n")[0]
        raise ValueError(f"{name} must be a rectangular array of numbers: {reason}") from None
    if array.dtype.kind not in "fiub":
        shown = f"{array.dtype}" if array.shape else f"{value!r}"
        raise TypeError(f"{name} must be an array of numbers, got {shown}")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def floating(name: str, value: Any) -> jax.Array:
    """A float32 or float64 array; integers and Python numbers take JAX's default float type."""
    if is_concrete(value) and not isinstance(value, jax.Array):
        value = _numbers(name, value)
        if value.dtype.kind == "f" and value.dtype.itemsize == 8:
            with np.errstate(over="ignore"):
                cast = value.astype(jnp.result_type(float))
            lost = np.argwhere(np.isfinite(value) & ~np.isfinite(cast))
            if len(lost):
                where = tuple(int(i) for i in lost[0])
                raise ValueError(
                    f"{name} must be within the range of {cast.dtype}, got {value[where]} at "
                    f"index {where}; scale it, or enable jax_enable_x64"
                )
            value = cast
    array = put(value)
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
        batch = "; for a batch (B, N, d) use jax.vmap" if array.ndim == 3 else ""
        raise ValueError(f"{name} must have shape (N, d) or (N,), got {array.shape}{batch}")
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    finite_rows(name, array)
    return array


def finite_rows(name: str, array: jax.Array) -> None:
    """No NaN and no infinity, where the values are known; names the first bad row."""
    if is_concrete(array):
        values = np.atleast_1d(np.asarray(array))
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
    if is_concrete(value):
        values = _numbers(name, value).astype(np.float64)
        _same_shape(name, values, size)
        if not np.isfinite(values).all() or (values < 0).any():
            bad = int(np.flatnonzero(~np.isfinite(values) | (values < 0))[0])
            raise ValueError(
                f"{name} must be finite and non-negative, got {values[bad]} at index {bad}"
            )
        if not (values > 0).any():
            raise ValueError(f"{name} must not all be zero")
        # In NumPy, where neither large nor tiny numbers are lost on the way.
        values = values / values.max()
        normalised = put((values / values.sum()).astype(dtype))
        # Weights that are nowhere in particular must stay so, or no mesh of devices takes them.
        placed = isinstance(value, jax.Array) and value.committed
        return jax.device_put(normalised, value.sharding) if placed else normalised
    array = floating(name, value).astype(dtype)
    _same_shape(name, array, size)
    # By a power of two first: that is exact, and keeps the sum from overflowing or vanishing. In
    # two halves, which are both within the floats' range. It cancels, so it is held fixed.
    _, exponent = jnp.frexp(jax.lax.stop_gradient(jnp.max(array)))
    half = -exponent // 2
    for power in (half, -exponent - half):
        array = array * jnp.ldexp(jnp.ones((), dtype), power)
    return jnp.where(array < 0, jnp.nan, array) / jnp.sum(array)


def _same_shape(name: str, array: Any, size: int) -> None:
    if array.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {array.shape}")


def logits(name: str, value: Any, size: int, dtype: Any) -> jax.Array:
    """(size,) unnormalised log-weights: finite, or −inf, but not all of them."""
    array = floating(name, value).astype(dtype)
    if array.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {array.shape}")
    if is_concrete(array):
        values = np.asarray(array)
        bad = np.flatnonzero(np.isnan(values) | np.isposinf(values))
        if len(bad):
            raise ValueError(
                f"{name} must be finite or -inf, got {values[bad[0]]} at index {bad[0]}"
            )
        if np.isneginf(values).all():
            raise ValueError(f"{name} must not all be -inf")
    return array


def distribution(name: str, value: jax.Array, normaliser: str) -> None:
    """Non-negative and summing to one, where known; `normaliser` is a function that sees to it."""
    if is_concrete(value):
        parts = list(_parts(np.asarray(value)))
        total = sum(float(part.sum(dtype=np.float64)) for part in parts)
        if not abs(total - 1) < 1e-3 or any((part < 0).any() for part in parts):
            raise ValueError(
                f"{name} must be non-negative and sum to one, they sum to {total}; "
                f"{normaliser} normalises"
            )


def same_dtype(name: str, **arrays: jax.Array) -> None:
    """All float32 or all float64."""
    dtypes = {array.dtype for array in arrays.values()}
    if len(dtypes) != 1 or not dtypes <= {jnp.dtype("float32"), jnp.dtype("float64")}:
        got = " and ".join(f"{what} {array.dtype}" for what, array in arrays.items())
        raise TypeError(f"{name} must be float32 or float64 throughout, got {got}")
