"""What may make the answer of `gemjax fit` wrong, in the words of who has the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gemjax.cli.files.boundary import brief
from gemjax.cli.files.sheet import counted

_MOST_LISTED = 6  # columns that are named one by one


def warnings(summary: dict[str, Any]) -> Iterator[str]:
    """What may make the answer wrong."""
    odd = summary.get("odd_values") or []
    narrow = summary.get("without_width", {"columns": []})["columns"]
    if summary["status"] == "FLOORED" and not {*narrow} & {one["column"] for one in odd}:
        yield _without_width(summary)
    if odd:
        told = [
            f"{brief(one['column'], 40)} = {one['value']:.6g} ("
            + ("" if one["num_rows"] == 1 else f"{one['num_rows']:,} rows, first ")
            + f"{one['first']})"
            for one in odd
        ]
        yield (
            f"WARNING: apart from all other values: {listed(told, 3)}. A slip of the pen, or what "
            "stands for a missing value, makes clusters of its own or widens others: correct it, "
            "or empty the cell and take --drop-missing."
        )


def _without_width(summary: dict[str, Any]) -> str:
    found = summary.get("without_width")
    what, advice = "some components have no width left in some direction", []
    if found is not None:
        columns = [brief(name, 40) for name in found["columns"]]
        rows, distinct, values = (
            found[key] for key in ("num_rows", "num_different_rows", "num_different_values")
        )
        what, several = f"a cluster of {counted(rows, 'row')} has no width", len(columns) > 1
        if distinct < 0.9 * rows:
            what += f": only {distinct:,} of its rows {'is' if distinct == 1 else 'are'} different"
            advice.append("drop rows that repeat others")
        elif values < 0.9 * rows or not several:
            there = counted(values, "different value")
            what += f" along {' and '.join(columns[:3])}, where it has {there}"
        else:
            what = f"in a cluster of {counted(rows, 'row')} columns follow from each other: " \
                   f"{listed(columns, 3)}"  # fmt: skip
            if summary["family"] in ("EEE", "VVV"):
                advice.append("take a form along the columns with --family diag")
        if len(summary["columns"]) > 1 and distinct >= 0.9 * rows:
            advice.insert(0, f"leave {'one of them' if several else 'it'} out with --columns")
    if summary["components_asked_for"] is None:
        advice.append("give their number with --components")
        what += ". Do not trust the number of clusters"
    return f"WARNING: {what}" + f"; {', or '.join(advice)}" * bool(advice) + "."


def listed(names: Sequence[str], most: int = _MOST_LISTED) -> str:
    more = f" and {len(names) - most} more" * (len(names) > most)
    return ", ".join(brief(name, 40) for name in names[:most]) + more
