"""A second and simpler reader, with which what the project has read is compared."""

import re

_GROUPED = re.compile(r"[+-]?\d{1,3}(?:[, \u00a0\u202f\u2009'\u2019]\d{3})+(?!\d)", re.ASCII)
"""Thousands as written in English, French and Swiss files: a single mark before three digits."""

_PLAIN = re.compile(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?", re.ASCII)
"""Python alone would take 1_000, nan and the digits of other scripts too."""


def decoded(content: bytes) -> str:
    """Return the text of a file as the project reads it: UTF-8, else Windows-1252."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def number(cell: str) -> float | None:
    """Return the number of a cell, None if it holds none."""
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
    """Return a date as ISO writes it: 2014-1-3 is the third of January too."""
    parts = cell.strip().partition(" ")[0].partition("T")[0].split("-")
    return "-".join(part.zfill(2) for part in parts)
