"""The length of the blocks in which dependent days are resampled, one for searches and analysis."""

# Blocks must outlast what makes days alike: labels that overlap for ``horizon`` days, and calm and
# stormy months. An automatic length (Politis and White) sees the labels but not the months: it
# chose one day for the S&P 500 at horizon 1, which hides a fifth of the error there.
_BLOCK_DAYS = 20
_BLOCK_HORIZONS = 4


def block_days(horizon: int) -> int:
    """Return the block length for daily losses of labels that look ``horizon`` days ahead."""
    return max(_BLOCK_DAYS, _BLOCK_HORIZONS * horizon)
