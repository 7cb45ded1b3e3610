"""The data set of a panel's cell: what a search may see of it."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.cell_data import CellData
from study.data.panel.panel import MaskArray
from study.data.panel.panel_labels import HorizonLabels
from study.data.panel.shared_inputs import SharedInputs
from study.data.splits import Part

NO_SECTORS = "all"
"""Name of the one sector of all assets, where none are known."""

PAST_DAYS = 250
"""Days of closes before the first day with inputs: a trading year, the furthest that a baseline
looks back."""


def window_rows(days: IndexArray, context_length: int) -> IndexArray:
    """Return the rows that the windows of days hold, each once, ascending."""
    return np.unique(days[:, None] - np.arange(context_length))


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelSplit:
    """The size of one part of a panel."""

    rows: int
    """Number of samples: days on which at least three assets have inputs and a label, and not all
    the same return."""
    labels: int
    """Number of asset-days with inputs and a label."""
    assets_mean: float
    """Mean number of such assets a day."""
    effective_size: float
    """Number of independent days that the part's days are worth, as their labels overlap."""
    first_day: str
    """ISO date of the first sample."""
    last_day: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelDataset(CellData):
    """One cell's panel, all that a search may see. Arrays are read-only.

    The arrays end on the last validation day. A sample is a day with all its assets.
    """

    inputs: SharedInputs
    """Model inputs, whose ``values`` are float32 of shape (n_days, n_assets, n_features); 0, which
    is the mean, where an asset has none."""
    present: MaskArray
    """Assets that are ranked on a day, shape (n_days, n_assets): those whose features are known on
    the day and on the first day of its window."""
    returns: SampleArray
    """Returns of the next ``horizon`` days, close to close, shape (n_days, n_assets); NaN where
    unknown, where ``present`` is False, and on days that neither train nor validate. A day has
    labels of three assets or more, which are not all equal, or none."""
    targets: SampleArray
    """What training aims at, computed from ``returns`` across each day; NaN where they are."""
    further: tuple[HorizonLabels, ...] = ()
    """Labels of the horizons that are learned beside ``horizon``, each with NaN by the same rules;
    a sample may have none of them."""
    volatility: SampleArray
    """Mean absolute return of the equal-weighted market over the 20 days up to each, divided by its
    median over the training days, shape (n_days,); 1 where unknown."""
    assets: tuple[str, ...]
    sectors: npt.NDArray[np.int64]
    """Row of each asset's sector in ``sector_names``, shape (n_assets,)."""
    sector_names: tuple[str, ...]
    """Names of the sectors; ``NO_SECTORS`` alone where none are known."""
    closes: PriceArray
    """Closes, float64 of shape (n_past + n_days, n_assets), NaN where unknown; the last rows are
    those of ``dates``, and up to ``PAST_DAYS`` lie before them, for baselines that look back."""
    oracle: SampleArray | None
    """Best possible scores of a simulated panel, shape (n_days, n_assets); None of a real one."""
    splits: dict[Part, PanelSplit]
    search_folds: tuple["PanelDataset", ...] = ()
    """Data sets of the folds on which a search trains and validates; empty where it uses the days
    of this one."""

    @property
    def n_sectors(self) -> int:
        """Number of sectors; 0 where none are known."""
        return 0 if self.sector_names == (NO_SECTORS,) else len(self.sector_names)

    @property
    def per_network(self) -> tuple["PanelDataset", ...]:
        """The data sets of the networks of a trial: one for each fold of a search, or this one."""
        return self.search_folds or (self,)

    @property
    def without_search_folds(self) -> "PanelDataset":
        """This data set for runs that train one network, on the earlier days alone."""
        return replace(self, search_folds=())

    @property
    def standardising_rows(self) -> IndexArray:
        """Rows in the windows by which inputs along time are standardised, ascending.

        They are those of the days that trained when the inputs were built: a run that is trained on
        the validation days too has the same inputs.
        """
        days = np.setdiff1d(self.train_days, self.validation_days)
        return window_rows(days, self.context_length)

    def labelled(self, days: IndexArray) -> MaskArray:
        """Return which assets of the days are ranked and have a label, (n, n_assets)."""
        mask: MaskArray = self.present[days] & np.isfinite(self.returns[days])
        return mask
