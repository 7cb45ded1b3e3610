"""The import directions of the design and its limits of size, held by reading every file."""

import ast
import graphlib
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent

ALLOWED = {
    "installed": set(),
    "statistics": set(),
    "errors": set(),
    "interruptions": set(),
    "fields": {"errors"},
    "names": set(),
    "output": {"errors"},
    "text": {"errors"},
    "command": {"errors", "fields"},
    "storage": {"errors", "fields", "output"},
    "results": {"command", "errors", "fields", "names", "storage", "text"},
    "terminal": {"errors", "names", "results", "statistics", "storage", "text"},
    "data": {"command", "errors", "fields", "names", "output", "statistics", "storage", "text"},
    "model": {"errors", "fields"},
    "training": {"data", "errors", "fields", "model", "results", "statistics", "storage"},
    "spec": {
        "data", "errors", "fields", "model", "names", "results", "storage", "text", "training",
    },
    "cluster": {"errors", "results", "storage", "text", "training"},
    "search": {"data", "errors", "model", "results", "spec", "storage", "text", "training"},
    "planning": {
        "cluster", "data", "errors", "fields", "model", "names", "results", "search", "spec",
        "storage", "text", "training",
    },
    "tuner": {
        "cluster", "data", "errors", "interruptions", "model", "output", "planning", "results",
        "search", "spec", "storage", "terminal", "training",
    },
    "final": {
        "cluster", "data", "errors", "fields", "interruptions", "model", "planning", "results",
        "search", "spec", "statistics", "storage", "text", "training", "tuner",
    },
    "sweeping": {"cluster", "errors", "interruptions", "results", "storage", "terminal", "text"},
}  # fmt: skip
DOORS = {"api", "plan", "predict", "status", "sweep", "train", "tune"}
"""What a user calls: the study from Python, and the commands."""

ANALYSIS = {
    "command",
    "errors",
    "fields",
    "names",
    "output",
    "results",
    "statistics",
    "storage",
    "text",
}

OPTUNA = {"planning", "search"}
RAY = {"cluster", "planning", "tuner"}
OPTUNA_STORAGES = {
    # Reads the files in which Optuna keeps studies: only its own reader knows all their versions.
    ROOT / "analysis" / "tables" / "optuna_storage.py",
    # Writes such a file, which only its own writer makes so that its dashboard opens it.
    ROOT / "study" / "results" / "optuna_export.py",
}
TORCH = {"final", "model", "planning", "predict", "training", "tuner"}

IMPORTS_BY_NAME = {
    "analysis/__init__.py": "runs study/__init__.py, of which it needs no name",
}
"""Files that may import a module by its name, which hides it from this test, each with a reason."""

MOST_FILES, MOST_LINES, MOST_FUNCTION_LINES = 15, 450, 60
"""Files of a package, lines of a file, and lines of a function from its ``def`` to its end."""

LONG = {
    "study/planning/cell_plan.py:plan_cell": "the order of a plan, half of it arguments",
    "study/model/fused_layer.py:_FusedLayer.forward": "one autograd node, read beside its backward",
    "study/model/fused_layer.py:_FusedLayer.backward": "one autograd node, read beside its forward",
}
"""Files and functions that may be longer, each with a reason."""


@cache
def modules() -> list[Path]:
    return sorted([*ROOT.glob("study/**/*.py"), *ROOT.glob("analysis/**/*.py")])


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def part(path: Path) -> str:
    """Return the package or module below study/ that a file belongs to, or analysis."""
    parts = path.relative_to(ROOT).parts
    return "analysis" if parts[0] == "analysis" else parts[1].removesuffix(".py")


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(path)))


@cache
def known_modules() -> frozenset[str]:
    return frozenset(module_name(path) for path in modules())


@cache
def imports(path: Path) -> frozenset[str]:
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return frozenset(found)


def parts_imported(path: Path) -> set[str]:
    names = (name.split(".") for name in imports(path) if name.startswith("study."))
    return {name[1] for name in names} - {part(path)}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules_imported(path: Path) -> set[str]:
    """Return the modules of the project that a file names in an import, wherever it stands.

    An import inside a function or for the type checker only counts as well: a circle that is not
    met at start-up is a circle to the reader. That a package runs its ``__init__`` before a module
    in it does not count, or a package could not import its own modules.
    """
    known = known_modules()
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = node.module or ""
            names = {f"{parent}.{alias.name}" for alias in node.names}
            found |= (names & known) | ({parent} if names - known else set())
    return found & known


def functions(path: Path) -> dict[str, int]:
    """Return the lines of every function of a file, by its name behind those of its classes."""
    found: dict[str, int] = {}

    def visit(node: ast.AST, names: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = (*names, child.name)
                if not isinstance(child, ast.ClassDef):
                    assert child.end_lineno is not None
                    found[".".join(inner)] = child.end_lineno - child.lineno + 1
                visit(child, inner)
            else:
                visit(child, names)

    visit(tree(path), ())
    return found


def long_ones() -> set[str]:
    """Return the files and the functions that are longer than the limits."""
    found = set()
    for path in modules():
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES:
            found.add(relative(path))
        lines = functions(path)
        found |= {f"{relative(path)}:{n}" for n in lines if lines[n] > MOST_FUNCTION_LINES}
    return found


def test_every_part_of_the_project_is_placed() -> None:
    assert {part(path) for path in modules()} == {*ALLOWED, *DOORS, "analysis", "__init__"}


def forbidden(path: Path) -> set[str]:
    """Return the parts of the project that a file imports and must not import."""
    name = part(path)
    if name == "__init__":
        # From Python the study is asked for by its name, and imported then.
        return (parts_imported(path) & DOORS) - {"api"}
    if name in DOORS:
        return parts_imported(path) & DOORS
    return parts_imported(path) - (ANALYSIS if name == "analysis" else ALLOWED[name])


def test_imports_point_down() -> None:
    assert {relative(path): found for path in modules() if (found := forbidden(path))} == {}


def test_ray_and_torch_stay_where_they_belong() -> None:
    places = {"ray": RAY, "torch": TORCH, "optuna": OPTUNA}
    found = {
        (relative(path), root)
        for path in modules()
        for root in {name.split(".")[0] for name in imports(path)} & set(places)
        if part(path) not in places[root]
    }
    assert found == {(relative(path), "optuna") for path in OPTUNA_STORAGES}


def test_no_import_leads_back() -> None:
    graph = {module_name(path): modules_imported(path) for path in modules()}
    # Raises CycleError with the modules of the circle.
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(graph)


def test_modules_are_imported_by_name_only_where_there_is_a_reason() -> None:
    names = {"import_module", "__import__", "iter_modules", "walk_packages"}
    found = {
        relative(path)
        for path in modules()
        for node in nodes(path)
        if (isinstance(node, ast.Name) and node.id in names)
        or (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.alias) and node.name in names)
    }
    assert found == set(IMPORTS_BY_NAME)


def test_no_package_holds_too_many_files() -> None:
    counts = Counter(relative(path.parent) for path in modules())
    assert {name for name, count in counts.items() if count > MOST_FILES} == set()


def test_no_file_or_function_is_too_long() -> None:
    assert long_ones() == set(LONG)
