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
    target_BHA: Tensor
    """What the scores of each horizon aim at, that of the cell first; 0 where it is unknown."""
    labelled_BHA: Tensor
    """Which assets count in the loss of each horizon, bool."""
    volatility_B: Tensor
    """Volatility of the market up to the day, 1 on an ordinary one."""

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """The arguments of the network."""
        return self.x_BATF, self.present_BA, self.sector_A


class PanelObjective:
    """The base loss of a panel, with the weighted terms of a configuration.

    With several horizons it is the mean of that of each. Its reported parts are the base loss and
    every term that has a weight.

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
        """Return the losses of a batch, summed over its days.

        A day without labels of a horizon adds 0 for it, as to every term that is undefined.
        """
        score = answer.logit_B
        score_BHA = score.unsqueeze(1) if score.ndim == 2 else score.movedim(2, 1)
        n_horizons = score_BHA.shape[1]
        # The terms are values of a day: one with its labels of one horizon stands for it.
        sums = panel_loss_sums(
            score_BHA.flatten(0, 1),
            batch.target_BHA.flatten(0, 1),
            batch.labelled_BHA.flatten(0, 1),
            batch.volatility_B[:, None].expand(-1, n_horizons).flatten(),
            weights=self._weights,
        )
        total, *parts = (term / n_horizons for term in sums if term is not None)
        return Losses(total, tuple(parts))
