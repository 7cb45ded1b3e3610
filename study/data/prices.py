"""Daily bars that passed every check."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import pandas as pd

from study.data.arrays import fingerprint_of
from study.data.checks.price_checks import check_table, require_clean
from study.data.reading.columns import BAR_COLUMNS, DATE_COLUMN
from study.data.reading.import_notes import understood_line
from study.data.reading.tables import BarTable, table_from_frame


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """The bars of a market, and how they came to be accepted."""

    name: str
    frame: pd.DataFrame
    """Index ``Date`` at midnight, oldest first; float64 columns Open High Low Close Volume, prices
    in quote currency, volume in the vendor's unit."""
    fingerprint: str
    """A sha256 of the content, the same whatever file the content came from."""
    origin: str
    """Where the bars were read, for records and messages."""
    warnings: tuple[str, ...] = ()
    """Oddities that break no rule, and refusals that were overridden."""
    accepted: tuple[str, ...] = ()
    """The checks whose refusal was overridden."""
    understood: str = ""
    """How the file was read, one line; empty for a market that is no file."""


def prices_from_table(
    name: str, table: BarTable, origin: str, accept: Collection[str] = ()
) -> Prices:
    """Check bars and make prices of them.

    Args:
        name: the name of the market.
        table: its bars.
        origin: the place that they were read from.
        accept: checks whose refusal is overridden, beside those that an import accepted.

    Raises:
        DataError: a rule is broken; the message names file, row, date, column and value.
    """
    results = check_table(table, accept)
    warnings = require_clean(results)
    accepted = {result.name for result in results if result.status == "accepted"}
    # What an import has accepted may not show any more: it keeps six columns of its file.
    earlier = sorted(set(table.accepted) - accepted)
    warnings += tuple(f"{table.where}: accepted ({name}): when it was imported" for name in earlier)
    frame = pd.DataFrame(
        table.values,
        columns=list(BAR_COLUMNS),
        index=pd.DatetimeIndex(table.days, name=DATE_COLUMN),
    )
    return Prices(
        name=name,
        frame=frame,
        fingerprint=fingerprint_of(table.days, table.values),
        origin=origin,
        warnings=warnings,
        accepted=tuple(sorted(accepted | set(earlier))),
        understood=understood_line(table.understood),
    )


def prices_from_frame(
    name: str, frame: pd.DataFrame, origin: str = "memory", accept: Collection[str] = ()
) -> Prices:
    """Check the bars of a frame, dated by its index or a column, and make prices of them."""
    table = replace(table_from_frame(frame, name), understood=())
    return prices_from_table(name, table, origin, accept)
