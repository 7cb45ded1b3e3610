"""The pages for people: the README is short, links lead somewhere, tables agree with the code."""

import re
from pathlib import Path
from subprocess import run

import pytest

from tests.test_architecture import ALLOWED, ANALYSIS, OPTUNA, RAY, TORCH

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "findings" / "README.md",
    ROOT / "ray_results" / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
]
MOST_README_LINES = 160
GROUND = {name for name in ALLOWED if (ROOT / "study" / f"{name}.py").exists()}
"""What the page of architecture calls the ground, and leaves out of its table."""

ONE_LINE = ("tests/", "examples/", "findings/", ".ci/", "ray_results/")
"""Folders whose files are of one kind: the tree of the README has a line for all of them."""

OUTSIDE = re.compile(r"document 00\d|notes on (the|origin|statistics)|statistics notes", re.I)
"""References to texts that are not in the repository."""


def tracked() -> list[str]:
    """Return the files of the repository; none where git does not know the folder."""
    found = run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.splitlines()


def anchors(page: Path) -> set[str]:
    """Return the names by which the headings of a page are linked to."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_with_its_folder_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(
        re.findall(r"\b((?:study|analysis|tests|search_spaces|deploy|docs)/[\w./-]+)", text)
    )
    assert {each for each in named if not (ROOT / each.rstrip(".")).exists()} == set()


def test_the_readme_names_every_file_and_folder_of_the_top_two_levels() -> None:
    tree = (ROOT / "README.md").read_text(encoding="utf-8")
    expected = {"/".join(path.split("/")[:2]) for path in tracked()}
    expected |= {path.split("/")[0] for path in tracked()}
    missing = {
        path
        for path in expected
        if Path(path).name + "/" * (ROOT / path).is_dir() not in tree
        and not path.startswith(ONE_LINE)
    }
    # Beside page.py the tree names these two by their endings.
    missing -= {"analysis/page.css", "analysis/page.js", ".gitignore", "README.md"}
    assert {path for path in missing if not path.endswith(("__init__.py", "__main__.py"))} == set()


def test_the_table_of_who_imports_whom_is_what_the_imports_may_be() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = {
        name: set(parts.replace("-", "").replace(" ", "").split(",")) - {""}
        for name, parts in re.findall(r"^\| ([a-z]+) \| [^|]+ \| ([a-z, ]+|-) \|$", text, re.M)
        if name in ALLOWED or name == "analysis"
    }
    allowed = {**ALLOWED, "analysis": ANALYSIS}
    assert rows == {name: allowed[name] - GROUND for name in allowed.keys() - GROUND}


def test_who_imports_a_large_package_is_what_the_page_of_architecture_says() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    said = re.findall(r"that\s+only ([^.]+?)\s+import (Ray|torch|Optuna)\b", text)
    allowed = {"Ray": RAY, "torch": TORCH, "Optuna": OPTUNA}
    assert {package: set(re.findall(r"`(\w+)`", parts)) for parts, package in said} == allowed


def test_a_name_in_the_table_of_places_is_in_a_file_that_its_row_links_to() -> None:
    page = ROOT / "docs" / "architecture.md"
    table = page.read_text(encoding="utf-8").partition("## Where to find what")[2].split("\n## ")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 10
    for row in rows:
        linked = [page.parent / link for link in re.findall(r"\]\(([^)#]+\.py)\)", row)]
        defined = set()
        for path in linked:
            defined |= set(re.findall(r"(?:class|def) (\w+)|^(\w+) = ", path.read_text(), re.M))
        names = {name for pair in defined for name in pair}
        for name in re.findall(r"`([A-Z_]\w+(?:\.\w+)?|[a-z]+_\w+)`", row):
            assert set(name.split(".")) <= names, name


def test_no_page_refers_to_a_text_outside_of_the_repository() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in PAGES
        if OUTSIDE.search(path.read_text(encoding="utf-8"))
    }
    assert found == set()
