"""Computes the scores of a trained model for any days of a panel."""

from collections.abc import Mapping

import torch
from torch import Tensor

from study.data.arrays import IndexArray, SampleArray
from study.data.panel.panel import MaskArray
from study.model.families import family_of
from study.model.model_config import ModelConfig
from study.training.panel.panel_windows import AssetWindows

_BATCH_WINDOWS = 256
"""Number of windows of one forward pass, where a day has fewer."""


def predict_scores(
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    inputs: SampleArray,
    present: MaskArray,
    sectors: IndexArray,
    days: IndexArray,
    *,
    device: torch.device,
) -> SampleArray:
    """Return the score of each asset on each day and horizon, float32 (n, n_assets, n_horizons).

    The horizon of the cell comes first. Scores are in full precision, and those of assets that are
    not present mean nothing. A network ranks any set of assets, whatever their number in its
    training.

    Args:
        config: the architecture.
        weights: tensors by name, as ``Trainer.best_weights`` gives them.
        inputs: model inputs of the whole panel, shape (n_days, n_assets, n_features).
        present: assets that are ranked on a day, shape (n_days, n_assets).
        sectors: number of each asset's sector, shape (n_assets,).
        days: row of each sample's day; windows of ``config.context_length`` days must end there.
        device: the device that computes them.
    """
    model = family_of(config).build(config, bf16=False, device=device)
    model.load_state_dict(dict(weights))
    model.eval()
    windows = AssetWindows(inputs, context_length=config.context_length, device=device)
    present_DA = torch.tensor(present, device=device)
    sector_A = torch.tensor(sectors, dtype=torch.int64, device=device)
    size = max(1, _BATCH_WINDOWS // inputs.shape[1])
    with torch.no_grad():
        parts = [
            model(windows.cut(part), present_DA[part], sector_A).logit_B
            for part in torch.split(windows.days(days), size)
        ]
    scores: SampleArray = torch.cat(parts).float().cpu().numpy()
    return scores.reshape(*scores.shape[:2], -1)
