"""The studies that come along: how they are found, their pages, and what they show."""

import importlib.util
import json
import math
import re
import tomllib
from pathlib import Path

import pytest
import tomli_w
from marks import mostly_slow
from studies import refused

from gemjax import cli
from gemjax.cli import record as records
from gemjax.cli.report.findings import evaluate
from gemjax.cli.study import config, shipped
from gemjax.cli.study.settings import TABLES

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {path.stem: path for path in sorted((ROOT / "configs").glob("*.toml"))}
STUDIES = [name for name, path in CONFIGS.items() if "[[finding]]" in path.read_text()]
TINY = """
[study]
title = "Tiny"
claim = "n = 3 | enough"
[truth]
kind = "ring"
[target]
num_samples = 60
[model]
num_components = [3, 4]
[solver]
num_iterations = 4
[sweep]
num_seeds = 2
[[figure]]
kind = "success"
x = "model.num_components"
[[finding]]
name = "all of them"
measure = "rate"
y = "success"
least = 0.0
[[finding]]
name = "the loss"
measure = "median"
y = "loss"
[fast]
sweep.num_seeds = 1
"""


def test_all_are_listed_by_a_line(capsys):
    assert cli.main(["studies"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*CONFIGS]
    for name, line in zip(CONFIGS, lines, strict=True):
        assert line.split(maxsplit=1)[1] == (config.load(CONFIGS[name]).shown["study"].get(
            "title") or "-")  # fmt: skip


def test_names_lead_to_configs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.find(Path("pruning")) == CONFIGS["pruning"]
    assert shipped.find(Path("pruning.toml")) == CONFIGS["pruning"]
    # A file of that name, or a path, is what is meant.
    (tmp_path / "pruning.toml").touch()
    assert shipped.find(Path("pruning.toml")) == Path("pruning.toml")
    assert shipped.find(Path("elsewhere/pruning.toml")) == Path("elsewhere/pruning.toml")


def test_unknown_names_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused(capsys, ["run", "prunning"], "prunning: no such file", "did you mean 'pruning'?")
    refused(capsys, ["run", "zzz"], "zzz: no such file", "`gemjax studies` lists")
    refused(capsys, ["run", "zzz.toml"], "zzz.toml: no such file")
    refused(capsys, ["run", "configs/pruning"], "configs/pruning: no such file")
    assert not (tmp_path / "runs").exists()


def test_two_sizes_are_refused(capsys):
    refused(capsys, ["run", "pruning", "--fast", "--large"], "--fast and --large", "choose one")


def test_an_installation_has_its_own(tmp_path, monkeypatch, capsys):
    inside, beside = tmp_path / "gemjax" / "configs", tmp_path / "configs"
    monkeypatch.setattr(shipped, "_PLACES", (inside, beside))
    refused(capsys, ["studies"], "no studies came along")
    for place, title in ((beside, "clone"), (inside, "installed")):
        place.mkdir(parents=True)
        (place / "mine.toml").write_text(f'[truth]\n[study]\ntitle = "{title}"\n')
        assert shipped.find(Path("mine")) == place / "mine.toml"
        assert cli.main(["studies"]) == 0
        assert capsys.readouterr().out == f"mine  {title}\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The folder of the finished run of a tiny study, by its name and in its default place."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "configs").mkdir()
    (folder / "configs" / "tiny.toml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(shipped, "_PLACES", (folder / "configs",))
        assert cli.main(["run", "tiny", "--fast", "--devices", "1"]) == 0
    return folder / "runs" / "tiny-fast"


def test_a_size_has_its_folder_and_page(tiny):
    summary = json.loads((tiny / "summary.json").read_text())
    assert [point["num_seeds"] for point in summary["points"]] == [1, 1]
    assert (tiny / "figures" / "1-success.png").exists()
    check_page(tiny / "report.md", tiny)


def check_page(path, run):
    """Every finding is in it, and whatever it links to is there."""
    text = path.read_text()
    with records.opened(run) as record:
        for finding in evaluate(record):
            row = next(line for line in text.splitlines() if line.startswith(f"| {finding.name} "))
            cells = [cell.strip() for cell in row.split(" | ")]
            assert finding.found in cells
            assert row.endswith(f"| {finding.agrees} |")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        assert (path.parent / link).exists(), link


@pytest.fixture
def script(tmp_path, monkeypatch):
    """scripts/studies.py, which writes its pages into tmp_path/docs/studies."""
    spec = importlib.util.spec_from_file_location("studies_script", ROOT / "scripts/studies.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAGES", tmp_path / "docs" / "studies")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.toml").write_text(TINY)
    return module


def test_the_script_writes_a_page(script, tiny):
    old = script.PAGES / "figures" / "tiny-9-heat.png"
    old.parent.mkdir(parents=True)
    old.touch()
    with records.opened(tiny) as record:
        script.write_page("tiny", record)
    check_page(script.PAGES / "tiny.md", tiny)
    (picture,) = (script.PAGES / "figures").iterdir()
    assert picture.name == "tiny-1-success.png"  # that of an earlier page is gone
    assert picture.read_bytes() == (tiny / "figures" / "1-success.png").read_bytes()


def test_the_script_writes_an_index(script, tiny, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").symlink_to(tiny)
    with records.opened(tiny) as record:
        script.write_page("tiny", record)
        found = evaluate(record)
    script.write_index({"tiny": tiny, "never run": tiny}, tmp_path / "runs")
    lines = (script.PAGES / "README.md").read_text().splitlines()
    assert lines[0] == script.HEAD.splitlines()[0]
    (row,) = [line for line in lines if line.startswith("| [")]
    assert row.startswith("| [Tiny](tiny.md) | n = 3 \\| enough | ")
    for finding in found:
        assert f"{finding.name}: {finding.found}" in row


@pytest.mark.parametrize("name", STUDIES)
def test_what_is_selected_by_varies_in_every_size(name):
    """A setting that does not vary is unknown to figures and findings, and they fail."""
    text = CONFIGS[name].read_text()
    for size in (None, *(size for size in config.SIZES if f"\n[{size}]\n" in text)):
        loaded = config.load(CONFIGS[name], (), size)
        for table in (*loaded.shown["figures"], *loaded.shown["findings"]):
            keys = {*table.get("where", {}), *table.get("against", {}), *table.get("by", ())}
            for key in keys | {table.get("x", "")}:
                is_setting = key == "case" or key.partition(".")[0] in TABLES
                assert not is_setting or key in loaded.varying[0], (size, key, table)


# What a [fast] size cannot show, or shows otherwise, by study and finding.
_NO_CASE, _SHORT = "its grid points are left out", "it takes more iterations"
_ORDER = "disagrees: moments do not come in their order"
NOT_SHOWN = {
    ("classical_em", "components with weight after 2,000 iterations, classical EM"): _NO_CASE,
    ("bounds", "exponent of T with n and m growing together"): _NO_CASE,
    ("dimension", "success from p* at d = 500"): _NO_CASE,
    ("dimension", "success from spectral starts at d = 500"): _NO_CASE,
    ("dimension", "success with Δ growing like √d, d = 500"): _NO_CASE,
    ("dimension", "Zhang et al., d = 10"): _NO_CASE,
    ("dimension", "Zhang et al., d = 500"): _NO_CASE,
    ("exact_vs_over", "success with n = m = 10"): _NO_CASE,
    ("exact_vs_over", "success with n = 46, m = 10 (2 m log m)"): _NO_CASE,
    ("exact_vs_over", "gain of n = 30 over n = 10, m = 10"): _NO_CASE,
    ("hermite", "iterations of order 2 over those of order 1, n = 3"): _ORDER,
    ("hermite", "iterations of order 3 over those of order 2, n = 10"): _ORDER,
    ("pruning", "components left after merging, 1,000 samples"): "disagrees: samples keep more",
    ("rates", "exponent of the excess loss, one Gaussian, n = 10"): _NO_CASE,
    ("rates", "exponent of the excess loss, m = 3, n = 20"): _SHORT,
    ("samples", "exponent of the root mean square error, unequal weights"): _NO_CASE,
    ("samples", "exponent, over-parameterized and merged"): _NO_CASE,
    ("samples", "exponent, fresh batches of N at every iteration"): _NO_CASE,
    ("samples", "error at N = 3,200, one sample over fresh batches"): _NO_CASE,
    ("separation", "slope of log ε₀ against Δ², d = 2"): "disagrees: the slope is positive",
    ("weak_separation", "n = 20 less n = 3 at Δ <= 2"): "one seed of 8 decides, by chance",
}


def check(name, path, out, *more):
    """Of every finding the value, whatever its interval: few seeds say no more."""
    arguments = ["run", str(path), "--no-figures", "--devices", "1", "--out", str(out), *more]
    assert cli.main(arguments) == 0
    with records.opened(out) as record:
        specs, found = record.summary["findings"], evaluate(record)
    for spec, finding in zip(specs, found, strict=True):
        if "least" not in spec and "most" not in spec:
            continue
        least, most = spec.get("least", -math.inf), spec.get("most", math.inf)
        value = finding.estimate.value
        inside = value is not None and least <= value <= most
        excused = (name, finding.name) in NOT_SHOWN
        assert inside != excused, f"{finding.name}: {finding.found}, {finding.expected}"


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_what_is_measured_lies_where_it_should(name, tmp_path):
    check(name, CONFIGS[name], tmp_path / "out", "--fast")


# The [fast] sizes that the ordinary run sees in part: some settings, cases and findings of them.
PARTS = {
    "bad_starts": (
        {"solver": {"num_iterations": 5000}, "sweep": {"num_seeds": 2}},
        {"trap at 12": {"solver": {"escape": [False]}}}, slice(2),
    ),
    "exact_vs_over": (
        {"target": {"num_samples": 1000}, "solver": {"num_iterations": 40},
         "truth": {"num_components": [3, 3]}, "model": {"num_components": [3, 7]},
         "report": {"tolerance": 0.3}, "sweep": {"num_seeds": 16}}, None, slice(None),
    ),
    "pruning": ({"report": {"follow": False}, "sweep": {"num_seeds": 4}},
                {"population": {}}, slice(0, None, 2)),
    "rates": (
        {"report": {"path": False, "reach": 1e-5}, "sweep": {"num_seeds": 1},
         "target": {"num_nodes": 24},
         "solver": {"num_iterations": 600}},
        {"m = 3, n = 20": {}, "m = 3, n = 20, polyak": {}}, slice(-1, None),
    ),
    "slow_weights": (
        {"report": {"follow": False}, "target": {"num_nodes": 16}},
        {"K = 0": {}, "K = 1": {"solver": {"weight_step_size": [0.01]}},
         }, slice(2),
    ),
    "step_size": ({}, None, slice(None)),
}  # fmt: skip


@pytest.mark.parametrize("name", mostly_slow(PARTS, 1))
def test_a_part_of_what_is_measured_lies_where_it_should(name, tmp_path):
    changes, cases, findings = PARTS[name]
    content = tomllib.loads(CONFIGS[name].read_text())
    changes = merged(content["fast"], changes)
    given = changes.pop("case", content.get("case"))
    if cases is not None:
        given = [merged(case, cases[case["name"]]) for case in given if case["name"] in cases]
    content = merged(content, changes) | {"finding": content["finding"][findings], "case": given}
    content["figure"] = None  # of what the part does not follow
    path = tmp_path / f"{name}.toml"
    path.write_text(tomli_w.dumps({k: v for k, v in content.items() if v is not None}))
    check(name, path, tmp_path / "out")


def merged(tables, changes):
    """The tables with some keys changed."""
    return tables | {
        key: merged(tables.get(key, {}), value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }


def test_what_is_not_shown_is_there():
    for name, finding in NOT_SHOWN:
        loaded = config.load(CONFIGS[name])
        assert finding in [spec["name"] for spec in loaded.shown["findings"]]
