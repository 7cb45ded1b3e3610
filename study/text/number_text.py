"""Numbers as people and vendors write them: 1,911.67 and 1.911,67, $12.34, 5.19B, 70M."""

import re
from collections.abc import Iterable
from typing import Literal

import numpy as np

DecimalMark = Literal[".", ","]
DECIMAL_MARKS: tuple[DecimalMark, ...] = (".", ",")

_EXPONENTS = {"": 0, "k": 3, "m": 6, "b": 9, "t": 12}
"""Exponents of the short scale, in which Investing.com writes volumes and papers write model sizes;
case is ignored."""

_SPACES = " \u00a0\u202f\u2009'\u2019"
"""Separators of groups of three digits in French, Swiss and typographic notation."""

_SPACED = re.compile(rf"(?<=[0-9])[{_SPACES}](?=[0-9]{{3}})")
_MARKED = re.compile(r"[+-]?[0-9.,]*[0-9][0-9.,]*")
_PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ENDS = re.compile(
    r"(?P<sign>[+-]?)[$\u20ac\u00a3\u00a5]?(?P<body>.*?)(?P<suffix>[KMBTkmbt]?)\u20ac?"
)
_AROUND = "$%\u20ac\u00a3\u00a5KMBTkmbt"


_MISSING = ("", ".", "-", "--", "nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nat")


def is_missing(cell: object) -> bool:
    """Does a cell say that there is no value?"""
    return cell is None or str(cell).strip().lower() in _MISSING


def decimal_mark(cells: Iterable[str]) -> DecimalMark | None:
    """Return the mark before the fraction that the cells show together; None if they show none.

    ``1,911.67`` shows a point, ``2067,03`` a comma; ``1,234`` could be either and shows nothing.

    Args:
        cells: of one file, which is written in one notation; text that is no number is passed over.

    Raises:
        ValueError: some cells show a point and others a comma; the message has one of each.
    """
    shown: dict[DecimalMark, str] = {}
    for cell in cells:
        mark = _mark_of(cell)
        if mark is not None:
            shown.setdefault(mark, cell)
    if len(shown) == 2:
        raise ValueError(f"{shown['.']!r} and {shown[',']!r}")
    return next(iter(shown), None)


def two_readings(cell: str) -> tuple[float, float] | None:
    """Return both numbers that a cell like ``1,234`` may be, None if it can be read in one way.

    The point of ``1.234`` stands before a fraction unless other cells show a decimal comma: that is
    how programs write.
    """
    if "," not in cell or _mark_of(cell) is not None:
        return None
    grouped, fraction = read_number(cell, "."), read_number(cell, ",")
    return (grouped, fraction) if np.isfinite([grouped, fraction]).all() else None


def read_number(cell: object, mark: DecimalMark = ".") -> float:
    """Return the number that a cell holds, NaN if it holds none.

    Thousands separators must stand before groups of three digits (or, as in India, of two and at
    last three). Python's ``1_000`` is no number in a file, and neither is a truth value or
    ``52 %``: beside 0.47 nobody could tell whether that means 52 or 0.52.

    Args:
        cell: text, or what a Parquet file holds.
        mark: what stands before the fraction.
    """
    if isinstance(cell, bool | np.bool_ | np.ndarray):
        return float("nan")
    if not isinstance(cell, str):
        try:
            return float(cell)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            return float("nan")
    text = cell.strip()
    if mark == "," and "." not in text and text.count(",") == 1:
        text, mark = text.replace(",", "."), "."
    if _PLAIN.fullmatch(text) and not (mark == "," and "." in text):
        return float(text)
    parts = _ENDS.fullmatch(text)
    if parts is None:  # it holds a line break
        return float("nan")
    body = _joined(parts["body"].strip(), mark)
    if body is None:
        return float("nan")
    # Scaled as text: 5.19 * 1e9 would not be the float nearest to 5190000000.
    return float(f"{parts['sign']}{body}e{_EXPONENTS[parts['suffix'].lower()]}")


def _mark_of(cell: str) -> DecimalMark | None:
    """Return the decimal mark that a single cell shows by itself."""
    body = _SPACED.sub("", cell.strip().strip(_AROUND).strip())
    if not _MARKED.fullmatch(body):
        return None
    point, comma = body.rfind("."), body.rfind(",")
    if point >= 0 and comma >= 0:
        return "." if point > comma else ","
    if point < 0 and comma < 0:
        return None
    mark: DecimalMark = "." if point >= 0 else ","
    other: DecimalMark = "," if mark == "." else "."
    if body.count(mark) > 1:
        # 1,234,567 and 1.234.567: it separates thousands. 25.11.2014 is no number.
        return None if _joined(body.lstrip("+-"), other) is None else other
    whole, _, fraction = body.lstrip("+-").partition(mark)
    could_be_thousands = len(fraction) == 3 and 1 <= len(whole) <= 3 and whole != "0"
    return None if could_be_thousands else mark


def _joined(body: str, mark: DecimalMark) -> str | None:
    """Return digits and a point, without thousands separators; None if they are out of place."""
    whole, has_mark, fraction = body.partition(mark)
    separators = (_SPACES + ",.").replace(mark, "")
    groups = re.split(f"[{re.escape(separators)}]", whole)
    middle, last = groups[1:-1], groups[-1]
    well_formed = (
        all(group.isascii() and group.isdigit() for group in groups)
        and (
            len(groups) == 1
            or (len(groups[0]) <= 3 and len(last) == 3 and {len(each) for each in middle} <= {3})
            or (len(groups[0]) <= 2 and len(last) == 3 and {len(each) for each in middle} <= {2})
        )
        # 0,998 is a fraction in another notation, and no 998.
        and (len(groups) == 1 or not groups[0].startswith("0"))
        and (not fraction or (fraction.isascii() and fraction.isdigit()))
    )
    return "".join(groups) + (f".{fraction}" if has_mark else "") if well_formed else None
