"""The values that a field of a configuration or of a record may hold: its type, and its rule."""

import dataclasses
import datetime
import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import (
    Any,
    Literal,
    TypeGuard,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from study.errors import StudyError, quoted, require

T = TypeVar("T")

_LONGEST_NAME = 255
"""Most bytes of a name in a file system."""

_WHOLE_END = 2**63
"""End of the integers that NumPy, Arrow and PyTorch count with: a larger one ends in an
OverflowError there."""


def is_whole(value: object) -> TypeGuard[int]:
    """Is the value an integer of at most 64 bits? True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _WHOLE_END


def is_number(value: object) -> TypeGuard[float]:
    """Is the value a finite number that a float can hold? True and False are none."""
    if isinstance(value, float):
        return math.isfinite(value)
    return is_whole(value)


def is_folder_name(value: object) -> TypeGuard[str]:
    """Is the value the name of one folder or file, which leads nowhere else and can be shown?"""
    return (
        isinstance(value, str)
        and value not in ("", ".", "..")
        and "/" not in value
        and value.isprintable()
        and len(value.encode()) <= _LONGEST_NAME
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A condition on a value, whatever the other fields are."""

    words: str
    """End of the sentence "<field> must ...", without the word must."""
    holds: Callable[[Any], bool]


def whole(least: int, most: int) -> Rule:
    """Return the rule of a count from ``least`` to ``most``."""
    return Rule(
        f"be a whole number >= {least} and at most {most:,}",
        lambda value: is_whole(value) and least <= value <= most,
    )


def above(least: float, most: float) -> Rule:
    """Return the rule of a number above ``least`` and at most ``most``."""
    return Rule(
        f"be > {least:g} and at most {most:g}",
        lambda value: is_number(value) and least < value <= most,
    )


def share(*, zero: bool = True, one: bool = True) -> Rule:
    """Return the rule of a number from 0 to 1, with or without the ends."""
    return Rule(
        f"lie in {'[' if zero else '('}0, 1{']' if one else ')'}",
        lambda value: (
            is_number(value)
            and (0 <= value if zero else 0 < value)
            and (value <= 1 if one else value < 1)
        ),
    )


def within(least: float, most: float) -> Rule:
    """Return the rule of a number from ``least`` to ``most``, both included."""
    return Rule(
        f"lie in [{least:g}, {most:g}]",
        lambda value: is_number(value) and least <= value <= most,
    )


def between(least: float, most: float) -> Rule:
    """Return the rule of a number between two ends, which are excluded."""
    return Rule(
        f"lie between {least:g} and {most:g}",
        lambda value: is_number(value) and least < value < most,
    )


def one_of(options: Sequence[str]) -> Rule:
    """Return the rule of a word from a list."""
    return Rule(
        f"be one of {', '.join(options)}",
        lambda value: isinstance(value, str) and value in options,
    )


def text() -> Rule:
    """Return the rule of what is text."""
    return Rule("be text", lambda value: isinstance(value, str))


def day() -> Rule:
    """Return the rule of a day in ISO order, as text."""
    return Rule("be a day as 1990-01-31", lambda value: isinstance(value, str) and _is_day(value))


def _is_day(value: str) -> bool:
    try:
        return datetime.date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def flag() -> Rule:
    """Return the rule of what is true or false."""
    return Rule("be true or false", lambda value: isinstance(value, bool))


def or_none(rule: Rule) -> Rule:
    """Return the rule of a value that may be missing."""
    return Rule(f"{rule.words}, or null", lambda value: value is None or rule.holds(value))


def check_value(
    rules: Mapping[str, Rule], name: str, value: object, where: str, remedy: str
) -> None:
    """Refuse a value that breaks the rule of its field; a field without a rule takes any.

    Raises: SpecError.
    """
    rule = rules.get(name)
    # Words take longer than the check, and a search makes tens of thousands of configurations.
    if rule is None or rule.holds(value):
        return
    require(False, where, f"{name} must {rule.words}", got=f"{name}={quoted(value)}", remedy=remedy)


def check_values(rules: Mapping[str, Rule], config: object, remedy: str) -> None:
    """Refuse a configuration of which a field breaks its rule.

    Raises: SpecError.
    """
    for name in rules:
        check_value(rules, name, getattr(config, name), type(config).__name__, remedy)


def rebuild(
    kind: type[T], raw: object, where: str, remedy: str, error: type[StudyError] = StudyError
) -> T:
    """Return the record that a file holds as plain values; keys that it does not know are ignored.

    Args:
        kind: a dataclass whose fields are numbers, text, mappings, sequences or such dataclasses.
        raw: what was read.
        where: the file, and the place in it.
        remedy: what the user can do, one sentence.
        error: the class to raise.

    Raises:
        StudyError: or the given class: a field is missing, or is not of its type.
    """
    require_type(raw, kind, where, remedy, error)
    built: T = _built(raw, kind)
    return built


def require_type(
    value: object, kind: Any, where: str, remedy: str, error: type[StudyError] = StudyError
) -> None:
    """Refuse a plain value that is not of a type, with the place at which it is not.

    Args:
        value: what was read.
        kind: ``float`` (finite), ``int`` (of 64 bits), ``str``, ``bool``, None, Any, Literal, a
            union, a Mapping with text for keys, a Sequence, a dataclass or a TypedDict of such.
        where: the file, and the place in it.
        remedy: what the user can do, one sentence.
        error: the class to raise.
    """
    found = _misfit(value, kind, where)
    if found is not None:
        place, rule, got = found
        raise error(f"{place}: must be {rule}, but got {got}. {remedy}")


def fits(value: object, kind: Any) -> bool:
    """Is a plain value of a type, as ``require_type`` understands it?"""
    return _misfit(value, kind, "") is None


def type_words(kind: Any) -> str:
    """Return a type as a message says it."""
    options = _options(kind)
    if len(options) > 1:
        return " or ".join(map(type_words, options))
    origin = get_origin(kind) or kind
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    plain = {
        float: "a finite number", int: "a whole number of at most 64 bits", bool: "true or false",
        str: "text", type(None): "null",
    }  # fmt: skip
    if origin in plain:
        return plain[origin]
    return "a list" if _is_sequence(origin) else "a mapping"


def _misfit(value: object, kind: Any, where: str) -> tuple[str, str, str] | None:
    """Return the first place at which a value is not of its type, the rule there, and the value."""

    def fault() -> tuple[str, str, str]:
        # Words take longer than all checks, and values that fit need none.
        return where, type_words(kind) if kind is not Any else "", quoted(value)

    options, origin, arguments = _parts(kind)
    if len(options) > 1:
        return None if any(_misfit(value, option, where) is None for option in options) else fault()
    if kind is Any or kind is object:
        return None
    if origin is Literal:
        return None if any(value is o or value == o for o in arguments) else fault()
    if origin is float:
        return None if is_number(value) else fault()
    if origin is int:
        return None if is_whole(value) else fault()
    if _is_record(origin):
        if not isinstance(value, dict):
            return fault()
        needed, hints = _fields(origin)
        missing = next((name for name in needed if name not in value), None)
        if missing is not None:
            return where, f"a mapping with the field {missing}", "none of that name"
        inner = (_misfit(value[n], h, _inside(where, n)) for n, h in hints.items() if n in value)
        return next(filter(None, inner), None)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            return fault()
        of_values = arguments[1] if arguments else Any
        inner = (_misfit(each, of_values, _inside(where, key)) for key, each in value.items())
        return next(filter(None, inner), None)
    if _is_sequence(origin):
        if not isinstance(value, list | tuple):
            return fault()
        of_items = arguments[0] if arguments else Any
        inner = (_misfit(each, of_items, f"{where}[{i}]") for i, each in enumerate(value))
        return next(filter(None, inner), None)
    return None if isinstance(value, origin) else fault()


def _inside(where: str, name: str) -> str:
    return f"{where}: {name}" if where else name


@functools.cache
def _parts(kind: Any) -> tuple[tuple[Any, ...], Any, tuple[Any, ...]]:
    """Return the options of a type, the type without its arguments, and these."""
    return _options(kind), get_origin(kind) or kind, get_args(kind)


def _options(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(type(None) if o is None else o for o in get_args(kind))
    return (type(None),) if kind is None else (kind,)


def _is_record(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or is_typeddict(kind)


def _is_sequence(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Sequence) and not issubclass(kind, str)


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Return the names that a record must have, and the types of all that it may have."""
    hints = get_type_hints(kind)
    if is_typeddict(kind):
        return tuple(sorted(kind.__required_keys__)), hints
    fields = {field.name: field for field in dataclasses.fields(kind)}
    needed = tuple(n for n, field in fields.items() if field.default is dataclasses.MISSING)
    return needed, {name: hints[name] for name in fields}


def _built(value: Any, kind: Any) -> Any:
    """Return a value that fits its type with the dataclasses that the type asks for."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        _, hints = _fields(kind)
        given = {name: _built(value[name], h) for name, h in hints.items() if name in value}
        return kind(**given)
    if _is_sequence(get_origin(kind)) and get_args(kind):
        return [_built(each, get_args(kind)[0]) for each in value]
    return value
