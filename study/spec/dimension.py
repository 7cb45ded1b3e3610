"""One value of a search space: fixed, chosen from a list, or drawn from a range."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, TypeGuard, cast

from study.errors import quoted, require
from study.fields import is_number

Scalar = str | int | float | bool | None

End = Literal["least", "largest"]
"""Which end of a dimension a number is at."""

_EDGE_SHARE = 0.02
"""Share of a range at either end that counts as its edge: one uniform draw in 25 lies there."""

_FEWEST_CHOICES = 4
"""Least number of choices that have an edge. Among fewer, a random one is likely to be an end."""

_WIDER_SHARE = 0.25
"""Share of a range's width, on its own scale, by which it becomes wider; an own choice. It is the
share before an end within which a report looks for trials on the inner side of an edge."""

_HALVINGS = 4
"""Number of times that this share is halved, where the rule of the field forbids the new bound; an
own choice."""

_ROUND_NUMBERS = sorted(factor * 2**power for power in range(40) for factor in (1, 3))
"""Whole numbers that widths, depths and batches usually have: 1, 2, 3, 4, 6, 8, 12, 16, 24, ..."""


class Suggester(Protocol):
    """An object that draws values, as ``optuna.Trial`` does."""

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Any:
        """Return one of the choices."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Return a number between the bounds, uniform on a linear or a logarithmic scale."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value that every trial shares."""

    value: Scalar

    is_searched = False
    is_continuous = False

    @property
    def values(self) -> tuple[Scalar, ...]:
        """The fixed value alone."""
        return (self.value,)

    @property
    def middle(self) -> Scalar:
        """The value that a forced trial takes."""
        return self.value

    @property
    def plain(self) -> Any:
        """The form of the dimension in YAML."""
        return self.value

    def contains(self, value: object) -> bool:
        """Can a trial have this value?"""
        return value == self.value

    def nearest(self, value: Scalar) -> Scalar:
        """Return the fixed value."""
        del value
        return self.value

    def suggest(self, trial: Suggester, name: str) -> Scalar:
        """Return the fixed value; nothing is drawn."""
        del trial, name
        return self.value

    def end_at(self, value: float) -> End | None:
        """Return None: a fixed value has no ends."""
        del value
        return None

    def edge(self, value: float) -> str | None:
        """Return None: a fixed value has no edge."""
        del value
        return None

    def wider(self, end: End, holds: Callable[[Scalar], bool]) -> None:
        """Return None: a fixed value is not searched."""
        del end, holds


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a list of values."""

    values: tuple[Scalar, ...]

    is_searched = True
    is_continuous = False

    @property
    def middle(self) -> Scalar:
        """The value that a forced trial takes: the middle one as listed."""
        return self.values[len(self.values) // 2]

    @property
    def plain(self) -> Any:
        """The form of the dimension in YAML."""
        return {"choice": list(self.values)}

    def contains(self, value: object) -> bool:
        """Can a trial have this value?"""
        return value in self.values

    def nearest(self, value: Scalar) -> Scalar:
        """Return the value itself if it is listed, else the nearest number; the first of equals."""
        if value in self.values:
            return value
        number = float(cast(float, value))
        return min(self.values, key=lambda each: abs(float(cast(float, each)) - number))

    def suggest(self, trial: Suggester, name: str) -> Scalar:
        """Draw a value for a trial."""
        drawn: Scalar = trial.suggest_categorical(name, self.values)
        return drawn

    @property
    def _numbers(self) -> list[float]:
        return sorted({each for each in self.values if isinstance(each, int | float)})

    def end_at(self, value: float) -> End | None:
        """Return which of the choices a number is, the least or the largest; None if neither."""
        numbers = self._numbers
        if len(numbers) < _FEWEST_CHOICES or value not in (numbers[0], numbers[-1]):
            return None
        return "least" if value == numbers[0] else "largest"

    def edge(self, value: float) -> str | None:
        """Return a description of a number that is the least or the largest choice, else None."""
        end = self.end_at(value)
        if end is None:
            return None
        return f"{value:g} is the {end} of {len(self._numbers)} choices"

    def wider(self, end: End, holds: Callable[[Scalar], bool]) -> "Choice | None":
        """Return the choices with the next number of their own progression.

        The next number is the last but one times the growth of the last two steps: 24 after 8, 12,
        16, and 64 after 8, 16, 32. Among whole numbers, where it is none, the power of two or three
        times one that is nearest to it beyond the end. Others have three significant digits.

        Args:
            end: which end they become wider at; ``end_at`` must have found a number there.
            holds: does a value satisfy the rule of its field?

        Returns: None if the progression ends there, or the rule forbids its next number.
        """
        numbers = self._numbers if end == "largest" else self._numbers[::-1]
        if len(numbers) < _FEWEST_CHOICES or min(numbers[-3:]) <= 0:
            return None
        before, inner, last = numbers[-3:]
        next_one = inner * last / before
        found: float | None = _rounded(next_one)
        if all(isinstance(each, int) for each in numbers):
            is_whole = next_one.is_integer()
            found = int(next_one) if is_whole else _round_beyond(next_one, last, end)
        # Choices that are near to each other may be rounded onto their own end.
        if found is None or (found <= last if end == "largest" else found >= last):
            return None
        if not holds(found):
            return None
        return Choice((*self.values, found) if end == "largest" else (found, *self.values))


@dataclass(frozen=True, slots=True)
class Range:
    """A real number between two bounds, uniform on a linear or a logarithmic scale."""

    low: float
    high: float
    log: bool

    is_searched = True
    is_continuous = True

    @property
    def values(self) -> tuple[Scalar, ...]:
        """Both bounds, the only values that a file lists."""
        return (self.low, self.high)

    @property
    def middle(self) -> float:
        """The value that a forced trial takes: the arithmetic or geometric mean of the bounds."""
        return math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2

    @property
    def plain(self) -> Any:
        """The form of the dimension in YAML."""
        return {"log_uniform" if self.log else "uniform": [self.low, self.high]}

    def contains(self, value: object) -> bool:
        """Can a trial have this value?"""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def nearest(self, value: Scalar) -> float:
        """Return the number itself, or the bound beyond which it lies."""
        return min(max(float(cast(float, value)), self.low), self.high)

    def suggest(self, trial: Suggester, name: str) -> float:
        """Draw a value for a trial."""
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def end_at(self, value: float) -> End | None:
        """Return which bound a number is near; None if it is near neither."""
        place = (self.scaled(value) - self.scaled(self.low)) / self._width
        if _EDGE_SHARE < place < 1 - _EDGE_SHARE:
            return None
        return "least" if place < 0.5 else "largest"

    def edge(self, value: float) -> str | None:
        """Return a description of a number near a bound, else None."""
        end = self.end_at(value)
        if end is None:
            return None
        return f"{value:.3g} is at the end {self.bound(end):g} of its range"

    def wider(self, end: End, holds: Callable[[Scalar], bool]) -> "Range | None":
        """Return the range with one bound moved out by a quarter of its width on its own scale.

        The bound has three significant digits. Where the rule of the field forbids it, the step is
        halved.

        Args:
            end: the bound that moves.
            holds: does a value satisfy the rule of its field?

        Returns: None if the rule forbids every step.
        """
        for halvings in range(_HALVINGS + 1):
            step = _WIDER_SHARE * self._width / 2**halvings
            place = self.scaled(self.bound(end)) + (step if end == "largest" else -step)
            bound = _rounded(self.unscaled(place))
            is_beyond = bound > self.high if end == "largest" else bound < self.low
            if is_beyond and holds(bound):
                low, high = (self.low, bound) if end == "largest" else (bound, self.high)
                return Range(low, high, log=self.log)
        return None

    def bound(self, end: End) -> float:
        """Return the bound at an end."""
        return self.low if end == "least" else self.high

    def scaled(self, value: float) -> float:
        """Return a number on the scale on which draws are uniform."""
        return math.log(value) if self.log else float(value)

    def unscaled(self, place: float) -> float:
        """Return the number at a place of that scale; the inverse of ``scaled``."""
        return math.exp(place) if self.log else place

    @property
    def _width(self) -> float:
        return self.scaled(self.high) - self.scaled(self.low)


Dimension = Fixed | Choice | Range
"""Kind of dimension: the value or values of one field of a configuration."""


def numbers(dimension: Dimension) -> tuple[float, ...]:
    """Return the values that a dimension lists, all of which must be numbers."""
    return tuple(float(cast(float, value)) for value in dimension.values)


def parse_dimension(raw: object, where: str) -> Dimension:
    """Read one YAML value: a scalar, or a mapping with the one key choice, uniform or log_uniform.

    Args:
        raw: the value as PyYAML returned it.
        where: file and key, for messages.

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
    return _choice(values, where) if kind == "choice" else _range(kind, values, where)


def _choice(values: list[Any], where: str) -> Choice:
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


def _range(kind: str, values: list[Any], where: str) -> Range:
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


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _round_beyond(value: float, last: float, end: End) -> int | None:
    """Return the round number beyond the last one that is nearest to a value; None without one."""
    beyond = [n for n in _ROUND_NUMBERS if (n > last if end == "largest" else n < last)]
    return min(beyond, key=lambda n: abs(math.log(n / value)), default=None)


def _is_scalar(value: object) -> TypeGuard[Scalar]:
    return value is None or isinstance(value, str | bool) or is_number(value)


def holding(
    dimensions: Mapping[str, Dimension],
    configs: Sequence[Any],
    derived: Sequence[str],
) -> dict[str, Dimension]:
    """Return dimensions that hold every value of these configurations; as they are if they do.

    Args:
        dimensions: by the names of fields; a field without one has its default.
        configs: dataclasses of one class: settings of the model or of training.
        derived: fields that are no dimensions.
    """
    found = dict(dimensions)
    for field in fields(configs[0]) if configs else ():
        if field.name in derived:
            continue
        own = {getattr(config, field.name) for config in configs}
        before = dimensions.get(field.name, Fixed(cast(Scalar, field.default)))
        if not all(map(before.contains, own)):
            values = tuple(sorted(own, key=lambda value: (value is not None, value)))
            found[field.name] = Fixed(values[0]) if len(values) == 1 else Choice(values)
    return found
