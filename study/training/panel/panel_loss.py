"""The loss of a panel's days, with the terms that its settings add, as sums over days."""

from dataclasses import dataclass

from torch import Tensor

from study.model.network import Prediction
from study.training.step.rank_losses import RankLossWeights, panel_loss_sums
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


class PanelObjective:
    """The base loss of a panel, with the weighted terms of a configuration.

    Its reported parts are the base loss and every term that has a weight.

    Args:
        train: the settings.
    """

    def __init__(self, train: TrainConfig) -> None:
        self._weights = RankLossWeights(
            base=train.base_loss,
            ic=train.ic_weight,
            rank=train.rank_weight,
            rank_temperature=train.rank_temperature,
            sharpe=train.sharpe_weight,
            regime_strength=train.regime_strength,
        )
        weights = {
            "ic": train.ic_weight,
            "rank": train.rank_weight,
            "sharpe": train.sharpe_weight,
        }
        weighted = [name for name, weight in weights.items() if weight > 0]
        self.terms: tuple[str, ...] = (train.base_loss, *weighted)
        """Names of the reported parts."""
        self.n_parts = len(self.terms)
        """Number of reported parts."""

    def __call__(self, answer: Prediction, batch: PanelBatch) -> Losses:
        """Return the losses of a batch, summed over its days."""
        total, base, *terms = panel_loss_sums(
            answer.logit_B,
            batch.target_BA,
            batch.labelled_BA,
            batch.volatility_B,
            weights=self._weights,
        )
        return Losses(total, (base, *(term for term in terms if term is not None)))
