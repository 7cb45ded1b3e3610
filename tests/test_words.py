"""The form of docstrings, and that what docstrings and comments refer to is in the repository."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PREPOSITIONS = frozenset(
    "about above across after against along amid among around as at because before behind below "
    "beneath beside besides between beyond by despite down during except for from in inside into "
    "like near of off on onto out outside over past per since than through throughout till to "
    "toward towards under until up upon via with within without".split()
)
"""Words that continue the name above a docstring instead of beginning a sentence."""

_OUTSIDE = re.compile(
    r"\b(document 00\d|notes on|notes/\w|statistics notes|check \d)", re.IGNORECASE
)
"""References to notes and documents that are not in the repository."""

_SECTION = re.compile(r"\bsection \d", re.IGNORECASE)
_YEAR = re.compile(r"\b(19|20)\d\d\b")
"""A section is one of a published source, whose year stands beside it."""

_PATH = re.compile(r"\b(?:analysis|docs|search_spaces|study|tests)/[\w/.-]*\w")
_DOTTED = re.compile(r"(?<![\w./])(?:analysis|study|tests)(?:\.\w+)+")


def folders() -> list[Path]:
    """Return every folder that holds modules."""
    tops = ("analysis", "examples", "study", "tests")
    return sorted({path.parent for top in tops for path in ROOT.glob(f"{top}/**/*.py")})


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the docstrings of a module, its classes and functions, and those of attributes."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        has_own = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        for before, statement in zip([None, *body], body, strict=False):
            match statement:
                case ast.Expr(value=ast.Constant(value=str()) as text):
                    if (before is None and has_own) or isinstance(
                        before, ast.Assign | ast.AnnAssign
                    ):
                        yield text


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield each block of comment lines as one text, with its last line."""
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if block and token.start[0] != last + 1:
                yield last, " ".join(block)
                block = []
            block.append(token.string.lstrip("# "))
            last = token.start[0]
    if block:
        yield last, " ".join(block)


def flaw(text: str) -> str | None:
    """Return what is wrong with the form of a docstring."""
    first = " ".join(text.split("\n\n")[0].split())
    word = re.sub(r"\W.*", "", first.lstrip("`'\"("))
    if word.lower() in PREPOSITIONS:
        return f"begins with a preposition: {first}"
    if word and word == word.lower() and word[0].isalpha():
        return f"begins with a small letter: {first}"
    if first[-1:] not in ".!?:":
        return f"is no sentence: {first}"
    return None


@cache
def leads_somewhere(path: str) -> bool:
    """Is there a file or folder of this path, which may hold a pattern?"""
    return any(ROOT.glob(path))


@cache
def is_there(reference: str) -> bool:
    """Is a dotted name that of a module, or of something that a module defines?"""
    parts = reference.split(".")
    for n in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:n])
        module = place.with_suffix(".py")
        if module.is_file():
            text = module.read_text(encoding="utf-8")
            return all(re.search(rf"\b{name}\b", text) for name in parts[n:])
        if place.is_dir():
            return n == len(parts)
    return False


def lost_reference(text: str) -> str | None:
    """Return a reference in a docstring or comment that leads nowhere."""
    flat = " ".join(text.split())
    if outside := _OUTSIDE.search(flat):
        return outside[0]
    if (section := _SECTION.search(flat)) and not _YEAR.search(flat):
        return section[0]
    for path in _PATH.findall(flat):
        if not leads_somewhere(path):
            return str(path)
    for name in _DOTTED.findall(flat):
        if not is_there(name):
            return str(name)
    return None


@pytest.mark.parametrize("folder", folders(), ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_stand_alone_and_refer_to_what_is_in_the_repository(folder: Path) -> None:
    found = []
    for path in sorted(folder.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        texts = [(text.lineno, str(text.value)) for text in docstrings(ast.parse(source))]
        found += [(path.name, line, flaw(text)) for line, text in texts]
        found += [
            (path.name, line, lost_reference(text)) for line, text in [*texts, *comments(source)]
        ]
    assert [each for each in found if each[-1] is not None] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Of the metric; NaN if there is none.", "preposition"),
        ("``of`` the metric.", "preposition"),
        ("sha256 of the content.", "small letter"),
        ("Seconds between two looks", "no sentence"),
    ],
)
def test_a_docstring_that_continues_its_name_is_found(text: str, wrong: str) -> None:
    assert wrong in str(flaw(text))
    assert flaw("Offset of the metric.\n\nArgs:\n    x: of it") is None


@pytest.mark.parametrize(
    "text",
    [
        "Document 002 of a study.",
        "As measured (notes on statistics).",
        "See section 3.8.",
        "See ``tests/test_nothing.py``.",
        "See ``study.errors.nothing_of_this_name``.",
    ],
)
def test_a_reference_that_leads_nowhere_is_found(text: str) -> None:
    assert lost_reference(text) is not None
    assert lost_reference("Hoffmann et al. 2022, section 3.3; ``study.errors.require``.") is None
