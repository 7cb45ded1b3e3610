"""Lengths of the blocks of days that are resampled together."""

_BLOCK_DAYS = 20
"""Least block, days. Blocks must outlast what makes days alike: calm and stormy months. An
automatic length (Politis and White 2004) sees the labels but not the months: it chose one day for
the S&P 500 at horizon 1, which hides a fifth of the error there."""

_BLOCK_HORIZONS = 4
"""Least block in horizons, because labels that look so many days ahead overlap."""

_YEAR_DAYS = 250
"""Block of judged days where there are enough of them, days: about a year of trading days."""

_LONG_PART_DAYS = 10 * _YEAR_DAYS
"""Fewest judged days that are resampled in blocks of a year. In fewer than ten blocks they show
less than five sixths of a mean's variance, and its interval has to be a fifth wider."""


def block_days(horizon: int) -> int:
    """Return the block length for daily losses of labels that look ``horizon`` days ahead."""
    return max(_BLOCK_DAYS, _BLOCK_HORIZONS * horizon)


def judged_block_days(horizon: int, n_days: int) -> int:
    """Return the block length for losses of the days on which models are judged.

    A part of a decade or more has years in which one model does better than another, and years in
    which it does worse, and shows them: its blocks last a year. A shorter part has the blocks of
    ``block_days``, which the search uses as well. On ``sp500-long``, one day ahead, with baselines
    that are fitted anew for each of ten folds of 731 days, the mean difference of HAR and logistic
    regression has a standard error of .00182 nats by blocks of 20 days, .00228 by blocks of 250
    days, and .00339 by the standard deviation of the ten means of folds over the root of ten.
    ``tests/bench/test_windows.py`` finds windows of 712 days to differ 1.5 to 1.8 times as much as
    their own blocks of 20 days say, and 1.3 to 1.4 times as much as blocks of a year of all windows
    say (medians of six pairs at horizons 1, 3 and 5).

    Args:
        horizon: of the labels, days.
        n_days: of the whole part, also where some of its days are judged by themselves.
    """
    least = block_days(horizon)
    return least if n_days < _LONG_PART_DAYS else max(_YEAR_DAYS, least)
