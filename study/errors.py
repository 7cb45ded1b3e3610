"""The errors that a user can cause or cure, and the one form that their messages take."""

import reprlib

_LONGEST_VALUE = 200
"""Most characters of a quoted value: a cell, a name or a cause is recognised by fewer."""

_LONGEST_MESSAGE = 2000
"""Most characters of a message, which may name several values."""


_REPR = reprlib.Repr()
"""Bounded form of containers: YAML's aliases make nine lines a list whose whole ``repr`` has 157
MB."""
_REPR.maxlevel = 3
_REPR.maxother = _LONGEST_VALUE


class StudyError(ValueError):
    """A study cannot continue; the message has place, rule, what was got, and what to do.

    Whatever is quoted in it, a message is one line of bounded length.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(one_line(message), _LONGEST_MESSAGE))


class SpecError(StudyError):
    """A flag, a YAML file or a configuration breaks a rule."""


class DataError(StudyError):
    """Prices, features, labels or splits break a rule."""


def one_line(text: str) -> str:
    """Return ``text`` on one line: white space is single spaces, the unprintable is escaped."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in " ".join(text.split())
    )


def shortened(text: str, longest: int = _LONGEST_VALUE) -> str:
    """Return ``text``, of which the middle is left out where it is longer than ``longest``."""
    if len(text) <= longest:
        return text
    mark = f" ... ({len(text)} characters) ... "
    half = (longest - len(mark)) // 2
    return text[:half] + mark + text[-half:]


def quoted(value: object) -> str:
    """Return a value of somebody's file or flag for a message: its ``repr``, cut."""
    try:
        return shortened(repr(value) if isinstance(value, str) else _REPR.repr(value))
    except (ValueError, RecursionError):
        # Python prints no integer of more than 4,300 digits, and no list that is too deep.
        return f"a {type(value).__name__} that cannot be printed"


def cause(error: BaseException) -> str:
    """Return what a library said, on one line and cut; the error's class if it said nothing."""
    return shortened(one_line(str(error))) or type(error).__name__


def require(
    condition: bool,
    where: str,
    rule: str,
    *,
    got: object,
    remedy: str,
    error: type[StudyError] = SpecError,
) -> None:
    """Raise ``error`` in the house form unless ``condition`` holds.

    Args:
        condition: what must be true.
        where: the file, object or flag at fault, such as ``prices.csv`` or ``TrainConfig``.
        rule: what must hold, such as ``learning_rate must be > 0``.
        got: the offending value, usually ``name=value``.
        remedy: what the user can do, one sentence.
        error: the class to raise.
    """
    if not condition:
        raise error(f"{where}: {rule}, but got {got}. {remedy}")
