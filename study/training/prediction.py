"""Computes the logits of a trained model for any days."""

from collections.abc import Mapping

import torch
from torch import Tensor

from study.model.families import family_of
from study.model.model_config import ModelConfig
from study.training.windows import FloatArray, IndexArray

_BATCH = 256
"""Number of windows of one forward pass."""


def predict_logits(
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    features: FloatArray,
    days: IndexArray,
    *,
    device: torch.device,
) -> FloatArray:
    """Return the logit of each day, float32 of shape (n,), in full precision.

    Args:
        config: the architecture.
        weights: tensors by name, as ``Trainer.best_weights`` gives them.
        features: features of the whole series, shape (n_days, n_features).
        days: row of each sample's day; a window of ``config.context_length`` days must end there.
        device: the device that computes them.
    """
    model = family_of(config).build(config, bf16=False, device=device)
    model.load_state_dict(dict(weights))
    model.eval()
    series = torch.tensor(features, device=device)
    offsets = torch.arange(1 - config.context_length, 1, device=device)
    ends = torch.tensor(days, device=device)
    with torch.no_grad():
        parts = [
            model(series[ends[start : start + _BATCH, None] + offsets]).logit_B
            for start in range(0, len(days), _BATCH)
        ]
    logits: FloatArray = torch.cat(parts).float().cpu().numpy()
    return logits
