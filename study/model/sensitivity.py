"""Checks on an untrained network that every feature changes the logit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from study.errors import require
from study.model.families import family_of
from study.model.model_config import ModelConfig
from study.model.network import Network

_WIDTH, _HEADS, _MOST_LAYERS = 32, 2, 2
"""Width, heads and layers of the network that is probed: which features reach the logit depends on
its structure, not on its size. Two layers are one that computes all tokens, and the last, which may
compute one token alone."""

_WINDOWS_AT_ONCE = 16
"""Number of windows of one forward pass: attention between 200 tokens takes tens of MiB for these.
"""

_DEAD = 1e-12
"""Largest change of a logit of about 1 at which a feature counts as unread. Rounding changes it by
about 1e-15; each of 211 features that are read changed it by 1e-7 to 1e-2."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How much each feature changes the logit of an untrained network."""

    changes: Mapping[str, float]
    """Absolute change of the logit by feature, when the feature's whole window is replaced."""

    @property
    def least(self) -> tuple[str, float]:
        """The feature that changes the logit least, and its change."""
        return min(self.changes.items(), key=lambda change: change[1])


def require_sensitivity(config: ModelConfig, feature_names: Sequence[str]) -> Sensitivity:
    """Check that the networks of ``config`` read every feature.

    Args:
        config: the architecture; a narrow and shallow network of its family is probed on the CPU.
        feature_names: the names of its inputs, in order.

    Raises: SpecError if a feature does not change the logit.
    """
    n_layers = min(config.n_layers, _MOST_LAYERS)
    # Attention across assets reads tokens, not features.
    small = replace(
        config, d_model=_WIDTH, n_heads=_HEADS, n_layers=n_layers, n_assets=1,
        asset_attention="none", n_sectors=0, n_horizons=1,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    network = family_of(small).build(small, bf16=False, device="cpu")
    network.initialise(generator, 0.5)
    changes = feature_changes(network, generator)
    found = Sensitivity(dict(zip(feature_names, changes, strict=True)))
    dead = [name for name, change in found.changes.items() if change <= _DEAD]
    require(
        not dead,
        f"family {config.family}",
        "every feature must change the output",
        got=f"none from {', '.join(dead)} with {small}",
        remedy="Mend the family: a feature that it does not read must not be counted as an input.",
    )
    return found


def feature_changes(network: Network, generator: torch.Generator) -> list[float]:
    """Return the absolute change of the logit of an untrained network, by feature.

    Random numbers are drawn for its head, whose initial weights are zero. The linear path from the
    last day stays at zero: it would hide a feature that the encoder does not read. The network is
    cast to float64, so that rounding does not count as a change, and cannot be trained afterwards.
    """
    c = network.config
    network.double().eval()
    with torch.no_grad():
        weight = network.head.weight
        draw = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        weight.copy_(draw * weight.shape[1] ** -0.5)
        window_TF, other_TF = torch.randn(
            2, c.context_length, c.n_features, generator=generator, dtype=weight.dtype
        )
        before = network(window_TF[None]).logit_B
        changes: list[float] = []
        for features in torch.split(torch.arange(c.n_features), _WINDOWS_AT_ONCE):
            changed_VTF = window_TF.repeat(len(features), 1, 1)
            changed_VTF[torch.arange(len(features)), :, features] = other_TF.T[features]
            changes += (network(changed_VTF).logit_B - before).abs().tolist()
    return changes
