"""The samples of a panel, and the windows that are cut from them on a device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, get_args

import numpy as np
import torch
from torch import Tensor

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.evaluation.probability_scores import daily_means
from study.data.panel.panel import MaskArray
from study.data.panel.panel_dataset import PanelDataset
from study.data.panel.panel_labels import HorizonLabels
from study.data.panel.shared_inputs import SharedInputs
from study.errors import DataError, require
from study.model.model_config import ModelConfig
from study.statistics.tied_ranks import FEWEST_ASSETS
from study.training.panel.panel_loss import PanelBatch, PanelObjective
from study.training.panel.panel_metrics import (
    DailyScores,
    HorizonScores,
    PanelMetric,
    PanelMetrics,
    panel_metrics,
)
from study.training.panel.panel_windows import AssetWindows
from study.training.train_config import TrainConfig
from study.training.windows import require_n_features, shuffled_days


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PanelTrainingData:
    """The days of training and validation with all their assets. Arrays are read, never written.

    A sample is given by its day: the window of each asset is the rows
    ``day - context_length + 1 .. day``. The inputs are not copied on the CPU where they are mapped
    from a file.
    """

    inputs: SharedInputs
    """Model inputs, whose values are float32 of shape (n_days, n_assets, n_features)."""
    present: MaskArray
    """Assets that are ranked on a day, shape (n_days, n_assets)."""
    targets: SampleArray
    """What training aims at, NaN where unknown, as ``present``."""
    returns: SampleArray
    """Returns of the next ``horizon`` days, NaN where unknown, as ``present``."""
    further: Sequence[HorizonLabels] = ()
    """Labels of further horizons, which are learned beside; they decide nothing."""
    volatility: SampleArray
    """Volatility of the market up to each day, 1 on an ordinary one, shape (n_days,)."""
    sectors: IndexArray
    """Number of each asset's sector, from 0, shape (n_assets,)."""
    train_days: IndexArray
    """Row numbers of the training samples."""
    validation_days: IndexArray
    """Row numbers of the validation samples."""
    horizon: int
    """Trading days that a return looks ahead."""
    metric: PanelMetric = "rank_ic"
    """What the search minimises: one less this score, or the squared error."""
    cost_bps: float
    """Cost of trading, basis points of what is traded."""
    share: float
    """Share of the assets that is bought, and that is sold."""
    baseline_rank_ics: PriceArray | None = None
    """RankICs of the baseline to beat on the validation days, shape (n_validation,)."""
    boosting_rank_ics: PriceArray | None = None
    """Those of gradient boosting, likewise."""

    @classmethod
    def of(
        cls,
        data: PanelDataset,
        baseline_rank_ics: PriceArray | None = None,
        boosting_rank_ics: PriceArray | None = None,
        *,
        metric: PanelMetric = "rank_ic",
        cost_bps: float,
        share: float,
    ) -> Self:
        """Return the samples of a data set.

        Args:
            data: the data set of a cell or of one of its folds.
            baseline_rank_ics: RankICs of the baseline to beat on its validation days.
            boosting_rank_ics: those of gradient boosting.
            metric: what the search minimises.
            cost_bps: cost of trading, basis points.
            share: share of the assets that is bought, and that is sold.
        """
        return cls(
            inputs=data.inputs,
            present=data.present,
            targets=data.targets,
            returns=data.returns,
            further=data.further,
            volatility=data.volatility,
            sectors=data.sectors,
            train_days=data.train_days,
            validation_days=data.validation_days,
            horizon=data.horizon,
            metric=metric,
            cost_bps=cost_bps,
            share=share,
            baseline_rank_ics=baseline_rank_ics,
            boosting_rank_ics=boosting_rank_ics,
        )

    def __post_init__(self) -> None:
        shape = self.inputs.values.shape

        def check(condition: bool, rule: str, got: object) -> None:
            require(
                condition,
                "PanelTrainingData",
                rule,
                got=got,
                remedy="Build it from one PanelDataset.",
                error=DataError,
            )

        arrays = [self.present, self.targets, self.returns]
        arrays += [each for own in self.further for each in (own.targets, own.returns)]
        check(
            len(shape) == 3
            and all(array.shape == shape[:2] for array in arrays)
            and self.volatility.shape == shape[:1]
            and self.sectors.shape == shape[1:2],
            "inputs must be (n_days, n_assets, n_features), and the other arrays as many days "
            "and assets",
            f"{shape} and {[array.shape for array in arrays]}",
        )
        check(self.metric in get_args(PanelMetric), "metric must be a known one", self.metric)
        for name in ("train_days", "validation_days"):
            rows: IndexArray = getattr(self, name)
            check(rows.ndim == 1 and len(rows) > 0, f"{name} must hold days", f"shape {rows.shape}")
            check(
                bool(rows.min() >= 0 and rows.max() < shape[0]),
                f"{name} must be rows of the {shape[0]} days",
                f"{rows.min()} to {rows.max()}",
            )
            fewest = int(self._labelled(rows, self.labels[0]).sum(axis=1).min())
            check(
                fewest >= FEWEST_ASSETS,
                f"each of {name} must have {FEWEST_ASSETS} assets with a label",
                f"{fewest} on one of them",
            )
        days = self.validation_days
        returns = np.where(self._labelled(days, self.labels[0]), self.returns[days], np.nan)
        check(
            bool((np.nanmax(returns, axis=1) > np.nanmin(returns, axis=1)).any()),
            "returns must differ between the assets of a validation day",
            "the same return of all assets on every one",
        )
        for name in ("baseline_rank_ics", "boosting_rank_ics"):
            rank_ics: PriceArray | None = getattr(self, name)
            check(
                rank_ics is None or rank_ics.shape == self.validation_days.shape,
                f"{name} must hold one value per validation day",
                "None" if rank_ics is None else f"shape {rank_ics.shape}",
            )

    @property
    def n_assets(self) -> int:
        """Number of assets, the absent ones included."""
        return int(self.inputs.values.shape[1])

    @property
    def n_features(self) -> int:
        """Number of input features of an asset and day."""
        return int(self.inputs.values.shape[2])

    @property
    def n_sectors(self) -> int:
        """Number of sectors."""
        return int(self.sectors.max()) + 1

    @property
    def labels(self) -> tuple[HorizonLabels, ...]:
        """The labels of all horizons, those of ``horizon`` first."""
        own = HorizonLabels(horizon=self.horizon, returns=self.returns, targets=self.targets)
        return own, *self.further

    @property
    def base_rate(self) -> float:
        """One half: the scores of a day begin at 0, which is the mean of the target."""
        return 0.5

    def require_fit(self, model: ModelConfig, train: TrainConfig) -> None:
        """Refuse an architecture or settings that do not fit these samples.

        Raises: StudyError.
        """
        require_n_features(model, self.n_features)
        require(
            model.n_assets == self.n_assets,
            "Trainer",
            "the model must read as many assets as the panel has",
            got=f"n_assets={model.n_assets}, panel with {self.n_assets}",
            remedy="Build the ModelConfig from the PanelDataset.",
        )
        require(
            model.asset_attention != "sector" or model.n_sectors == self.n_sectors,
            "Trainer",
            "the model must know as many sectors as the panel has",
            got=f"n_sectors={model.n_sectors}, panel with {self.n_sectors}",
            remedy="Build the ModelConfig from the PanelDataset.",
        )
        require(
            model.n_horizons == 1 + len(self.further),
            "Trainer",
            "the model must score as many horizons as the panel has labels of",
            got=f"n_horizons={model.n_horizons}, panel with {1 + len(self.further)}",
            remedy="Build the ModelConfig from the PanelDataset.",
        )
        require(
            not model.auxiliary_head and train.auxiliary_weight == 0 and train.fall_weight == 0,
            "Trainer",
            "auxiliary_head, auxiliary_weight and fall_weight must be off on a panel",
            got=f"auxiliary_head={model.auxiliary_head}, auxiliary_weight={train.auxiliary_weight},"
            f" fall_weight={train.fall_weight}",
            remedy="Leave them out; a panel has no such labels.",
        )

    def windows(self, context_length: int, device: torch.device) -> "PanelWindows":
        """Return the samples on a device."""
        return PanelWindows(self, context_length=context_length, device=device)

    def objective(self, train: TrainConfig) -> PanelObjective:
        """Return the loss that settings minimise."""
        return PanelObjective(train)

    def evaluate(self, answers: SampleArray) -> PanelMetrics | None:
        """Return the scores of answers, (n_validation, n_assets); None if one is not finite.

        Answers of several horizons have the shape (n_validation, n_assets, n_horizons).
        """
        daily = self._daily(answers)
        if daily is None:
            return None
        return self._metrics(daily, self.baseline_rank_ics, self.boosting_rank_ics)

    def evaluate_folds(
        self, others: Sequence[Self], answers: Sequence[SampleArray]
    ) -> PanelMetrics | None:
        """Return the scores of a trial with a network for each fold, over all their days.

        Scores are computed for each fold and day, averaged over the folds that judge the day, and
        then over the days in the order of time.

        Args:
            others: the samples of the other folds; those of this one come first.
            answers: the scores of every fold's network on its validation days.

        Returns: None if a score is not finite.
        """
        folds = (self, *others)
        own = [fold._daily(scores) for fold, scores in zip(folds, answers, strict=True)]
        found = [daily for daily in own if daily is not None]
        if len(found) < len(folds):
            return None
        days = [fold.validation_days for fold in folds]
        return self._metrics(
            DailyScores.pooled(days, found),
            _pooled(days, [fold.baseline_rank_ics for fold in folds]),
            _pooled(days, [fold.boosting_rank_ics for fold in folds]),
        )

    def _labelled(self, days: IndexArray, labels: HorizonLabels) -> MaskArray:
        """Return which assets of the days are ranked and have a label, (n, n_assets)."""
        known = np.isfinite(labels.returns[days]) & np.isfinite(labels.targets[days])
        mask: MaskArray = self.present[days] & known
        return mask

    def _daily(self, answers: SampleArray) -> DailyScores | None:
        days = self.validation_days
        own_DA, *further_DA = np.moveaxis(answers.reshape(*answers.shape[:2], -1), 2, 0)
        own, *others = self.labels
        further = [
            HorizonScores.of(
                score_DA,
                return_DA=labels.returns[days],
                mask_DA=self._labelled(days, labels),
                horizon=labels.horizon,
            )
            for score_DA, labels in zip(further_DA, others, strict=True)
        ]
        return DailyScores.of(
            own_DA,
            return_DA=own.returns[days],
            target_DA=own.targets[days],
            mask_DA=self._labelled(days, own),
            horizon=self.horizon,
            share=self.share,
            cost_bps=self.cost_bps,
            further=further,
        )

    def _metrics(
        self, daily: DailyScores, baseline: PriceArray | None, boosting: PriceArray | None
    ) -> PanelMetrics:
        return panel_metrics(
            daily,
            horizon=self.horizon,
            metric=self.metric,
            baseline_rank_ics=baseline,
            boosting_rank_ics=boosting,
        )


def _pooled(days: Sequence[IndexArray], rank_ics: Sequence[PriceArray | None]) -> PriceArray | None:
    """Return a baseline's means of each day over the folds; None unless every fold has them."""
    known = [values for values in rank_ics if values is not None]
    return daily_means(days, known) if len(known) == len(rank_ics) else None


class PanelWindows:
    """The days of a panel on a device: windows of all assets, with their labels."""

    def __init__(
        self, data: PanelTrainingData, *, context_length: int, device: torch.device
    ) -> None:
        self.windows = AssetWindows(
            data.inputs.values, context_length=context_length, device=device
        )
        """What cuts the windows."""
        self._device = device
        labels = data.labels
        target_DHA = np.stack([own.targets for own in labels], axis=1)
        known_DHA = data.present[:, None] & np.isfinite(target_DHA)
        known_DHA &= np.isfinite(np.stack([own.returns for own in labels], axis=1))
        self._present = torch.tensor(data.present, device=device)
        self._labelled = torch.tensor(known_DHA, device=device)
        targets = np.where(known_DHA, target_DHA, 0.0).astype(np.float32)
        self._targets = torch.tensor(targets, device=device)
        self._volatility = torch.tensor(data.volatility, dtype=torch.float32, device=device)
        self._sector_A = torch.tensor(data.sectors, dtype=torch.int64, device=device)
        n_horizons = (len(labels),) if data.further else ()
        self.answer_shape: tuple[int, ...] = (data.n_assets, *n_horizons)
        """The shape of a network's answer to one sample."""
        self.days(data.train_days)
        self.days(data.validation_days)

    def days(self, days: IndexArray) -> Tensor:
        """Return row numbers on the device, int64 (n,).

        Raises: DataError if a window would begin before the inputs, where an index would wrap.
        """
        return self.windows.days(days)

    def shuffled(self, days: IndexArray, generator: torch.Generator) -> Tensor:
        """Return ``days`` shuffled by a CPU generator, so that all devices see one order."""
        return shuffled_days(days, generator, self._device)

    def gather(self, days: Tensor) -> PanelBatch:
        """Return the samples of ``days``, int64 (B,) on the device."""
        return PanelBatch(
            self.windows.cut(days),
            self._present[days],
            self._sector_A,
            self._targets[days],
            self._labelled[days],
            self._volatility[days],
        )
