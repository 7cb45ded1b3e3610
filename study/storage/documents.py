"""Reads YAML and JSON that anybody may have written: a value, or one error with file and place."""

import json
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
import yaml.constructor

from study.errors import StudyError, cause, quoted

_LARGEST_YAML = 2**20
"""Most bytes of a YAML file. A search space has 3 kB and a cell.yaml 20; in Python half a megabyte
is read a second."""

_MOST_VALUES = 100_000
"""Most values of a YAML file with every alias written out: nine short lines can stand for a
billion."""

_FAULTS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""Exceptions that parsers raise on text: PyYAML's tags end in ValueError (a 13th month, 5,000
digits), KeyError (``!!bool x``), AttributeError (``!!timestamp x``) or OverflowError, and what is
nested a thousand times in RecursionError."""


def load_yaml(path: Path, remedy: str, error: type[StudyError] = StudyError) -> Any:
    """Return the value of a YAML file; a key that is given twice is refused, nothing executes.

    Args:
        path: of the file.
        remedy: what the user can do if it cannot be read, one sentence.
        error: the class to raise.

    Raises:
        StudyError: or the given class: the file cannot be read or holds no YAML.
    """
    text = _text(path, "YAML", remedy, error, most=_LARGEST_YAML)
    try:
        return parse_yaml(text)
    except StudyError as problem:
        raise error(f"{path}: must be YAML, but got {problem}. {remedy}") from problem


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document.

    Raises:
        StudyError: it is none; the message has line and column as far as they are known.
    """
    try:
        # Its words for a fault are fewer and say less, so that the other one is asked for them.
        with suppress(yaml.YAMLError):
            return _QuickLoader(text).get_single_data()  # type: ignore[call-arg]
        return _Loader(text).get_single_data()
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None) or getattr(problem, "context_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        words = getattr(problem, "problem", None) or cause(problem)
        raise StudyError(f"{place}{words}") from problem
    except _FAULTS as problem:
        raise StudyError(_said(problem)) from problem


def load_json(path: Path, remedy: str, error: type[StudyError] = StudyError) -> Any:
    """Return the value of a JSON file.

    Args:
        path: of the file.
        remedy: what the user can do if it cannot be read, one sentence.
        error: the class to raise.

    Raises:
        StudyError: or the given class: the file cannot be read or holds no JSON.
    """
    text = _text(path, "JSON", remedy, error)
    try:
        return parse_json(text)
    except StudyError as problem:
        raise error(f"{path}: must be JSON, but got {problem}. {remedy}") from problem


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON document.

    Raises:
        StudyError: it is none.
    """
    try:
        return json.loads(text)
    except _FAULTS as problem:
        raise StudyError(_said(problem)) from problem


def _text(
    path: Path, kind: str, remedy: str, error: type[StudyError], most: int | None = None
) -> str:
    rule = f"{path}: must be {kind} that can be read, but got"
    try:
        with path.open("rb") as file:
            content = file.read() if most is None else file.read(most + 1)
        text = content.decode("utf-8")
    except (OSError, ValueError) as problem:
        # A ValueError: bytes that are no text, or a path with a zero byte, which a file may name.
        said = getattr(problem, "strerror", None) or cause(problem)
        raise error(f"{rule}: {said}. {remedy}") from problem
    if most is not None and len(content) > most:
        raise error(f"{rule} more than {most:,} bytes. {remedy}")
    return text


def _said(problem: Exception) -> str:
    if isinstance(problem, RecursionError):
        return "lists or mappings that are nested too deeply"
    return cause(problem)


class _Strict(yaml.constructor.SafeConstructor):
    """Refuses a key that is given twice: the second would silently win."""

    def get_single_node(self) -> Any:
        """Compose the document, or raise if its aliases stand for too much."""
        node = super().get_single_node()  # type: ignore[misc]
        if node is not None and _expanded(node, {}) > _MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"aliases that stand for more than {_MOST_VALUES:,} values",
                node.start_mark,
            )
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Build a value, or raise with its place."""
        try:
            return super().construct_object(node, deep)
        except RecursionError:
            raise
        except _FAULTS as problem:
            tag = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"no {tag}: {quoted(node.value)}", node.start_mark
            ) from problem

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, or raise for a repeated key."""
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {quoted(key)} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Loader(_Strict, yaml.SafeLoader):
    """Reads any text, in Python."""


class _QuickLoader(_Strict, yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Reads eight times as fast, with libyaml, without which PyYAML can be built too.

    libyaml refuses what is nested more than a thousand times, and does not run out of its stack.
    """


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for, every alias written out; endless ones are many."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = _MOST_VALUES + 1
        children = [
            part
            for each in node.value
            for part in (each if isinstance(node, yaml.MappingNode) else (each,))
        ]
        known[id(node)] = 1 + sum(_expanded(child, known) for child in children)
    return known[id(node)]
