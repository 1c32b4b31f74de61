"""Runs the studies that come along and writes their pages: docs/studies/ and the table of findings.

python scripts/studies.py                    all of them; what is finished is not run again
python scripts/studies.py pruning rates      some
python scripts/studies.py --draw             only pages and pictures, from runs that are there
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from gemjax import cli
from gemjax.cli import record as records
from gemjax.cli.report import page
from gemjax.cli.study import config, shipped

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "studies"
HEAD = """# What the theory says, and what is found

Each study is a config that ships with gemjax and is run by its name: `gemjax run pruning`, or in
seconds `gemjax run pruning --fast`. Change a line of it, and it is a study of your question.
`python scripts/studies.py` runs all of them, goes on where it was stopped, and writes these pages,
the pictures and this table; nothing in them is typed.

"agrees?" is *yes* where the 95 % interval of everything that is measured lies within what theory
says, *no* where one lies outside of it, *partly* where one reaches across, and a dash where theory
says nothing.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="of `gemjax studies`; all by default")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "studies", help="for the runs")
    parser.add_argument("--draw", action="store_true", help="run nothing")
    options = parser.parse_args()
    known = {
        name: path
        for name, path in shipped.configs().items()
        if config.load(path).shown["study"].get("claim")
    }
    if unknown := set(options.names) - known.keys():
        sys.exit(f"no such study: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in options.names or known:
        if not options.draw:
            code = cli.main(["run", name, "--out", str(options.out / name), "--resume"])
            if code:
                sys.exit(code)
        with records.opened(options.out / name) as record:
            write_page(name, record)
    write_index(known, options.out)


def write_page(name: str, record: records.Record) -> None:
    """The page of a study, and its pictures beside it."""
    figures = PAGES / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for old in figures.glob(f"{name}-[0-9]*.png"):
        old.unlink()

    def picture(drawn: str) -> str:
        shutil.copyfile(record.folder / "figures" / f"{drawn}.png", figures / f"{name}-{drawn}.png")
        return f"figures/{name}-{drawn}.png"

    text = page.page(record, picture, config=f"../../configs/{name}.toml")
    (PAGES / f"{name}.md").write_text(text, encoding="utf-8")


def write_index(known: dict[str, Path], runs: Path) -> None:
    """The table of findings, of all studies that have been run."""
    rows = []
    for name in known:
        if (runs / name / "summary.json").exists():
            with records.opened(runs / name) as record:
                rows.append(page.index_row(record, f"{name}.md"))
    lines = ["| study | claim | found | agrees? |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    (PAGES / "README.md").write_text(HEAD + "\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
