"""Whether a manifest or a summary is whole: what must be there, of which type, in which range."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_size(value: Any) -> bool:
    return _is_count(value) and value > 0


def _is_number(value: Any) -> bool:
    return value is None or type(value) in (int, float)


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_digest(value: Any) -> bool:
    return _is_text(value) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _all(check: Check, *, size: int | None = None) -> Check:
    """A list of such values, not empty, or of a size."""
    return lambda value: (
        isinstance(value, list)
        and (len(value) == size if size is not None else len(value) > 0)
        and all(map(check, value))
    )


def _table(check: Check) -> Check:
    """A table with such values."""
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _has(form: dict[str, Check]) -> Check:
    return lambda value: not wrong(value, form)


def wrong(content: Any, form: dict[str, Check]) -> str:
    """What is wrong with a record, "" if nothing is; what a form does not know is left alone.

    Keys with a question mark may be missing.
    """
    if not isinstance(content, dict):
        return "it is no table"
    for key, check in form.items():
        name, optional = key.rstrip("?"), key.endswith("?")
        if name not in content:
            if not optional:
                return f"{name} is missing"
        elif not check(content[name]):
            return f"{name} is not what gemjax writes there"
    return ""


def _is_setting(value: Any) -> bool:
    return not isinstance(value, dict)


_MADE_BY = _table(lambda value: isinstance(value, str | int))
_MANIFEST = {"config": _table(_table(_is_setting))}
MANIFESTS: dict[str, dict[str, Check]] = {
    "fit": _MANIFEST,
    "run": _MANIFEST
    | {
        "data_sha256": lambda value: value is None or _is_digest(value),
        "seeds_per_piece": _is_size,
        "made_by": _MADE_BY,
    },
}
_POINT: dict[str, Check] = {
    "settings": _table(_is_setting),
    "num_seeds": _is_size,
    "record_every": _is_size,
    "num_diverged": _is_count,
    "outcomes?": _table(_is_count),
    "success_rate?": _is_share,
    "success_interval_95?": _all(_is_share, size=2),
    "num_birth_optimal?": _is_count,
    "num_reached?": _is_count,
    "reach?": _is_number,
} | {
    f"{key}?": _is_number
    for key in (
        "median_loss", "best_loss", "truth_loss", "median_excess_loss", "median_num_active",
        "median_num_iterations", "median_iterations",
    )
}  # fmt: skip
_COMPONENTS: dict[str, Check] = {
    "columns": _all(_is_text),
    "scale": lambda value: type(value) in (int, float) and value > 0,
    "num_points": _is_size,
}
_CERTIFICATE: dict[str, Check] = {
    "birth_at": _all(_is_number),
    "birth_optimal": lambda value: isinstance(value, bool),
    "npmle_usable": lambda value: isinstance(value, bool),
    "birth_agreed": _is_count,
    "num_starts": _is_count,
} | dict.fromkeys(
    ("birth_gain", "birth_price", "npmle_gap", "npmle_points", "duality_gap"), _is_number
)
_SUMMARY: dict[str, Check] = {
    "wall_seconds": lambda value: type(value) in (int, float) and value >= 0,
    "device": _is_text,
    "sha256?": _table(_is_digest),
}
SUMMARIES: dict[str, dict[str, Check]] = {
    "run": _SUMMARY
    | {"source?": _is_text, "points": _all(_has(_POINT)), "components?": _has(_COMPONENTS)},
    "fit": _SUMMARY
    | {
        "data": _is_text,
        "loss_nats_per_point": _is_number,
        "num_active": _is_count,
        "num_iterations": _is_count,
        "num_insertions?": _is_count,
        "components": _has(_COMPONENTS),
        "certificate?": _has(_CERTIFICATE),
    },
}
