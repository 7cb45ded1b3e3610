"""The tables of the final runs of panels' cells."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from study.results.finals.final_records import (
    ORACLE,
    FinalRecord,
    ShareRecord,
    share_folder,
)
from study.results.finals.panel_predictions import days_by_assets, read_panel_predictions
from study.results.records import shown_objective
from study.statistics.rank_scores import daily_rank_ic
from study.storage.layout import FINAL_FOLDER, PREDICTIONS_FILE
from study.terminal.final_tables import mean_and_spread
from study.text.short_forms import architecture


def panel_final_table(records: Sequence[FinalRecord], results: Path) -> Table:
    """Return a line per cell: the scores that chose its winner, and the RankICs on test days.

    The RankIC of the winner is the mean over its seeds, with their standard deviation; that of the
    best baseline is the largest of all. Intervals are in the report.
    """
    table = Table(box=None, padding=(0, 1), show_edge=False)
    table.add_column("cell", overflow="fold")
    table.add_column("winner", overflow="fold")
    for heading in ("search", "fresh seeds", "test RankIC", "best baseline on test"):
        table.add_column(heading, justify="right")
    for record in records:
        path = results / FINAL_FOLDER / record.cell / PREDICTIONS_FILE
        found = test_rank_ics(read_panel_predictions(path))
        own = [value for (model, _), value in found.items() if model == record.model]
        others = {m: v for (m, _), v in found.items() if m not in (record.model, ORACLE)}
        best = max(others, key=lambda model: others[model])
        chosen = next(each for each in record.selection if each.trial == record.winner)
        fresh = chosen.mean_value
        table.add_row(
            record.cell,
            architecture(record.params),
            shown_objective(record.search_value, record.metric),
            "-" if fresh is None else shown_objective(fresh, record.metric),
            mean_and_spread(own, sign=True),
            f"{others[best]:+.4f} {best}",
        )
    return table


def panel_share_table(
    shares: Sequence[ShareRecord], records: Sequence[FinalRecord], results: Path
) -> Table:
    """Return a line per cell and share of its training days, with the scores of its runs."""
    table = Table(box=None, padding=(0, 1), show_edge=False)
    table.add_column("cell", overflow="fold")
    for heading in ("share", "days", "training days", "test RankIC"):
        table.add_column(heading, justify="right")
    models = {record.cell: record.model for record in records}
    for share in shares:
        path = share_folder(results / FINAL_FOLDER / share.cell, share.name) / PREDICTIONS_FILE
        is_there = share.is_usable and path.exists()
        found = test_rank_ics(read_panel_predictions(path)) if is_there else {}
        own = [value for (model, _), value in found.items() if model == models[share.cell]]
        table.add_row(
            share.cell,
            f"{share.share:g}",
            share.choice,
            f"{share.samples:,}",
            mean_and_spread(own, sign=True),
        )
    return table


def test_rank_ics(table: pd.DataFrame) -> dict[tuple[str, int | None], float]:
    """Return the mean RankIC on the test days of each model and seed."""
    found: dict[tuple[str, int | None], float] = {}
    test = table[table["part"] == "test"]
    for _, rows in test.groupby(["model", "seed"], dropna=False, observed=True):
        model, seed = rows["model"].iloc[0], rows["seed"].iloc[0]
        daily = daily_rank_ic(*days_by_assets(rows))
        found[str(model), None if pd.isna(seed) else int(seed)] = float(np.nanmean(daily))
    return found
