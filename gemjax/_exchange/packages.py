"""Other packages, imported only once a mixture goes there or comes from there."""

from __future__ import annotations

import importlib
from typing import Any


def imported(module: str, package: str) -> Any:
    """A module of another package; an ImportError that says how to install it, if it is not there.

    Packages that were made for another JAX fail in other ways when they are imported.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise ImportError(
            f"{module} cannot be imported ({reason}): pip install {package}"
        ) from error


def of_class(name: str, value: Any, cls: type, package: str) -> None:
    """Raises TypeError where a value is not of a package's class."""
    if not isinstance(value, cls):
        raise TypeError(f"{name} must be a {cls.__name__} of {package}, got {type(value).__name__}")
