"""Numbers of bytes as people read them."""

GIB = 2**30
"""Bytes of a gibibyte."""

_MIB = 2**20


def in_gib(count: float, digits: int = 1) -> str:
    """Return so many bytes in GiB, without the unit."""
    return f"{count / GIB:.{digits}f}"


def gib(count: float, digits: int = 1) -> str:
    """Return so many bytes in GiB: 1.5 GiB, 0.0 GiB."""
    return f"{in_gib(count, digits)} GiB"


def size(count: float) -> str:
    """Return so many bytes in the unit that suits them: 1.5 GiB, 283 MiB."""
    return gib(count) if count >= GIB else f"{count / _MIB:.0f} MiB"
