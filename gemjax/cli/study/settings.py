"""The tables of settings: names, types, defaults and limits of all that a user may choose.

What the library has a setting for is read from the library.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

import gemjax as gj

FIGURES = (
    "success", "outcomes", "curves", "scaling", "heat", "weights", "paths", "distribution", "map",
)  # fmt: skip
MEASURES = (
    "rate", "median", "slope", "rms slope", "difference", "ratio", "smallest", "over coverage",
)  # fmt: skip
LAWS = ("power", "exponential", "gaussian")


def _key(default: Any, **limits: Any) -> Any:
    """A key with its limits, as the library's settings have them: least, above, below, choices."""
    return dataclasses.field(default=default, metadata=limits)


def _keys_of(owner: type, *but: str) -> list[tuple[str, Any, Any]]:
    """The settings of a record of the library, its fields with metadata, as those of a table."""
    number: Any = float | None  # that the library chooses by itself if there is none
    return [
        (f.name, number if f.default is None else type(f.default), _key(f.default, **f.metadata))
        for f in dataclasses.fields(owner)
        if f.metadata and f.name not in but
    ]


@functools.cache
def start_settings(init: str) -> dict[str, inspect.Parameter]:
    """What a start asks for beside key, target and number of components."""
    start: Any = gj.initialize.STARTS[init]
    parameters = inspect.signature(start, eval_str=True).parameters
    return dict(list(parameters.items())[3:])


@dataclasses.dataclass(frozen=True)
class TruthTable:
    """[truth]: the mixture to be found."""

    kind: str = _key("simplex", choices=(*gj.truth.KINDS, "explicit"))
    num_components: int = _key(3, least=1)
    dim: int = _key(2, least=1)
    separation: float = _key(4.0, above=0)  # noise standard deviations
    weights: tuple[float, ...] | None = None
    means: tuple[tuple[float, ...], ...] | None = None  # for kind "explicit"
    seed: int = _key(0, least=0)  # for kind "random"


@dataclasses.dataclass(frozen=True)
class TargetTable:
    """[target]: what is fitted."""

    kind: str = _key("samples", choices=("samples", "population", "file", "stream"))
    num_samples: int = _key(20_000, least=1)  # of a "stream": at every iteration, and at the end
    num_nodes: int | None = _key(None, least=2)
    path: str | None = None  # relative to the config file
    columns: tuple[str, ...] | None = None
    weights: str | None = None  # the column that holds sample weights
    header: bool | None = None  # of a text file; seen from it by default, as the next two
    delimiter: str | None = None
    decimal: str | None = None
    drop_missing: bool = False  # leave out rows with a missing value
    scale: float = _key(1.0, above=0)  # noise standard deviation of the file's data
    on_disk: bool = False  # read the file (.npy) while fitting, instead of loading it
    seed: int = _key(0, least=0)
    dtype: str = _key("float32", choices=("float32", "float64"))


# [model]: the mixture that is fitted, and where it starts, with the settings of the starts.
ModelTable: Any = dataclasses.make_dataclass(
    "ModelTable",
    [
        ("num_components", int, _key(7, least=1)),
        ("init", str, _key("from_target", choices=tuple(gj.initialize.STARTS))),
        *{
            name: (name, parameter.annotation | None, _key(None))
            for init in gj.initialize.STARTS
            for name, parameter in start_settings(init).items()
        }.values(),
        # Starts that are given, before those that `init` draws, and the normal noise on them.
        ("means", tuple[tuple[float, ...], ...] | None, _key(None)),
        ("jitter", float, _key(0.0, least=0)),
        ("weights", tuple[float, ...] | None, _key(None)),  # at the start; equal by default
    ],
    frozen=True,
)

# [solver]: GradientEM's settings, and the length of the run. The least loss is the truth's.
SolverTable: Any = dataclasses.make_dataclass(
    "SolverTable",
    [
        ("method", str, _key("gradient_em", choices=("gradient_em", "classical_em"))),
        *_keys_of(gj.GradientEM, "optimal_loss", "blocking"),
        ("escape", bool, False),  # by the settings in [escape]
        ("num_iterations", int, _key(300, least=1)),
        ("record_every", int, _key(1, least=1)),
        ("tolerance", float | None, _key(None, least=0)),  # all iterations without one
    ],
    frozen=True,
)

# [escape]: Escape's settings, for solver.escape.
EscapeTable: Any = dataclasses.make_dataclass("EscapeTable", _keys_of(gj.Escape), frozen=True)


@dataclasses.dataclass(frozen=True)
class SweepTable:
    """[sweep]: random starts per grid point."""

    num_seeds: int = _key(32, least=1)
    seed: int = _key(0, least=0)
    batch_size: int | None = _key(None, least=1)


@dataclasses.dataclass(frozen=True)
class ReportTable:
    """[report]: what to report beside the standard columns."""

    reach: float | None = _key(None, above=0)  # excess loss whose first iteration is reported
    tolerance: float = _key(0.1, above=0)  # of means and masses, within which a truth is recovered
    follow: bool = False  # keep means and weights of the first seed
    path: bool = False  # how far from the truth each seed is, along the iterations
    moments: int = _key(0, least=0, most=6)  # up to this order, how far E[He_k] is from the truth's
    starts: bool = False  # keep the starts, and whether they cover all clusters
    sensitivity: bool = False  # derivatives of where each seed ends
    certificate: bool = False  # of every seed's fit


@dataclasses.dataclass(frozen=True)
class StudyTable:
    """[study]: what a study is about, for its page and the list of studies."""

    title: str | None = None
    claim: str | None = None  # what is expected, in a line
    source: str | None = None  # who says so
    note: str | None = None  # what a reader should know beside


@dataclasses.dataclass(frozen=True)
class GridTable:
    """[grid]: keys whose lists go together instead of spanning a product."""

    zip: tuple[tuple[str, ...], ...] | None = None


@dataclasses.dataclass(frozen=True)
class FigureTable:
    """[[figure]]: one picture. `x` and `by` are settings; seeds of all others are pooled."""

    kind: str | None = _key(None, choices=FIGURES)
    x: str | None = None
    y: str | None = None  # a column of the results, or of the history
    by: tuple[str, ...] | None = None
    where: dict | None = None
    theory: str | float | None = None  # "coverage", or an exponent
    law: str | None = _key(None, choices=LAWS)
    window: tuple[float, ...] | None = None  # first and last iteration of a fit
    title: str | None = None
    caption: str | None = None


@dataclasses.dataclass(frozen=True)
class FindingTable:
    """[[finding]]: a measured number, with its interval, beside the bounds that are expected."""

    name: str | None = None
    says: str | None = None  # what is expected, in words
    measure: str | None = _key(None, choices=MEASURES)
    y: str | None = None
    x: str | None = None
    by: tuple[str, ...] | None = None
    where: dict | None = None
    against: dict | None = None
    against_y: str | None = None
    law: str | None = _key(None, choices=LAWS)
    window: tuple[float, ...] | None = None
    level: float | None = _key(None, above=0)
    least: float | None = None
    most: float | None = None


@dataclasses.dataclass(frozen=True)
class GridPoint:
    """One point of the grid: every table with one value per key; `case` is a name."""

    truth: TruthTable | None
    target: TargetTable
    model: Any
    solver: Any
    escape: Any
    sweep: SweepTable
    report: ReportTable
    case: str | None = None

    @property
    def num_records(self) -> int:
        """Of the iterations, how many the history holds."""
        return self.solver.num_iterations // self.solver.record_every

    def value(self, key: str) -> Any:
        """Of "table.key", or of "case"."""
        table, _, name = key.partition(".")
        owner = getattr(self, table)
        return getattr(owner, name, None) if name else owner


# What decides the results.
TABLES: dict[str, Any] = {
    "truth": TruthTable, "target": TargetTable, "model": ModelTable, "solver": SolverTable,
    "escape": EscapeTable, "sweep": SweepTable, "report": ReportTable,
}  # fmt: skip
# How they are laid out and shown; the last two are lists of tables.
PRESENTATION: dict[str, Any] = {
    "study": StudyTable, "grid": GridTable, "figure": FigureTable, "finding": FindingTable,
}  # fmt: skip
