"""The modules of a network by name, and which of them train."""

from collections.abc import Collection, Sequence

from torch import nn

from study.errors import require
from study.model.model_config import ModelConfig
from study.model.network import decay_groups
from study.training.phases.phase import Module, Phase

_HEADS = ("final_norm", "head", "auxiliary_head", "last_day_skip")
"""Modules of a network that read the answer."""


def module_of(name: str) -> Module:
    """Return the module that a parameter of a network belongs to."""
    first = name.split(".")[0]
    if first == "asset_layer":
        return "assets"
    return "heads" if first in _HEADS else "encoder"


def set_trained(model: nn.Module, trains: Collection[Module]) -> None:
    """Let the parameters of these modules have gradients, and no others."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(module_of(name) in trains)


def parameters_by_clock(
    model: nn.Module, phases: Sequence[Phase]
) -> dict[str, tuple[list[nn.Parameter], list[nn.Parameter]]]:
    """Return the weights with decay and those without, by the name of what counts their steps.

    Modules that some phase leaves as they are count the steps that they take themselves: Adam
    corrects its moments by that count, and a count of steps that were not taken would make the
    first ones after a thaw up to six times as long.
    """
    decayed, undecayed = decay_groups(model)
    if all(phase.trains == phases[0].trains for phase in phases):
        return {"all": (decayed, undecayed)}
    kinds = {id(p): module_of(name) for name, p in model.named_parameters()}
    found = {}
    for module in dict.fromkeys(kinds.values()):
        own = [[p for p in group if kinds[id(p)] == module] for group in (decayed, undecayed)]
        found[str(module)] = (own[0], own[1])
    return found


def require_trainable(model: ModelConfig, phases: Sequence[Phase]) -> None:
    """Refuse a phase that would train nothing.

    Raises: SpecError.
    """
    own = {"encoder", "heads"} | ({"assets"} if model.asset_attention != "none" else set())
    for phase in phases:
        require(
            bool(own & set(phase.trains)),
            "train.phases",
            f"phase {phase.name} must train a module that the model has ({', '.join(sorted(own))})",
            got=f"trains={list(phase.trains)}",
            remedy="Let it train another module, or give the model asset_attention.",
        )
