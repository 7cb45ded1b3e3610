"""The rule that says a search has converged: its best configurations differ by next to nothing."""

import heapq
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.errors import require
from study.results.records import TrialRecord

LEAST_TRIALS = 20
"""Number of distinct configurations that must have completed, from the same study."""

THRESHOLD = 0.02
"""Range of the five best in units of AUC, from the study that this one replaces: the rule fired at
trial 20 in all twelve of its searches."""

SE_SHARE = 0.1
"""Default share of the metric's standard error.

All trials are scored on the same days, so most of that error is common to them. Against the
baseline ``difference_se`` is about a seventh of ``value_se`` in our records, and of two good models
it is less: five configurations within a tenth cannot be told apart.
Three stored studies of 50 trials (AUC, standard error .035): a tenth stops at trials 41, 42 and
never, with nothing lost; .02 stops at 20 in each and loses up to .009. Planted studies of 50 TPE
trials (standard error .02; seeds scatter losses by .0005 or .0015; 40 studies each): where the
losses of the first 20 spread by .016 a tenth stops at trial 20 in 15 and 3 % (median 27 and 35;
lost .11 and .06 standard errors), a whole one in all of them. Where they spread by .005 it stops
at trial 20 in 75 and 17 %, and loses .05 standard errors. A twentieth never stops in two thirds of
the studies with the larger scatter.
"""

_TOP = 5
"""Number of best configurations that are compared."""

_ROUNDING = 1e-9
"""Relative slack of the threshold: .72 - .70 is above .02 in binary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletedTrial:
    """A trial that ran to its end, as far as the rule needs it."""

    key: Hashable
    """Key of its configuration, as ``configuration_key`` makes it."""
    value: float
    """Score of the trial, finite."""
    value_se: float | None
    """Standard error of ``value``; None if unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvergenceRule:
    """Enough different configurations completed, and the five best within a threshold.

    Equal configurations count once, with the best of their values.
    """

    least_trials: int = LEAST_TRIALS
    """Distinct configurations that must have completed."""
    threshold: float | None = None
    """Greatest range of the five best values, in units of the metric; None for a share."""
    se_share: float | None = None
    """Greatest range as a share of the standard error of the best value, without which the rule
    cannot fire; None if ``threshold`` is given."""

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            SpecError: they break a rule.
        """
        where = "convergence rule"
        require(
            self.least_trials >= _TOP,
            where,
            f"the least number of trials must be at least {_TOP}, which are compared",
            got=f"least_trials={self.least_trials}",
            remedy=f"{LEAST_TRIALS} is usual.",
        )
        require(
            (self.threshold is None) != (self.se_share is None),
            where,
            "must have either a threshold or a share of the standard error",
            got=f"threshold={self.threshold}, se_share={self.se_share}",
            remedy="Give one of them.",
        )
        for name, limit in (("threshold", self.threshold), ("se_share", self.se_share)):
            require(
                limit is None or (math.isfinite(limit) and limit > 0),
                where,
                f"{name} must be a number above 0",
                got=f"{name}={limit}",
                remedy="Leave it out for the default.",
            )

    def has_converged(
        self, trials: Iterable[CompletedTrial], *, larger_is_better: bool = False
    ) -> bool:
        """Do these completed trials satisfy the rule?"""
        return self._holds(_best_of_each(trials, larger_is_better), larger_is_better)

    def first_stop(
        self, trials: Sequence[CompletedTrial], *, larger_is_better: bool = False
    ) -> int | None:
        """Return the index of the trial after which the rule first holds; None if it never does.

        Args:
            trials: completed trials, in the order in which they ended.
            larger_is_better: is a larger value the better one, as of an AUC?
        """
        best: dict[Hashable, CompletedTrial] = {}
        for index, trial in enumerate(trials):
            _add(best, trial, larger_is_better)
            if self._holds(best, larger_is_better):
                return index
        return None

    def _holds(self, best: Mapping[Hashable, CompletedTrial], larger_is_better: bool) -> bool:
        if len(best) < self.least_trials:
            return False
        sign = -1.0 if larger_is_better else 1.0
        top = heapq.nsmallest(_TOP, best.values(), key=lambda trial: sign * trial.value)
        limit = self.threshold
        if self.se_share is not None:
            se = top[0].value_se
            limit = None if se is None else self.se_share * se
        if limit is None:
            return False
        return abs(top[-1].value - top[0].value) <= limit * (1 + _ROUNDING)


def completed_trials(records: Iterable[TrialRecord]) -> list[CompletedTrial]:
    """Return what the rule needs of a cell's trials that completed, in the order of their ends.

    Their value is the objective, of which less is better whatever the metric.
    """
    return [
        CompletedTrial(
            key=configuration_key(record.params),
            value=record.objective,
            value_se=record.objective_se,
        )
        for record in sorted(records, key=lambda record: (record.ended, record.number))
        if record.state == "COMPLETE" and record.objective is not None
    ]


def configuration_key(params: Mapping[str, Any]) -> Hashable:
    """Return the same key for equal configurations.

    The order of the parameters does not matter, 2 is 2.0, and a parameter that is None or NaN is
    one that the configuration does not have.
    """
    return frozenset(
        (name, _frozen(value)) for name, value in params.items() if not _is_missing(value)
    )


def _frozen(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return configuration_key(value)
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(each) for each in value)
    hashable: Hashable = value
    return hashable


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _best_of_each(
    trials: Iterable[CompletedTrial], larger_is_better: bool
) -> dict[Hashable, CompletedTrial]:
    best: dict[Hashable, CompletedTrial] = {}
    for trial in trials:
        _add(best, trial, larger_is_better)
    return best


def _add(
    best: dict[Hashable, CompletedTrial], trial: CompletedTrial, larger_is_better: bool
) -> None:
    """Keep the better trial of a configuration, the earlier one of equals."""
    known = best.get(trial.key)
    is_better = known is None or (
        trial.value > known.value if larger_is_better else trial.value < known.value
    )
    if is_better:
        best[trial.key] = trial
