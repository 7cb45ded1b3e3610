"""The record of a fold of test days, and of the days that a winner was trained on before it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldRecord:
    """A fold of test days, and what the winner was trained on before it. Days are ISO dates.

    Fields that are None are missing from records of an earlier version.
    """

    first_train_day: str
    last_train_day: str
    n_train: int
    """Number of training samples, those of validation included if it was trained on them too."""
    base_rate: float
    """Share of positives among them."""
    n_validation: int
    first_test_day: str
    last_test_day: str
    n_test: int
    train_positives: int | None = None
    """Number of positives among the training samples."""
    first_validation_day: str | None = None
    last_validation_day: str | None = None
    validation_positives: int | None = None
    test_positives: int | None = None
    largest_shift: float | None = None
    """Shift, (validation mean - train mean) / train sd, of the input that moved most; validation
    days are held out for it even where the winner was trained on them too."""
    largest_shift_input: str | None = None
    """Name of that input."""
    max_shift: float | None = None
    """Largest shift, in absolute value, with which a search may begin; None, too, where levels are
    not standardised, because a search is not refused for them."""

    @property
    def drifts(self) -> bool:
        """Would a search be refused for the drift of its inputs on these days?"""
        if self.largest_shift is None or self.max_shift is None:
            return False
        return abs(self.largest_shift) > self.max_shift
