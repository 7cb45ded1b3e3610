"""The length of the blocks in which days are resampled, in a search and in its report alike."""

_BLOCK_DAYS = 20
"""Least block, days. Blocks must outlast what makes days alike: calm and stormy months. An
automatic length (Politis and White 2004) sees the labels but not the months: it chose one day for
the S&P 500 at horizon 1, which hides a fifth of the error there."""

_BLOCK_HORIZONS = 4
"""Least block in horizons, because labels that look so many days ahead overlap."""


def block_days(horizon: int) -> int:
    """Return the block length for daily losses of labels that look ``horizon`` days ahead."""
    return max(_BLOCK_DAYS, _BLOCK_HORIZONS * horizon)
