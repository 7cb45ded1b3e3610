"""The table with which study.train ends."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from study.results.finals.final_records import (
    ORACLE,
    FinalRecord,
    ShareRecord,
    read_predictions,
    share_folder,
)
from study.storage.layout import FINAL_FOLDER, PREDICTIONS_FILE
from study.text.short_forms import architecture

_USUAL_NAME = len("small_200k_h3_threshold_1pct")
"""Characters of a cell's name that are not folded: those of a usual market and task."""

_LONGEST_WORD = len("GJR-GARCH,")
"""Characters of the longest word in a baseline's name, which is cut if it has no room."""


def final_table(records: Sequence[FinalRecord], results: Path) -> Table:
    """Return a line per cell: the losses that chose it, its test loss, and the best baseline's."""
    table = Table(box=None, padding=(0, 1), show_edge=False)
    # The end of a long name gives way to the numbers; a usual one stays in one piece.
    longest = max((len(record.cell) for record in records), default=0)
    is_long = longest > _USUAL_NAME
    table.add_column(
        "cell", overflow="fold", no_wrap=not is_long, width=_USUAL_NAME if is_long else None
    )
    table.add_column("winner", no_wrap=True)
    for heading in ("search", "fresh seeds", "final runs", "test"):
        table.add_column(heading, justify="right")
    table.add_column("best baseline on test", justify="right", min_width=_LONGEST_WORD)
    for record in records:
        losses = test_losses(
            read_predictions(results / FINAL_FOLDER / record.cell / PREDICTIONS_FILE)
        )
        own = [loss for (model, _), loss in losses.items() if model == record.model]
        others = {
            model: loss
            for (model, _), loss in losses.items()
            if model not in (record.model, ORACLE)
        }
        best = min(others, key=lambda model: others[model])
        chosen = next(s for s in record.selection if s.trial == record.winner)
        table.add_row(
            record.cell,
            architecture(record.params),
            f"{record.search_value:.4f}",
            "-" if chosen.mean_value is None else f"{chosen.mean_value:.4f}",
            mean_and_spread(record.validation_losses),
            mean_and_spread(own),
            f"{others[best]:.4f} {best}",
        )
    return table


def share_table(
    shares: Sequence[ShareRecord], records: Sequence[FinalRecord], results: Path
) -> Table:
    """Return a line per cell and share of its training days, with the losses of its runs."""
    table = Table(box=None, padding=(0, 1), show_edge=False)
    table.add_column("cell", no_wrap=True)
    for heading in ("share", "days", "samples", "final runs", "test"):
        table.add_column(heading, justify="right")
    models = {record.cell: record.model for record in records}
    for share in shares:
        path = share_folder(results / FINAL_FOLDER / share.cell, share.name) / PREDICTIONS_FILE
        losses = test_losses(read_predictions(path)) if share.is_usable and path.exists() else {}
        table.add_row(
            share.cell,
            f"{share.share:g}",
            share.choice,
            f"{share.samples:,}",
            mean_and_spread(share.validation_losses),
            mean_and_spread([x for (model, _), x in losses.items() if model == models[share.cell]]),
        )
    return table


def test_losses(table: pd.DataFrame) -> dict[tuple[str, int | None], float]:
    """Return the mean log-loss on the test days of each model and seed; nats."""
    test = table[table["part"] == "test"]
    p, y = test["p"].to_numpy(), test["y"].to_numpy()
    losses = -np.where(y == 1, np.log(p), np.log1p(-p))
    groups = pd.DataFrame({"model": test["model"], "seed": test["seed"], "loss": losses})
    means = groups.groupby(["model", "seed"], dropna=False)["loss"].mean().reset_index()
    return {
        (str(model), None if pd.isna(seed) else int(seed)): float(loss)
        for model, seed, loss in means.itertuples(index=False)
    }


def mean_and_spread(values: Sequence[float], *, sign: bool = False) -> str:
    """Return the mean of values and, of several, their standard deviation."""
    if not values:
        return "-"
    spread = f" ±{np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):{'+' if sign else ''}.4f}{spread}"
