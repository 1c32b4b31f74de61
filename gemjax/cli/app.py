"""The command line: `gemjax run CONFIG`, `gemjax fit DATA` and what goes with them."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from pathlib import Path
from typing import Annotated, Any

try:
    import filelock  # noqa: F401
    import platformdirs  # noqa: F401
    import tomli_w  # noqa: F401  needed by `gemjax run`
    import typer
except ImportError as error:
    sys.exit(
        f"gemjax: the command line needs {error.name}, which comes with its extra: "
        "pip install 'gemjax[cli,plot]'"
    )

from gemjax import __version__
from gemjax.cli import clusters, compare, fit, options, predict
from gemjax.cli import record as records
from gemjax.cli.files import folder
from gemjax.cli.files.boundary import InputError
from gemjax.cli.process import cache, devices
from gemjax.cli.process.interrupt import STOPPED, Ended, one_line, sigterm
from gemjax.cli.process.progress import Display, Progress
from gemjax.cli.show import close_stdout, drawing, forgiving, say, show, show_text
from gemjax.cli.study import config, run, shipped

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

    `gemjax run` does a study described by a config, and `gemjax studies` lists those that come
    along; `gemjax compare` says whether two runs differ; `gemjax fit` finds the clusters of a
    table, and `gemjax predict` whose the rows of another are;
    `gemjax draw` draws the figures of a run or fit again.
    """


@app.command(name="run")
def run_command(
    path: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file, or a name of `gemjax studies`.")
    ],
    out: options.Out = None,
    force: options.Force = False,
    resume: options.Resume = False,
    overrides: options.Overrides = None,
    fast: options.Fast = False,
    large: options.Large = False,
    device_request: options.Devices = None,
    distributed: options.Distributed = False,
    no_figures: options.NoFigures = False,
    no_cache: options.NoCache = False,
) -> None:
    """Run a study: every combination of the lists in a config, each from many random starts.

    Tables of a config: \\[truth] the mixture to find, \\[target] samples, fresh batches,
    population limit or file, \\[model] number of components and start, \\[solver] the iteration,
    \\[escape] the way out where it stalls, \\[sweep] the seeds, \\[report] extras. Lists in the
    first five span a grid; \\[grid] pairs some of them, every \\[\\[case]] adds a grid of its own.
    \\[study] says what it is about, \\[\\[figure]] what is drawn, \\[\\[finding]] which numbers
    are held against theory; \\[fast] and \\[large] are changes for --fast and --large.

    Writes config.toml, results.csv (a row per seed), history.npz, summary.json, figures/ and, of a
    study, report.md.

    A run may be stopped at any moment; the same command with --resume goes on to the same results.
    Exit codes: 0 done, 1 failed (disk, device, memory), 2 bad input, 75 SIGTERM, 130 Ctrl-C.

    Example: gemjax run exact_vs_over --set sweep.num_seeds=8 --out runs/quick
    """
    if not no_cache:
        cache.keep_compiled()
    if fast and large:
        raise InputError("--fast and --large are two sizes of a study: choose one of them")
    size = "fast" if fast else "large" if large else None
    path = shipped.find(path)
    loaded = config.load(path, tuple(overrides or ()), size)
    if distributed:
        devices.join()
    chosen = devices.choose(device_request)
    out = out or Path("runs") / "-".join(filter(None, (path.stem, size)))
    draw = None if no_figures else forgiving(drawing())
    advice = functools.partial(folder.advice, out)
    with one_line(advice), sigterm(advice) as end_if_terminated, Display("seeds") as display:

        def on_piece(progress: Progress) -> None:
            display.show(progress.seeds, progress.total_seeds, progress.note)
            end_if_terminated()

        record = run.run(
            loaded, out, force=force, resume=resume, chosen=chosen, draw=draw, on_piece=on_piece,
            tell=display.tell,
        )  # fmt: skip
    if record is not None:  # else another process of this run has it
        show(record)


@app.command(name="fit")
@options.with_settings
def fit_command(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The table: .csv, .xlsx, .npy ...")],
    *,
    family: options.Family = None,
    criterion: options.Criterion = "bicc",
    header: options.Header = None,
    delimiter: options.Delimiter = None,
    decimal: options.Decimal = None,
    drop_missing: options.DropMissing = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    labels: options.Labels = False,
    responsibilities: options.Responsibilities = False,
    out: options.Out = None,
    force: options.Force = False,
    device_request: options.Devices = None,
    no_figures: options.NoFigures = False,
    no_cache: options.NoCache = False,
    **settings: Any,
) -> None:
    """Find the clusters of a table: how many there are, of what form, and whose each row is.

    No option is needed. Writes labels.csv (each row's cluster, and how sure that is),
    components.csv (centres, spreads, weights), summary.json, model.npz for `gemjax predict`,
    and pictures.

    With --scale the noise is known, and round Gaussians of that size are fitted.

    Example: gemjax fit data.csv
    """
    if not no_cache:
        cache.keep_compiled()
    is_known = options.knows_scale(context, settings)
    if settings["iterations"] is None:
        settings["iterations"] = 1000 if settings["escape"] else 100
    reading = {"header": header, "delimiter": delimiter, "decimal": decimal}
    loaded = options.config_of(settings | reading | {"drop_missing": drop_missing}, data)
    # x.csv.gz and x.csv both go to runs/x.
    out = out or Path("runs") / data.name.split(".")[0]
    draw = None if no_figures else forgiving(drawing())
    end = one_line(lambda: "there is no result")
    if not is_known:
        how = options.clusters_of(loaded, settings, family, criterion)
        with options.named(), end, Display("looking for clusters", counted=False) as display:
            found = clusters.run(
                data, loaded.points[0].target, how, out, force=force, draw=draw, tell=display.tell
            )
        return show(found, as_json=json, quiet=quiet)
    with options.named(), end, Display("iterations", remaining=True) as display:
        record = fit.run(
            loaded, out, force=force, labels=labels, responsibilities=responsibilities,
            chosen=devices.choose(device_request), draw=draw, on_progress=display.show,
            tell=display.tell,
        )  # fmt: skip
    return show(record, as_json=json, quiet=quiet)


@app.command(name="predict")
def predict_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a fit, or model.npz.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A table with the same columns.")],
    out: Annotated[
        Path | None, typer.Option(help="File for the labels; by default DATA-labels.csv.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier file.")] = False,
    header: options.Header = None,
    delimiter: options.Delimiter = None,
    decimal: options.Decimal = None,
    drop_missing: options.DropMissing = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_cache: options.NoCache = False,
) -> None:
    """Say which cluster each row of a table belongs to, by what `gemjax fit` found in another.

    Columns are matched by name. Writes per row its cluster, the probability of that, the log of
    the density, and the share of what the model expects that is less dense (near 0: unusual).

    Example: gemjax predict runs/data new.csv
    """
    if not no_cache:
        cache.keep_compiled()
    reading = {"header": header, "delimiter": delimiter, "decimal": decimal}
    place = predict.place(data, out, force)
    with one_line(lambda: "there is no result"):
        told = predict.run(model, data, place, reading | {"drop_missing": drop_missing})
    if json or not quiet:
        show_text(told, predict.lines(told), place, as_json=json)


@app.command(name="studies")
def studies_command() -> None:
    """List the studies that come along, with a line each.

    Example: gemjax studies, and then gemjax run pruning
    """
    found = {name: config.load(path) for name, path in shipped.configs().items()}
    if not found:
        raise InputError("no studies came along with this installation")
    told = {name: loaded.shown["study"].get("title") for name, loaded in found.items()}
    width = max(map(len, told))
    print("\n".join(f"{name:{width}}  {title or '-'}" for name, title in told.items()))


@app.command(name="compare")
def compare_command(
    a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder of a finished run.")],
    b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Of another one.")],
    picture: Annotated[
        Path | None, typer.Option(help="Where to draw; by default runs/A-against-B.png.")
    ] = None,
    force: options.Force = False,
    no_figures: options.NoFigures = False,
) -> None:
    """Compare two runs, seed by seed: success, final loss, iterations, with intervals.

    Grid points are compared where all settings agree that vary in both; seed s with seed s, which
    are one start where both runs have the same sweep.seed, truth and model.

    Example: gemjax compare runs/exact_vs_over runs/escape
    """
    if not no_figures:
        drawing()
    compare.run(a, b, None if no_figures else compare.place(a, b, picture, force), tell=say)


@app.command(name="draw")
def draw_command(
    path: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of a finished run or fit.")],
) -> None:
    """Draw the figures of a finished run or fit again, and print its table.

    Example: gemjax draw runs/exact_vs_over
    """
    draw = drawing("")
    with one_line(lambda: "not all figures are drawn"), records.opened(path) as record:
        try:
            draw(record)
        except (InputError, OSError):
            raise
        except Exception as error:
            raise InputError(f"{path}: its arrays are not those of its summary: {error}") from error
    show(record)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code, which `gemjax run --help` explains."""
    try:
        outcome: Any = app(arguments, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        outcome = STOPPED
    except (typer.exceptions.TyperException, InputError, Ended) as error:
        message = getattr(error, "format_message", error.__str__)()
        if message:  # without arguments there is help and no message
            say(message)
        return error.code if isinstance(error, Ended) else 2
    except (BrokenPipeError, SystemExit):  # who reads the help has read enough; typer then exits
        close_stdout()
        return 0
    except OSError as error:
        close_stdout()
        say(str(error))
        return 1
    if outcome == STOPPED:
        say("stopped; there is no result")
    return outcome if isinstance(outcome, int) else 0


def process() -> None:
    """The program `gemjax`: `main`, and the end of the process."""
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a poor terminal
    code = main()
    if code:
        # An orderly exit would wait for whatever JAX is still computing.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
        os._exit(code)
