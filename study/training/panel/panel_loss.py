"""The loss of a panel's days, with the terms that its settings add, as sums over days."""

from dataclasses import dataclass

from torch import Tensor

from study.model.network import Prediction
from study.training.step.samples import Losses
from study.training.train_config import TrainConfig


@dataclass(frozen=True, slots=True)
class PanelBatch:
    """Days of a panel on the device."""

    x_BATF: Tensor
    present_BA: Tensor
    """Which assets are ranked, bool."""
    sector_A: Tensor
    """Sector of each asset, int64."""
    target_BA: Tensor
    """What the scores aim at; 0 where it is unknown."""
    labelled_BA: Tensor
    """Which assets count in the loss, bool."""
    volatility_B: Tensor
    """Volatility of the market up to the day, 1 on an ordinary one."""

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """The arguments of the network."""
        return self.x_BATF, self.present_BA, self.sector_A


@dataclass(frozen=True, slots=True)
class PanelObjective:
    """The base loss of a panel and the weighted terms of a configuration."""

    config: TrainConfig

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the parts, the base loss first."""
        return (self.config.base_loss,)

    @property
    def n_parts(self) -> int:
        """Number of reported parts."""
        return len(self.terms)

    def __call__(self, prediction: Prediction, batch: PanelBatch) -> Losses:
        """Return the losses of a batch, summed over its days."""
        error_BA = (prediction.logit_B - batch.target_BA) ** 2 * batch.labelled_BA
        loss = (error_BA.sum(dim=1) / batch.labelled_BA.sum(dim=1)).sum()
        return Losses(loss, (loss,))
