"""What was found in a table, as components.csv and summary.json say it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import gemjax as gj
from gemjax.cli import doubts
from gemjax.cli.files.write import jsonable, own_name
from gemjax.cli.model import Assigned, Model
from gemjax.cli.scaling import ONE_KIND, Scaling

SURE = 0.9  # the probability from which a row surely belongs to its cluster
_SAMPLE = 10_000  # rows, of which `gj.select` compares no more
LABELS = ("row", "label", "probability")
UNITS = {
    "centre, standard_deviation": "the file's units, column by column",
    "loss_nats_per_point": "nats per row, of the density in the file's units",
    "criterion": "twice the nats of all rows and a price of parameters, in columns of standard "
    "deviation one; smaller is better, by 2 hardly and by 10 clearly",
    "families": "num_components is that of the best level on the way down",
    "levels": "on the way down, before the last fit: criterion as above, loss and merge_cost in "
    "nats per row in columns of standard deviation one",
    "birth_gain, birth_price": "nats per row",
    "spreads": "the file's units: interquartile range / 1.349, or the standard deviation where "
    "that is zero",
}


def components(model: Model) -> tuple[list[str], Iterator[list[str]]]:
    """Header and rows of components.csv, heaviest first, in the data's units.

    A mean per column under its name, a standard deviation, and, where a form has them, covariances
    of all pairs.
    """
    mixture, names = model.mixture, model.names
    n, d = mixture.means.shape
    matrices = np.asarray(mixture.covariance.matrices(n, d), float)
    first, second = np.triu_indices(d, 1)
    is_tilted = bool(np.any(matrices[:, first, second]))
    header = list(names)
    pairs = list(zip(first, second, strict=True)) if is_tilted else []
    more = [f"sd_{name}" for name in names] + [f"cov_{names[i]}_{names[j]}" for i, j in pairs]
    for name in more:
        header.append(own_name(name, header))
    header = [own_name("cluster", header), own_name("weight", header), *header]
    deviations = np.sqrt(np.einsum("nii->ni", matrices))
    covariances = matrices[:, first, second][:, : len(pairs)]
    assert isinstance(model.found, gj.Selection)
    columns = zip(
        np.asarray(model.found.cluster).tolist(), np.asarray(mixture.weights)[:, None],
        np.asarray(mixture.means), deviations, covariances, strict=True,
    )  # fmt: skip
    # Means keep all their digits: they may be far from the origin.
    rows = (
        [str(c), *_texts(weight), *_texts(mean, 15), *_texts(deviation), *_texts(covariance)]
        for c, weight, mean, deviation, covariance in columns
    )
    return header, rows


def _texts(values: np.ndarray, digits: int = 9) -> list[str]:
    return [f"{value:.{digits}g}" for value in values]


def summary(
    where: str, table: Any, settings: Any, units: Scaling, found: gj.Selection, assigned: Assigned
) -> dict[str, Any]:
    """What summary.json says: all that the terminal does, and what was chosen from."""
    N = len(table.points)
    doubtful = int((assigned.probability < SURE).sum())
    status = gj.Status(int(found.status))
    return {
        "data": where,
        "columns": table.names,
        "reading": list(table.told),
        "num_rows": table.num_rows,
        "num_rows_used": N,
        "is_sampled": N > _SAMPLE,
        "is_weighted": table.weights is not None,
        "scaling": {
            "is_scaled": units.is_scaled,
            "spreads": units.spreads.tolist(),
            "ratio": units.ratio,
            "ratio_from_which_columns_are_scaled": ONE_KIND,
        },
        "precision": settings.precision,
        "criterion_name": settings.criterion,
        "seed": settings.seed,
        "components_asked_for": settings.components,
        "num_clusters": int(found.num_clusters),
        "num_components": int(found.num_components),
        "family": found.family_name,
        "clusters": _clusters(found, table, assigned),
        "loss_nats_per_point": jsonable(float(found.loss)),
        "criterion": jsonable(float(found.criterion)),
        "status": status.name,
        "odd_values": doubts.odd_values(table, units),
        **(
            {"without_width": doubts.without_width(table, units, found, assigned.label)}
            if status == gj.Status.FLOORED
            else {}
        ),
        "num_doubtful": doubtful,
        "doubtful_below": SURE,
        "certificate": _certificate(found.certificate),
        "num_born": int(found.num_born),
        "num_by_height": int(found.num_by_height),
        "agree": bool(found.agree),
        "families": _families(found),
        "units": UNITS,
    }


def _clusters(found: gj.Selection, table: Any, assigned: Assigned) -> list[dict[str, Any]]:
    """Per cluster its size and its moments."""
    mixture, cluster = found.mixture, np.asarray(found.cluster)
    n, d = mixture.means.shape
    weights, means = np.asarray(mixture.weights, float), np.asarray(mixture.means, float)
    variances = np.einsum("nii->ni", np.asarray(mixture.covariance.matrices(n, d), float))
    heft = np.ones(len(table.points)) if table.weights is None else table.weights
    told = []
    for c in range(int(found.num_clusters)):
        own = cluster == c
        share = weights[own] / weights[own].sum()
        centre = share @ means[own]
        variance = share @ (variances[own] + (means[own] - centre) ** 2)
        mine = assigned.label == c
        told.append({
            "cluster": c,
            "num_rows": int(mine.sum()),
            "share": float(heft[mine].sum() / heft.sum()),
            "num_components": int(own.sum()),
            "centre": centre.tolist(),
            "standard_deviation": np.sqrt(variance).tolist(),
        })  # fmt: skip
    return told


def _certificate(found: gj.Certificate) -> dict[str, Any]:
    return {
        "birth_optimal": bool(found.birth_optimal),
        "birth_gain": jsonable(float(found.birth_gain)),
        "birth_price": jsonable(float(found.birth_price)),
        "birth_at": np.asarray(found.birth_at, float).tolist(),
        "birth_agreed": int(found.birth_agreed),
        "num_starts": int(found.num_starts),
    }


def _families(found: gj.Selection) -> list[dict[str, Any]]:
    """What was chosen from: per family its best fit, and all levels on the way down."""
    told = []
    for i, name in enumerate(found.families):
        columns = (found.sizes, found.criteria, found.losses, found.heights)
        sizes, criteria, losses, heights = (np.asarray(column)[i] for column in columns)
        known = np.flatnonzero(np.isfinite(criteria) & (sizes > 0))
        levels = [
            {
                "num_components": int(sizes[k]),
                "criterion": float(criteria[k]),
                "loss": jsonable(float(losses[k])),
                "merge_cost": jsonable(float(heights[k])),
            }
            for k in known[np.argsort(sizes[known], kind="stable")]
        ]
        best = int(sizes[known[criteria[known].argmin()]]) if len(known) else 0
        told.append({
            "family": name,
            "num_components": best,
            "best_criterion": jsonable(float(found.best_criteria[i])),
            "levels": levels,
        })  # fmt: skip
    return told
