"""Settings of a record: each declared once, with its default and its bounds, as a field of it.

Checks, configs, the command line and documents read them there.
"""

from __future__ import annotations

import dataclasses
from typing import Any

# The weight from which a component counts as active, unless a call says otherwise.
ACTIVE_WEIGHT = 1e-3


def setting(
    default: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    choices: Any = None,
    static: bool = False,
    kw_only: bool = False,
) -> Any:
    """A dataclass field with a default and what its value must be.

    `least` and `above` bound a number; `choices` is a mapping from names to what they stand for.
    Numbers are traced unless the field is static.
    """
    known = {"least": least, "above": above, "choices": choices, "static": static or None}
    metadata = {name: value for name, value in known.items() if value is not None}
    return dataclasses.field(default=default, kw_only=kw_only, metadata=metadata)


def named(what: str, choices: Any, value: Any, **settings: Any) -> Any:
    """What a name stands for, with those of the settings that it has; an object as it is."""
    if not isinstance(value, str):
        return value
    if value not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}; got {value!r}")
    known = {field.name for field in dataclasses.fields(choices[value])}
    return choices[value](**{name: x for name, x in settings.items() if name in known})
