"""The section on training: what each term of the loss was by epoch, and whether scores agree."""

import numpy as np

from analysis.answers.report_parts import Cell, Section, Table, days_ahead
from analysis.panel.epoch_terms import MeanEpoch, mean_epochs
from analysis.panel.panel_judgement import JudgedPanel, JudgedPanelCell

_MOST_ROWS = 12
"""Epochs that a table shows, evenly between the first and the last."""


def terms_section(panel: JudgedPanel) -> Section | None:
    """Return the section on the epochs of the final runs; None without any reports of them."""
    cells = [cell for cell in panel.cells if cell.cell.epochs]
    if not cells:
        return None
    sentences, tables = [], []
    for cell in cells:
        where = f"{cell.label}, {days_ahead(cell.cell.horizon)}"
        conflicts = [(run.name, run.conflict) for run in cell.cell.epochs]
        warned = [f"{where}, {name}: {text}." for name, text in conflicts if text is not None]
        sentences += [f"Conflict: {each}" for each in warned] or [
            f"{where}: in none of {len(conflicts)} runs does Sharpe rise while RankIC falls over "
            "the last epochs."
        ]
        tables.append(_table(cell, where))
    return Section(
        name="terms",
        title="What did training work on?",
        sentences=sentences,
        tables=tables,
        numbers={
            cell.name: [
                {
                    "epoch": each.number, "runs": each.n_runs, "terms": dict(each.terms),
                    "rank_ic": each.rank_ic, "sharpe": each.sharpe,
                }
                for each in mean_epochs(cell.cell.epochs)
            ]
            for cell in cells
        },
    )  # fmt: skip


def _table(cell: JudgedPanelCell, where: str) -> Table:
    epochs = mean_epochs(cell.cell.epochs)
    names = list(dict.fromkeys(name for each in epochs for name in each.terms))
    at = np.unique(np.linspace(0, len(epochs) - 1, _MOST_ROWS).round().astype(int))

    def row(each: MeanEpoch) -> list[Cell]:
        return [
            each.number, each.n_runs, *(each.terms.get(name) for name in names), each.rank_ic,
            each.sharpe,
        ]  # fmt: skip

    missing = "" if names else " The runs keep no terms of their loss."
    return Table(
        columns=("epoch", "runs", *names, "validation RankIC", "validation Sharpe"),
        rows=[row(epochs[index]) for index in at],
        caption=f"{where}: means over the runs that reached the epoch. Terms of the training loss "
        f"before their weights; the first is what the others are added to.{missing}",
    )
