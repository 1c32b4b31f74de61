"""The page of a study holds all that was found, and nothing in it is taken for Markdown."""

import re
import shlex

import numpy as np
import pytest

from gemjax.cli.record import Record
from gemjax.cli.report import page as pages
from gemjax.cli.report.findings import evaluate
from gemjax.cli.results import wilson

S = 20
FINDINGS = [
    {"name": "exact", "says": "at most half recover", "where": {"n": 3}, "most": 0.6},
    {"name": "over", "says": "nearly all recover", "where": {"n": 20}, "least": 0.5},
    {"name": "a | b", "says": "x < y", "where": {"n": 7}, "least": 0.999},
    {"name": "between", "where": {"n": 7}, "least": 0.8},
    {"name": "reported", "where": {"n": 7}},
]


def study(tmp_path, findings=FINDINGS, repeat=1, **more):
    points, grid = [], []
    for n, hits in [(3, 5), (7, 17), (20, 20)] * repeat:
        points.append({
            "settings": {"model.num_components": n, "case": "a|b"}, "num_seeds": S,
            "record_every": 1, "shape": {"n": n, "m": 3}, "success_rate": hits / S,
            "success_interval_95": [*wilson(hits, S)],
        })  # fmt: skip
        grid.append({"status": np.zeros(S, int), "recovered": np.arange(S) < hits})
    summary = {
        "points": points, "findings": findings, "source": "clusters.toml", "gemjax": "1.0",
        "jax": "2.0", "device": "cpu: cpu", "num_devices": 1, "compute_seconds": 12.3,
        "figures": [{"kind": "success", "title": "Rates", "caption": "All *seeds*."},
                    {"kind": "heat"}],
        "study": {"title": "Clusters", "claim": "n = 2 m log m | is enough", "source": "Smith 2020",
                  "note": "First.\n\nSecond."},
        **more,
    }  # fmt: skip
    record = Record(tmp_path, "run", summary)
    record.__dict__["grid"] = grid
    return record


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_page(tmp_path):
    record = study(tmp_path)
    text = pages.page(record, lambda name: f"figures/{name}.png")
    lines = text.splitlines()
    assert lines[0] == "# Clusters"
    assert "What theory says: n = 2 m log m \\| is enough (Smith 2020)" in lines
    assert {"First.", "Second."} <= set(lines)
    assert "![Rates](figures/1-success.png)" in lines
    assert "![heat](figures/2-heat.png)" in lines
    assert "*All \\*seeds\\*.*" in lines
    assert "    gemjax run clusters.toml" in lines
    assert "[config.toml](config.toml)" in text
    assert lines[-1].startswith("Made with gemjax 1.0, jax 2.0, 1 x cpu: cpu, 12 s of fitting")


def test_every_finding_is_in_the_table_and_the_words(tmp_path):
    record = study(tmp_path)
    text = pages.page(record, str)
    header, _, *rows = [line for line in text.splitlines() if line.startswith("| ")][:7]
    assert cells(header)[0] == "finding"
    found = evaluate(record)
    assert [cells(row)[-1] for row in rows] == ["yes", "yes", "no", "open", "—"]
    for finding, row in zip(found, rows, strict=True):
        name = finding.name.replace("|", "\\|")
        assert cells(row)[0] == name
        assert len(cells(row)) == len(cells(header))
        assert (cells(row)[4], cells(row)[5]) == (finding.found, finding.interval)
        assert f"{name}: {finding.found} ({finding.interval})" in text
    assert "x &lt; y" in text
    assert "Of 4 findings with an expectation 2 agree, 1 disagrees and 1 is open." in text
    interval = found[2].interval
    assert f"Disagrees: a \\| b, 0.85 ({interval}) where theory says at least 0.999" in text
    assert f"Open: between, 0.85 ({interval}) where theory says at least 0.8" in text


def test_long_tables_are_folded(tmp_path):
    short, long = pages.page(study(tmp_path), str), pages.page(study(tmp_path, repeat=14), str)
    assert "<details>" not in short
    assert "<summary>All 42 grid points</summary>\n\n| num_components | case |" in long
    assert long.count("| a\\|b |") == 42


@pytest.mark.parametrize(
    ("findings", "agrees"),
    [(FINDINGS, "no"), (FINDINGS[:2], "yes"), (FINDINGS[3:], "partly"), (FINDINGS[4:], "—"),
     ([], "—")],
)  # fmt: skip
def test_index_row(tmp_path, findings, agrees):
    record = study(tmp_path, findings)
    name, claim, told, verdict = pages.index_row(record, "clusters/report.md")
    assert name == "[Clusters](clusters/report.md)"
    assert claim == "n = 2 m log m \\| is enough"
    assert verdict == agrees
    assert told.count(" to ") == len(findings)


def test_write(tmp_path):
    pages.write(study(tmp_path, study=None, findings=None, figures=None))
    assert not (tmp_path / "report.md").exists()
    for only in ({"figures": None}, {"findings": None}):
        pages.write(study(tmp_path, **({"study": None} | only)))
        assert (tmp_path / "report.md").read_text().startswith("# clusters.toml\n")
        (tmp_path / "report.md").unlink()
    record = study(tmp_path, findings=None, figures=None)
    pages.write(record)
    text = (tmp_path / "report.md").read_text()
    assert text == pages.page(record, lambda name: f"figures/{name}.png")
    assert "## Figures" not in text
    assert "## Findings" not in text


def test_the_page_of_a_size(tmp_path):
    overrides = ["sweep.num_seeds=4", 'model.init="plus_plus"']
    text = pages.page(study(tmp_path, size="fast", overrides=overrides), str)
    assert text.splitlines()[2] == "This is the fast size of the study."
    command = next(line for line in text.splitlines() if line.startswith("    gemjax run"))
    assert shlex.split(command) == [
        "gemjax", "run", "clusters.toml", "--fast", "--set", overrides[0], "--set", overrides[1]
    ]  # fmt: skip
    assert "size of the study" not in pages.page(study(tmp_path), str)


def test_findings_that_are_not_of_this_size(tmp_path):
    away = {"name": "away", "where": {"n": 99}, "least": 1}
    record = study(tmp_path, [away, *FINDINGS])
    text = pages.page(record, str)
    row = next(line for line in text.splitlines() if line.startswith("| away"))
    assert cells(row)[-1] == "not in this size"
    assert text.count("away") == 1
    assert "Of 4 findings" in text
    assert pages.index_row(record, "x")[2].count("away") == 0
    assert pages.agreement(evaluate(study(tmp_path, [away]))) == "—"
    assert "What was found" not in pages.page(study(tmp_path, [away]), str)


def test_a_finding_of_nothing_without_bounds_is_not_open(tmp_path):
    nothing = {"name": "nothing", "where": {"n": 3, "status": 9}}
    text = pages.page(study(tmp_path, [nothing]), str)
    assert "Theory gives no bounds for these." in text
    assert "open" not in text


def test_open_is_explained_where_something_is(tmp_path):
    line = "open: the interval reaches across the bound; more seeds would tell."
    assert line in pages.page(study(tmp_path), str).splitlines()
    assert line not in pages.page(study(tmp_path, FINDINGS[:3]), str)


def test_the_results_are_in_the_words_and_numbers_of_the_rest(tmp_path):
    record = study(tmp_path)
    for index, point in enumerate(record.summary["points"]):
        point["settings"]["solver.escape"] = index > 0
        point |= {"median_num_active": 3.0, "median_excess_loss": 0.000123456, "num_seeds": 12345}
    text = pages.page(record, str)
    row = next(line for line in text.splitlines() if line.startswith("| 3 |"))
    low, high = wilson(5, S)
    assert cells(row)[2:] == [
        "no", "12345", "0.25", f"{low:.3g} to {high:.3g}", "0.000123", "3"
    ]  # fmt: skip
    assert "active: median number of components with weight." in text


def test_pages_of_two_machines_differ_in_the_last_line_alone(tmp_path):
    one = pages.page(study(tmp_path), str)
    other = pages.page(study(tmp_path, device="gpu: H100", compute_seconds=1.0, jax="3"), str)
    assert one != other
    assert one.splitlines()[:-1] == other.splitlines()[:-1]
