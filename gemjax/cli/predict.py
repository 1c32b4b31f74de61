"""`gemjax predict`: whose the rows of another table are, by what a fit found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gemjax.cli import model, record
from gemjax.cli.files.boundary import InputError, asking, brief
from gemjax.cli.files.dataset import read_table
from gemjax.cli.files.watch import Watch
from gemjax.cli.files.write import write_csv

_HEADER = ("row", "label", "probability", "log_density", "density_rank")
_UNUSUAL = 0.001  # share of the model's own points


def place(data: Path, out: Path | None, force: bool) -> Path:
    """Where the labels go: beside the data, unless told; refuses a place that is taken."""
    path = out or data.with_name(f"{data.name.split('.')[0]}-labels.csv")
    if path.exists() and data.exists() and os.path.samefile(path, data):
        raise InputError(f"--out {path}: is the table itself; choose another file")
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "there already, and"
        raise InputError(f"--out {path}: is {what}, not a file; name a file that ends in .csv")
    if path.exists() and not force:
        raise InputError(f"--out {path}: is there already; choose another, or add --force")
    if path.suffix.lower() != ".csv":
        raise InputError(f"--out {path}: must end in .csv")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: its folder does not exist")
    return path


def run(source: Path, data: Path, out: Path, reading: dict[str, Any]) -> dict[str, Any]:
    """Writes the labels of a table's rows to `out`; returns what is to be said of them.

    `reading` says how the table is read, as keywords of `read_table`.
    """
    path = source
    if source.is_dir():
        path = source / record.MODEL
        if not path.exists():
            raise InputError(f"{source}: holds no {record.MODEL}; a finished `gemjax fit` has one")
    known = model.load(path)
    watch = Watch(data)
    with watch.kept(), asking(str(data)):
        table = read_table(data, columns=known.names, are_asked_for=False, **reading)
    assigned = model.assign(known, table.points)
    ranks = model.ranks(known, assigned.log_density)

    def rows() -> Iterator[tuple[Any, ...]]:
        lines: list[tuple[Any, ...]] = [(i, "", "", "", "") for i in range(1, table.num_rows + 1)]
        for i, row in enumerate(table.rows.tolist()):
            lines[row] = (
                row + 1, int(assigned.label[i]), f"{assigned.probability[i]:.6f}",
                f"{assigned.log_density[i]:.9g}", f"{ranks[i]:.4g}",
            )  # fmt: skip
        return iter(lines)

    write_csv(out, _HEADER, rows())
    return {
        "data": str(data),
        "model": str(path),
        "out": str(out),
        "num_rows": table.num_rows,
        "num_rows_used": len(table.points),
        "reading": list(table.told),
        "num_rows_of_labels": np.bincount(assigned.label, minlength=_count(known)).tolist(),
        "num_unusual": int((ranks < _UNUSUAL).sum()),
        "unusual_below": _UNUSUAL,
    }


def _count(known: model.Model) -> int:
    found: Any = known.found
    return int(getattr(found, "num_clusters", len(known.mixture.means)))


def lines(told: dict[str, Any]) -> list[str]:
    """What is said of it on the terminal."""
    counts = [f"{c}: {k:,}" for c, k in enumerate(told["num_rows_of_labels"]) if k]
    listed = ", ".join(counts[:12]) + (f" and {len(counts) - 12} more" if counts[12:] else "")
    reading, unusual = told["reading"], told["num_unusual"]
    return [
        f"{brief(Path(told['data']).name, 60)}: {brief(reading[0], 200)}",
        *(f"  {brief(line, 200)}" for line in reading[1:]),
        f"rows per cluster: {listed}",
        f"unusual rows, less likely than {1 - told['unusual_below']:.1%} of what is expected: "
        f"{unusual:,} (see density_rank)",
        f"labels in {brief(told['out'], 200)}",
    ]
