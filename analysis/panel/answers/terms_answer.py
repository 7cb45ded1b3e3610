"""The section on training: what each term of the loss was by epoch, and whether scores agree."""

import numpy as np

from analysis.answers.report_parts import Cell, Section, Table, days_ahead
from analysis.panel.epoch_terms import MeanEpoch, has_day_weights, loss_shares, mean_epochs
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
                    "shares": loss_shares(each.terms, cell.cell.final.params, each.number),
                    "rank_ic": each.rank_ic, "sharpe": each.sharpe,
                    "further_rank_ic": dict(each.further),
                }
                for each in mean_epochs(cell.cell.epochs)
            ]
            for cell in cells
        },
    )  # fmt: skip


def _table(cell: JudgedPanelCell, where: str) -> Table:
    epochs = mean_epochs(cell.cell.epochs)
    params = cell.cell.final.params
    names = list(dict.fromkeys(name for each in epochs for name in each.terms))
    heads = list(dict.fromkeys(horizon for each in epochs for horizon in each.further))
    at = np.unique(np.linspace(0, len(epochs) - 1, _MOST_ROWS).round().astype(int))

    def row(each: MeanEpoch) -> list[Cell]:
        shares = loss_shares(each.terms, params, each.number)
        terms = [value for name in names for value in (each.terms.get(name), shares.get(name))]
        of_heads = [each.further.get(horizon) for horizon in heads]
        return [each.number, each.n_runs, *terms, each.rank_ic, each.sharpe, *of_heads]

    said = "Terms of the training loss before their weights, and their shares of it by the weights."
    if not names:
        said = "The runs keep no terms of their loss."
    elif has_day_weights(params):
        said += " Terms are means over days that are weighted by regime_strength."
    if cell.cell.final.with_validation:
        said += " The runs were trained on the validation days, whose scores say nothing here."
    return Table(
        columns=(
            "epoch", "runs", *(column for name in names for column in (name, f"share of {name}")),
            "validation RankIC", "validation Sharpe",
            *(f"RankIC of head {horizon} d" for horizon in heads),
        ),
        rows=[row(epochs[index]) for index in at],
        caption=f"{where}: means over the runs that reached the epoch. {said}",
    )  # fmt: skip
