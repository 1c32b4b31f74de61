"""Options that several commands have, and those of `gemjax fit` that are keys of a config."""

from __future__ import annotations

import contextlib
import copy
import csv
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

import gemjax as gj
from gemjax.cli.clusters import Settings
from gemjax.cli.files import number
from gemjax.cli.files.boundary import InputError
from gemjax.cli.study.config import Config, build
from gemjax.cli.study.settings import start_settings
from gemjax.cli.study.values import FIELDS, HINTS


def _flag(name: str, text: str) -> Any:
    """An option that is there or not."""
    return typer.Option(name, help=text)


Out = Annotated[Path | None, typer.Option(help="Folder for the results; by default runs/NAME.")]
Force = Annotated[bool, _flag("--force", "Replace an earlier result of gemjax in that folder.")]
Resume = Annotated[bool, _flag("--resume", "Go on with the run in that folder, or start it.")]
Overrides = Annotated[list[str] | None, typer.Option(
    "--set", metavar="TABLE.KEY=VALUE", help="Change one key; repeatable."
)]  # fmt: skip
Fast = Annotated[bool, _flag("--fast", "The config in the size of its table [fast].")]
Large = Annotated[bool, _flag("--large", "The config in the size of its table [large], for a GPU.")]
Header = Annotated[bool | None, typer.Option(
    "--header/--no-header", show_default=False,
    help="Whether the first line names the columns; by default that is seen from it."
)]  # fmt: skip
Delimiter = Annotated[str | None, typer.Option(
    metavar="CHAR", help="What parts the fields of a text file (tab: \\t); else the one that fits."
)]  # fmt: skip
Decimal = Annotated[str | None, typer.Option(
    metavar=".|,", help="The decimal mark of a text file; by default the one that fits."
)]  # fmt: skip
DropMissing = Annotated[bool, _flag("--drop-missing", "Leave out rows with a missing value.")]
Family = Annotated[list[str] | None, typer.Option(
    "--family", metavar="NAME",
    help="Forms that clusters may have, repeatable or with commas: EII or VII (round, of one size "
    "or each of its own), EEI, VVI (along the columns), EEE, VVV (any ellipse), or scikit-learn's "
    "spherical, diag, tied, full. By default all six are tried."
)]  # fmt: skip
Criterion = Annotated[str, typer.Option(
    "--criterion", metavar="bicc|bic|icl|held_out",
    help="What number and form are chosen by; bicc is BIC, dearer where rows are few."
)]  # fmt: skip
Json = Annotated[bool, _flag("--json", "Print summary.json in the place of text.")]
Quiet = Annotated[bool, _flag("--quiet", "Print nothing but errors.")]
Devices = Annotated[str | None, typer.Option(
    "--devices", metavar="COUNT|PLATFORM[:COUNT]",
    help="2, gpu, cpu:4, ...; all there are by default, on a CPU one per core."
)]  # fmt: skip
Distributed = Annotated[
    bool, _flag("--distributed", "One of several processes, as srun or mpirun starts.")
]
Labels = Annotated[bool, _flag("--labels", "Write labels.csv: per point a row of components.csv.")]
Responsibilities = Annotated[
    bool, _flag("--responsibilities", "Write responsibilities.npy, (N, n).")
]
NoFigures = Annotated[bool, _flag("--no-figures", "Draw nothing.")]
NoCache = Annotated[bool, typer.Option(
    "--no-cache", envvar="GEMJAX_NO_CACHE", help="Keep no compiled programs for the next time."
)]  # fmt: skip

# Per option its key, its help, and its default where that is not the config's.
# fmt: off
_FIT: dict[str, tuple[Any, ...]] = {
    "components": ("model.num_components", "How many components, if that is known. With --scale "
                   "more than the clusters you expect: 2 m log m of m is plenty.", None),
    "scale": ("target.scale", "The known standard deviation of all clusters, in the data's units: "
              "round components of that size are fitted, as many as --components.", None),
    "columns": ("target.columns", "Columns to look at: names or numbers from 1, with commas; a "
                "name with a comma in quotes."),
    "weights": ("target.weights", "Column that holds sample weights (name or number)."),
    "on_disk": ("target.on_disk", "Read DATA (.npy) while fitting: it need not fit in memory."),
    "precision": ("target.dtype", "Of the fit; float64 without --scale, else float32.", None),
    "init": ("model.init", "Where to start: random points, D² seeding, projected points, "
             "or means from third moments (tensor)."),
    "rank": ("model.rank", "Principal directions for --init spectral, means for tensor."),
    "seed": ("sweep.seed", "Of the random start."),
    "seeds": ("sweep.num_seeds", "Starts; the lowest loss is kept.", 1),
    "iterations": ("solver.num_iterations", "T; by default 100, and 1,000 with --escape.", None),
    "tolerance": ("solver.tolerance", "Stop where an iteration lowers the loss by less (nats per "
                  "point); by default after --iterations."),
    "mean_rule": ("solver.mean_rule", "em moves a mean to its barycentre, overrelaxed ever farther "
                  "while the loss falls; gradient is the paper's step.", "em"),
    "monotone": ("solver.monotone", "Take em's step where another one raised the loss."),
    "step_size": ("solver.step_size", "Of em and gradient, 1 at most; overrelaxed finds its own.",
                  1.0),
    "weight_rule": ("solver.weight_rule", None),
    "weight_steps": ("solver.weight_steps", "Most weight steps per iteration.", 2),
    "escape": ("solver.escape", "Where the fit stalls, insert a component that pays."),
    "certificate": ("report.certificate", "Do not ask how much the fit could still gain.", True),
}
# The options of `gemjax fit` as its help shows them; those of `_NOISE` need --scale.
_NEED, _NOISE = "What you may need", "When the noise is known (research)"
_PANELS: dict[str, tuple[str, ...]] = {
    _NEED: ("out", "force", "components", "family", "columns", "weights", "drop_missing", "header"),
    "How the table is read": ("delimiter", "decimal"),
    "The rest": ("criterion", "seed", "precision", "json", "quiet", "no_figures", "no_cache"),
    _NOISE: (
        "scale", "on_disk", "init", "rank", "seeds", "iterations", "tolerance", "mean_rule",
        "monotone", "step_size", "weight_rule", "weight_steps", "escape", "certificate", "labels",
        "responsibilities", "device_request",
    ),
}
# fmt: on
_WITHOUT_SCALE = ("family", "criterion")
_READ: tuple[tuple[Any, Any], ...] = ((int, number.integer), (float, number.real))
# Those that other commands have, too, are declared one by one.
_KEYS = {name: key for name, (key, *_) in _FIT.items()} | {
    name: f"target.{name}" for name in ("header", "delimiter", "decimal", "drop_missing")
}
_NAMES = {key: "--" + name.replace("_", "-") for name, key in _KEYS.items()}
_KEY = re.compile(r'\b([a-z]+\.[a-z_]+)(?: = (?:"(\w+)"|(\S+)))?')  # a key, and its value


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options above: their types, choices and defaults are the config's."""
    signature = inspect.signature(command, eval_str=True)
    written = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    given = {p.name: p for p in written} | {n: _parameter(n, *said) for n, said in _FIT.items()}
    order = [(panel, name) for panel, names in _PANELS.items() for name in names]
    options = [_in_panel(given.pop(name), panel) for panel, name in order]
    command.__signature__ = signature.replace(parameters=[*given.values(), *options])  # type: ignore[attr-defined]
    return command


def _in_panel(parameter: inspect.Parameter, panel: str) -> inspect.Parameter:
    hint, option = parameter.annotation.__origin__, copy.copy(parameter.annotation.__metadata__[0])
    option.rich_help_panel = panel
    return parameter.replace(annotation=Annotated[hint, option])


def knows_scale(context: typer.Context, given: dict[str, Any]) -> bool:
    """Whether the noise is known; refuses options that go with the other case."""
    is_known = given["scale"] is not None
    wrong = _WITHOUT_SCALE if is_known else _PANELS[_NOISE]
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in wrong and source is not None and source.name == "COMMANDLINE":
            name = max([*option.opts, *option.secondary_opts], key=len)
            raise InputError(
                f"{name} is for clusters of unknown size: leave it out, or --scale"
                if is_known
                else f"{name} is for noise that is known: leave it out, or add --scale"
            )
    if is_known and given["components"] is None:
        raise InputError("--scale needs --components: how many are to be fitted")
    init, rule, step = (given[name] for name in ("init", "mean_rule", "step_size"))
    if (
        given["rank"] is not None
        and init in gj.initialize.STARTS
        and "rank" not in start_settings(init)
    ):
        raise InputError(f"--rank is for --init spectral or tensor, got --init {init}")
    if is_known and rule in ("em", "gradient") and isinstance(step, int | float) and step > 1:
        raise InputError(f"--step-size must be at most 1 with --mean-rule {rule}, got {step:g}")
    return is_known


def clusters_of(
    config: Config, given: dict[str, Any], families: list[str] | None, criterion: str
) -> Settings:
    """How clusters are looked for; what `config_of` checked is taken from there."""
    point = config.points[0]
    names = [name.strip() for text in families or () for name in text.split(",")]
    return Settings(
        None if given["components"] is None else point.model.num_components,
        tuple(names) or None, criterion, point.sweep.seed, given["precision"] or "float64",
    )  # fmt: skip


def _parameter(name: str, key: str, text: str | None, *default: Any) -> inspect.Parameter:
    table, _, setting = key.partition(".")
    field, hint = FIELDS[table][setting], HINTS[table][setting]
    if "tuple" in str(hint):
        hint = str | None
    elif default == (None,):
        hint = hint | None
    names = [] if hint is not bool else [f" /--no-{name}" if default == (True,) else _NAMES[key]]
    choices = field.metadata.get("choices")
    metavar, shown = choices and "|".join(choices), default != (True,)
    reader = next((_reader(read) for kind, read in _READ if hint in (kind, kind | None)), None)
    option = typer.Option(*names, metavar=metavar, help=text, show_default=shown, parser=reader)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[hint, option],
        default=(*default, field.default)[0],
    )  # fmt: skip


def _reader(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Reads an option's number; what is none stays a text, which the config then refuses."""

    def parsed(value: Any) -> Any:
        found = read(value) if isinstance(value, str) else None
        return value if found is None else found

    return parsed


def config_of(given: dict[str, Any], data: Path) -> Config:
    """The config that the options are; errors speak of options in the place of keys."""
    content: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        table, _, key = _KEYS[name].partition(".")
        if value is not None and "tuple" in str(HINTS[table][key]):
            value = [part.strip() for part in next(csv.reader([value], skipinitialspace=True))]
        if value is not None:
            content.setdefault(table, {})[key] = value
    content["target"] |= {"kind": "file", "path": str(data)}
    with named():
        return build(content, None)


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Messages speak of options in the place of keys."""
    try:
        yield
    except InputError as error:
        raise InputError(_KEY.sub(_named, str(error))) from None


def _named(found: re.Match) -> str:
    key, word, value = found.groups()
    return " ".join(filter(None, [_NAMES.get(key, key), word, value]))
