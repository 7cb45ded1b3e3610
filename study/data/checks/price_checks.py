"""The list of checks that daily bars pass, and the refusal that follows from their results."""

from collections.abc import Callable, Collection, Sequence
from datetime import date

from study.data.checks import (
    ahead_checks,
    column_checks,
    filler_checks,
    range_checks,
    row_checks,
    series_checks,
)
from study.data.checks.calendar_checks import (
    MAX_GAP_DAYS,
    bars_lie_a_day_apart,
    current_day,
    days_have_come,
    long_gaps,
    weekdays_are_those_of_trade,
)
from study.data.checks.check_result import CheckResult, Finding, judge
from study.data.reading.tables import BarTable
from study.errors import DataError

_Check = Callable[[BarTable], list[Finding]]

_RULES: tuple[tuple[str, _Check], ...] = (
    ("has bars", row_checks.has_bars),
    ("dates are days", row_checks.dates_are_days),
    ("dates differ", row_checks.dates_differ),
    ("oldest first", row_checks.dates_rise),
    ("cells are numbers", row_checks.cells_are_numbers),
    ("numbers are possible", row_checks.numbers_are_possible),
    ("High is highest", row_checks.high_is_highest),
    ("Low is lowest", row_checks.low_is_lowest),
)
"""Checks of every bar by itself, which come before bars are compared with each other; none can be
overridden."""

_BETWEEN: tuple[tuple[str, _Check], ...] = (
    ("units", column_checks.one_unit),
    ("adjustment", column_checks.prices_are_adjusted),
    ("spacing", lambda table: bars_lie_a_day_apart(table.where, table.days)),
    (
        "weekdays",
        lambda table: weekdays_are_those_of_trade(
            table.where, table.days, table.seconds, table.zones
        ),
    ),
    ("filled-bars", filler_checks.filled_bars),
    ("repeated-stretch", filler_checks.stretches_differ),
    ("constant-prices", filler_checks.prices_move),
    ("level-shift", series_checks.levels_hold),
    ("range-shift", range_checks.ranges_stay_of_one_kind),
    ("broken-bar", series_checks.bars_fit_their_neighbours),
    (
        "broken-volume",
        lambda table: (
            series_checks.volumes_vary(table) + series_checks.volumes_fit_their_neighbours(table)
        ),
    ),
    ("look ahead", ahead_checks.bars_know_no_more_than_their_day),
    ("large moves", series_checks.moves_are_usual),
    (
        f"gaps over {MAX_GAP_DAYS} days",
        lambda table: long_gaps(table.where, table.days, table.place),
    ),
    ("zero volume", series_checks.zero_volumes),
    ("Open equals previous Close", filler_checks.stale_opens),
    ("High equals Low", filler_checks.flat_bars),
)
"""Checks of bars beside each other."""


def check_table(
    table: BarTable, accept: Collection[str] = (), today: date | None = None
) -> tuple[CheckResult, ...]:
    """Run every check; bars are compared with each other only where no rule of rows is broken.

    Args:
        table: bars as a file holds them.
        accept: names of the checks whose refusal is overridden, of ACCEPTABLE, beside those that
            an import of the table accepted.
        today: what bars may be dated up to, with a day of grace; the current day if None.
    """
    accept = {*accept, *table.accepted}
    results = [judge(name, check(table)) for name, check in _RULES]
    if all(result.status == "ok" for result in results):
        to_come = days_have_come(table.where, table.days, today or current_day(), table.place)
        results.append(judge("future-days", to_come, accept))
        results += [judge(name, check(table), accept) for name, check in _BETWEEN]
    return tuple(results)


def require_clean(results: Sequence[CheckResult]) -> tuple[str, ...]:
    """Return the warnings, and what was accepted.

    Raises:
        DataError: a check refuses the bars; the message names file, line, date, column and value,
            and the other checks that refuse them too.
    """
    refused = [result for result in results if result.status == "error"]
    if refused:
        others = ", ".join(result.name for result in refused[1:])
        also = f" Refused too by: {others}." if others else ""
        raise DataError(refused[0].messages[0] + also)
    return tuple(message for result in results for message in result.messages)
