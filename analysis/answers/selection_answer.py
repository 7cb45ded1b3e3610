"""The section on how much of a winner was luck."""

from collections.abc import Sequence

import numpy as np

from analysis.answers.report_parts import Cell, Section, Table, days_ahead, shown_estimate
from analysis.cell_judgement import JudgedCell, JudgedHorizon, all_cells
from analysis.statistics.comparison import mean_excess
from analysis.statistics.interval import Estimate
from analysis.study_records import cells_or_cases
from study.results.plans.input_record import SearchFoldsRecord

_OTHER_DAYS = (
    " Search and fresh seeds are judged on folds of all days of the search, by networks that "
    "learned from later days too; the final runs on its latest days alone."
)
"""What separates the losses in the row of a search on folds."""


def selection_section(horizons: Sequence[JudgedHorizon]) -> Section:
    """Return the section on how much of a winner was luck."""
    cells = all_cells(horizons)
    judged = [cell.optimism for cell in cells if cell.optimism is not None]
    mean = mean_excess(judged) if judged else None
    what = cells_or_cases([cell.records for cell in cells])
    shrinkages = [value for cell in cells if (value := _shrinkage(cell)) is not None]
    sentences = [
        _nothing_said(cells)
        if mean is None
        else optimism_sentence(mean, f"{len(judged)} {what}", _later_days(cells))
    ]
    if shrinkages:
        up = sum(value > 0 for value in shrinkages)
        sentences.append(
            f"Fresh seeds on the same validation days are {np.mean(shrinkages):+.4f} nats from the "
            f"searched run on average, above it in {up} of {len(shrinkages)} {what}. That shows "
            "the luck of one seed: what a configuration owes to these days all its seeds share."
        )
    return Section(
        name="selection",
        title="How much of a winner was luck?",
        sentences=sentences,
        tables=[_losses(cells), _leads(cells)] if judged else [_losses(cells)],
        numbers={
            "mean_shrinkage": float(np.mean(shrinkages)) if shrinkages else None,
            "mean_optimism": mean,
            "optimism": {
                cell.name: {
                    "validation": cell.optimism.chosen, "test": cell.optimism.later,
                    "optimism": cell.optimism.excess,
                }
                for cell in cells
                if cell.optimism is not None
            },
        },
    )  # fmt: skip


def _nothing_said(cells: Sequence[JudgedCell]) -> str:
    """Return why nothing is said of optimism."""
    if any(SearchFoldsRecord.of(cell.records.searched) is not None for cell in cells):
        return (
            "The winners were chosen on folds of all days of the search, for which no final run "
            "answers, so that nothing is said of optimism."
        )
    return (
        "No final run answers for validation days of which it has not learnt, so that nothing is "
        "said of optimism."
    )


def _later_days(cells: Sequence[JudgedCell]) -> str:
    """Return the test days on which the runs answer that have answered for validation days."""
    firsts = {
        f"{first.first_test_day} to {first.last_test_day}"
        for cell in cells
        if len(cell.final.folds) > 1
        for first in cell.final.folds[:1]
    }
    if not firsts:
        return "the test days"
    return f"the test days of the first fold ({'; '.join(sorted(firsts))})"


def optimism_sentence(mean: Estimate, counted: str, later: str) -> str:
    """Return what may be said of the mean optimism of winners.

    Args:
        mean: of them.
        counted: how many they are, such as ``6 cells``.
        later: the days after those of the choice, such as ``the test days``.
    """
    moved = (
        f"From the validation days, on which they were chosen, to {later} the winners move "
        f"by {shown_estimate(mean)} nats per day against a baseline that was not chosen, the "
        f"same runs on both (mean of {counted})"
    )
    if mean.low is None or mean.high is None or mean.low <= 0 <= mean.high:
        return f"{moved}: no optimism can be seen."
    if mean.value < 0:
        return (
            f"{moved}: they do better where nothing was chosen, so that no optimism can be seen, "
            "and the two periods differ."
        )
    return f"{moved}: they looked so much better than they are, as far as the periods are alike."


def _shrinkage(cell: JudgedCell) -> float | None:
    """Return the loss of the final runs less that of the searched run, on the same days.

    Returns: None if they have no such days in common: a search on folds has judged others.
    """
    mean = _validation_mean(cell)
    if mean is None or SearchFoldsRecord.of(cell.records.searched) is not None:
        return None
    return mean - cell.final.search_value


def _validation_mean(cell: JudgedCell) -> float | None:
    """Return the mean validation loss of the final runs; None if they have learnt from these."""
    values = cell.final.validation_losses
    return float(np.mean(values)) if values and not cell.final.with_validation else None


def _losses(cells: Sequence[JudgedCell]) -> Table:
    rows: list[list[Cell]] = []
    is_folded = any(SearchFoldsRecord.of(cell.records.searched) is not None for cell in cells)
    for cell in cells:
        final = cell.final
        chosen = next(s for s in final.selection if s.trial == final.winner)
        rows.append(
            [
                cell.label, days_ahead(cell.records.horizon), final.search_value,
                chosen.mean_value, _validation_mean(cell), _shrinkage(cell), cell.own.log_loss,
            ]
        )  # fmt: skip
    return Table(
        columns=(
            "budget", "horizon", "search", "fresh seeds (choice)", "final runs",
            "final runs less search", "test",
        ),
        rows=rows,
        caption="Validation losses, in nats: of the trial in the search, of the fresh runs "
        "that chose it, of the final runs; then the loss on test days, which are other "
        "days with another base rate." + _OTHER_DAYS * is_folded,
    )  # fmt: skip


def _leads(cells: Sequence[JudgedCell]) -> Table:
    return Table(
        columns=("budget", "horizon", "less", "validation", "test", "test less validation"),
        rows=[
            [
                cell.label, days_ahead(cell.records.horizon), cell.reference,
                cell.optimism.chosen, cell.optimism.later, cell.optimism.excess,
            ]
            for cell in cells
            if cell.optimism is not None
        ],
        caption="Mean difference of the final runs to a baseline that no day has chosen, on "
        f"validation days and on {_later_days(cells)}, paired by "
        "day; 95 % intervals over blocks of days and seeds, the same runs on both parts. Above "
        "zero in the last column a winner looked better where it was chosen.",
    )  # fmt: skip
