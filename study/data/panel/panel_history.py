"""The days of a panel that can be ranked, and what their assets earn after them."""

from dataclasses import dataclass

import numpy as np

from study.data.arrays import DayArray, IndexArray, SampleArray
from study.data.data_config import DataConfig
from study.data.data_share import DataShare
from study.data.panel.panel import MaskArray, Panel
from study.data.panel.panel_dataset import PanelSplit
from study.data.panel.panel_inputs import panel_warm_up_days
from study.data.panel.panel_labels import labelled_returns, returns_ahead
from study.data.splits import Part, Splits, count_folds, split_days
from study.errors import DataError, require
from study.statistics.tied_ranks import FEWEST_ASSETS


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelHistory:
    """All days with inputs of a panel's cell, the test part included."""

    config: DataConfig
    first: int
    """Row in the panel of the first day on which three assets have inputs."""
    dates: DayArray
    """Days from then on, datetime64[D] of shape (n_days,)."""
    present: MaskArray
    """Assets whose features are known on a day and on the first day of its window, shape (n_days,
    n_assets)."""
    returns: SampleArray
    """Labelled returns, shape (n_days, n_assets); NaN where unknown, where ``present`` is False,
    and on days that cannot be ranked."""

    def days_by_date(self, fold: int | None = None) -> Splits:
        """Return the days of each part, whether or not they can be ranked.

        Raises:
            DataError: a part is empty.
        """
        return split_days(self.dates, self.config, fold)

    def sample_days(self, fold: int | None = None, share: DataShare | None = None) -> Splits:
        """Return the days of each part that can be ranked, of the training days those of a share.

        Raises:
            DataError: a part has none.
        """
        days = self.days_by_date(fold)
        samples = Splits(
            train=self._trained(days.train, share),
            validation=self.ranked(days.validation),
            test=self.ranked(days.test),
        )
        sizes = {
            "train": len(samples.train),
            "validation": len(samples.validation),
            "test": len(samples.test),
        }
        require(
            all(sizes.values()),
            "splits",
            f"every part must keep days on which {FEWEST_ASSETS} assets have a window of inputs "
            "and a label, and not all the same return",
            got=", ".join(f"{part}={size}" for part, size in sizes.items())
            + f" of {len(self.dates)} days",
            remedy="Give a panel whose prices move and that has more assets on its early and late "
            "days, or lower context_length.",
            error=DataError,
        )
        return samples

    def ranked(self, days: IndexArray) -> IndexArray:
        """Return those of the days that have labels."""
        found: IndexArray = days[np.isfinite(self.returns[days]).any(axis=1)]
        return found

    def fold_train_rows(self, share: DataShare | None = None) -> tuple[int, ...]:
        """Return the number of training samples of each fold of test days, those of a share."""
        folds = range(count_folds(self.dates, self.config))
        return tuple(len(self._trained(self.days_by_date(fold).train, share)) for fold in folds)

    def _trained(self, days: IndexArray, share: DataShare | None) -> IndexArray:
        """Return those of the training days that can be ranked, of them those of a share."""
        ranked = self.ranked(days)
        return ranked if share is None else share.of(ranked, self.config.horizon)

    def summaries(self, days: Splits) -> dict[Part, PanelSplit]:
        """Return the size of each part."""
        return {
            "train": self.summary(days.train),
            "validation": self.summary(days.validation),
            "test": self.summary(days.test),
        }

    def summary(self, days: IndexArray) -> PanelSplit:
        """Return the size of a part of one sample or more.

        Its effective size is the number of its days whose labels do not overlap, rows / horizon:
        what the mean of daily RankICs of a score without skill is worth. Sums over ``horizon`` days
        that move on by one correlate by 1 - lag / horizon, which multiplies the variance of their
        mean by ``horizon``. Months in which a score keeps earning or losing make days worth less;
        only the standard error by blocks of days (``block_days``) sees them.

        Args:
            days: the part's sample days.
        """
        labels = int(np.isfinite(self.returns[days]).sum())
        return PanelSplit(
            rows=len(days),
            labels=labels,
            assets_mean=labels / len(days),
            effective_size=len(days) / self.config.horizon,
            first_day=str(self.dates[days[0]]),
            last_day=str(self.dates[days[-1]]),
        )


def panel_history(config: DataConfig, panel: Panel, known: MaskArray) -> PanelHistory:
    """Return the days with inputs of a panel's cell.

    Args:
        config: of the cell.
        panel: its prices.
        known: assets that have all features on a day, shape (n_days, n_assets) of the panel.

    Raises:
        DataError: there is no day with the features of three assets.
    """
    enough = known.sum(axis=1) >= FEWEST_ASSETS
    warm_up = panel_warm_up_days(config.tier)
    require(
        bool(enough.any()),
        panel.name,
        f"tier {config.tier} needs a day on which {FEWEST_ASSETS} assets have more than {warm_up} "
        "days of prices behind them",
        got=f"{len(panel.dates)} days of {len(panel.assets)} assets",
        remedy="Give a longer history.",
        error=DataError,
    )
    first = int(enough.argmax())
    known = known[first:]
    present = np.zeros_like(known)
    reach = config.context_length - 1
    present[reach:] = known[reach:] & known[: max(0, len(known) - reach)]
    close = panel.close[first:]
    return PanelHistory(
        config=config,
        first=first,
        dates=panel.dates[first:],
        present=present,
        returns=labelled_returns(returns_ahead(close, config.horizon), present),
    )
