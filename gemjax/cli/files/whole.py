"""Whether a manifest or a summary is whole: what must be there, of which type, in which range."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Form = dict[
    str, Any
]  # per key what its value is: a name in `_IS`, a form, or a list of one of them

_IS: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "flag": lambda value: isinstance(value, bool),
    "count": lambda value: type(value) is int and 0 <= value < 2**63,
    "size": lambda value: type(value) is int and 0 < value < 2**63,
    "count or none": lambda value: value is None or _IS["count"](value),
    "family": lambda value: value in ("EII", "VII", "EEI", "VVI", "EEE", "VVV"),
    "number": lambda value: value is None or type(value) in (int, float),
    "scale": lambda value: type(value) in (int, float) and value > 0,
    "share": lambda value: type(value) in (int, float) and 0 <= value <= 1,
    "pair": lambda value: isinstance(value, list) and [*map(type, value)] == [float, float],
    "digest": lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value)),
    "no data": lambda value: value is None or _IS["digest"](value),
    "digests": lambda value: _is_table(value, _IS["digest"]),
    "counts": lambda value: _is_table(value, _IS["count"]),
    "settings": lambda value: _is_table(value, lambda entry: not isinstance(entry, dict)),
    "versions": lambda value: _is_table(value, lambda entry: isinstance(entry, str | int)),
    "tables": lambda value: _is_table(value, _IS["settings"]),
    "texts": lambda value: isinstance(value, list) and {*map(type, value)} <= {str},
    "config": lambda value: _is_table(value, lambda entry: isinstance(entry, list | dict)),
    "records": lambda value: isinstance(value, list) and {*map(type, value)} <= {dict},
}


def _is_table(value: Any, check: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(check, value.values()))


def _fits(value: Any, form: Any) -> bool:
    if isinstance(form, list):
        return isinstance(value, list) and bool(value) and all(_fits(v, form[0]) for v in value)
    return not wrong(value, form) if isinstance(form, dict) else _IS[form](value)


def wrong(content: Any, form: Form) -> str:
    """What is wrong with a record, "" if nothing is; what a form does not know is left alone.

    Keys with a question mark may be missing.
    """
    if not isinstance(content, dict):
        return "it is no table"
    for key, inner in form.items():
        name = key.rstrip("?")
        if name not in content and name == key:
            return f"{name} is missing"
        if name in content and not _fits(content[name], inner):
            return f"{name} is not what gemjax writes there"
    return ""


# fmt: off
MANIFESTS: dict[str, Form] = {
    "fit": {"config": "tables"},
    "clusters": {"config": "tables"},
    "run": {"config": "config", "data_sha256": "no data", "seeds_per_piece": "size",
            "made_by": "versions"},
}
_POINT = {
    "settings": "settings", "shape?": "settings", "num_seeds": "size", "record_every": "size",
    "num_diverged": "count",
    "outcomes?": "counts", "success_rate?": "share", "success_interval_95?": "pair",
    "num_birth_optimal?": "count", "num_reached?": "count",
    **dict.fromkeys(
        ("reach?", "median_loss?", "best_loss?", "truth_loss?", "median_excess_loss?",
         "median_num_active?", "median_num_iterations?", "median_iterations?"), "number"),
}
_CLUSTER = {
    "cluster": "count", "num_rows": "count", "share": "share", "num_components": "count",
    "centre": ["number"], "standard_deviation": ["number"],
}
_WIDTH = {
    "columns": ["text"],
    **dict.fromkeys(("num_rows", "num_different_rows", "num_different_values"), "count"),
}
_FAMILY = {"family": "family", "num_components": "count", "best_criterion": "number"}
_CLUSTERS = {
    "data": "text", "columns": ["text"], "reading": ["text"], "is_weighted": "flag",
    "is_sampled": "flag",
    "scaling": {"is_scaled": "flag", "ratio": "number"}, "family": "family", "status": "text",
    "components_asked_for": "count or none", "doubtful_below": "number", "agree": "flag",
    "criterion": "number", "clusters": [_CLUSTER], "families": [_FAMILY],
    "certificate": {"birth_optimal": "flag", "birth_at": ["number"]},
    "without_width?": _WIDTH, "odd_values?": "records",
    **dict.fromkeys(("num_rows", "num_rows_used", "num_clusters", "num_components"), "size"),
    **dict.fromkeys(("num_doubtful", "num_born", "num_by_height"), "count"),
}
_DRAWN = {"columns": ["text"], "scale": "scale", "num_points": "size"}
_CERTIFICATE = {
    "birth_at": ["number"], "birth_optimal": "flag", "npmle_usable": "flag",
    "birth_agreed": "count", "num_starts": "count",
    **dict.fromkeys(
        ("birth_gain", "birth_price", "npmle_gap", "npmle_points", "duality_gap"), "number"),
}
_ALL = {"wall_seconds": "scale", "device": "text", "sha256?": "digests"}
SUMMARIES: dict[str, Form] = {
    "run": {**_ALL, "source?": "text", "points": [_POINT], "components?": _DRAWN,
            "study?": "settings", "figures?": "records", "findings?": "records",
            "constants?": "settings", "size?": "text", "overrides?": "texts",
            "compute_seconds?": "number"},
    "fit": {**_ALL, "data": "text", "loss_nats_per_point": "number", "num_active": "count",
            "num_iterations": "count", "num_insertions?": "count", "components": _DRAWN,
            "certificate?": _CERTIFICATE},
    "clusters": {**_ALL, **_CLUSTERS},
}
# fmt: on
