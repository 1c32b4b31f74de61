"""The pictures and the tables of docs/clustering.md: beside scikit-learn, on known groups.

    python scripts/clustering.py --data FOLDER --write docs/clustering.md

computes them, puts the tables between the comments `clustering:NAME` and `/clustering:NAME` of that
page, and the pictures beside it, as clustering_NAME.png. Without `--write` it only prints the
tables. FOLDER holds the public sets that are not shipped, each as NAME.csv with a column `label`,
`class` or `status` (labelled.py has their names); without `--data` their rows are left out. Takes
about a quarter of an hour on one core, and uses no other.
"""

from __future__ import annotations

from benchmarks import affinity

if __name__ == "__main__":
    affinity.pin(1)  # before numpy and jax, which look at the cores when they are imported

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import labelled
import matplotlib as mpl
import numpy as np
import pages
from benchmarks.measure import table
from how_many import save
from labelled import Labelled
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, confusion_matrix
from sklearn.mixture import GaussianMixture

import gemjax as gj
from gemjax.cli.report.canvas import STYLE, new_panels, tidy
from gemjax.cli.report.cluster_figures import colours_of
from gemjax.cli.report.directions import ellipse

TYPES = ("full", "tied", "diag", "spherical")
ROUNDS = 3  # whose median is the time; one where the first took so many seconds:
LONG = 10
NUMBERS = 24  # so many numbers are all tried by BIC, of more so many:
SOME = 12
PICTURES = ("unequal", "four squares", "breast cancer")


class Answer(NamedTuple):
    """Labels (N,), the mixture behind them, its form and size, and the time it took."""

    label: np.ndarray
    mixture: gj.Mixture
    form: str
    size: str
    seconds: float


Answers = dict[str, Answer]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="replace the tables in this Markdown file")
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn's, that it has not converged
    found = {data.name: (data, *both(data)) for data in labelled.all_sets(options.data)}
    tables = {"given": given_table(found), "open": open_table(found)}
    document = options.write.read_text() if options.write else ""
    for name, text in tables.items():
        print(f"{text}\n")
        if options.write:
            document = pages.replace(document, f"clustering:{name}", text)
    if options.write:
        options.write.write_text(document)
        with mpl.rc_context(STYLE):
            for name, figure in pictures(found):
                tidy(figure)
                save(figure, options.write.with_name(f"clustering_{name}.png"))


def both(data: Labelled) -> tuple[Answers, Answers]:
    """What is found where the number of groups is given, and where it is not."""
    print(f"{data.name} ...", file=sys.stderr, flush=True)
    jax.clear_caches()  # a process holds only so many programs
    points, m = data.points, data.number
    target = gj.empirical(points.astype(np.float32))

    def ours(m: int | None = None) -> gj.Selection:
        return jax.block_until_ready(gj.select(target, jax.random.key(0), num_components=m))

    def theirs(m: int, form: str = "full", n_init: int = 1) -> GaussianMixture:
        return GaussianMixture(m, covariance_type=form, n_init=n_init, random_state=0).fit(points)

    def by_bic() -> GaussianMixture:
        fits = [theirs(n, form) for form in TYPES for n in numbers(m)]
        return min(fits, key=lambda fit: fit.bic(points))

    given: dict[str, Callable[[], Any]] = {
        "once": lambda: theirs(m), "ten times": lambda: theirs(m, n_init=10),
        "gemjax": lambda: ours(m),
    }  # fmt: skip
    answers = answered({"scikit-learn": by_bic, "gemjax": ours}, points, clusters=True)
    return answered(given, points, clusters=False) if m else {}, answers


def numbers(m: int | None) -> list[int]:
    """Up to half as many again as there are, nine at least; of very many some, with the right."""
    most = max(9, (m or 0) * 3 // 2)
    if most <= NUMBERS:
        return [*range(1, most + 1)]
    return sorted({*np.linspace(1, most, SOME).round().astype(int).tolist(), m})


def answered(
    contenders: dict[str, Callable[[], Any]], points: np.ndarray, clusters: bool
) -> Answers:
    """Processor times, for other processes to matter less, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    fits = {}
    contenders["gemjax"]()  # compiles
    for _ in range(ROUNDS):
        for name, function in contenders.items():
            start = time.process_time()
            fits[name] = function()
            seconds[name].append(time.process_time() - start)
        if sum(once for once, *_ in seconds.values()) > LONG:
            break
    return {
        name: answer(fit, points, float(np.median(seconds[name])), clusters)
        for name, fit in fits.items()
    }


def answer(fit: Any, points: np.ndarray, seconds: float, clusters: bool) -> Answer:
    """Of gemjax the clusters where their number was to be found, else the components."""
    if isinstance(fit, GaussianMixture):
        mixture = gj.convert.from_sklearn(fit)
        return Answer(
            fit.predict(points), mixture, fit.covariance_type, str(fit.n_components), seconds
        )
    single = points.astype(np.float32)
    if clusters:
        label, size = fit.predict(single), str(int(fit.num_clusters))
        if int(fit.num_clusters) < int(fit.num_components):
            size += f" ({int(fit.num_components)})"
    else:
        label, size = gj.responsibilities(fit.mixture, single).argmax(axis=1), ""
    return Answer(np.asarray(label), fit.mixture, fit.family_name, size, seconds)


def rand(data: Labelled, one: Answer) -> str:
    return "" if data.label is None else f"{adjusted_rand_score(data.label, one.label):.2f}"


def missed(data: Labelled, one: Answer) -> str:
    """Groups that are the largest in no cluster found."""
    counts = confusion_matrix(data.label, one.label)[: data.number]
    filled = counts.sum(axis=0) > 0
    return str(data.number - len(np.unique(counts[:, filled].argmax(axis=0))))


def ratio(over: Answer, under: Answer) -> str:
    """To two digits."""
    return f"{float(f'{over.seconds / under.seconds:.1e}'):g}"


def given_table(found: dict[str, Any]) -> str:
    rows = [
        [
            data.name,
            "{:,} x {}".format(*data.points.shape),
            str(data.number),
            *(rand(data, one) for one in given.values()),
            " / ".join(missed(data, one) for one in given.values()),
            ratio(given["gemjax"], given["ten times"]),
        ]
        for data, given, _ in found.values()
        if given
    ]
    head = [
        "data", "points x columns", "m", "`n_init=1`", "`n_init=10`", "gemjax", "missed", "time",
    ]  # fmt: skip
    return table(head, rows)


def open_table(found: dict[str, Any]) -> str:
    rows = []
    for data, _, answers in found.values():
        theirs, ours = answers["scikit-learn"], answers["gemjax"]
        rows.append([
            data.name, data.number or "", theirs.size, ours.size, theirs.form, ours.form,
            rand(data, theirs), rand(data, ours),
            " / ".join(missed(data, one) for one in answers.values() if data.number),
            ratio(ours, theirs),
        ])  # fmt: skip
    head = [
        "data", "m", "BIC finds", "gemjax finds", "type", "family", "BIC", "gemjax", "missed",
        "time",
    ]  # fmt: skip
    return table(head, rows)


def pictures(found: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    for name in PICTURES:
        if name in found:
            data, _, answers = found[name]
            yield name.replace(" ", "_"), panels(data, answers)


def panels(data: Labelled, answers: Answers) -> Figure:
    """The groups, and what was found, in the colours of the groups it has most in common with."""
    told = [f"{data.number} groups"]
    for name, one in answers.items():
        size = one.size.partition(" ")[0]
        told.append(f"{name}: {size} cluster{'s' * (size != '1')}")
    points = data.points
    centres = np.stack([points[data.label == g].mean(axis=0) for g in range(data.number)])
    colours = colours_of(centres)
    figure, axes = new_panels(told, data.name, sharex=True, sharey=True)
    for panel, one in zip(axes, (None, *answers.values()), strict=True):
        label = data.label if one is None else renamed(one.label, data)
        ink = np.array([*colours, *["black"] * (label.max() + 1)])
        panel.scatter(*points.T[:2], s=6, c=ink[label], lw=0, alpha=0.5, rasterized=True)
        if one is not None:
            means = np.asarray(one.mixture.means, float)
            matrices = np.asarray(one.mixture.covariance.matrices(*means.shape), float)
            outlines = [ellipse(a[:2], b[:2, :2]) for a, b in zip(means, matrices, strict=True)]
            panel.add_collection(LineCollection(outlines, colors="0.2", linewidths=1.2))
    return figure


def renamed(label: np.ndarray, data: Labelled) -> np.ndarray:
    """Clusters under the numbers of the groups they go best with, others from there on."""
    label = np.unique(label, return_inverse=True)[1]
    counts = confusion_matrix(data.label, label)
    groups, clusters = linear_sum_assignment(-counts)
    names = data.number + np.arange(len(counts))
    names[clusters] = np.where(groups < data.number, groups, names[clusters])
    return names[label]


if __name__ == "__main__":
    main()
