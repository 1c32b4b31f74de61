"""What a finished run or fit shows: its figures, its table, and lines on stderr."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemjax.cli import record as records
from gemjax.cli.files import folder
from gemjax.cli.files.boundary import InputError, brief
from gemjax.cli.report import tables, words


def drawing(otherwise: str = ", or leave them out with --no-figures") -> records.Draw:
    """What draws; asked for before the work, so that a missing extra costs nothing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(f"figures need matplotlib: pip install 'gemjax[plot]'{otherwise}")
    from gemjax.cli.report import figures, page

    def draw(record: records.Record) -> None:
        page.write(record)
        _clear_others(record)
        figures.draw(record)

    return draw


def _clear_others(record: records.Record) -> None:
    """Removes configured pictures that the config does not ask for any more."""
    asked = record.summary.get("figures") or []
    kept = {f"{words.file_name(index, figure)}.png" for index, figure in enumerate(asked)}
    place = record.folder / "figures"
    for path in place.iterdir() if place.is_dir() else ():
        usual = not asked and not path.name[0].isdigit()
        if folder.is_own("figures", path.name) and path.name not in kept and not usual:
            path.unlink()


def forgiving(draw: records.Draw) -> records.Draw:
    """`draw`, whose failure is told, and is none of the run's."""

    def drawn(record: records.Record) -> None:
        try:
            draw(record)
        except Exception as error:
            again = f"`gemjax draw {record.folder}` tries again"
            say(f"the results are complete, but not all figures: {brief(error, 100)}; {again}")

    return drawn


def show(record: records.Record, *, as_json: bool = False, quiet: bool = False) -> None:
    """Prints what a record says, or its summary as JSON."""

    def told() -> None:
        if as_json:
            print(json.dumps(record.summary, indent=2, allow_nan=False))
        elif not quiet:
            tables.show(record)

    printing(told, record.folder)


def show_text(told: dict[str, Any], lines: list[str], place: Path, *, as_json: bool) -> None:
    """Prints lines, or what they say as JSON."""
    text = json.dumps(told, indent=2, allow_nan=False) if as_json else "\n".join(lines)
    printing(lambda: print(text), place)


def printing(told: Callable[[], None], place: Path) -> None:
    """Lets `told` print. Results in `place` are complete, whether that works or not."""
    try:
        told()
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # who reads has read enough; rich then exits
        close_stdout()
    except (OSError, ValueError) as error:
        close_stdout()
        say(f"the results are complete in {place}, but cannot be printed: {error}")


def close_stdout() -> None:
    """Lets what could not be printed go, so that the end of the process does not try again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(line: str) -> None:
    """One line on stderr, if there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(f"gemjax: {brief(line)}", file=sys.stderr, flush=True)
