"""The program is a room of its own: public names only, imports downward only, short files."""

import ast
from pathlib import Path

import gemjax as gj

ROOT = Path(gj.__file__).parent
# fmt: off
ORDER = [
    "files.read", "files.write", "files.folder", "process.devices", "process.memory",
    "process.interrupt", "process.progress", "study.settings", "study.config", "case", "results",
    "record", "report.tables", "report.canvas", "report.study_figures", "report.fit_figures",
    "report.figures", "study.pieces", "study.run", "fit", "options", "app",
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


def test_only_public_names_of_the_library():
    for name, tree in FILES.items():
        for module, taken in imported(tree):
            if module == "gemjax" and taken not in (None, "__version__"):
                assert taken in gj.__all__ or taken == "cli", (name, taken)
            assert not module.startswith("gemjax.") or module.startswith("gemjax.cli"), name
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                public = node.value.id != "gj" or node.attr in gj.__all__
                assert public, (name, node.attr)


def test_imports_lead_downward():
    assert sorted(ORDER) == sorted(FILES)
    for name, tree in FILES.items():
        for module, taken in imported(tree):
            if not module.startswith("gemjax.cli"):
                continue
            inner = [part for part in (module.removeprefix("gemjax.cli").strip("."), taken) if part]
            below = next(n for n in (".".join(inner), inner[0]) if n in ORDER)
            assert ORDER.index(below) < ORDER.index(name), (name, below)


def test_the_library_does_not_know_the_program():
    for path in ROOT.rglob("*.py"):
        if "cli" not in path.relative_to(ROOT).parts:
            assert "gemjax.cli" not in path.read_text(), path


def test_files_and_functions_are_short():
    for name, tree in FILES.items():
        path = ROOT / "cli" / f"{name.replace('.', '/')}.py"
        assert len(path.read_text().splitlines()) <= 300, name
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                text = ast.get_docstring(node, clean=False) or ""
                length = node.end_lineno - node.lineno + 1 - text.count("\n") - bool(text)
                assert length <= 80, (name, node.name, length)
