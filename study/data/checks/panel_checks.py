"""The list of checks that a panel passes."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date

import numpy as np

from study.data.arrays import IndexArray, PriceArray
from study.data.checks.calendar_checks import (
    bars_lie_a_day_apart,
    current_day,
    days_have_come,
    weekdays_are_those_of_trade,
)
from study.data.checks.check_result import FEW_SHOWN, CheckResult, Finding, error, judge, listed
from study.data.checks.check_result import warning as odd
from study.data.checks.panel_series_checks import (
    PanelGrid,
    assets_differ,
    lives_are_whole,
    moves_are_usual,
    prices_fit_their_neighbours,
    prices_move,
    splits_are_adjusted,
)
from study.data.panel_files.panel_table import PanelTable
from study.data.reading.tables import ROUNDING
from study.statistics.tied_ranks import FEWEST_ASSETS


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedPanel:
    """The results of all checks of a file's panel, and its prices."""

    results: tuple[CheckResult, ...]
    grid: PanelGrid | None
    """Prices by day and asset; None where a rule of single prices is broken."""


def check_panel(
    table: PanelTable, accept: Collection[str] = (), today: date | None = None
) -> CheckedPanel:
    """Check the prices of a file, each by itself, then beside each other.

    Args:
        table: the prices.
        accept: names of the checks whose refusal is overridden, of ACCEPTABLE, beside those that
            were accepted when the file was imported.
        today: the day from which on days are still to come; the current one if None.
    """
    results = [
        judge("has three assets", _has_assets(table)),
        judge("one price a day", _one_price_a_day(table)),
        judge("prices are possible", _prices_are_possible(table)),
        judge("bars are whole", _bars_are_whole(table)),
    ]
    if any(result.status != "ok" for result in results):
        return CheckedPanel(results=tuple(results), grid=None)
    grid, findings = _grid(table)
    results.append(judge("three assets a day", findings))
    if results[-1].status == "error":
        return CheckedPanel(results=tuple(results), grid=None)
    results.append(judge("sectors", [odd(note) for note in table.notes]))
    results += check_grid(grid, {*accept, *table.accepted}, today)
    return CheckedPanel(results=tuple(results), grid=grid)


def check_grid(
    grid: PanelGrid, accept: Collection[str] = (), today: date | None = None
) -> tuple[CheckResult, ...]:
    """Check the prices of a panel beside each other; see ``check_panel``."""
    rules: tuple[tuple[str, Callable[[PanelGrid], list[Finding]]], ...] = (
        (
            "panel-future-days",
            lambda grid: days_have_come(grid.where, grid.dates, today or current_day()),
        ),
        ("panel-spacing", lambda grid: bars_lie_a_day_apart(grid.where, grid.dates)),
        ("panel-weekdays", _weekdays),
        ("panel-splits", splits_are_adjusted),
        ("panel-broken-price", prices_fit_their_neighbours),
        ("panel-constant-prices", prices_move),
        ("panel-same-prices", assets_differ),
        ("large moves", moves_are_usual),
        ("gaps", lives_are_whole),
    )
    return tuple(judge(name, rule(grid), accept) for name, rule in rules)


def _weekdays(grid: PanelGrid) -> list[Finding]:
    midnights = np.zeros(len(grid.dates), dtype=np.int64)
    return weekdays_are_those_of_trade(grid.where, grid.dates, midnights, frozenset())


def _has_assets(table: PanelTable) -> list[Finding]:
    n_assets = len(table.assets)
    if n_assets >= FEWEST_ASSETS:
        return []
    return [
        error(
            f"{table.where}: a panel must have at least {FEWEST_ASSETS} assets to rank, but got "
            f"{n_assets}: {', '.join(table.assets) or 'none'}. Add assets, or import a single one, "
            "with its opens, highs, lows and volumes, without --panel."
        )
    ]


def _day_and_asset(table: PanelTable) -> tuple[IndexArray, IndexArray]:
    """Return the position of each price's day among the days, and of its cell in the grid."""
    _, day = np.unique(table.days, return_inverse=True)
    return day, day * len(table.assets) + table.asset


def _one_price_a_day(table: PanelTable) -> list[Finding]:
    _, cell = _day_and_asset(table)
    order = np.argsort(cell, kind="stable")
    again = order[1:][np.diff(cell[order]) == 0]
    if not len(again):
        return []
    at = int(again.min())
    first = int(np.flatnonzero(cell == cell[at])[0])
    more = f" (and {len(again) - 1} more such rows)" if len(again) > 1 else ""
    return [
        error(
            f"{table.place(at)}: an asset must have one price a day, but got Close="
            f"{table.close[at]:.6g} beside Close={table.close[first]:.6g} of {table.row_word} "
            f"{table.rows[first]}{more}. Remove one of them."
        )
    ]


def _prices_are_possible(table: PanelTable) -> list[Finding]:
    for name, values in {"Close": table.close, **table.bars}.items():
        bad = values < 0 if name == "Volume" else values <= 0
        if bad.any():
            at = int(np.argmax(bad))
            rule = "must be >= 0" if name == "Volume" else "must be > 0"
            more = f" (and {int(bad.sum()) - 1} more)" if bad.sum() > 1 else ""
            return [
                error(
                    f"{table.place(at)} column {name}: {rule}, but got {values[at]:.6g}{more}. "
                    "Correct it, or remove the row."
                )
            ]
    return []


def _bars_are_whole(table: PanelTable) -> list[Finding]:
    if not table.bars:
        return []
    for name, values in table.bars.items():
        empty = np.isnan(values)
        if empty.any():
            at = int(np.argmax(empty))
            return [
                error(
                    f"{table.place(at)} column {name}: must be there beside a close, but got an "
                    f"empty cell, and {int(empty.sum())} in all. Fill it in, or leave out the "
                    "columns Open, High, Low and Volume: closes alone are enough."
                )
            ]
    ends: tuple[tuple[str, PriceArray], ...] = (
        ("Open", table.bars["Open"]),
        ("Close", table.close),
    )
    for name, price in ends:
        high, low = table.bars["High"], table.bars["Low"]
        bad = (price > high * (1 + ROUNDING)) | (price < low * (1 - ROUNDING))
        if bad.any():
            at = int(np.argmax(bad))
            return [
                error(
                    f"{table.place(at)}: {name} must lie between Low and High, but got "
                    f"{price[at]:.6g}, Low={low[at]:.6g}, High={high[at]:.6g}, and "
                    f"{int(bad.sum())} such rows in all. Take the bars from the source."
                )
            ]
    return []


def _grid(table: PanelTable) -> tuple[PanelGrid, list[Finding]]:
    """Return the prices by day and asset, and which days and assets were left out."""
    days = np.unique(table.days)
    _, cell = _day_and_asset(table)
    n_assets = len(table.assets)

    def spread(values: PriceArray) -> PriceArray:
        placed = np.full(len(days) * n_assets, np.nan)
        placed[cell] = values
        return placed.reshape(len(days), n_assets)

    close = spread(table.close)
    kept = np.isfinite(close).sum(axis=1) >= FEWEST_ASSETS
    stays = np.isfinite(close[kept]).any(axis=0)
    findings = []
    if not kept.all():
        few = [str(day) for day in days[~kept]]
        message = (
            f"{table.where}: {len(few)} of {len(days)} days have fewer than {FEWEST_ASSETS} assets"
        )
        if kept.any():
            findings.append(odd(f"{message} and are left out: {listed(few, FEW_SHOWN)}"))
        else:
            findings.append(
                error(
                    f"{table.where}: a day must have at least {FEWEST_ASSETS} assets to rank, but "
                    f"got none of {len(days)} days that has. Give assets of the same days."
                )
            )
    if kept.any() and not stays.all():
        gone = [name for name, has in zip(table.assets, stays, strict=True) if not has]
        findings.append(odd(f"{table.where}: assets of such days alone: {listed(gone, FEW_SHOWN)}"))
    grid = PanelGrid(
        where=table.where,
        dates=days[kept],
        assets=tuple(name for name, has in zip(table.assets, stays, strict=True) if has),
        close=close[kept][:, stays],
        bars={name: spread(values)[kept][:, stays] for name, values in table.bars.items()},
    )
    return grid, findings
