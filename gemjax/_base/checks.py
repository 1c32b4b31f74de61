"""Checks at the public door, of settings and records: messages name the argument.

What extensions hand back is compared with what they were given, by chex.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays
from gemjax._base.records import Mixture
from gemjax._families.covariance import Covariance

_T = TypeVar("_T")


_MOST = 2**31 - 1  # what counts in int32 can hold


def count(name: str, value: Any, least: int = 1) -> int:
    """A static integer that is at least `least`, and that int32 can hold."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    if number > _MOST:
        raise ValueError(f"{name} must be at most {_MOST}, and it is more")
    return number


def settings(record: _T, dtype: Any, prefix: str = "") -> _T:
    """A record of settings (see `settings.py`), checked, its numbers as arrays of a dtype."""
    checked: dict[str, Any] = {}
    if not dataclasses.is_dataclass(record):  # a rule of somebody's that has none
        return record
    for field in dataclasses.fields(record):
        name, value, known = prefix + field.name, getattr(record, field.name), field.metadata
        if value is None and field.default is None:
            continue
        if "choices" in known:
            if isinstance(value, str):
                one_of(name, value, known["choices"])
        elif isinstance(field.default, bool):
            flag(name, value)
        elif known.get("static") and "least" in known:
            count(name, value, known["least"])
        elif "least" in known or "above" in known:
            bounds = {"least": known.get("least"), "above": known.get("above")}
            checked[field.name] = arrays.scalar(name, value, dtype, **bounds)
    return dataclasses.replace(record, **checked)  # type: ignore[type-var]


def key(name: str, value: Any) -> None:
    """One random key, of the new or the old style."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    is_new = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ()
    if not is_new and not (dtype == jnp.uint32 and shape in ((2,), (4,))):
        got = f"{dtype} of shape {shape}" if dtype is not None else repr(value)
        raise TypeError(f"{name} must be a JAX random key, as jax.random.key(0), got {got}")


def flag(name: str, value: Any) -> None:
    """A static True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def one_of(name: str, value: Any, options: Mapping[str, Any] | tuple[str, ...]) -> None:
    """A string out of a fixed set."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}; got {value!r}")


def mixture(name: str, value: Any, *, finite: bool = True) -> Mixture:
    """A `Mixture` whose shapes and dtypes agree."""
    if not isinstance(value, Mixture):
        raise TypeError(f"{name} must be a Mixture (see make_mixture), got {type(value).__name__}")
    means, log_weights = arrays.put(value.means), arrays.put(value.log_weights)
    if means.ndim == 3:
        raise ValueError(
            f"{name} must have means (n, d), got {means.shape}; for a batch use jax.vmap"
        )
    if means.ndim != 2 or 0 in means.shape or log_weights.shape != means.shape[:1]:
        raise ValueError(
            f"{name} must have means (n, d) and log_weights (n,), "
            f"got {means.shape} and {log_weights.shape}"
        )
    if not isinstance(value.covariance, Covariance):
        raise TypeError(
            f"{name}.covariance must be a gj.covariance.Covariance, such as Identity(), "
            f"got {value.covariance!r}"
        )
    value.covariance.check(f"{name}.covariance", *means.shape)
    covariance = _in_arrays(value.covariance, means.dtype)
    parameters = dict(enumerate(jax.tree.leaves(covariance)))
    named = {f"covariance parameter {i}": leaf for i, leaf in parameters.items()}
    arrays.same_dtype(name, means=means, log_weights=log_weights, **named)
    if finite:
        for what, array in {"means": means, **named}.items():
            arrays.finite_rows(f"{name}.{what}", array)
        if arrays.is_concrete(log_weights):
            weights = np.exp(np.asarray(log_weights))
            arrays.distribution(f"{name}.weights", weights, "make_mixture")
    return Mixture(means, log_weights, covariance)


def _in_arrays(covariance: Covariance, dtype: Any) -> Covariance:
    """A family with its parameters as arrays; plain numbers and lists take the means' dtype."""
    if not dataclasses.is_dataclass(covariance):
        return covariance
    plain = {
        field.name: arrays.put(np.asarray(value, dtype))
        for field in dataclasses.fields(covariance)
        for value in [getattr(covariance, field.name)]
        if isinstance(value, int | float | list | tuple | np.ndarray | np.generic)
        and not field.metadata.get("static")
    }
    return dataclasses.replace(covariance, **plain)


def same_space(
    mixture_name: str, mixture: Mixture, other_name: str, shape: tuple[int, ...], dtype: Any
) -> None:
    """The mixture and some points (N, d) live in the same space and have the same dtype."""
    d = mixture.means.shape[1]
    if shape[1] != d:
        raise ValueError(
            f"{mixture_name} has dimension {d} and {other_name} has dimension {shape[1]}; "
            "they must agree"
        )
    if dtype != mixture.means.dtype:
        raise TypeError(
            f"{mixture_name} is {mixture.means.dtype} and {other_name} is {dtype}; "
            "convert one of them so that they agree"
        )


def same_form(name: str, value: Any, like: Any) -> None:
    """What an extension returns has the structure, the shapes and the dtypes of what it is for."""
    import chex  # of extensions alone, and takes time to import

    try:
        chex.assert_trees_all_equal_shapes_and_dtypes(value, like)
    except (AssertionError, ValueError) as error:
        raise TypeError(f"{name} must keep structure, shapes and dtypes: {error}") from None
