"""One value of a search space: fixed, chosen from a list, or drawn from a range."""

import math
from dataclasses import dataclass
from typing import TypeGuard

from study.errors import quoted, require
from study.fields import is_number

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value that every trial shares."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a list of values; ``middle`` is the middle one as listed."""

    values: tuple[Scalar, ...]

    @property
    def middle(self) -> Scalar:
        """The value that a forced trial takes."""
        return self.values[len(self.values) // 2]


@dataclass(frozen=True, slots=True)
class Range:
    """A real number between two bounds, uniform on a linear or a logarithmic scale."""

    low: float
    high: float
    log: bool

    @property
    def middle(self) -> float:
        """The value that a forced trial takes: the arithmetic or geometric mean of the bounds."""
        return math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2


Dimension = Fixed | Choice | Range
"""What a field of a configuration may be in a search space."""


def dimension_values(dimension: Dimension) -> tuple[Scalar, ...]:
    """Return every value that a dimension lists: its choices, or the bounds of its range."""
    match dimension:
        case Fixed(value):
            return (value,)
        case Choice(values):
            return values
        case Range(low, high, _):
            return (low, high)


def parse_dimension(raw: object, where: str) -> Dimension:
    """Read one YAML value: a scalar, or a mapping with the one key choice, uniform or log_uniform.

    Args:
        raw: what PyYAML returned.
        where: file and key for messages.

    Raises:
        SpecError: the value has another form, an empty list, or bounds out of order.
    """
    if not isinstance(raw, dict):
        require(
            _is_scalar(raw),
            where,
            "must be a finite number, a word, or one of {choice: [...]}, {uniform: [low, high]}, "
            "{log_uniform: [low, high]}",
            got=quoted(raw),
            remedy="Write one of these forms.",
        )
        assert _is_scalar(raw)
        return Fixed(raw)
    require(
        len(raw) == 1 and next(iter(raw)) in ("choice", "uniform", "log_uniform"),
        where,
        "must have exactly one of the keys choice, uniform, log_uniform",
        got=f"keys {quoted(list(raw))}",
        remedy="Write for example {log_uniform: [1.0e-4, 1.0e-3]}.",
    )
    kind, values = next(iter(raw.items()))
    require(
        isinstance(values, list) and len(values) >= 1,
        where,
        f"{kind} needs a list",
        got=quoted(values),
        remedy="Write the values in brackets.",
    )
    if kind == "choice":
        wrong = [value for value in values if not _is_scalar(value)]
        require(
            not wrong,
            where,
            "choice must list finite numbers or words",
            got=quoted(wrong[0]) if wrong else "",
            remedy="Write the values themselves.",
        )
        require(
            len(set(map(repr, values))) == len(values),
            where,
            "choice must not repeat a value",
            got=quoted(values),
            remedy="List each value once.",
        )
        return Choice(tuple(values))
    require(
        len(values) == 2 and all(is_number(value) for value in values),
        where,
        f"{kind} needs two finite numbers (PyYAML reads 1e-4 as text: write 1.0e-4)",
        got=quoted(values),
        remedy="Write [low, high].",
    )
    low, high = float(values[0]), float(values[1])
    require(
        low < high and (kind == "uniform" or low > 0),
        where,
        f"{kind} needs low < high" + ("" if kind == "uniform" else " and low > 0"),
        got=quoted(values),
        remedy="Mend the bounds.",
    )
    return Range(low, high, log=kind == "log_uniform")


def _is_scalar(value: object) -> TypeGuard[Scalar]:
    return value is None or isinstance(value, str | bool) or is_number(value)
