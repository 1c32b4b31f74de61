"""The page of a study: what theory says, what was found, the figures and how to run it again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gemjax.cli.files.write import write_text
from gemjax.cli.record import Record
from gemjax.cli.report import tables, words
from gemjax.cli.report.findings import ABSENT, Finding, evaluate
from gemjax.cli.report.selection import select

_MOST_ROWS = 40  # of a table that is not folded
_ESCAPED = str.maketrans({c: f"\\{c}" for c in "\\`*[]|"} | {"<": "&lt;", ">": "&gt;"})
_FOUND = ["finding", "theory says", "measured", "expected", "found", "95 % interval", "agrees"]


_OPEN = "open: the interval reaches across the bound; more seeds would tell."


def write(record: Record) -> None:
    """Writes the page of a study into its folder, beside the figures it shows."""
    if any(record.summary.get(name) for name in ("study", "findings", "figures")):
        text = page(record, lambda name: f"figures/{name}.png")
        write_text(record.folder / "report.md", text)


def page(record: Record, picture: Callable[[str], str], config: str = "config.toml") -> str:
    """The page as Markdown; `picture` leads from a figure's name to its address."""
    summary = record.summary
    study, source = summary.get("study") or {}, summary.get("source") or "the config"
    found = evaluate(record)
    parts = [f"# {_text(study.get('title') or source)}"]
    if summary.get("size"):
        parts.append(f"This is the {summary['size']} size of the study.")
    if study.get("claim"):
        cited = f" ({_text(study['source'])})" if study.get("source") else ""
        parts.append(f"What theory says: {_text(study['claim'])}{cited}")
    if study.get("note"):
        parts += [_text(block) for block in str(study["note"]).split("\n\n")]
    if found:
        here = [finding for finding in found if finding.agrees != ABSENT]
        if here:
            parts += [_found_in_words(here), _agreement_in_words(here)]
        parts += ["## Findings", _table(_FOUND, map(_row, found))]
        if any(finding.agrees == "open" for finding in found):
            parts.append(_OPEN)
    figures = summary.get("figures") or []
    if figures:
        parts.append("## Figures")
    for index, figure in enumerate(figures):
        if not select(record, figure.get("where")):  # as --fast leaves grid points out
            continue
        name = words.file_name(index, figure)
        title = _text(figure.get("title") or figure["kind"])
        parts.append(f"![{title}]({picture(name)})")
        if figure.get("caption"):
            parts.append(f"*{_text(figure['caption'])}*")
    header, rows = tables.run_table(summary["points"])
    table = _table(header, rows)
    if len(rows) > _MOST_ROWS:
        inner = f"<summary>All {len(rows)} grid points</summary>"
        table = f"<details>\n{inner}\n\n{table}\n\n</details>"
    parts += ["## Results", table]
    meanings = [f"{name}: {tables.MEANINGS[name]}" for name in header if name in tables.MEANINGS]
    if meanings:
        parts.append(f"{'; '.join(meanings)}.")
    parts += ["## How to run it again", f"    {_command(source, summary)}"]
    parts += [f"All settings are in [{config}]({config}).", _provenance(summary)]
    return "\n\n".join(parts) + "\n"


def index_row(record: Record, link: str) -> tuple[str, str, str, str]:
    """A study in a table of findings: its name, its claim, what was found, whether they agree."""
    study = record.summary.get("study") or {}
    found = evaluate(record)
    name = _text(study.get("title") or Path(record.summary.get("source") or "study").stem)
    told = "; ".join(f"{_text(f.name)}: {_value(f)}" for f in found if f.agrees != ABSENT)
    return f"[{name}]({link})", _text(study.get("claim") or ""), told, agreement(found)


def agreement(found: Sequence[Finding]) -> str:
    """ "yes" if all that has an expectation is as expected, "no" if anything is not, else "partly".

    "—" where nothing is expected. What the run has no grid point for is not counted.
    """
    verdicts = {finding.agrees for finding in found} - {"—", ABSENT}
    if not verdicts:
        return "—"
    return "no" if "no" in verdicts else "partly" if "open" in verdicts else "yes"


def _value(finding: Finding) -> str:
    """0.42 (0.31 to 0.53)."""
    if finding.interval == "none":
        return finding.found
    return f"{finding.found} ({finding.interval})"


def _found_in_words(found: Sequence[Finding]) -> str:
    told = "; ".join(f"{_text(finding.name)}: {_value(finding)}" for finding in found)
    return f"What was found, with 95 % intervals: {told}."


def _agreement_in_words(found: Sequence[Finding]) -> str:
    """Counts, and each finding that is not as expected by name."""
    counts = Counter(finding.agrees for finding in found)
    bounded = len(found) - counts["—"]
    if not bounded:
        return "Theory gives no bounds for these."
    told = f"Of {bounded} finding{'s' * (bounded > 1)} with an expectation "
    told += f"{counts['yes']} agree{'s' * (counts['yes'] == 1)}, "
    told += f"{counts['no']} disagree{'s' * (counts['no'] == 1)} and {counts['open']} "
    told += f"{'is' if counts['open'] == 1 else 'are'} open"
    for verdict, name in (("no", "Disagrees"), ("open", "Open")):
        named = [
            f"{_text(f.name)}, {_value(f)} where theory says {f.expected}"
            for f in found
            if f.agrees == verdict
        ]
        if named:
            told += f". {name}: {'; '.join(named)}"
    return f"{told}."


def _row(finding: Finding) -> list[str]:
    interval = finding.interval + (f" ({finding.note})" if finding.note else "")
    return [finding.name, finding.says, finding.measured, finding.expected, finding.found,
            interval, finding.agrees]  # fmt: skip


def _table(header: Sequence[str], rows: Any) -> str:
    lines = [header, ["---"] * len(header), *rows]
    texts = [[cell if cell == "---" else _text(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in texts)


def _text(value: Any) -> str:
    """A user's text on one line, none of it Markdown or HTML."""
    return " ".join(str(value).split()).translate(_ESCAPED)


def _command(source: Any, summary: dict[str, Any]) -> str:
    """What a shell runs for the same size and settings."""
    command = ["gemjax", "run", str(source)]
    if summary.get("size"):
        command.append(f"--{summary['size']}")
    for override in summary.get("overrides") or ():
        command += ["--set", override]
    return " ".join(shlex.join(command).splitlines())


def _provenance(summary: dict[str, Any]) -> str:
    """Where and with what it was computed: what differs between machines, on one line."""
    versions = [f"{name} {summary[name]}" for name in ("gemjax", "jax", "numpy", "python")
                if name in summary]  # fmt: skip
    device = f"{summary.get('num_devices', 1)} x {summary.get('device', 'unknown device')}"
    seconds = summary.get("compute_seconds")
    time = [] if seconds is None else [f"{seconds:.0f} s of fitting"]
    return f"Made with {_text(', '.join([*versions, device, *time]))}."
