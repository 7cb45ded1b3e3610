"""Phase 2 of a search of two phases: a closer look at the best budgets of phase 1."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from study.dimension import Choice, Dimension, Fixed, Range, Scalar, dimension_values
from study.errors import StudyError, quoted, require
from study.results.driver import is_search_complete
from study.results.records import TrialRecord, ranked
from study.results.store import read_cell, read_trials
from study.spec import Budget, Cell, Supplementary

N_BUDGETS = 2
"""That phase 2 looks at (document 002 of the origin study)."""

_BEST = 5
"""Trials whose mean stands for a budget: the best one alone is the luckiest of many."""

_TOLD_APART = 2.0
"""Standard errors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetEvidence:
    """What phase 1 says of a budget. Scores are what it minimises: log-loss, or 1 - AUC."""

    budget: str
    n_trials: int
    """With a usable result."""
    mean: float
    """Of the best five."""
    se: float | None
    """Of that mean: the spread of the five, and the noise of the validation days, which they share;
    of the log-loss as far as the baseline does not share it too. None if it is not known."""
    best: TrialRecord

    def is_told_apart(self, other: "BudgetEvidence") -> bool | None:
        """Do two budgets differ by more than their errors? None if these are not known."""
        if self.se is None or other.se is None:
            return None
        return abs(self.mean - other.mean) > _TOLD_APART * math.hypot(self.se, other.se)

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
    metric: str
    is_complete: bool
    budgets: Sequence[BudgetEvidence]
    """The best first."""

    @classmethod
    def read(cls, folder: Path) -> "PhaseOne":
        """Read a cell's folder.

        Raises:
            StudyError: it cannot be read, or no trial has a usable result.
        """
        described, records = read_cell(folder, "metric", "trials"), read_trials(folder)
        metric = str(described["metric"])
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
            is_complete=is_search_complete(folder, len(records), int(described["trials"])),
            budgets=sorted(evidence, key=lambda each: each.mean),
        )

    def choose(self, budget: str | None) -> list[BudgetEvidence]:
        """Return the two best budgets, or the one that is asked for.

        Raises:
            StudyError: phase 1 has no usable trial of it.
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

    def lines(self, chosen: Sequence[BudgetEvidence]) -> list[str]:
        """Say what phase 1 found, and how sure the choice is."""
        name = "1 - AUC" if self.metric == "auc" else "log-loss"
        found = [
            f"{each.budget:<6} mean {name} of the best {min(_BEST, each.n_trials)}: "
            f"{each.mean:.4f}{'' if each.se is None else f' +- {each.se:.4f}'}, best "
            f"{each.best.objective:.4f} (trial {each.best.number}), {each.n_trials} usable trials"
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
                f"{last.budget}: {apart[last.is_told_apart(other)]} on these days"
            )
        return found


def _evidence(budget: str, trials: Sequence[TrialRecord], metric: str) -> BudgetEvidence:
    best = trials[:_BEST]
    scores = np.array([trial.objective for trial in best], dtype=np.float64)
    first = best[0]
    noise = first.difference_se
    if metric == "auc":
        noise = first.objective_se
    se = None
    if noise is not None and len(scores) > 1:
        se = math.hypot(float(scores.std(ddof=1)) / math.sqrt(len(scores)), noise)
    return BudgetEvidence(
        budget=budget, n_trials=len(trials), mean=float(scores.mean()), se=se, best=first
    )


def supplementary_cell(cell: Cell, plan: Supplementary, best: TrialRecord, trials: int) -> Cell:
    """Return the cell of phase 2 for the budget of a trial of phase 1.

    What phase 2 does not search stays as it is in that trial. It starts from the trial, moved into
    its ranges where it lies outside.

    Args:
        cell: of phase 1, for its data and search settings.
        plan: what is searched.
        best: of phase 1.
        trials: of this cell.
    """
    (budget,) = (each for each in cell.budgets if each.label == best.budget)
    # A listed configuration may lie outside of its budget's tolerance: the budget then follows it.
    distance = abs(best.param_count - budget.target) / budget.target
    model = _around(cell.model, plan.model, best.params)
    train = _around(cell.train, plan.train, best.params)
    if "epochs" not in plan.train:
        # As many as in that trial, unless --max-epochs allows fewer now.
        most = max(int(cast(int, value)) for value in dimension_values(cell.train["epochs"]))
        train["epochs"] = Fixed(min(best.params["epochs"], most))
    searched = {**plan.model, **plan.train}
    return dataclasses.replace(
        cell,
        budgets=(
            Budget(
                label=budget.label,
                target=budget.target,
                # The last digit of the quotient must not decide.
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
        start={name: nearest(searched[name], best.params[name]) for name in searched},
    )


def _around(
    dimensions: Mapping[str, Dimension],
    searched: Mapping[str, Dimension],
    params: Mapping[str, Any],
) -> dict[str, Dimension]:
    """Return the dimensions with those that are not searched fixed at a trial's values."""
    return {name: searched.get(name, Fixed(params[name])) for name in dimensions}


def nearest(dimension: Dimension, value: Scalar) -> Scalar:
    """Return the value of a dimension that is nearest to a number; the smaller of equals."""
    match dimension:
        case Fixed(fixed):
            return fixed
        case Choice(values):
            if value in values:
                return value
            number = float(cast(float, value))
            return min(values, key=lambda each: abs(float(cast(float, each)) - number))
        case Range(low, high, _):
            return min(max(float(cast(float, value)), low), high)
