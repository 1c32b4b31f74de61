"""What `select` chose from: the tree of mergings, and the criterion of every family and size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import gemjax as gj
from gemjax.cli.report.canvas import COLOURS, new_figure

MOST_LEAVES = 60  # of a tree, beyond which branches touch
BELOW, ABOVE, CHOSEN, JUMP = COLOURS[0], "0.6", COLOURS[1], COLOURS[2]
FORMS = {
    "EII": "round, equal",
    "VII": "round",
    "EEI": "along the axes, equal",
    "VVI": "along the axes",
    "EEE": "of any form, equal",
    "VVV": "of any form",
}
_LEAST_RANGE = 20.0  # of a criterion: twice what counts as very strong evidence


class Tree(NamedTuple):
    """Mergings in their order, and where to draw them.

    Attributes:
      left: (k,) how many components each merging left.
      cost: (k,) what it cost, nats per point.
      height: (k,) the most that any merging cost so far: a cut at a height between two mergings
        then crosses as many branches as there are components between them.
      at: (k, 2) where its two branches stand, from 0, left to right.
      made: (k, 2) the numbers of the mergings that made the two branches; −1 for a leaf.
      roots: where the branches stand that nothing was merged with any more, and what made them.
      leaves: the slots of the leaves, left to right; −1 for what was never merged with anything.
    """

    left: np.ndarray
    cost: np.ndarray
    height: np.ndarray
    at: np.ndarray
    made: np.ndarray
    roots: list[tuple[float, int]]
    leaves: list[int]


def tree_of(merges: Any, most: int = MOST_LEAVES) -> Tree:
    """The tree of `Selection.merges` from at most so many components on; those are its leaves."""
    kept, freed, cost = (np.asarray(leaf) for leaf in merges)
    rows = np.flatnonzero(kept >= 0)[::-1]
    rows = rows[rows < most - 1]
    # A branch is known by the slot of its component: its leaves from left to right.
    leaves: dict[int, list[int]] = {}
    for row in rows:
        pair = [leaves.pop(int(slot[row]), [int(slot[row])]) for slot in (kept, freed)]
        leaves[int(kept[row])] = [*min(pair, key=len), *max(pair[::-1], key=len)]
    order = [slot for branch in leaves.values() for slot in branch]
    branch = {slot: (float(i), -1) for i, slot in enumerate(order)}
    ends = []
    for i, row in enumerate(rows):
        ends.append(sorted((branch[int(kept[row])], branch.pop(int(freed[row])))))
        branch[int(kept[row])] = (0.5 * (ends[-1][0][0] + ends[-1][1][0]), i)
    both = np.reshape(np.asarray(ends, float), (-1, 2, 2))
    # What was never merged with anything has no row: it is counted, but has no slot.
    alone = max(0, (int(rows[-1]) if len(rows) else 0) + 1 - len(leaves))
    roots = [*branch.values(), *((float(len(order) + i), -1) for i in range(alone))]
    height = np.maximum.accumulate(cost[rows])
    made = both[..., 1].astype(int)
    return Tree(rows + 1, cost[rows], height, both[..., 0], made, roots, order + [-1] * alone)


def level_height(tree: Tree, num_components: int) -> float | None:
    """A height at which a cut leaves so many components; None if no cut does."""
    if not len(tree.height):
        return None
    below = tree.height[tree.left >= num_components]
    above = tree.height[tree.left < num_components]
    low = below[-1] if len(below) else 0.5 * above[0]
    high = above[0] if len(above) else 2 * low
    return float(np.sqrt(low * high)) if high > 1.02 * low > 0 else None


def tree(selection: gj.Selection) -> Figure:
    """The tree of mergings of the family chosen, and beside it what each of them cost."""
    chosen = int(selection.num_components) - int(selection.num_born)  # of those on the way down
    jump = int(selection.num_by_height)
    found = tree_of(selection.merges, max(MOST_LEAVES, chosen + chosen // 3))
    figure = new_figure(10.5, 5.2)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
    positive = found.cost[found.cost > 0]
    floor = 0.6 * positive.min() if len(positive) else 1e-3
    top = 1.7 * positive.max() if len(positive) else 1.0
    _branches(left, found, chosen, floor, top)
    left.set(
        yscale="log", ylim=(floor, top), xlim=(-0.7, len(found.leaves) - 0.3), xticks=[],
        ylabel="cost of the merging (nats per point)",
        xlabel=f"{len(found.leaves)} components, merged pair by pair to {len(found.roots)}",
    )  # fmt: skip
    left.grid(visible=False, axis="x")
    before = found.left + 1
    right.plot(before, np.maximum(found.cost, floor), "o-", color="0.35", ms=4, lw=1.2)
    marks = [(chosen, CHOSEN, "-", "criterion")]
    marks += [(jump, JUMP, "--", "jump in cost")] if jump != chosen else []
    for number, colour, style, name in marks:
        what = f"{name}{' and jump in cost' if jump == chosen else ''}"
        label = f"{_counted(number)}: {what}"
        at = level_height(found, number)
        for axes in (left, right):
            if at is not None:
                axes.axhline(at, color=colour, ls=style, lw=1.6, zorder=1)
        costs = found.cost[before == number]
        if len(costs):
            right.plot(
                [number], np.maximum(costs[:1], floor), "o", ms=12, mfc="none", mec=colour, mew=2
            )
        # The legend speaks of rings, which are there even where no line is.
        right.plot([], [], ls=style, marker="o", ms=9, mfc="none", mew=2, color=colour, label=label)
    right.set(
        xlabel="number of components before the merging",
        xlim=(len(found.leaves) + 0.7, min(before, default=2) - 0.7),
    )
    right.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    right.legend(loc="lower right", fontsize=10, bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    left.set_title(f"Tree of mergings, {selection.family_name}", loc="left")
    return figure


def _branches(axes: Any, found: Tree, chosen: int, floor: float, top: float) -> None:
    """The branches, those below the level chosen in colour, with a dot where each ends."""
    heights = np.maximum(found.height, floor)

    def stem(x: float, made: int, end: float, below: bool) -> None:
        begin = floor if made < 0 else heights[made]
        axes.plot([x, x], [begin, end], color=BELOW if below else ABOVE, lw=1.4, zorder=2)
        if not below and (made < 0 or found.left[made] >= chosen):
            axes.plot([x], [begin], "o", color=BELOW, ms=5, clip_on=False, zorder=3)

    for left, height, at, made in zip(found.left, heights, found.at, found.made, strict=True):
        below = bool(left >= chosen)
        for x, one in zip(at, made, strict=True):
            stem(x, one, height, below)
        axes.plot(at, [height, height], color=BELOW if below else ABOVE, lw=1.4, zorder=2)
    for x, one in found.roots:
        stem(x, one, top, below=False)


def criteria(selection: gj.Selection, *, sampled: bool = False) -> Figure:
    """The criterion above its least value against the number of components, a line per family.

    Lines are of the levels on the way down; a family's best level was then fitted to its end,
    which lowers it: its mark. With `sampled`, the ends were judged on more points than the levels,
    so that they have a place in the legend alone.
    """
    sizes, values = np.asarray(selection.sizes), np.asarray(selection.criteria, float)
    ends = np.asarray(selection.best_criteria, float)
    family = int(selection.family)
    chosen = int(selection.num_components) - int(selection.num_born)
    known = np.isfinite(values)
    zero = float(values[known].min() if sampled else selection.criterion)
    values = values - zero
    # The least range in which the neighbours of the level chosen are seen.
    near = known[family] & (np.abs(sizes[family] - chosen) <= 1)
    top = max(_LEAST_RANGE, 1.6 * float(values[family][near].max(initial=0.0)))
    figure = new_figure(9.5, 5.2)
    axes = figure.add_subplot()
    for i in _shown(selection):
        here, above = i == family, float(ends[i] - selection.criterion)
        told = "chosen" if here else f"+{above:.1f}" if np.isfinite(above) else "none"
        axes.plot(
            sizes[i][known[i]], values[i][known[i]], "o-", color=COLOURS[i], ms=5 if here else 3.5,
            lw=2.4 if here else 1.3, zorder=2 + here, label=f"{_form(selection, i)}: {told}",
        )  # fmt: skip
        if not sampled and not here and above < top:
            axes.plot([1.0], [above], "<", ms=9, color=COLOURS[i], clip_on=False, zorder=4,
                      transform=axes.get_yaxis_transform())  # fmt: skip
    level = values[family][known[family] & (sizes[family] == chosen)][:1]
    at = level if sampled else np.zeros(1)
    axes.plot([chosen] * (len(level) + len(at)), [*level, *at], ":", color=COLOURS[family], lw=2)
    axes.plot([chosen] * len(at), at, "*", color=COLOURS[family], ms=20, mec="white", zorder=5)
    close = ends - selection.criterion < top
    seen = sizes[known & (values < top) & close[:, None]]
    low, high = (int(f(seen, initial=chosen)) for f in (np.min, np.max))
    axes.set(
        xlim=(max(0.5, low - 0.7), high + 0.7), ylim=(-0.05 * top, top),
        xlabel="number of components", ylabel="criterion, above that of the fit chosen",
        title=f"Criterion: {_counted(chosen)}, {selection.family_name}",
    )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(
        loc="outside right center", fontsize=10, alignment="left",
        title="family: its best fit, to its end (◂)", title_fontsize=10,
    )  # fmt: skip
    return figure


def _shown(selection: gj.Selection) -> list[int]:
    """The families by their best fits, the one chosen first."""
    order = np.argsort(np.asarray(selection.best_criteria), kind="stable").tolist()
    return sorted(order, key=lambda i: i != int(selection.family))


def _form(selection: gj.Selection, i: int) -> str:
    name = selection.families[i]
    if selection.mixture.means.shape[1] == 1:
        return f"{name} ({'equal widths' if name[0] == 'E' else 'any width'})"
    return f"{name} ({FORMS[name]})"


def _counted(number: int) -> str:
    return f"{number} component{'s' if number > 1 else ''}"
