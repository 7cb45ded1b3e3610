"""The settings of final runs, and their outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.data.data_share import DataChoice, DataShare
from study.errors import StudyError
from study.results.finals.final_records import FinalRecord, ShareRecord
from study.results.finals.variant_records import VariantRecord
from study.spec.specification import Cell
from study.spec.variants import Variant
from study.text.short_forms import counted


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalSettings:
    """The settings with which winners are trained again."""

    results: Path
    """The results folder, absolute."""
    n_candidates: int
    """Number of a search's best trials that are trained again."""
    n_selection_seeds: int
    """Number of fresh seeds for each of these trials."""
    n_seeds: int
    """Number of fresh seeds for the winner."""
    with_validation: bool
    """Is the winner trained on the validation days too, up to the number of its best epoch?"""
    may_differ: bool
    """May code, data or settings have changed since the search?"""
    data_shares: Sequence[float] = ()
    """Shares of the training days, below 1, on which the winner is trained too."""
    data_choice: DataChoice = "recent"
    """Which training days make a share."""
    variants: Sequence[Variant] = ()
    """Settings that are changed, one at a time, in further runs of the winner."""

    def other_seeds(self, done: FinalRecord, folder: Path) -> str:
        """Return what is said of complete runs with another number of seeds than is asked for.

        Seeds that are added once the test days are known could be added until a claim holds.
        """
        if done.n_seeds == self.n_seeds:
            return ""
        return (
            f", with {counted(done.n_seeds, 'seed')} where --seeds {self.n_seeds} is asked for: "
            f"test days are open, so none are added; move {folder} away to train all anew"
        )

    def shares_of(self, cell: Cell) -> list[DataShare]:
        """Return the shares of a cell's training days; budgets of a search have the same blocks."""
        return [
            DataShare(share=share, choice=self.data_choice, seed=cell.search.seed)
            for share in self.data_shares
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalOutcome:
    """The outcome of the final runs of a cell."""

    cell: str
    record: FinalRecord | None
    """Record of the runs; None if they have not ended."""
    reason: str | None
    """Reason why they have not ended; None if they have."""
    is_fault: bool = False
    """Did a fault stop them, and not the user?"""
    shares: Sequence[ShareRecord] = ()
    """Records of the runs on shares of the training days that were asked for."""
    variants: Sequence[VariantRecord] = ()
    """Records of the runs with one setting changed that were asked for."""
    refused: Sequence[StudyError] = ()
    """Errors of the variants that this winner cannot be compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalOutcomes:
    """The outcomes of the final runs of several cells."""

    outcomes: Sequence[FinalOutcome]
    """Outcomes of the cells that were trained, in order, up to the first unfinished one."""
    problems: Sequence[str]
    """Errors of the cells that were refused."""

    @property
    def records(self) -> list[FinalRecord]:
        """The records of the cells that have ended."""
        return [outcome.record for outcome in self.outcomes if outcome.record is not None]

    @property
    def shares(self) -> list[ShareRecord]:
        """The records of the runs on shares of the training days, of the cells that have ended."""
        return [share for outcome in self.outcomes for share in outcome.shares]

    @property
    def variants(self) -> list[VariantRecord]:
        """The records of the runs with one setting changed, of the cells that have ended."""
        return [variant for outcome in self.outcomes for variant in outcome.variants]

    @property
    def unfinished(self) -> FinalOutcome | None:
        """The cell at which training stopped, if it did."""
        return next((outcome for outcome in self.outcomes if outcome.record is None), None)
