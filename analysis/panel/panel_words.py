"""How numbers and comparisons of a panel are worded."""

from analysis.panel.panel_judgement import JudgedPanelCell, risen
from analysis.statistics.comparison import Difference
from analysis.statistics.interval import Estimate

_DIGITS, _MOST_DIGITS = 4, 8
"""Decimals of a RankIC, and how many there are at most where fewer would show 0 for an end."""

_CLAIMS = {"better": "better", "worse": "worse", "not told apart": "cannot be told apart"}


def signed(estimate: Estimate, digits: int = _DIGITS) -> str:
    """Return a number with its sign and its interval, whose ends have the signs that they have."""
    ends = [end for end in (estimate.low, estimate.high) if end is not None]
    while digits < _MOST_DIGITS and any(
        end != 0 and float(f"{end:.{digits}f}") == 0 for end in ends
    ):
        digits += 1
    if len(ends) < 2:
        return f"{estimate.value:+.{digits}f} (no interval)"
    return f"{estimate.value:+.{digits}f} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def claim_on(difference: Difference) -> str:
    """Return what may be said of a comparison: better, worse, or neither, after all of them."""
    said = _CLAIMS[difference.claim]
    if difference.excludes_zero and not difference.survives:
        return f"{said} after all comparisons"
    return said


def against(difference: Difference) -> str:
    """Return a comparison with a baseline in words, RankIC less that of the baseline."""
    gain = signed(risen(difference.difference))
    return f"against {difference.other} {gain}: {claim_on(difference)}"


def verdict(cell: JudgedPanelCell) -> str:
    """Return the one line that is said of a winner: its RankIC, beside the baseline to beat."""
    days = f"{len(cell.cell.test.dates):,} test days"
    said = f"RankIC {signed(cell.own.rank_ic)} on {days}"
    shown = [cell.rival]
    if cell.standing.hardest.other not in shown:
        shown.append(cell.standing.hardest.other)
    found = [each for name in shown if (each := cell.against(name)) is not None]
    return "; ".join([said, *(against(each) for each in found)])
