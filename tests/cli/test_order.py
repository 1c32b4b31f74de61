"""The files of the program stand one above the other, and import only what is below."""

import ast
from pathlib import Path

import gemjax as gj

ROOT = Path(gj.__file__).parent
# fmt: off
ORDER = [
    "files.boundary", "process.memory", "files.number", "files.sheet", "files.cells",
    "files.dialect", "files.header", "files.rows", "files.encoding", "files.table", "files.binary",
    "files.columns", "files.dataset", "files.read",
    "files.write", "files.whole", "process.devices", "process.interrupt", "files.folder",
    "files.watch", "process.cache", "process.progress", "study.settings", "study.values",
    "study.sense", "study.grid", "study.config", "study.shipped", "study.cost", "case", "paths",
    "sensitivity", "fitting", "derived", "results", "scaling", "model", "doubts", "found", "record",
    "report.words", "report.warnings", "report.screen", "report.tables", "report.canvas",
    "report.selection", "report.series", "report.estimates", "report.findings",
    "report.page", "report.panels", "report.rate_figures", "report.heat_figures",
    "report.outcome_figures",
    "report.time_figures", "report.scaling_figures", "report.path_figures",
    "report.start_figures", "report.fit_figures",
    "report.selection_figures", "report.directions", "report.cluster_figures", "report.figures",
    "report.comparison", "compare", "study.shown",
    "study.pieces", "study.run",
    "predict", "fit", "clusters", "options", "show", "app",
]
# fmt: on
FILES = {
    ".".join(path.relative_to(ROOT / "cli").with_suffix("").parts): ast.parse(path.read_text())
    for path in (ROOT / "cli").rglob("*.py")
    if not path.name.startswith("__")
}


def imported(tree):
    """Modules, with the names that are taken from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


def test_imports_lead_downward():
    assert sorted(ORDER) == sorted(FILES)
    for name, tree in FILES.items():
        for module, taken in imported(tree):
            if not module.startswith("gemjax.cli"):
                continue
            inner = [part for part in (module.removeprefix("gemjax.cli").strip("."), taken) if part]
            below = next(n for n in (".".join(inner), inner[0]) if n in ORDER)
            assert ORDER.index(below) < ORDER.index(name), (name, below)
