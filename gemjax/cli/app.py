"""The command line: `gemjax run CONFIG` and `gemjax fit DATA`."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

try:
    import tomli_w  # noqa: F401  needed by `gemjax run`
    import typer
    from rich.console import Console
    from rich.table import Table
except ImportError as error:
    sys.exit(
        f"gemjax: the command line needs {error.name}, which comes with its extra: "
        "pip install 'gemjax[cli,plot]'"
    )

from gemjax import __version__
from gemjax._em.insertion import EVERY
from gemjax._em.solver import GradientEM
from gemjax.cli import fit as fitting
from gemjax.cli.files.files import InputError
from gemjax.cli.process import devices
from gemjax.cli.process.interrupt import STOPPED, Ended, one_line, sigterm
from gemjax.cli.process.progress import Display, note
from gemjax.cli.report import tables as report
from gemjax.cli.study import config
from gemjax.cli.study import run as running
from gemjax.cli.study.tally import Progress

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="markdown")


def _version(value: bool) -> None:
    if value:
        print(f"gemjax {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Gradient EM on over-parameterized Gaussian mixtures.

    `gemjax run` does a study described by a config; `gemjax fit` fits a file of data.
    """


@app.command(name="run")
def run_command(
    path: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file; see configs/.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; by default runs/<config's name>.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier run of gemjax in that folder.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in that folder, or start it if none."),
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change one key; repeatable."),
    ] = None,
    device_request: Annotated[
        str | None,
        typer.Option(
            "--devices",
            metavar="COUNT|PLATFORM[:COUNT]",
            help="2, gpu, cpu:4, ...; all there are by default, on a CPU one per core.",
        ),
    ] = None,
    distributed: Annotated[
        bool,
        typer.Option("--distributed", help="One of several processes, as srun or mpirun starts."),
    ] = False,
    no_figures: Annotated[bool, typer.Option("--no-figures", help="Draw nothing.")] = False,
) -> None:
    """Run a study: every combination of the lists in a config, each from many random starts.

    Tables of a config: \\[truth] the mixture to find, \\[target] samples, population limit or file,
    \\[model] number of components and start, \\[solver] the iteration, \\[sweep] the seeds,
    \\[report] extras. Lists in truth, model and solver span a grid.

    Writes config.toml, results.csv (a row per seed), history.npz, summary.json and figures/.

    A run may be stopped at any moment; the same command with --resume goes on to the same results.
    Exit codes: 0 done, 1 failed (disk, device, memory), 2 bad input, 75 SIGTERM, 130 Ctrl-C.

    Example: gemjax run configs/exact_vs_over.toml --set sweep.num_seeds=8 --out runs/quick
    """
    loaded = config.load(path, tuple(overrides or ()))
    if distributed:
        devices.join()
    chosen = devices.choose(device_request)
    out = out or Path("runs") / path.stem
    draw = None if no_figures else _figures("draw_run")
    points = len(loaded.points)
    advice = f"what is finished is kept in {out}: go on with --resume"
    with one_line(advice), sigterm(advice) as end_if_terminated, Display("seeds") as display:

        def on_piece(progress: Progress) -> None:
            display.show(progress.seeds, progress.total_seeds, note(progress))
            end_if_terminated()

        summary = running.run(
            loaded, out, force=force, resume=resume, chosen=chosen, draw=draw, on_piece=on_piece,
            tell=display.tell,
        )  # fmt: skip
    if summary is None:  # another process of this run has the results
        return
    header, rows = report.table(summary["points"])
    _print_table(f"{path.name}: {points} grid point{'s' * (points > 1)}", header, rows)
    print(f"{summary['wall_seconds']:.0f} s on {summary['device']}; results in {out}")


@app.command(name="fit")
def fit_command(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help=".csv, .csv.gz (header or not), .npy or .npz.")
    ],
    components: Annotated[
        int,
        typer.Option(help="n; more than the clusters you expect: 2 m log m of them is plenty."),
    ],
    scale: Annotated[
        float, typer.Option(help="Known standard deviation of a cluster, in the data's units.")
    ] = 1.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; by default runs/<data's name>.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier result of gemjax in that folder.")
    ] = False,
    columns: Annotated[
        str | None, typer.Option(help="Columns to fit: names or numbers from 1, with commas.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Column that holds sample weights (name or number).")
    ] = None,
    on_disk: Annotated[
        bool,
        typer.Option(
            "--on-disk", help="Read DATA (.npy) while fitting: it need not fit in memory."
        ),
    ] = False,
    iterations: Annotated[
        int | None, typer.Option(help="T; by default 100, and 1,000 with --escape.")
    ] = None,
    init: Annotated[
        Literal["from_target", "plus_plus", "spectral"],
        typer.Option(help="Where to start: random points, D² seeding, or projected points."),
    ] = "from_target",
    rank: Annotated[
        int | None, typer.Option(help="Principal directions for --init spectral.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random start.")] = 0,
    seeds: Annotated[int, typer.Option(help="Starts; the lowest loss is kept.")] = 1,
    mean_rule: Annotated[
        Literal["em", "overrelaxed", "gradient"],
        typer.Option(
            help="em moves a mean to its barycentre, overrelaxed ever farther while the loss "
            "falls; gradient is the paper's step."
        ),
    ] = "em",
    monotone: Annotated[
        bool,
        typer.Option("--monotone", help="Take em's step where another one raised the loss."),
    ] = False,
    step_size: Annotated[
        float, typer.Option(help="Of em and gradient, 1 at most; overrelaxed finds its own.")
    ] = 1.0,
    weight_rule: Annotated[
        Literal["mirror", "euclidean", "multiplicative", "newton", "fixed"], typer.Option()
    ] = "mirror",
    weight_steps: Annotated[int, typer.Option(help="Most weight steps per iteration.")] = 2,
    escape: Annotated[
        bool,
        typer.Option("--escape", help="Where the fit stalls, insert a component that pays."),
    ] = False,
    no_certificate: Annotated[
        bool,
        typer.Option("--no-certificate", help="Do not ask how much the fit could still gain."),
    ] = False,
    labels: Annotated[
        bool, typer.Option("--labels", help="Write labels.csv: per point a row of components.csv.")
    ] = False,
    responsibilities: Annotated[
        bool, typer.Option("--responsibilities", help="Write responsibilities.npy, (N, n).")
    ] = False,
    precision: Annotated[Literal["float32", "float64"], typer.Option()] = "float32",
    no_figures: Annotated[bool, typer.Option("--no-figures", help="Draw nothing.")] = False,
) -> None:
    """Fit a mixture of round Gaussians of known scale to a file of data.

    Writes components.csv (heaviest first, in the data's units), summary.json and figures/; labels
    and responsibilities on request.

    Example: gemjax fit data.csv --columns x,y --components 50 --scale 0.3 --labels
    """
    if iterations is None:
        iterations = 1000 if escape else 100
    for option, count, least in (
        ("components", components, 1),
        ("iterations", iterations, 2 * EVERY if escape else 1),
        ("rank", rank, 1),
        ("seed", seed, 0),
        ("seeds", seeds, 1),
        ("weight-steps", weight_steps, 0),
    ):
        if count is not None and count < least:
            raise InputError(f"--{option} must be at least {least}, got {count}")
    for option, number in (("scale", scale), ("step-size", step_size)):
        if not 0 < number < float("inf"):
            raise InputError(f"--{option} must be positive and finite, got {number}")
    if on_disk and (columns is not None or weights is not None or init != "from_target"):
        raise InputError("--on-disk goes with neither --columns, --weights nor another --init")
    if escape and components < 2:
        raise InputError(f"--escape needs at least 2 --components, got {components}")
    if init == "spectral" and rank is None:
        raise InputError("--init spectral needs --rank")
    # x.csv.gz and x.csv both go to runs/x.
    out = out or Path("runs") / data.name.split(".")[0]
    options = fitting.Options(
        data=data,
        out=out,
        components=components,
        scale=scale,
        columns=None if columns is None else tuple(c.strip() for c in columns.split(",")),
        weights=weights,
        on_disk=on_disk,
        init=init,
        rank=rank,
        seed=seed,
        seeds=seeds,
        iterations=iterations,
        solver=GradientEM(
            step_size,
            weight_rule=weight_rule,
            weight_steps=weight_steps,
            mean_rule=mean_rule,
            monotone=monotone,
        ),
        escape=escape,
        certificate=not no_certificate,
        precision=precision,
        labels=labels,
        responsibilities=responsibilities,
        force=force,
    )
    draw = None if no_figures else _figures("draw_fit")
    with one_line("there is no result"), Display("iterations", remaining=True) as display:
        result = fitting.run(options, draw=draw, on_progress=display.show)
    summary = result.summary
    header = [*result.columns, "weight"]
    rows = [
        [*(f"{v:.6g}" for v in mean), f"{weight:.4f}"]
        for mean, weight in zip(result.means[:10], result.weights[:10], strict=True)
    ]
    _print_table(f"{data.name}: the heaviest of {components} components", header, rows)
    inserted = summary.get("num_insertions", 0)
    print(
        f"loss {summary['loss_nats_per_point']:.6f} nats per point, "
        f"{summary['num_active']} components with weight"
        f"{f', {inserted} inserted on the way' if inserted else ''}; "
        f"{summary['wall_seconds']:.0f} s on {summary['device']}; results in {out}"
    )
    if "certificate" in summary:
        advice = "try more --iterations or components" if escape else "try --escape"
        lines = report.certificate_lines(summary["certificate"], result.columns, advice)
        print("\n".join(lines))


def _figures(name: str) -> Callable[..., None]:
    """A drawing function; asked for before the work, so that a missing extra costs nothing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "figures need matplotlib: pip install 'gemjax[plot]', or leave them out with "
            "--no-figures"
        )
    from gemjax.cli.report import figures

    return getattr(figures, name)


def _print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    table = Table(title=title)
    for name in header:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code, which `gemjax run --help` explains."""
    try:
        outcome: Any = app(arguments, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        outcome = STOPPED
    except typer.exceptions.TyperException as error:
        print(f"gemjax: {getattr(error, 'format_message', error.__str__)()}", file=sys.stderr)
        return 2
    except InputError as error:
        print(f"gemjax: {error}", file=sys.stderr)
        return 2
    except Ended as error:
        print(f"gemjax: {error}", file=sys.stderr)
        return error.code
    if outcome == STOPPED:
        print("gemjax: stopped; there is no result", file=sys.stderr)
    return outcome if isinstance(outcome, int) else 0


def process() -> None:
    """The program `gemjax`: `main`, and the end of the process."""
    code = main()
    if code:
        # An orderly exit would wait for whatever JAX is still computing.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
