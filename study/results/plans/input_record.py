"""The data set of a cell and the folds of its search, as a plan records and shows them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.text.short_forms import counted


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitRecord:
    """The samples in a part of the days: how many, and how many independent ones they equal."""

    rows: int
    positives: int
    base_rate: float
    effective_size: float
    first_day: str
    last_day: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelSplitRecord:
    """The samples in a part of a panel's days, each a day with all its assets."""

    rows: int
    """Number of days."""
    labels: int
    """Number of asset-days with a label."""
    assets_mean: float
    """Mean number of such assets a day."""
    effective_size: float
    """Number of independent days that they are worth, as their labels overlap."""
    first_day: str
    last_day: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchFoldsRecord:
    """The folds of a search whose trials train a network for each of them."""

    kind: str
    """The setting ``search_splits``."""
    n_folds: int
    groups: int
    """Contiguous groups into which the days are cut."""
    validation_groups: int
    """Groups that validate in a fold."""
    train_rows: Sequence[int]
    """Number of training samples of each fold."""
    rows: int
    """Number of days, each of which is validated in equally many folds."""
    base_rate: float | None
    """Share of positives among them; None of a panel."""
    first_day: str
    last_day: str

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "SearchFoldsRecord | None":
        """Return the folds in the description of a cell, ``cell.yaml``; None if it has none."""
        found = described.get("search_folds")
        return None if found is None else cls(**found)

    @property
    def days(self) -> str:
        """Return the folds and their days in words, as ``5 purged folds of A to B``."""
        return f"{self.n_folds} purged folds of {self.first_day} to {self.last_day}"

    @property
    def scope(self) -> str:
        """Return the days by which a search judged, in words."""
        return f"{self.rows} days of {self.days}, whose networks learned from later days too"

    @property
    def sentence(self) -> str:
        """Return what the folds cost, and what they break: the order of time."""
        repeats = self.n_folds * self.validation_groups // self.groups
        low, high = min(self.train_rows), max(self.train_rows)
        each = f"on {low:,} days" if low == high else f"on {low:,} to {high:,} days"
        times = "" if repeats == 1 else f" {repeats} times"
        value = "score" if self.base_rate is None else "loss"
        return (
            f"{self.days}: each trial trains {counted(self.n_folds, 'network')}, {each}; a day is "
            f"judged{times} by networks that learned from later days too, so its {value} is "
            "no forecast: only the test days show that. The parts shown are those of the final runs"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class InputRecord:
    """The data set of a cell."""

    n_rows: int
    fold_train_rows: Sequence[int]
    """Number of training samples before each fold of test days, one where days are cut by shares.
    """
    n_features: int
    features: Sequence[str]
    splits: Mapping[str, SplitRecord | PanelSplitRecord]
    understood: str
    """How the columns of a file were understood, in words; empty where nothing was guessed."""
    warnings: Sequence[str]
    search_folds: SearchFoldsRecord | None = None
    """Folds on which the search trains; None where it trains on the part of ``splits``."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values by field; folds are left out where the search has none."""
        found = dataclasses.asdict(self)
        return {name: value for name, value in found.items() if value is not None}
