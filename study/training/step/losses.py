"""The loss that training minimises, as sums over samples, so that micro-batches add up exactly."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class LossSums:
    """Sums over the samples of a batch, float32 scalars on the device."""

    log_loss: Tensor
    """Binary cross-entropy, nats."""
    auxiliary: Tensor | None
    """Squared error on the standardised log range; None if the model does not predict it."""

    def total(self, auxiliary_weight: float) -> Tensor:
        """Return the sum that is minimised."""
        if self.auxiliary is None or auxiliary_weight == 0:
            return self.log_loss
        return self.log_loss + auxiliary_weight * self.auxiliary


def loss_sums(
    logit_B: Tensor, label_B: Tensor, predicted_B: Tensor | None, auxiliary_B: Tensor
) -> LossSums:
    """Return the losses of a batch, summed over its samples.

    The sums of all micro-batches, divided by the number of samples of the optimizer step, are the
    mean over that step; a mean of means would give a short last micro-batch too much weight.

    Args:
        logit_B: logits, float32.
        label_B: labels, 0 or 1, float32.
        predicted_B: the model's auxiliary output, float32, or None.
        auxiliary_B: target of the auxiliary output, float32.
    """
    log_loss = functional.binary_cross_entropy_with_logits(logit_B, label_B, reduction="sum")
    if predicted_B is None:
        return LossSums(log_loss, None)
    return LossSums(log_loss, functional.mse_loss(predicted_B, auxiliary_B, reduction="sum"))
