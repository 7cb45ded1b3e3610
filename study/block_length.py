"""What plan, search and report reckon alike: blocks of days, and differences that can be shown."""

from statistics import NormalDist

_BLOCK_DAYS = 20
"""Least block, days. Blocks must outlast what makes days alike: calm and stormy months. An
automatic length (Politis and White 2004) sees the labels but not the months: it chose one day for
the S&P 500 at horizon 1, which hides a fifth of the error there."""

_BLOCK_HORIZONS = 4
"""Least block in horizons, because labels that look so many days ahead overlap."""


DETECTABLE = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
"""Standard errors that a true difference must measure, to be distinguished from zero at 5 %
(two-sided) in four of five studies: 2.80, whose square is the 7.84 of the usual formula for sample
sizes (Cohen 1988, Statistical Power Analysis for the Behavioral Sciences)."""


def block_days(horizon: int) -> int:
    """Return the block length for daily losses of labels that look ``horizon`` days ahead."""
    return max(_BLOCK_DAYS, _BLOCK_HORIZONS * horizon)


def smallest_difference(standard_error: float) -> float:
    """Return the smallest true difference that a paired comparison with this error shows."""
    return DETECTABLE * standard_error
