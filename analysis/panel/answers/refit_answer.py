"""The section on winners that were trained on the validation days too: what that has changed."""

from analysis.answers.report_parts import Cell, Section, Table, days_ahead
from analysis.panel.panel_judgement import JudgedPanel, JudgedPanelCell
from study.results.plans.input_record import SearchFoldsRecord
from study.results.records import shown_objective
from study.text.short_forms import counted


def refit_section(panel: JudgedPanel) -> Section | None:
    """Return the section on what winners have learnt from; None if none from validation days."""
    cells = [cell for cell in panel.cells if cell.cell.final.with_validation]
    if not cells:
        return None
    return Section(
        name="refit",
        title="What has training on the validation days changed?",
        sentences=[
            *(_sentence(cell) for cell in cells),
            "The baselines that learn have learnt from the same days. No day before the test days "
            "is left on which a run could be judged: none was chosen, and what the same runs would "
            "be without the validation days is not measured.",
        ],
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "training days, search", "training days, runs",
                    "epochs, search", "epochs, runs", "fresh seeds on validation days",
                    "RankIC on test days",
                ),
                rows=[_row(cell) for cell in cells],
                caption="The fresh seeds chose the winner and the number of epochs, and were "
                "trained as in the search; the RankIC on test days is that of the runs.",
            )
        ],
        numbers={
            cell.name: {
                "train_days": _train_days(cell),
                "epochs_searched": cell.cell.final.params["epochs"],
                "epochs": _epochs(cell),
            }
            for cell in cells
        },
    )  # fmt: skip


def _sentence(cell: JudgedPanelCell) -> str:
    final, searched = cell.cell.final, cell.cell.records.searched["splits"]
    until = final.folds[0].last_train_day if final.folds else searched["validation"]["last_day"]
    before = " before the first fold" if final.folds else ""
    return (
        f"{cell.label}, {days_ahead(cell.cell.horizon)}: the runs learn from "
        f"{_train_days(cell)[0]:,} days up to {until}{before}, the validation days among them, "
        f"where those of the search had {_searched_days(cell)}; their schedules have "
        f"{counted(_epochs(cell), 'epoch')}, the median of the best epochs with fresh seeds, where "
        f"those of the search had {final.params['epochs']}."
    )


def _row(cell: JudgedPanelCell) -> list[Cell]:
    final, days = cell.cell.final, _train_days(cell)
    chosen = next(each for each in final.selection if each.trial == final.winner)
    fresh = chosen.mean_value
    return [
        cell.label, days_ahead(cell.cell.horizon), _searched_days(cell),
        f"{days[0]:,}" if len(days) == 1 else f"{days[0]:,} to {days[-1]:,} by fold",
        final.params["epochs"], _epochs(cell),
        None if fresh is None else shown_objective(fresh, final.metric), cell.own.rank_ic,
    ]  # fmt: skip


def _searched_days(cell: JudgedPanelCell) -> str:
    """Return the number of days from which networks of the search have learnt, in words."""
    searched = cell.cell.records.searched
    folds = SearchFoldsRecord.of(searched)
    if folds is None:
        return f"{searched['splits']['train']['rows']:,}"
    low, high = min(folds.train_rows), max(folds.train_rows)
    return f"{low:,}" if low == high else f"{low:,} to {high:,} by fold"


def _train_days(cell: JudgedPanelCell) -> list[int]:
    """Return the number of days from which the runs learn, of a walk before each fold."""
    splits = cell.cell.records.searched["splits"]
    own = [fold.n_train for fold in cell.cell.final.folds]
    return own or [int(splits["train"]["rows"]) + int(splits["validation"]["rows"])]


def _epochs(cell: JudgedPanelCell) -> int:
    """Return the length of the runs' schedules; one that diverged has not come to its end."""
    return max(run.epochs_trained for run in cell.cell.final.runs)
