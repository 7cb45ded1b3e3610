"""Chooses the trials of a search that are trained again, and the winner among them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.errors import StudyError, require
from study.results.records import TrialRecord, ranked


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A trial of the search that was trained again with fresh seeds."""

    trial: TrialRecord
    """The trial as the search recorded it."""
    again: tuple[TrialRecord, ...]
    """The runs of its configuration with fresh seeds that have a usable result."""
    n_asked: int
    """Number of its runs with fresh seeds, failed and collapsed ones included."""

    @property
    def mean_value(self) -> float | None:
        """Mean validation loss of the fresh runs; None if one of them has none.

        A configuration that collapses with some seeds is not the best one, however good the rest.
        """
        if len(self.again) < self.n_asked:
            return None
        return float(np.mean([record.value for record in self.again if record.value is not None]))


def best_trials(records: Sequence[TrialRecord], count: int, where: str) -> list[TrialRecord]:
    """Return the best trials of a search as the search ranks them, the best first.

    Raises:
        StudyError: none can be ranked.
    """
    rankable = ranked(records)
    require(
        bool(rankable),
        where,
        "must have a trial with a usable result",
        got=f"{len(records)} trials, none of them usable",
        remedy="Search again with other settings.",
        error=StudyError,
    )
    return rankable[:count]


def source_of(trial: TrialRecord) -> str:
    """Return the name of a trial's runs with fresh seeds."""
    return f"trial {trial.number}"


def candidates(
    chosen: Sequence[TrialRecord], again: Sequence[TrialRecord], n_asked: int
) -> list[Candidate]:
    """Return the trials of a search, each with its runs with fresh seeds."""
    return [
        Candidate(
            trial=trial,
            again=tuple(
                record
                for record in again
                if record.source == f"forced:{source_of(trial)}" and record.is_rankable
            ),
            n_asked=n_asked,
        )
        for trial in chosen
    ]


def winner(found: Sequence[Candidate], where: str) -> Candidate:
    """Return the candidate with the lowest mean validation loss of its fresh runs.

    Raises:
        StudyError: none of them has a usable result with every seed.
    """
    usable = [candidate for candidate in found if candidate.mean_value is not None]
    require(
        bool(usable),
        where,
        "must have a configuration that trains with every fresh seed",
        got=f"{len(found)} configurations, each of which failed or collapsed with a seed",
        remedy="Look at their records in its selection folder.",
        error=StudyError,
    )
    return min(usable, key=lambda c: (c.mean_value, c.trial.number))
