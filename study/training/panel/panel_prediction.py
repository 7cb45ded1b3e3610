"""Computes the scores that a trained model gives to the assets of a panel, for any days."""

from collections.abc import Mapping

import torch
from torch import Tensor

from study.data.arrays import IndexArray, SampleArray
from study.data.panel.panel import MaskArray
from study.model.families import family_of
from study.model.model_config import ModelConfig

_WINDOWS = 1024
"""Number of windows of one forward pass, at least those of a day."""


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
    """Return the score of each asset on each day, float32 of shape (n, n_assets).

    Scores are in full precision; those of absent assets mean nothing.

    Args:
        config: the architecture.
        weights: tensors by name, as ``Trainer.best_weights`` gives them.
        inputs: model inputs, shape (n_days, n_assets, n_features).
        present: assets that are ranked, shape (n_days, n_assets).
        sectors: sector of each asset, shape (n_assets,).
        days: row of each sample's day; a window of ``config.context_length`` days must end there.
        device: the device that computes them.
    """
    model = family_of(config).build(config, bf16=False, device=device)
    model.load_state_dict(dict(weights))
    model.eval()
    sector_A = torch.tensor(sectors, device=device)
    at_once = max(1, _WINDOWS // inputs.shape[1])
    parts = []
    with torch.no_grad():
        for start in range(0, len(days), at_once):
            own = days[start : start + at_once]
            rows_BT = own[:, None] + range(1 - config.context_length, 1)
            x_BATF = torch.tensor(inputs[rows_BT], device=device).transpose(1, 2)
            present_BA = torch.tensor(present[own], device=device)
            parts.append(model(x_BATF, present_BA, sector_A).logit_B.float().cpu())
    scores: SampleArray = torch.cat(parts).numpy()
    return scores
