"""Checks of the closes of a panel's assets, each beside its neighbours and beside the others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from study.data.arrays import DayArray, IndexArray, PriceArray
from study.data.checks.calendar_checks import runs
from study.data.checks.check_result import FEW_SHOWN, Finding, error, listed, warning
from study.errors import quoted

_RATIOS = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 100, 1000)
"""Usual splits, and units (100 pence to the pound). Smaller ones, such as 3:2, cannot be told apart
from news by closes alone, and are large moves."""

_EXACT = 0.025
"""Log by which a split may miss its ratio: nine of ten splits of stocks of 1.5 % a day do not miss
it by more, and six of ten of those of 3 %. AAPL's fall of 2000-09-29, which was news, misses 1:2 by
0.038."""

_REACH = 15
"""Days of the asset on either side that show its usual move."""

_IN_MOVES = 8.0
"""Least number of usual moves that a split or a broken price is: it stands out of its time."""

_STAYS, _SHARED = 0.75, 0.25
"""Least share of a split by which the level of the days after differs from that of the days before,
and greatest share of it that the median of the other assets may have moved on its day."""

_LEVEL_DAYS = 5
"""Days on either side that show a level."""

_BROKEN = float(np.log(2.5))
"""Least log move to and from a price that is broken."""

_LARGE = float(np.log(1.5))
"""Least log move of a close that is worth a warning."""

_STILL_DAYS = 20
"""Days in a row with one close that are refused. A stock that trades on a random half of its days
stands still for 20 days once in 500,000."""

_MOSTLY_MISSING = 0.5
"""Share of the days of an asset's life without a price above which a warning is given."""

_PROBES, _SAME_DAYS = 64, 20
"""Days on which equal prices are looked for, and least number of common days, with other moves than
none, on which two assets with the same closes are one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelGrid:
    """The prices of a panel by day and asset."""

    where: str
    """File or source, as messages name it."""
    dates: DayArray
    """Days with at least three assets, ascending, shape (n_days,)."""
    assets: tuple[str, ...]
    """Names of the assets, sorted."""
    close: PriceArray
    """Closes, shape (n_days, n_assets), NaN where there is none."""
    bars: Mapping[str, PriceArray]
    """Open, High, Low and Volume, each as ``close``; or none."""


class _Life(NamedTuple):
    """The days on which one asset has a close, and the steps from each to the next."""

    asset: int
    rows: IndexArray
    logs: PriceArray
    steps: PriceArray
    """Log returns, shape (n_days of the asset - 1,)."""

    def usual_move(self, at: int) -> float:
        """Return the robust standard deviation of the steps around one, which is left out."""
        around = np.append(
            self.steps[max(at - _REACH, 0) : at], self.steps[at + 1 : at + 1 + _REACH]
        )
        return 1.4826 * float(np.median(np.abs(around))) if len(around) else 0.0


def _lives(grid: PanelGrid) -> Iterator[_Life]:
    for asset in range(len(grid.assets)):
        column = grid.close[:, asset]
        rows = np.flatnonzero(np.isfinite(column))
        logs = np.log(column[rows])
        yield _Life(asset, rows, logs, np.diff(logs))


def splits_are_adjusted(grid: PanelGrid) -> list[Finding]:
    """Does no close move to another level by the ratio of a split, while the other assets do not?

    By closes alone a crash to half the price looks the same: then the check is accepted.
    """
    found = []
    for life in _lives(grid):
        for at in np.flatnonzero(np.abs(life.steps) >= np.log(_RATIOS[0]) - _EXACT).tolist():
            step = float(life.steps[at])
            miss, ratio = min((abs(abs(step) - np.log(each)), each) for each in _RATIOS)
            usual = life.usual_move(at)
            before, after = life.logs[max(at + 1 - _LEVEL_DAYS, 0) : at + 1], life.logs[at + 1 :]
            level = float(np.median(after[:_LEVEL_DAYS]) - np.median(before))
            if (
                miss <= _EXACT
                and abs(step) >= _IN_MOVES * usual
                and level * np.sign(step) >= _STAYS * abs(step)
                and abs(_move_of_others(grid, life, at)) <= _SHARED * abs(step)
            ):
                kind = f"{ratio}:1" if step < 0 else f"1:{ratio}"
                found.append(f"{_shown_move(grid, life, at)} (a split {kind}?)")
    if not found:
        return []
    return [
        error(
            f"{grid.where}: closes must be adjusted for splits, but got closes that move to "
            f"another level, as no other asset does: {listed(found, FEW_SHOWN)}. Give adjusted "
            "closes."
        )
    ]


def _move_of_others(grid: PanelGrid, life: _Life, at: int) -> float:
    """Return the median log return of the other assets over the days of a step."""
    first, last = life.rows[at], life.rows[at + 1]
    moves = np.log(grid.close[last] / grid.close[first])
    moves[life.asset] = np.nan
    known = moves[np.isfinite(moves)]
    return float(np.median(known)) if len(known) else 0.0


def _shown_move(grid: PanelGrid, life: _Life, at: int) -> str:
    return (
        f"{grid.assets[life.asset]} {grid.dates[life.rows[at + 1]]} to "
        f"{np.exp(life.steps[at]):.4g} of the close before"
    )


def prices_fit_their_neighbours(grid: PanelGrid) -> list[Finding]:
    """Does no close stick out of those of the days before and after?"""
    broken = []
    for life in _lives(grid):
        there, back = life.steps[:-1], life.steps[1:]
        least = np.minimum(np.abs(there), np.abs(back))
        for at in np.flatnonzero((least >= _BROKEN) & (there * back < 0)).tolist():
            if least[at] >= _IN_MOVES * life.usual_move(at):
                broken.append(
                    f"{grid.assets[life.asset]} {grid.dates[life.rows[at + 1]]} "
                    f"Close={np.exp(life.logs[at + 1]):.6g}, {np.exp(least[at]):.4g} times off"
                )
    if not broken:
        return []
    return [
        error(
            f"{grid.where}: a close must fit those beside it, but got {listed(broken, FEW_SHOWN)}. "
            "Take it from the source, or remove it."
        )
    ]


def moves_are_usual(grid: PanelGrid) -> list[Finding]:
    """Say which closes moved by half or more in a day."""
    moves = [
        (abs(float(life.steps[at])), _shown_move(grid, life, at))
        for life in _lives(grid)
        for at in np.flatnonzero(np.abs(life.steps) >= _LARGE).tolist()
    ]
    if not moves:
        return []
    shown = [move for _, move in sorted(moves, reverse=True)]
    return [warning(f"{grid.where}: closes that moved far: {listed(shown, FEW_SHOWN)}")]


def prices_move(grid: PanelGrid) -> list[Finding]:
    """Does no close stand still for weeks?"""
    still = []
    for life in _lives(grid):
        stretches = runs(life.steps == 0)
        first, stop = max(stretches, key=lambda run: run[1] - run[0], default=(0, 0))
        if stop - first + 1 >= _STILL_DAYS:
            days = grid.dates[life.rows[[first, stop]]]
            still.append((stop - first + 1, f"{grid.assets[life.asset]} {days[0]} to {days[1]}"))
    if not still:
        return []
    still.sort(key=lambda each: -each[0])
    shown = [f"{span} ({n_days} days)" for n_days, span in still]
    return [
        error(
            f"{grid.where}: closes must move, but got the same one for {_STILL_DAYS} days or more "
            f"of {listed(shown, FEW_SHOWN)}. Remove the rows on which nobody traded, or the asset."
        )
    ]


def assets_differ(grid: PanelGrid) -> list[Finding]:
    """Does no asset have the closes of another on all days of both?"""
    same = []
    for one, other in sorted(_with_equal_prices(grid)):
        a, b = grid.close[:, one], grid.close[:, other]
        both = np.isfinite(a) & np.isfinite(b)
        if both.sum() >= _SAME_DAYS and (a[both] == b[both]).all() and np.ptp(a[both]) > 0:
            same.append(f"{quoted(grid.assets[one])} and {quoted(grid.assets[other])}")
    if not same:
        return []
    return [
        error(
            f"{grid.where}: assets must differ, but got the same closes on all common days of "
            f"{listed(same, FEW_SHOWN)}. Keep one of them."
        )
    ]


def _with_equal_prices(grid: PanelGrid) -> set[tuple[int, int]]:
    """Return pairs of assets with one price on one of the days that are looked at."""
    pairs: set[tuple[int, int]] = set()
    n_days = len(grid.dates)
    for row in np.unique(np.linspace(0, n_days - 1, _PROBES).astype(np.int64)).tolist():
        prices = grid.close[row]
        order = np.argsort(prices, kind="stable")  # NaN comes last, and equals nothing
        equal = np.flatnonzero(np.diff(prices[order]) == 0)
        # Neighbours in the order are enough: copies of one asset are each the next one's.
        pairs.update((int(order[at]), int(order[at + 1])) for at in equal.tolist())
    return pairs


def lives_are_whole(grid: PanelGrid) -> list[Finding]:
    """Say which assets lack most days between their first and their last."""
    thin = []
    for life in _lives(grid):
        n_days = int(life.rows[-1] - life.rows[0]) + 1
        share = 1 - len(life.rows) / n_days
        if share > _MOSTLY_MISSING:
            thin.append(f"{grid.assets[life.asset]} {share:.0%} of {n_days}")
    if not thin:
        return []
    return [
        warning(
            f"{grid.where}: assets without a price on most days between their first and their "
            f"last: {listed(thin, FEW_SHOWN)}"
        )
    ]


def missing_share(close: PriceArray) -> float:
    """Return the share of the days between each asset's first and last on which it has no close."""
    known = np.isfinite(close)
    begun = np.cumsum(known, axis=0) > 0
    alive = begun & (np.cumsum(known[::-1], axis=0)[::-1] > 0)
    return 1 - float(known.sum()) / max(int(alive.sum()), 1)
