"""`gemjax compare`: two finished runs, and a picture of how they differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gemjax.cli import record as records
from gemjax.cli.files.boundary import InputError
from gemjax.cli.files.write import replacing
from gemjax.cli.report import tables


def place(a: Path, b: Path, picture: Path | None, force: bool) -> Path:
    """Where the picture goes; refuses a place that is taken."""
    path = picture or Path("runs") / f"{a.resolve().name}-against-{b.resolve().name}.png"
    if path.suffix.lower() != ".png":
        raise InputError(f"--picture {path}: must end in .png")
    if path.is_dir() or (path.exists() and not force):
        raise InputError(f"--picture {path}: is there already; choose another, or add --force")
    if not path.parent.is_dir() and picture is not None:
        raise InputError(f"--picture {path}: its folder does not exist")
    return path


def run(a: Path, b: Path, picture: Path | None, tell: Callable[[str], None]) -> None:
    """Prints the comparison of two runs, and draws it."""
    if a.resolve() == b.resolve():
        raise InputError(f"{a} and {b}: are one folder")
    with records.opened(a) as mine, records.opened(b) as other:
        for record in (mine, other):
            if record.command != "run":
                raise InputError(f"{record.folder}: is a fit, and runs are compared")
        # matplotlib, which draws, takes its time to import.
        from gemjax.cli.report import comparison

        try:
            answers = comparison.compare(mine, other)
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(f"{a} or {b}: its arrays are not those of its summary") from error
        for line in comparison.differing(mine, other):
            pairs = ", so that seeds are pairs by number only" if "sweep.seed" in line else ""
            tell(f"the runs differ in {line}{pairs}")
        tables.show_table(f"A = {a}, B = {b}", *comparison.table(answers))
        if picture is not None:
            figure = comparison.picture(answers, a, b)
            picture.parent.mkdir(parents=True, exist_ok=True)
            with replacing(picture) as temporary:
                figure.savefig(temporary, dpi=130, format="png")
            print(f"picture in {picture}")
