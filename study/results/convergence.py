"""The rule by which a search has converged: its best configurations differ by next to nothing."""

import heapq
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.errors import require
from study.results.records import BEYOND, NEIGHBOUR, TrialRecord

LEAST_TRIALS = 20
"""Number of distinct configurations that must have completed, from the same study."""

THRESHOLD = 0.02
"""Range of the five best in units of AUC: the value of the study that this one replaces, where the
rule held at trial 20 in all twelve searches."""

SE_SHARE = 0.1
"""Range of the five best as a share of the metric's standard error, by default.

All trials are scored on the same days, so most of that error is common to them. In this study's
records ``difference_se``, the error of a difference to the baseline, is about a seventh of
``value_se``, and that of a difference of two good models is smaller: five configurations within a
tenth cannot be distinguished.

Recorded studies of 50 trials (AUC, standard error .035), three of them: with a tenth the rule holds
at trials 41, 42 and never, and nothing is lost; with a range of .02 it holds at trial 20 in each,
and up to .009 is lost.

Simulated studies of 50 TPE trials, 40 for each setting (standard error .02; losses
scatter between seeds by .0005 or by .0015):

- First 20 losses spread by .016: with a tenth the rule holds at trial 20 in 15 % and 3 % of the
  studies (median trial 27 and 35; .11 and .06 standard errors lost), with a whole one in all.
- First 20 losses spread by .005: with a tenth it holds at trial 20 in 75 % and 17 %, and .05
  standard errors are lost.
- With a twentieth it never holds in two thirds of the studies with the larger scatter.
"""

_TOP = 5
"""Number of best configurations that are compared."""

_ROUNDING = 1e-9
"""Relative tolerance of the threshold: .72 - .70 is above .02 in binary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletedTrial:
    """The part of a completed trial that the rule needs."""

    key: Hashable
    """Key of its configuration, as ``configuration_key`` makes it."""
    value: float
    """Score of the trial, finite."""
    value_se: float | None
    """Standard error of ``value``; None if unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvergenceRule:
    """A search has converged when enough configurations completed and the five best are close.

    Equal configurations count once, with the best of their values.
    """

    least_trials: int = LEAST_TRIALS
    """Number of distinct configurations that must have completed."""
    threshold: float | None = None
    """Greatest range of the five best values, in units of the metric; None if ``se_share`` is
    given."""
    se_share: float | None = None
    """Greatest range of the five best values as a share of the standard error of the best; without
    that error the rule does not hold. None if ``threshold`` is given."""

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
    """Return a cell's completed trials as the rule needs them, in the order of their ends.

    Their value is the objective, which is minimised whatever the metric.
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


def is_placed(source: object) -> bool:
    """Was a trial put near the best one of its own or of another cell?

    Such trials lie close together whatever their search has found, so that no rule of convergence
    counts them, and no comparison of draws.

    Args:
        source: what its record says of it; None in tables of other programs.
    """
    return isinstance(source, str) and (source == BEYOND or source.startswith(NEIGHBOUR))


def configuration_key(params: Mapping[str, Any]) -> Hashable:
    """Return a key that equal configurations share.

    The order of the parameters does not matter, 2 equals 2.0, and a parameter that is None or NaN
    counts as absent.
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
