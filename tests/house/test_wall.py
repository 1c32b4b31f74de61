"""The house: folders import downward only, the program sees of the library what everyone sees."""

import ast
from pathlib import Path

import pytest

import gemjax as gj

PACKAGE = Path(gj.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# From the ground up; `docs/design.md` says what lives where.
FOLDERS = [
    "_numerics",
    "_families",
    "_base",
    "_points",
    "_model",
    "_weights",
    "_assess",
    "_em",
    "_reduce",
    "_exchange",
    "_sklearn",
]
PUBLIC = ["convert", "covariance", "hermite", "initialize", "rules", "sklearn", "truth"]


def name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name(path): path for path in FILES}


def imports(path):
    """The modules of gemjax that a file imports, and of `from gemjax import` the names."""
    modules, names = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names if alias.name.startswith("gemjax")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gemjax"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                modules.add(whole if whole in MODULES else node.module)
                if node.module == "gemjax" and whole not in MODULES:
                    names.add(alias.name)
    return modules, names


def floor(module):
    """Number of a module's floor: folders of the library, public modules, the face, the program."""
    parts = module.split(".")
    if len(parts) == 1:
        return len(FOLDERS) + 1
    if parts[1] == "cli":
        return len(FOLDERS) + 2
    return len(FOLDERS) if parts[1] in PUBLIC else FOLDERS.index(parts[1])


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downward(module):
    modules, names = imports(MODULES[module])
    above = {other for other in modules if floor(other) > floor(module)}
    assert not above
    if module.startswith("gemjax.cli"):
        behind = {m for m in modules if m != "gemjax" and not m.startswith("gemjax.cli")}
        assert behind <= {f"gemjax.{public}" for public in PUBLIC}
        assert names <= {*gj.__all__, "__version__"}
        attributes = {
            node.attr
            for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("gj", "gemjax")
        }
        assert attributes <= {*gj.__all__, "__version__"}


def test_no_files_import_each_other_in_a_circle():
    graph = {module: imports(path)[0] & MODULES.keys() for module, path in MODULES.items()}
    graph = {m: {o for o in others if o != m} for m, others in graph.items()}
    # The face of a package hands names on; who imports from it imports what it imports.
    graph.pop("gemjax.cli")
    while leaves := [m for m, others in graph.items() if not others & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    assert not graph


@pytest.mark.parametrize("module", MODULES)
def test_what_can_be_read_in_one_sitting(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first, *_ = node.body
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            docstring = first.end_lineno - first.lineno + 1 if documented else 0
            assert node.end_lineno - node.lineno + 1 - docstring <= 80, node.name


def test_every_file_has_a_head():
    for path in FILES:
        if path.name != "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


FACTS = {
    "log(2 * math.pi)": {"gemjax._families.covariance"},  # the Gaussian's normaliser
    "lax.psum(": {"gemjax._numerics.sums", "gemjax._points.spread"},  # sums over devices
    "dynamic_slice_in_dim(self.points": {"gemjax._points.target"},
}


@pytest.mark.parametrize("fact", FACTS)
def test_one_home_per_fact(fact):
    homes = {m for m, path in MODULES.items() if fact in path.read_text(encoding="utf-8")}
    assert homes <= FACTS[fact]
