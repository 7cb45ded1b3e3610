"""Phase 2 of a search of two phases: a closer look at the best budgets of phase 1."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from study.errors import StudyError, quoted, require
from study.results.records import Metric, TrialRecord, objective_name, ranked
from study.results.store import read_cell, read_trials
from study.search.space import TrialConfig
from study.spec.dimension import Dimension, Fixed, numbers
from study.spec.specification import Budget, Cell, Study, Supplementary
from study.storage.driver_status import is_search_complete
from study.storage.layout import CELL_FILE
from study.text.short_forms import counted

N_BUDGETS = 2
"""Number of budgets that phase 2 searches: the best ones of phase 1; an own choice."""

_BEST = 5
"""Number of best trials of a budget whose mean score ranks it; an own choice, for the
best trial alone is the luckiest of many."""

_SIGNIFICANT = 2.0
"""Difference of two budgets, in its standard errors, beyond which it counts as significant; about
the two-sided 5 % level of the normal distribution."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetEvidence:
    """The best trials of a budget in phase 1, by what it minimises: a loss, or 1 less a score."""

    budget: str
    n_trials: int
    """Number of trials with a usable result."""
    mean: float
    """Mean score of the best five."""
    se: float | None
    """Standard error of that mean; None if it is not known. It covers the spread of the five trials
    and the noise of the validation days, which all trials share. A log-loss is compared with the
    baseline's day by day, so only the noise that the two do not share counts."""
    best: TrialRecord

    def differs_from(self, other: "BudgetEvidence") -> bool | None:
        """Do two budgets differ significantly? None if a standard error is not known."""
        if self.se is None or other.se is None:
            return None
        return abs(self.mean - other.mean) > _SIGNIFICANT * math.hypot(self.se, other.se)

    def describe(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "budget": self.budget, "n_trials": self.n_trials, "mean_of_best": self.mean,
            "mean_of_best_se": self.se, "best": self.best.objective,
            "best_trial": self.best.number,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseOne:
    """The records of phase 1."""

    folder: Path
    metric: Metric
    is_complete: bool
    n_ended: int
    """Number of trials that have ended."""
    n_asked: int
    """Number of trials that the search was to run."""
    budgets: Sequence[BudgetEvidence]
    """Evidence on each budget, the best budget first."""

    @classmethod
    def read(cls, folder: Path) -> "PhaseOne":
        """Read a cell's folder.

        Raises:
            StudyError: it cannot be read, or no trial has a usable result.
        """
        described, records = read_cell(folder, "metric", "trials"), read_trials(folder)
        metric, n_asked = cast(Metric, described["metric"]), int(described["trials"])
        by_budget: dict[str, list[TrialRecord]] = {}
        for record in ranked(records):
            by_budget.setdefault(record.budget, []).append(record)
        require(
            bool(by_budget),
            str(folder),
            "some trial of phase 1 must have a usable result",
            got=f"{len(records)} trials, none of them usable",
            remedy="Run phase 1 first: the same command without --supplementary.",
            error=StudyError,
        )
        evidence = [_evidence(budget, trials, metric) for budget, trials in by_budget.items()]
        return cls(
            folder=folder,
            metric=metric,
            is_complete=is_search_complete(folder, len(records), n_asked),
            n_ended=len(records),
            n_asked=n_asked,
            budgets=sorted(evidence, key=lambda each: each.mean),
        )

    def choose(self, budget: str | None) -> list[BudgetEvidence]:
        """Return the two best budgets, or the one with the given label.

        Raises:
            StudyError: phase 1 has no usable trial of that budget.
        """
        if budget is None:
            return list(self.budgets[:N_BUDGETS])
        chosen = [each for each in self.budgets if each.budget == budget]
        require(
            bool(chosen),
            "--param-budget",
            f"must be a budget with usable trials in {self.folder}",
            got=f"--param-budget {quoted(budget)}; there are "
            f"{', '.join(each.budget for each in self.budgets)}",
            remedy="Choose one of them, or leave it out.",
            error=StudyError,
        )
        return chosen

    @property
    def progress(self) -> str:
        """The progress of phase 1 as a phrase."""
        if self.is_complete:
            return "complete"
        return f"NOT complete: {self.n_ended} of {self.n_asked} trials"

    def lines(self, chosen: Sequence[BudgetEvidence]) -> list[str]:
        """Return lines with the result of phase 1 and the certainty of the choice."""
        name = objective_name(self.metric)
        found = [
            f"{each.budget:<6} mean {name} of the best {min(_BEST, each.n_trials)}: "
            f"{each.mean:.4f}{'' if each.se is None else f' +- {each.se:.4f}'}, best "
            f"{each.best.objective:.4f} (trial {each.best.number}), "
            f"{counted(each.n_trials, 'usable trial')}"
            for each in self.budgets
        ]
        names = [each.budget for each in chosen]
        found.append(f"chosen: {', '.join(names)}")
        others = [each for each in self.budgets if each.budget not in names]
        for other in others[:1]:
            last = chosen[-1]
            apart = {True: "told apart", False: "not told apart", None: "of unknown error"}
            found.append(
                f"the next one, {other.budget}, is {other.mean - last.mean:+.4f} from "
                f"{last.budget}: {apart[last.differs_from(other)]} on these days"
            )
        return found


def _evidence(budget: str, trials: Sequence[TrialRecord], metric: Metric) -> BudgetEvidence:
    best = trials[:_BEST]
    scores = np.array([trial.objective for trial in best], dtype=np.float64)
    first = best[0]
    noise = first.comparison_se(metric)
    se = None
    if noise is not None and len(scores) > 1:
        se = math.hypot(float(scores.std(ddof=1)) / math.sqrt(len(scores)), noise)
    return BudgetEvidence(
        budget=budget, n_trials=len(trials), mean=float(scores.mean()), se=se, best=first
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseTwo:
    """The second phase of a search, derived from the records of the first one."""

    first: Cell
    """The cell of phase 1, with the metric of its records."""
    phase_one: PhaseOne
    plan: Supplementary
    trials: int
    """Number of trials of each search of phase 2."""

    @classmethod
    def read(
        cls, study: Study, first: Cell, results: Path, *, trials: int | None, metric: str | None
    ) -> "PhaseTwo":
        """Read the records of phase 1.

        Args:
            study: a study of two phases.
            first: the cell of phase 1.
            results: the results folder.
            trials: number of trials of each search of phase 2; None takes the study's.
            metric: the metric that the user wants; None takes that of phase 1.

        Raises:
            StudyError: there are no records, none is usable, or their metric is another one.
        """
        assert study.supplementary is not None
        folder = results / first.name
        there = sorted(path.parent.name for path in results.glob(f"{study.name}-1_*/{CELL_FILE}"))
        require(
            folder.is_dir(),
            str(folder),
            "phase 1 must have been run, with the same --budgets, --horizon and data flags",
            got=f"no such folder; there are {', '.join(there) or 'none'}",
            remedy="Run phase 1 first.",
            error=StudyError,
        )
        phase_one = PhaseOne.read(folder)
        require(
            metric in (None, phase_one.metric),
            "--metric",
            "must be that of phase 1, whose best trials phase 2 starts from",
            got=f"--metric {metric}, and {phase_one.metric} in {folder}",
            remedy="Leave it out.",
        )
        search = dataclasses.replace(first.search, metric=phase_one.metric)
        return cls(
            first=dataclasses.replace(first, search=search),
            phase_one=phase_one,
            plan=study.supplementary,
            trials=study.supplementary.trials if trials is None else trials,
        )

    def cells(self, chosen: Sequence[BudgetEvidence]) -> list[Cell]:
        """Return a cell for each of the chosen budgets."""
        return [supplementary_cell(self.first, self.plan, e.best, self.trials) for e in chosen]


def second_phases(
    study: Study,
    firsts: Sequence[Cell],
    results: Path,
    *,
    trials: int | None,
    metric: str | None,
) -> tuple[list[PhaseTwo], list[str]]:
    """Return the second phases that can begin, and a line with the reason for every other one.

    Args:
        study: a study of two phases.
        firsts: the cells of phase 1, whose records need not exist.
        results: the results folder.
        trials: number of trials of each search of phase 2; None takes the study's.
        metric: the metric that the user wants; None takes that of phase 1.
    """
    found, waiting = [], []
    for first in firsts:
        if not (results / first.name).is_dir():
            waiting.append(f"phase 2 of {first.name}: phase 1 has not begun")
            continue
        try:
            second = PhaseTwo.read(study, first, results, trials=trials, metric=metric)
        except StudyError as error:
            waiting.append(f"phase 2 of {first.name}: {error}")
            continue
        if second.phase_one.is_complete:
            found.append(second)
        else:
            best = ", ".join(each.budget for each in second.phase_one.choose(None))
            waiting.append(
                f"phase 2 of {first.name}: phase 1 is {second.phase_one.progress}; the best "
                f"budgets so far are {best}"
            )
    return found, waiting


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """Return cells of one budget each: smaller budgets, then shorter horizons, then by search."""
    return sorted(
        cells, key=lambda cell: (cell.budget.target, cell.data.horizon, cell.search_number)
    )


def supplementary_cell(cell: Cell, plan: Supplementary, best: TrialRecord, trials: int) -> Cell:
    """Return the cell of phase 2 for the budget of a trial of phase 1.

    Settings that phase 2 does not search keep the values of that trial. The search starts from the
    trial; a value outside of its range is moved to the nearest end.

    Args:
        cell: the cell of phase 1, for its data and search settings.
        plan: what is searched.
        best: the trial of phase 1.
        trials: number of trials of the new cell.
    """
    (budget,) = (each for each in cell.budgets if each.label == best.budget)
    # Records of an earlier version lack fields that have been added since.
    params = TrialConfig.from_flat(best.params).flat()
    # A listed configuration may lie outside of its budget's tolerance, which is then widened to it.
    distance = abs(best.param_count - budget.target) / budget.target
    model = _around(cell.model, plan.model, params)
    train = _around(cell.train, plan.train, params)
    if "epochs" not in plan.train:
        # As many epochs as in that trial, unless --max-epochs now allows fewer.
        most = int(max(numbers(cell.train["epochs"])))
        train["epochs"] = Fixed(min(params["epochs"], most))
    searched = {**plan.model, **plan.train}
    return dataclasses.replace(
        cell,
        budgets=(
            Budget(
                label=budget.label,
                target=budget.target,
                # Rounding of the quotient must not exclude the trial itself.
                tolerance=min(max(budget.tolerance, distance * (1 + 1e-9)), 0.999),
            ),
        ),
        model=model,
        train=train,
        search=dataclasses.replace(
            cell.search,
            trials=trials,
            forced="none",
            across_budgets=False,
            startup_trials=min(cell.search.startup_trials, max(1, trials // 3)),
        ),
        phase=2,
        start={name: searched[name].nearest(params[name]) for name in searched},
    )


def _around(
    dimensions: Mapping[str, Dimension],
    searched: Mapping[str, Dimension],
    params: Mapping[str, Any],
) -> dict[str, Dimension]:
    """Return the searched dimensions, and all others fixed at the values of a trial."""
    return {name: searched.get(name, Fixed(params[name])) for name in dimensions}
