"""A second and simpler reader, with whose values those of the project's readers are compared."""

import re

_GROUPED = re.compile(r"[+-]?\d{1,3}(?:[, \u00a0\u202f\u2009'\u2019]\d{3})+(?!\d)", re.ASCII)
"""Pattern of thousands in English, French and Swiss files: a single mark before three digits."""

_PLAIN = re.compile(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?", re.ASCII)
"""Pattern of plain numbers; Python alone would also read 1_000, nan and digits of other scripts."""


def decoded(content: bytes) -> str:
    """Return the text of a file as the project reads it: UTF-8, else Windows-1252."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def number(cell: str) -> float | None:
    """Return the number in a cell; None if it holds none."""
    text = cell.strip()
    grouped = _GROUPED.match(text)
    if grouped is not None:
        text = re.sub(r"[^\d+-]", "", grouped[0]) + text[grouped.end() :]
    if _PLAIN.fullmatch(text) is None:
        return None
    try:
        return float(text)
    except ValueError:  # 1.2.3
        return None


def day(cell: str) -> str:
    """Return a date in ISO's form: 2014-1-3 becomes 2014-01-03."""
    parts = cell.strip().partition(" ")[0].partition("T")[0].split("-")
    return "-".join(part.zfill(2) for part in parts)
