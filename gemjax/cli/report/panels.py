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
    key = _panel_key(spec, which)
    labels = [label_of({k: v for k, v in series.by.items() if k != key}) for series in found]
    seen = [*dict.fromkeys(labels)]
    colour = dict(zip(seen, colours(len(seen)), strict=True))
    titles = [label_of({key: s.by[key]}) if key and key in s.by else "" for s in found]
    distinct = spread([*dict.fromkeys(titles)])
    rows = [*zip(found, labels, titles, strict=True)]
    panels = [
        [(series, (label, colour[label])) for series, label, title in rows if title == wanted]
        for wanted in distinct
    ]
    return distinct or [""], panels or [[]]


def _panel_key(spec: Spec, which: int) -> str | None:
    by = list(spec.get("by") or ())
    return by[which] if len(by) > which else None


def spread(those: Sequence[Any]) -> list[Any]:
    """As many as there are panels for, from end to end."""
    if len(those) <= MOST_PANELS:
        return [*those]
    places: Iterable[int] = np.linspace(0, len(those) - 1, MOST_PANELS).round().astype(int)
    return [those[place] for place in places]


def told_of(titles: Sequence[str], found: Sequence[Series], spec: Spec, which: int = 1) -> str:
    """What a title adds where not all panels are shown."""
    key = _panel_key(spec, which)
    number = len({repr(s.by.get(key)) for s in found}) if key else 1
    return f" ({len(titles)} of {number} panels)" if number > len(titles) else ""
