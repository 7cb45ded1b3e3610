"""What a trainer asks of its samples, be they the days of one asset or of a panel."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from study.data.arrays import IndexArray, SampleArray
from study.model.model_config import ModelConfig
from study.training.metrics import Metrics
from study.training.panel.panel_metrics import PanelMetrics
from study.training.train_config import TrainConfig


class Losses(NamedTuple):
    """Losses of a batch, summed over its samples, float32 scalars on the device.

    The sums of all micro-batches, divided by the number of samples of the optimizer step, are the
    mean over that step; a mean of means would give a short last micro-batch too much weight.
    """

    total: Tensor
    """The loss that is minimised."""
    parts: tuple[Tensor | None, ...]
    """What is reported, without weights: the loss that the report calls ``train_loss`` first. None
    for a part that was not computed."""


class Batch(Protocol):
    """Samples on the device."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The arguments of the network."""


class SampleWindows(Protocol):
    """The samples on the device, from which batches are cut by their days."""

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """The shape of the network's answer to one sample: () or, of a panel, (A,)."""

    def days(self, days: IndexArray) -> Tensor:
        """Return row numbers on the device, int64 (n,)."""

    def shuffled(self, days: IndexArray, generator: torch.Generator) -> Tensor:
        """Return ``days`` shuffled by a CPU generator, so that all devices see one order."""

    def gather(self, days: Tensor) -> Any:
        """Return the ``Batch`` of ``days``, int64 (B,) on the device, for its own objective."""


class Objective(Protocol):
    """The loss that training minimises, as sums over samples."""

    @property
    def n_parts(self) -> int:
        """Number of ``Losses.parts``."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the parts that are reported as the terms of the loss; may be none."""

    def __call__(self, answer: Any, batch: Any) -> Losses:
        """Return the losses of what the network returned for a batch."""


class Samples(Protocol):
    """The samples of training and validation; a sample is given by the row of its day."""

    @property
    def train_days(self) -> IndexArray:
        """Row numbers of the training samples."""

    @property
    def validation_days(self) -> IndexArray:
        """Row numbers of the validation samples."""

    @property
    def base_rate(self) -> float:
        """The probability whose log-odds a network answers before it has learned anything."""

    def require_fit(self, model: ModelConfig, train: TrainConfig) -> None:
        """Refuse an architecture or settings that do not fit the samples.

        Raises: StudyError.
        """

    def windows(self, context_length: int, device: torch.device) -> SampleWindows:
        """Return the samples on a device."""

    def objective(self, train: TrainConfig) -> Objective:
        """Return the loss that settings minimise."""

    def evaluate(self, answers: SampleArray) -> Metrics | PanelMetrics | None:
        """Return the scores of answers to the validation days; None if one is not finite."""

    def evaluate_folds(
        self, others: Sequence[Any], answers: Sequence[SampleArray]
    ) -> Metrics | PanelMetrics | None:
        """Return the scores of a trial with a network for each fold, over all their days.

        Args:
            others: the samples of the other folds, of the same kind; those of this one come first.
            answers: the answers of every fold's network to its validation days.

        Returns: None if an answer is not finite.
        """
