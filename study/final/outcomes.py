"""How winners are trained again, and how that ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.results.final_records import FinalRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalSettings:
    """How winners are trained again."""

    results: Path
    """The results folder, absolute."""
    n_candidates: int
    """Best trials of a search that are trained again."""
    n_selection_seeds: int
    """Fresh seeds for each of them."""
    n_seeds: int
    """Fresh seeds for the winner."""
    with_validation: bool
    """Is the winner trained on the validation days too, for as many epochs as its best one was?"""
    may_differ: bool
    """May code, data or settings have changed since the search?"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalOutcome:
    """How the final runs of a cell ended."""

    cell: str
    record: FinalRecord | None
    """None if they have not ended."""
    reason: str | None
    """Why they have not."""
    is_fault: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalOutcomes:
    """How the final runs of several cells ended."""

    outcomes: Sequence[FinalOutcome]
    """Those of the cells that were trained, in order; after an unfinished one there is none."""
    problems: Sequence[str]
    """Errors of the cells that were refused."""

    @property
    def records(self) -> list[FinalRecord]:
        """The records of the cells that have ended."""
        return [outcome.record for outcome in self.outcomes if outcome.record is not None]

    @property
    def unfinished(self) -> FinalOutcome | None:
        """The cell at which training stopped, if it did."""
        return next((outcome for outcome in self.outcomes if outcome.record is None), None)
