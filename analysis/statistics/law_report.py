"""The report of a scaling law: its forms, the prediction of the largest size, the verdict."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.statistics.interval import Estimate
from analysis.statistics.law_fit import Fit
from analysis.statistics.run_resampling import Runs
from analysis.statistics.trend import Trend

Verdict = Literal["scaling", "inverse scaling", "no measurable effect", "not identified"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FormReport:
    """One form of the law, fitted."""

    fit: Fit
    estimates: dict[str, Estimate]
    """E, A, alpha, and B, beta with a second axis; ``a_opt`` = beta / (alpha + beta). NaN without
    an interval where the sizes do not define them."""
    ranges: dict[str, tuple[float, float]]
    """Ranges, by the same names, between which values all fit equally well; empty where the best
    fit is the only one. The intervals hold them."""
    is_defined: bool
    """Are there as many different sizes as parameters, and do the axes differ?"""
    aicc: float | None
    """Akaike's corrected criterion; None where the correction is not defined, or where the
    residuals are zero."""
    misspecified_p: float | None
    """Probability that a floor would explain so much more by chance; None for all forms but the
    power law."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """The largest size, predicted from the others."""

    size: float
    measured: float
    """Mean measured loss of the largest size."""
    predicted: float
    low: float | None
    high: float | None
    """Upper end of the prediction's interval, the noise of a mean of runs included."""

    @property
    def log_error(self) -> float:
        """Log of the measured less log of the predicted loss."""
        return float(np.log(self.measured / self.predicted))

    @property
    def is_covered(self) -> bool | None:
        """Does the interval hold what was measured? None without an interval."""
        return (
            None
            if self.low is None or self.high is None
            else (self.low <= self.measured <= self.high)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LawReport:
    """Everything that is known of how loss depends on size."""

    runs: Runs
    forms: dict[str, FormReport]
    chosen: str
    """Name of the form on which the verdict rests."""
    trend: Trend
    """How loss moves with size, whatever the form."""
    resampled: str | None
    """Description of what was resampled for the intervals; None if nothing could be."""
    profile: list[tuple[float, float, float]]
    """Floor, objective and alpha of laws with that floor given."""
    held_out: HeldOut | None
    verdict: Verdict
    sentence: str
