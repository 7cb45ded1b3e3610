"""The choices that a file leaves to its reader."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """What a file leaves open and its reader decides."""

    symbol: str | None = None
    """The instrument of a file that holds several."""
    adjust: bool = False
    """Multiply prices by Adj Close / Close."""
    timezone: str | None = None
    """The zone whose days the bars belong to, such as ``Europe/Berlin``; None takes the day that
    each stamp shows."""


AS_WRITTEN = ReadOptions()
