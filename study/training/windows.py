"""The series on the device, and the windows that are cut from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from study.data.dataset import Dataset
from study.errors import DataError, require
from study.model.model_config import ModelConfig
from study.training.metrics import FoldAnswers, Metrics, evaluate, evaluate_folds
from study.training.step.losses import Batch, LogLoss
from study.training.train_config import TrainConfig, require_no_panel_settings

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingData:
    """The samples of training and validation. Arrays are read, never written.

    A sample is given by its day: its window is the rows ``day - context_length + 1 .. day``.
    Features are not checked for NaN here: ``study.data`` refuses them, and a NaN would end the
    trial as ``diverged``.
    """

    features: FloatArray
    """Features of every day, shape (n_days, n_features), oldest day first."""
    labels: FloatArray
    """Label of every day, 0 or 1, NaN where unknown; shape (n_days,)."""
    auxiliary: FloatArray
    """Standardised log range of the coming days, NaN where unknown; shape (n_days,)."""
    falls: FloatArray | None = None
    """Label of the same move downwards, as ``labels``; None where the task has none."""
    train_days: IndexArray
    """Row numbers of the training samples, all of them labelled."""
    validation_days: IndexArray
    """Row numbers of the validation samples, all of them labelled."""
    base_rate: float
    """Share of positive training labels, which the constant predictor of ``skill`` uses."""
    horizon: int = 1
    """Trading days that a label looks ahead, which sets the standard errors."""
    baseline_losses: Float64Array | None = None
    """Log-losses of the baseline to beat on the validation days, nats, shape (n_validation,)."""

    @classmethod
    def of(cls, data: Dataset, baseline_losses: Float64Array | None = None) -> Self:
        """Return the samples of a data set, with the losses of the baseline to beat."""
        return cls(
            features=data.features,
            labels=data.labels,
            auxiliary=data.auxiliary,
            falls=data.falls,
            train_days=data.train_days,
            validation_days=data.validation_days,
            base_rate=data.base_rate,
            horizon=data.horizon,
            baseline_losses=baseline_losses,
        )

    def __post_init__(self) -> None:
        where = "TrainingData"
        n_days = self.features.shape[0]

        def check(condition: bool, rule: str, got: object) -> None:
            require(
                condition,
                where,
                rule,
                got=got,
                remedy="Build it from one Dataset.",
                error=DataError,
            )

        check(
            self.features.ndim == 2 and self.labels.shape == self.auxiliary.shape == (n_days,),
            "features must be (n_days, n_features), labels and auxiliary (n_days,)",
            f"{self.features.shape}, {self.labels.shape} and {self.auxiliary.shape}",
        )
        check(
            0 < self.base_rate < 1,
            "base_rate must lie strictly between 0 and 1",
            f"base_rate={self.base_rate!r}",
        )
        for name in ("train_days", "validation_days"):
            days: IndexArray = getattr(self, name)
            check(days.ndim == 1 and len(days) > 0, f"{name} must hold days", f"shape {days.shape}")
            check(
                bool(days.min() >= 0 and days.max() < n_days),
                f"{name} must be rows of the series of {n_days} days",
                f"{days.min()} to {days.max()}",
            )
            labels = self.labels[days]
            check(
                bool(np.isin(labels, (0.0, 1.0)).all()),
                f"labels must be 0 or 1 on every one of {name}",
                f"{int((~np.isin(labels, (0.0, 1.0))).sum())} others",
            )
        if self.falls is not None:
            check(
                self.falls.shape == (n_days,)
                and bool(np.isin(self.falls[self.train_days], (0.0, 1.0)).all()),
                "falls must be (n_days,), 0 or 1 on every training day",
                f"shape {self.falls.shape}",
            )
        losses = self.baseline_losses
        check(
            losses is None or losses.shape == self.validation_days.shape,
            "baseline_losses must hold one loss per validation day",
            "None" if losses is None else f"shape {losses.shape}",
        )
        unknown = ~np.isfinite(self.auxiliary[self.train_days])
        check(
            not unknown.any(),
            "auxiliary must be known on every training day",
            f"{int(unknown.sum())} unknown",
        )

    @property
    def fall_shift(self) -> float:
        """The log-odds of a fall less those of the label, over the training days.

        Half a day of each class is added to both, so that they exist in days of one class (Haldane
        1956, Anscombe 1956).
        """
        assert self.falls is not None
        return _log_odds(self.falls[self.train_days]) - _log_odds(self.labels[self.train_days])

    @property
    def n_features(self) -> int:
        """Number of input features per day."""
        return int(self.features.shape[1])

    def require_fit(self, model: ModelConfig, train: TrainConfig) -> None:
        """Refuse an architecture or settings that do not fit these samples.

        Raises: StudyError.
        """
        require_n_features(model, self.n_features)
        require(
            model.n_assets == 1,
            "Trainer",
            "the model of one asset must have n_assets 1",
            got=f"n_assets={model.n_assets}",
            remedy="Build the ModelConfig from the Dataset.",
        )
        require(
            train.auxiliary_weight == 0 or model.auxiliary_head,
            "Trainer",
            "an auxiliary_weight above 0 needs a model with an auxiliary head",
            got=f"auxiliary_weight={train.auxiliary_weight}, auxiliary_head=False",
            remedy="Set auxiliary_head, or the weight would train nothing.",
        )
        require(
            train.fall_weight == 0 or self.falls is not None,
            "Trainer",
            "a fall_weight above 0 needs a label of falls",
            got=f"fall_weight={train.fall_weight}, no label of falls",
            remedy="Set fall_weight to 0; the task direction has none.",
        )
        require_no_panel_settings(train)

    def windows(self, context_length: int, device: torch.device) -> "Windows":
        """Return the samples on a device."""
        return Windows(self, context_length=context_length, device=device)

    def objective(self, train: TrainConfig) -> LogLoss:
        """Return the loss that settings minimise."""
        return LogLoss.of(train, self.fall_shift if train.fall_weight > 0 else 0.0)

    def evaluate(self, answers: FloatArray) -> Metrics | None:
        """Return the scores of logits of the validation days; None if one is not finite."""
        return evaluate(
            answers,
            self.labels[self.validation_days],
            base_rate=self.base_rate,
            horizon=self.horizon,
            baseline_losses=self.baseline_losses,
        )

    def evaluate_folds(
        self, others: Sequence[Self], answers: Sequence[FloatArray]
    ) -> Metrics | None:
        """Return the scores of a trial with a network for each fold, over all their days.

        Args:
            others: the samples of the other folds; those of this one come first.
            answers: the logits of every fold's network on its validation days.

        Returns: None if a logit is not finite.
        """
        folds = [
            FoldAnswers(
                logit=logit,
                label=data.labels[data.validation_days],
                days=data.validation_days,
                base_rate=data.base_rate,
                baseline_losses=data.baseline_losses,
            )
            for logit, data in zip(answers, (self, *others), strict=True)
        ]
        return evaluate_folds(folds, horizon=self.horizon)


def _log_odds(labels: FloatArray) -> float:
    n_positive = float(labels.sum(dtype=np.float64))
    return math.log((n_positive + 0.5) / (len(labels) - n_positive + 0.5))


def require_n_features(model: ModelConfig, n_features: int) -> None:
    """Refuse a model that reads another number of features than the data has.

    Raises: StudyError.
    """
    require(
        model.n_features == n_features,
        "Trainer",
        "the model must read as many features as the data has",
        got=f"n_features={model.n_features}, data with {n_features}",
        remedy="Build the ModelConfig from the Dataset.",
    )


class Windows:
    """Cuts windows by index from a series that is copied to the device once.

    A series of 8,000 days with 25 features takes 0.8 MB; all its windows would take 60 times that.
    """

    def __init__(self, data: TrainingData, *, context_length: int, device: torch.device) -> None:
        # torch.tensor copies; as_tensor would warn about read-only arrays from Ray's object store.
        self._series = torch.tensor(data.features, dtype=torch.float32, device=device)
        self._labels = torch.tensor(data.labels, dtype=torch.float32, device=device)
        self._auxiliary = torch.tensor(data.auxiliary, dtype=torch.float32, device=device)
        self._falls = (
            None
            if data.falls is None
            else torch.tensor(data.falls, dtype=torch.float32, device=device)
        )
        self._offset_T = torch.arange(1 - context_length, 1, device=device)
        self._context_length = context_length
        self._device = device
        self.answer_shape: tuple[int, ...] = ()
        """The shape of a network's answer to one sample."""
        self.days(data.train_days)
        self.days(data.validation_days)

    def days(self, days: IndexArray) -> Tensor:
        """Return row numbers on the device, int64 (n,).

        Raises: DataError if a window would begin before the series, where an index would wrap.
        """
        return days_on_device(days, self._context_length, self._device)

    def shuffled(self, days: IndexArray, generator: torch.Generator) -> Tensor:
        """Return ``days`` shuffled by a CPU generator, so that all devices see one order."""
        return shuffled_days(days, generator, self._device)

    def gather(self, days: Tensor) -> Batch:
        """Return the samples of ``days``, int64 (B,) on the device."""
        rows_BT = days[:, None] + self._offset_T
        return Batch(
            self._series[rows_BT],
            self._labels[days],
            self._auxiliary[days],
            None if self._falls is None else self._falls[days],
        )


def days_on_device(days: IndexArray, context_length: int, device: torch.device) -> Tensor:
    """Return row numbers on a device, int64 (n,).

    Raises: DataError if a window would begin before the series, where an index would wrap.
    """
    require(
        int(days.min()) >= context_length - 1,
        "TrainingData",
        "every sample needs context_length days up to its own",
        got=f"day={days.min()}, context_length={context_length}",
        remedy="Drop the first days from the splits or shorten the context.",
        error=DataError,
    )
    return torch.tensor(days, dtype=torch.int64, device=device)


def shuffled_days(days: IndexArray, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return ``days`` shuffled by a CPU generator, so that all devices see one order."""
    order = torch.randperm(len(days), generator=generator)
    return torch.tensor(days, dtype=torch.int64)[order].to(device)
