"""The loss that training minimises, as sums over samples, so that micro-batches add up exactly."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from study.model.network import Prediction
from study.training.train_config import TrainConfig
from study.training.windows import Batch


@dataclass(frozen=True, slots=True)
class LossSums:
    """Sums over the samples of a batch, float32 scalars on the device."""

    log_loss: Tensor
    """Binary cross-entropy, nats."""
    auxiliary: Tensor | None
    """Squared error on the standardised log range; None if the model does not predict it."""
    falls: Tensor | None
    """Binary cross-entropy of the label of a fall, nats; None if it has no weight."""

    def total(self, config: TrainConfig) -> Tensor:
        """Return the sum that is minimised."""
        total = self.log_loss
        if self.auxiliary is not None and config.auxiliary_weight > 0:
            total = total + config.auxiliary_weight * self.auxiliary
        if self.falls is not None:
            total = total + config.fall_weight * self.falls
        return total


def loss_sums(
    prediction: Prediction, batch: Batch, *, fall_weight: float, fall_shift: float
) -> LossSums:
    """Return the losses of a batch, summed over its samples.

    The sums of all micro-batches, divided by the number of samples of the optimizer step, are the
    mean over that step; a mean of means would give a short last micro-batch too much weight.

    Args:
        prediction: outputs of the model.
        batch: the samples.
        fall_weight: weight of the label of a fall; 0 does not compute its loss.
        fall_shift: what is added to the logit for the label of a fall, log-odds.
    """
    logit_B, predicted_B = prediction
    falls = None
    if fall_weight > 0:
        assert batch.fall_B is not None
        falls = _log_loss(logit_B + fall_shift, batch.fall_B)
    return LossSums(
        _log_loss(logit_B, batch.label_B),
        None
        if predicted_B is None
        else functional.mse_loss(predicted_B, batch.auxiliary_B, reduction="sum"),
        falls,
    )


def _log_loss(logit_B: Tensor, label_B: Tensor) -> Tensor:
    loss: Tensor = functional.binary_cross_entropy_with_logits(logit_B, label_B, reduction="sum")
    return loss
