"""The import directions of the design, held by reading every import of the project."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ALLOWED = {
    "installed": set(),
    "errors": set(),
    "number_text": set(),
    "fields": {"errors"},
    "output": {"errors"},
    "interruptions": set(),
    "command": {"errors", "fields"},
    "text_table": {"errors", "number_text"},
    "storage": {"errors", "fields", "output"},
    "results": {"command", "errors", "fields", "storage"},
    "terminal": {"errors", "results", "storage"},
    "data": {"command", "errors", "fields", "number_text", "output", "text_table"},
    "model": {"errors", "fields"},
    "training": {"data", "errors", "fields", "model", "results", "storage"},
    "spec": {
        "data", "errors", "fields", "model", "number_text", "results", "storage", "training",
    },
    "cluster": {"errors", "storage", "training"},
    "search": {"data", "errors", "model", "results", "spec", "storage", "training"},
    "planning": {
        "cluster", "data", "errors", "fields", "model", "results", "search", "spec", "storage",
        "training",
    },
    "tuner": {
        "cluster", "data", "errors", "interruptions", "model", "output", "planning", "results",
        "search", "spec", "storage", "terminal", "training",
    },
    "final": {
        "cluster", "data", "errors", "interruptions", "model", "planning", "results", "search",
        "spec", "storage", "training", "tuner",
    },
    "sweeping": {
        "cluster", "errors", "fields", "interruptions", "results", "storage", "terminal",
    },
}  # fmt: skip
COMMANDS = {"plan", "predict", "status", "sweep", "train", "tune"}
ANALYSIS = {
    "command", "errors", "fields", "number_text", "output", "results", "storage", "text_table",
}  # fmt: skip

OPTUNA = {"planning", "search"}
RAY = {"cluster", "planning", "tuner"}
OPTUNA_STORAGES = {
    # Reads the files in which Optuna keeps studies: only its own reader knows all their versions.
    ROOT / "analysis" / "tables" / "optuna_storage.py",
    # Writes such a file, which only its own writer makes so that its dashboard opens it.
    ROOT / "study" / "results" / "optuna_export.py",
}
TORCH = {"final", "model", "planning", "predict", "training", "tuner"}


def modules() -> list[Path]:
    return sorted([*ROOT.glob("study/**/*.py"), *ROOT.glob("analysis/**/*.py")])


def part(path: Path) -> str:
    """Return the package or module below study/ that a file belongs to, or analysis."""
    relative = path.relative_to(ROOT)
    return "analysis" if relative.parts[0] == "analysis" else relative.parts[1].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def parts_imported(path: Path) -> set[str]:
    names = (name.split(".") for name in imports(path) if name.startswith("study."))
    return {name[1] for name in names} - {part(path)}


def test_every_part_of_the_project_is_placed() -> None:
    assert {part(path) for path in modules()} == {*ALLOWED, *COMMANDS, "analysis", "__init__"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    name = part(path)
    if name in COMMANDS or name == "__init__":
        assert not parts_imported(path) & COMMANDS
    elif name == "analysis":
        assert parts_imported(path) <= ANALYSIS
    else:
        assert parts_imported(path) <= ALLOWED[name]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_and_torch_stay_where_they_belong(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert "ray" not in roots or part(path) in RAY
    assert "torch" not in roots or part(path) in TORCH
    assert "optuna" not in roots or part(path) in OPTUNA or path in OPTUNA_STORAGES
