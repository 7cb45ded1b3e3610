"""Does every feature reach the logit? An untrained network is probed for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from study.errors import require
from study.model.families import family_of
from study.model.model_config import ModelConfig
from study.model.network import Network

_WIDTH, _HEADS, _MOST_LAYERS = 32, 2, 2
"""Size of the network that is probed: what reaches the logit depends on how it is wired, not on its
size. Two layers are a whole one and the last, which may ask for one token alone."""

_WINDOWS_AT_ONCE = 16
"""Windows of one forward pass: attention between 200 tokens takes tens of MiB for these."""

_DEAD = 1e-12
"""Change of a logit of about 1 up to which a feature counts as unread: rounding is near 1e-15, one
of 211 features that are read changes it by 1e-7 to 1e-2."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How much each feature changes the logit of an untrained network."""

    changes: Mapping[str, float]
    """|change of the logit|, by feature, when its whole window is another."""

    @property
    def least(self) -> tuple[str, float]:
        """The feature that changes it least, and by how much."""
        return min(self.changes.items(), key=lambda change: change[1])


def require_sensitivity(config: ModelConfig, feature_names: Sequence[str]) -> Sensitivity:
    """Check that the networks of ``config`` read every feature.

    Args:
        config: the architecture; a narrow and shallow network of its kind is probed, on the CPU.
        feature_names: the names of its inputs, in order.

    Raises: SpecError if a feature changes nothing.
    """
    n_layers = min(config.n_layers, _MOST_LAYERS)
    small = replace(config, d_model=_WIDTH, n_heads=_HEADS, n_layers=n_layers)
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = family_of(small).build(small, bf16=False)
    network.to_empty(device="cpu")
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
    """Return |change of the logit| of a network with initial values, by feature.

    Random numbers are drawn for its head, which begins at zero. The linear path from the last day
    stays at zero: it would hide an encoder that is blind. The network becomes float64, so that
    rounding is no change, and is of no further use.
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
