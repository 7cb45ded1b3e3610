"""Numbers as people and vendors write them: 1,911.67 and 1.911,67, $12.34, 5.19B, 70M."""

import re
from collections.abc import Iterable
from typing import Literal

DecimalMark = Literal[".", ","]

_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
"""Short scale, as Investing.com writes volumes and papers write model sizes; case is ignored."""

_SPACES = " \u00a0\u202f\u2009'\u2019"
"""Between groups of three digits in French, Swiss and typographic notation."""

_MARKED = re.compile(r"[+-]?[\d.,]*\d[\d.,]*")
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ENDS = re.compile(
    r"(?P<sign>[+-]?)[$\u20ac\u00a3\u00a5]?(?P<body>.*?)(?P<suffix>[KMBTkmbt]?)[%\u20ac]?"
)


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


def read_number(cell: object, mark: DecimalMark = ".") -> float:
    """Return the number that a cell holds, NaN if it holds none.

    Thousands separators must stand before groups of three digits. Python's ``1_000`` is no number
    in a file, and neither is a truth value.

    Args:
        cell: text, or what a Parquet file holds.
        mark: what stands before the fraction.
    """
    if isinstance(cell, bool):
        return float("nan")
    if not isinstance(cell, str):
        try:
            return float(cell)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            return float("nan")
    text = cell.strip()
    if _PLAIN.fullmatch(text) and not (mark == "," and "." in text):
        return float(text)
    parts = _ENDS.fullmatch(text)
    assert parts is not None  # every part may be empty
    body = _joined(parts["body"].strip(), mark)
    if body is None:
        return float("nan")
    return float(parts["sign"] + body) * _SUFFIXES[parts["suffix"].lower()]


def _mark_of(cell: str) -> DecimalMark | None:
    """Return the decimal mark that a single cell shows by itself."""
    body = cell.strip().strip("$%\u20ac\u00a3\u00a5KMBTkmbt").strip()
    if not _MARKED.fullmatch(body):
        return None
    point, comma = body.rfind("."), body.rfind(",")
    if point >= 0 and comma >= 0:
        return "." if point > comma else ","
    mark: DecimalMark = "." if point >= 0 else ","
    other: DecimalMark = "," if mark == "." else "."
    if body.count(mark) > 1:
        # 1,234,567 and 1.234.567: it separates thousands. 25.11.2014 is no number.
        return None if _joined(body.lstrip("+-"), other) is None else other
    if max(point, comma) < 0:
        return None
    is_group = len(body) - 1 - max(point, comma) == 3 and body.lstrip("+-")[0] not in "0.,"
    return None if is_group else mark


def _joined(body: str, mark: DecimalMark) -> str | None:
    """Return digits and a point, without thousands separators; None if they are out of place."""
    whole, has_mark, fraction = body.partition(mark)
    separators = (_SPACES + ",.").replace(mark, "")
    groups = re.split(f"[{re.escape(separators)}]", whole)
    well_formed = (
        all(group.isascii() and group.isdigit() for group in groups)
        and (len(groups) == 1 or (len(groups[0]) <= 3 and {len(g) for g in groups[1:]} == {3}))
        # 0,998 is a fraction in another notation, and no 998.
        and (len(groups) == 1 or not groups[0].startswith("0"))
        and (not fraction or (fraction.isascii() and fraction.isdigit()))
    )
    return "".join(groups) + (f".{fraction}" if has_mark else "") if well_formed else None
