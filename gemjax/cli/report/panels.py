"""How the lines of a figure are spread over its panels, with a colour for each label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from gemjax.cli.report.canvas import MOST_PANELS, colours, label_of
from gemjax.cli.report.series import Spec


class _Series(Protocol):
    """What has values of `by`."""

    @property
    def by(self) -> dict[str, Any]: ...


Series = TypeVar("Series", bound=_Series)
Key = tuple[str, Any]  # label and colour


def panels_of(
    found: Sequence[Series], spec: Spec, which: int = 1
) -> tuple[list[str], list[list[tuple[Series, Key]]]]:
    """Titles of the panels, and in each its series with their labels and colours.

    The key of `by` with the number `which` makes the panels; of many, six from end to end are
    shown. The other keys make the colours, the same in all panels.
    """
    by = list(spec.get("by") or ())
    key = by[which] if len(by) > which else None
    labels = [label_of({k: v for k, v in series.by.items() if k != key}) for series in found]
    seen = [*dict.fromkeys(labels)]
    colour = dict(zip(seen, colours(len(seen)), strict=True))
    titles = [label_of({key: series.by[key]}) if key else "" for series in found]
    distinct = _spread([*dict.fromkeys(titles)])
    rows = [*zip(found, labels, titles, strict=True)]
    panels = [
        [(series, (label, colour[label])) for series, label, title in rows if title == wanted]
        for wanted in distinct
    ]
    return distinct or [""], panels or [[]]


def _spread(titles: Sequence[str]) -> list[str]:
    if len(titles) <= MOST_PANELS:
        return [*titles]
    places: Iterable[int] = np.linspace(0, len(titles) - 1, MOST_PANELS).round().astype(int)
    return [titles[place] for place in places]


def told_of(titles: Sequence[str], found: Sequence[Series], spec: Spec, which: int = 1) -> str:
    """What a title adds where not all panels are shown."""
    by = list(spec.get("by") or ())
    number = len({repr(s.by[by[which]]) for s in found}) if len(by) > which else 1
    return f" ({len(titles)} of {number} panels)" if number > len(titles) else ""
