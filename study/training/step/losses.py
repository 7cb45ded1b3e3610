"""The loss of one asset's samples, as sums over them, so that micro-batches add up exactly."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from study.model.network import Prediction
from study.training.step.samples import Losses
from study.training.train_config import TrainConfig


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one asset on the device."""

    x_BTF: Tensor
    label_B: Tensor
    auxiliary_B: Tensor
    fall_B: Tensor | None

    def __len__(self) -> int:
        return int(self.label_B.shape[0])

    @property
    def inputs(self) -> tuple[Tensor]:
        """The arguments of the network."""
        return (self.x_BTF,)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLoss:
    """The binary cross-entropy, with the parts that settings add to it.

    Its reported parts are the log-loss, in nats, and the squared error on the standardised log
    range, None if the model does not predict it.
    """

    auxiliary_weight: float
    fall_weight: float
    """Weight of the label of a fall; 0 does not compute its loss."""
    fall_shift: float
    """What is added to the logit for the label of a fall, log-odds."""

    @classmethod
    def of(cls, train: TrainConfig, fall_shift: float) -> "LogLoss":
        """Return the loss that settings minimise."""
        return cls(
            auxiliary_weight=train.auxiliary_weight,
            fall_weight=train.fall_weight,
            fall_shift=fall_shift,
        )

    @property
    def n_parts(self) -> int:
        """Number of reported parts."""
        return 2

    @property
    def terms(self) -> tuple[str, ...]:
        """No names: the report has a field for each part."""
        return ()

    def __call__(self, answer: Prediction, batch: Batch) -> Losses:
        """Return the losses of a batch, summed over its samples."""
        logit_B, predicted_B = answer
        log_loss = total = _log_loss(logit_B, batch.label_B)
        auxiliary = None
        if predicted_B is not None:
            auxiliary = functional.mse_loss(predicted_B, batch.auxiliary_B, reduction="sum")
            if self.auxiliary_weight > 0:
                total = total + self.auxiliary_weight * auxiliary
        if self.fall_weight > 0:
            assert batch.fall_B is not None
            falls = _log_loss(logit_B + self.fall_shift, batch.fall_B)
            total = total + self.fall_weight * falls
        return Losses(total, (log_loss, auxiliary))


def _log_loss(logit_B: Tensor, label_B: Tensor) -> Tensor:
    loss: Tensor = functional.binary_cross_entropy_with_logits(logit_B, label_B, reduction="sum")
    return loss
