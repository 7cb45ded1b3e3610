"""The searches, and their budgets, whose winners are trained again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.errors import StudyError, require
from study.results.finals.final_records import final_name
from study.results.records import best_trial
from study.results.store import read_cell, read_trials
from study.search.phase_two import PhaseTwo, in_order
from study.spec.dimension import Dimension
from study.spec.specification import Budget, Cell, Study
from study.storage.driver_status import is_search_complete


@dataclass(frozen=True, kw_only=True, slots=True)
class Finalist:
    """A budget of a search that has been run."""

    cell: Cell
    """The cell that was searched."""
    budget: Budget
    ranges: Mapping[str, Dimension]
    """Dimensions from which its configurations were drawn; those that phase 2 does not search are
    the ones of phase 1."""
    differences: Sequence[str] = ()
    """Lines on a search that has not ended, if the user allows it."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return final_name(self.cell.name, self.budget.label, len(self.cell.budgets))


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """The finalists of a selection of searches, and what was left out of it."""

    finalists: Sequence[Finalist]
    notes: Sequence[str]
    """A line for each search that is left out, with the reason."""
    problems: Sequence[str]
    """Errors of the searches that are refused."""


def ordinary_finalists(cells: Sequence[Cell], results: Path) -> Chosen:
    """Return the cells of one budget each that have been searched."""
    searched = [cell for cell in cells if (results / cell.name).is_dir()]
    return Chosen(
        finalists=[
            Finalist(cell=cell, budget=cell.budget, ranges={**cell.model, **cell.train})
            for cell in searched
        ],
        notes=[f"{cell.name}: not searched, left out" for cell in cells if cell not in searched],
        problems=[],
    )


def finalists_across_budgets(
    study: Study,
    cells: Sequence[Cell],
    results: Path,
    *,
    phases: tuple[int | None, ...],
    budgets: Sequence[str] | None,
    trials: int | None,
    metric: str | None,
    may_differ: bool,
) -> Chosen:
    """Return the winners of searches in which the budget is searched too.

    The later of two phases that has been searched decides: its winners are those of phase 2, or of
    every budget of phase 1 that has a usable trial.

    Args:
        study: the study, which searches across budgets.
        cells: the cells, one for each horizon.
        results: the results folder.
        phases: the phases to take winners from; None stands for the only one.
        budgets: labels of the budgets whose winners are taken; None takes all.
        trials: number of trials in each search of phase 2; None takes the study's.
        metric: the metric that ranks; None takes that of phase 1.
        may_differ: may a search be incomplete?
    """
    finalists: list[Finalist] = []
    notes: list[str] = []
    problems: list[str] = []
    for cell in cells:
        if not (results / cell.name).is_dir():
            notes.append(f"{cell.name}: not searched, left out")
            continue
        try:
            differences = _differences(results / cell.name, may_differ)
            found: list[Finalist] = []
            left_out: list[str] = []
            if 2 in phases:
                second = PhaseTwo.read(study, cell, results, trials=trials, metric=metric)
                found, left_out = _of_phase_two(second, results, differences)
            if found and 1 in phases:
                left_out.append(
                    f"{cell.name}: the winners of phase 2 are taken; --phase 1 trains that of "
                    "every budget, and puts all sizes side by side"
                )
            elif not found and phases != (2,):
                found, left_out = _of_budgets(cell, results, differences)
        except StudyError as error:
            problems.append(str(error))
            continue
        kept = [each for each in found if budgets is None or each.budget.label in budgets]
        if found and not kept:
            there = ", ".join(each.budget.label for each in found)
            left_out.append(f"{cell.name}: left out, for its winners are of {there}")
        finalists += kept
        notes += left_out
    return Chosen(finalists=finalists, notes=notes, problems=problems)


def _differences(folder: Path, may_differ: bool) -> list[str]:
    """Return a line on a search that has not ended.

    Raises:
        StudyError: it has not ended, and ``may_differ`` is false.
    """
    ended, asked = len(read_trials(folder)), int(read_cell(folder, "trials")["trials"])
    if is_search_complete(folder, ended, asked):
        return []
    require(
        may_differ,
        str(folder),
        "a search across budgets must have ended before its winners are trained",
        got=f"{ended} of {asked} trials",
        remedy="Go on with it, or give --allow-differences.",
        error=StudyError,
    )
    return [f"the search across budgets had not ended: {ended} of {asked} trials"]


def _of_budgets(
    cell: Cell, results: Path, differences: Sequence[str]
) -> tuple[list[Finalist], list[str]]:
    """Return the budgets of a search that have a usable trial, and a line for each other one."""
    records = read_trials(results / cell.name)
    found, without = [], []
    for budget in cell.budgets:
        own = [record for record in records if record.budget == budget.label]
        finalist = Finalist(
            cell=cell,
            budget=budget,
            ranges={**cell.model, **cell.train},
            differences=differences,
        )
        if best_trial(own) is None:
            without.append(f"{finalist.name}: none of {len(own)} trials is usable, left out")
        else:
            found.append(finalist)
    require(
        bool(found),
        str(results / cell.name),
        "must have a trial with a usable result",
        got=f"{len(records)} trials, none of them usable",
        remedy="Search again with other settings.",
        error=StudyError,
    )
    return found, without


def _of_phase_two(
    second: PhaseTwo, results: Path, differences: Sequence[str]
) -> tuple[list[Finalist], list[str]]:
    """Return the searches of phase 2 that have been run, and a line for each missing one.

    Those of budgets that the user has chosen are among them.
    """
    first, found = second.first, []
    ranges = {**first.model, **first.train}
    for cell in in_order(second.cells(second.phase_one.budgets)):
        if (results / cell.name).is_dir():
            searched = {
                name: dimension
                for name, dimension in {**cell.model, **cell.train}.items()
                if dimension.is_searched
            }
            found.append(
                Finalist(
                    cell=cell,
                    budget=cell.budget,
                    ranges={**ranges, **searched},
                    differences=differences,
                )
            )
    there = [finalist.cell.name for finalist in found]
    due = [cell.name for cell in second.cells(second.phase_one.choose(None))]
    return found, [f"{name}: not searched, left out" for name in due if name not in there]
