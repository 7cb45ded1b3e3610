"""What the data set of a cell holds, whether it asks about one asset or ranks many."""

from dataclasses import dataclass

from study.data.arrays import DayArray, IndexArray


@dataclass(frozen=True, kw_only=True, slots=True)
class CellData:
    """Days and provenance of a data set; its subclasses add inputs and labels."""

    dates: DayArray
    """Days, datetime64[D] of shape (n_days,), ascending."""
    feature_names: tuple[str, ...]
    train_days: IndexArray
    """Row of each training sample's day; its window is rows day - context_length + 1 .. day."""
    validation_days: IndexArray
    """Row of each validation sample's day."""
    n_rows: int
    """Days with inputs in the whole history, the sealed test part included."""
    fold_train_rows: tuple[int, ...]
    """Number of training samples before each fold of test days, one where days are cut by shares.
    """
    context_length: int
    horizon: int
    shift: dict[str, float]
    """Shift of each input, (validation mean - train mean) / train sd."""
    warnings: tuple[str, ...]
    """Oddities of the prices, refusals that were accepted, and days left out."""
    fingerprint: str
    """Digest (sha256) of the content of all series."""
    feature_hash: str
    """Digest (sha256) of the features' names, order and definitions."""
    source: str
    understood: str = ""
    """How the files were read, one line; empty for embedded ones."""

    @property
    def n_folds(self) -> int:
        """Number of folds of the test days, 1 where days are cut by shares."""
        return len(self.fold_train_rows)
