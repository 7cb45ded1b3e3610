"""Damaged files: an intact one with a few changes, drawn by hypothesis."""

import os
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

BY_HAND = "FUZZ_EXAMPLES"
"""Environment variable with the number of inputs of each kind; ``make fuzz`` sets it."""

_IN_CI = 100
"""Default number of inputs of each kind, with which all tests of this folder take under a minute.
"""

_EXAMPLES = int(os.environ.get(BY_HAND, _IN_CI))

_SLOW_SHARE = 20
"""Ratio of the numbers of inputs of a fast test and of one that takes a second for each."""

fuzz = settings(
    max_examples=_EXAMPLES,
    # The default inputs are the same in every run; with the variable set, each run draws others.
    derandomize=BY_HAND not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
"""Settings of a test of damaged inputs."""

slow_fuzz = settings(fuzz, max_examples=max(1, _EXAMPLES // _SLOW_SHARE))
"""Settings of a test of damaged inputs that takes a second for each."""

NASTY = (
    "", " ", "nan", "NaN", "inf", "-inf", "null", "None", "true", "-", "--", "0", "-1", "1e400",
    "9" * 400, "9" * 5000, "0x10", "1_000", "1,000", "1e-400", "1e308", "\u0661\u0662", "[/b]",
    "[red]", "'", '"', '"a\nb"', "\x00", "\ufeff", "\ud800", "\udc80",
    "[" * 3000, "{" * 3000, "&a [*a, *a]", "*a", "!!int x", "!!bool x", "!!float x",
    "!!timestamp x", "!!python/object:os.system", "2024-13-45", "12:30:61", "1e5", "~", "=", "<<",
    "a" * 300, "a" * 5000, "../../x", "/dev/null", ",", ";", "\t", "\r", "\n", "#", "%", "{}", "[]",
)  # fmt: skip
"""Texts that break readers: numbers out of range, markup, deep brackets, tags, long names."""


@st.composite
def damaged_text(draw: st.DrawFn, originals: tuple[str, ...]) -> bytes:
    """Draw one of the originals with one to four changes, as the bytes of a file."""
    text = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 4))):
        text = draw(st.sampled_from(_CHANGES))(draw, text)
    content = text.encode("utf-8", "surrogatepass")
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 3)))):
        content = flip_bit(draw, content)
    return content


@st.composite
def damaged_bytes(draw: st.DrawFn, original: bytes) -> bytes:
    """Draw the original with bits flipped, a part cut out, or its end cut off."""
    content = original
    for _ in range(draw(st.integers(1, 3))):
        content = draw(st.sampled_from((flip_bit, flip_bit, _cut_bytes, _end_bytes)))(draw, content)
    return content


def flip_bit(draw: st.DrawFn, content: bytes) -> bytes:
    """Return ``content`` with one bit changed."""
    if not content:
        return content
    at = draw(st.integers(0, len(content) - 1))
    return content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]


def _cut_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    begin = draw(st.integers(0, len(content)))
    return content[:begin] + content[begin + draw(st.integers(1, 64)) :]


def _end_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    return content[: draw(st.integers(0, len(content)))]


def _lines(text: str) -> list[str]:
    return text.split("\n")


def _drop_line(draw: st.DrawFn, text: str) -> str:
    lines = _lines(text)
    del lines[draw(st.integers(0, len(lines) - 1))]
    return "\n".join(lines)


def _repeat_line(draw: st.DrawFn, text: str) -> str:
    lines = _lines(text)
    at = draw(st.integers(0, len(lines) - 1))
    return "\n".join([*lines[: at + 1], *lines[at:]])


def _move_line(draw: st.DrawFn, text: str) -> str:
    lines = _lines(text)
    line = lines.pop(draw(st.integers(0, len(lines) - 1)))
    lines.insert(draw(st.integers(0, len(lines))), line)
    return "\n".join(lines)


def _replace_token(draw: st.DrawFn, text: str) -> str:
    """Replace a cell, a value or a word by a nasty text."""
    lines = _lines(text)
    at = draw(st.integers(0, len(lines) - 1))
    separator = draw(st.sampled_from((",", ":", " ", '"')))
    parts = lines[at].split(separator)
    parts[draw(st.integers(0, len(parts) - 1))] = draw(st.sampled_from(NASTY))
    lines[at] = separator.join(parts)
    return "\n".join(lines)


def _insert_token(draw: st.DrawFn, text: str) -> str:
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.sampled_from(NASTY)) + text[at:]


def _drop_part(draw: st.DrawFn, text: str) -> str:
    at = draw(st.integers(0, len(text)))
    return text[:at] + text[at + draw(st.integers(1, 20)) :]


def _cut_end(draw: st.DrawFn, text: str) -> str:
    return text[: draw(st.integers(0, len(text)))]


def _add_cell(draw: st.DrawFn, text: str) -> str:
    lines = _lines(text)
    at = draw(st.integers(0, len(lines) - 1))
    lines[at] += "," + draw(st.sampled_from(("", "1", "x")))
    return "\n".join(lines)


def _end_lines_with_commas(draw: st.DrawFn, text: str) -> str:
    first, *rest = _lines(text)
    return "\n".join([first, *(f"{line}," if line else line for line in rest)])


def _blank_lines(draw: st.DrawFn, text: str) -> str:
    lines = _lines(text)
    at = draw(st.integers(0, len(lines)))
    return "\n".join([*lines[:at], *[""] * draw(st.integers(1, 3)), *lines[at:]])


def _windows_lines(draw: st.DrawFn, text: str) -> str:
    return text.replace("\n", "\r\n")


_CHANGES: tuple[Callable[[st.DrawFn, str], str], ...] = (
    _drop_line, _repeat_line, _move_line, _replace_token, _replace_token, _replace_token,
    _insert_token, _insert_token, _drop_part, _cut_end, _add_cell, _end_lines_with_commas,
    _blank_lines, _windows_lines,
)  # fmt: skip
