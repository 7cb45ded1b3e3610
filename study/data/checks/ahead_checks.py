"""Checks of what bars know of the day after: its High and Low, or prices that are exchanged."""

import numpy as np

from study.data.checks.check_result import Finding, warning
from study.data.reading.columns import CLOSE, HIGH, LOW, OPEN, VOLUME
from study.data.reading.tables import BarTable

_BARS = 250
"""Number of bars that are judged together, about a year."""

_KNOWS_MORE = 0.35
"""Greatest excess of the share of bars that hold the Close of the day after over the share that
hold the Close of two days before. Both are one step from a price in the bar, and in any year of
sp500, nasdaq, the synthetic market and stocks drawn at random the excess is at most 0.18; with the
High and Low of the day after it is 0.42 in the least year and 0.57 in the most of each of them."""

_EXCHANGED = 1.5
"""Ratio of the distance from Close to the next Open to that from Open to the next Close from which
on the two are exchanged. It is at most 0.54 in those markets, and at least 2.1 with Open and Close
exchanged."""


def bars_know_no_more_than_their_day(table: BarTable) -> list[Finding]:
    """Does a bar hold the Close of the day after far more often than that of two days before?

    With Open and Close exchanged it does so too, and that is what is reported then.
    """
    # A bar without range shows nothing, and stands where the one before stood.
    prices = table.values[:, :VOLUME]
    moves = prices[:, HIGH] > prices[:, LOW]
    prices, days = prices[moves], table.days[moves]
    if len(prices) < _BARS + 3:
        return []
    logs = np.log(prices)
    overnight = float(np.median(np.abs(logs[1:, OPEN] - logs[:-1, CLOSE])))
    two_days = float(np.median(np.abs(logs[1:, CLOSE] - logs[:-1, OPEN])))
    if overnight > _EXCHANGED * two_days:
        return [
            warning(
                f"{table.where}: from Close to the next Open it is {overnight:.2%} as a rule, and "
                f"from Open to the next Close {two_days:.2%}: Open and Close seem to be "
                "exchanged"
            )
        ]
    low, high, close = prices[2:-1, LOW], prices[2:-1, HIGH], prices[:, CLOSE]
    after = (low <= close[3:]) & (close[3:] <= high)
    before = (low <= close[:-3]) & (close[:-3] <= high)
    excess = after.astype(np.float64) - before
    of_years = np.lib.stride_tricks.sliding_window_view(excess, _BARS).mean(axis=1)
    at = int(np.argmax(of_years))
    if of_years[at] <= _KNOWS_MORE:
        return []
    knows, knew = (flags[at : at + _BARS].mean() for flags in (after, before))
    return [
        warning(
            f"{table.where}: {knows:.0%} of the bars from {days[at + 2]} to {days[at + 1 + _BARS]} "
            f"hold the Close of the day after, and {knew:.0%} that of two days before: High and "
            "Low, or Close, seem to be of another day, and a model would know what comes"
        )
    ]
