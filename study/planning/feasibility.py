"""Which architectures of a search space the nodes can train, and which are left out, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from study.cluster.resources import Node, fits, most_bytes, needed_bytes, roomiest
from study.errors import SpecError, require
from study.model.memory import step_memory
from study.results.plans.plan_record import LeftOutRecord
from study.search.cell_folder import begun_epochs
from study.search.space import LeftOut, SearchSpace, TrialConfig
from study.text.byte_text import gib


class InfeasibleError(SpecError):
    """The nodes can train no architecture of a cell, or not all of a search that is resumed."""


def step_bytes(config: TrialConfig, micro_batch: int, *, bf16: bool, networks: int = 1) -> int:
    """Return the modelled bytes of a training step of ``micro_batch`` samples.

    Args:
        config: a configuration.
        micro_batch: number of samples of one forward and backward pass.
        bf16: are matrix products computed in bfloat16?
        networks: number of networks that a trial trains by turns, one for each fold.
    """
    train = config.train
    return step_memory(
        config.model,
        micro_batch,
        bf16=bf16,
        ema=train.ema_decay > 0,
        networks=networks,
        pretrains=train.pretrain_epochs > 0,
    ).total


def fitting_space(
    space: SearchSpace, nodes: Sequence[Node], *, bf16: bool, label: str, networks: int = 1
) -> SearchSpace:
    """Return the space without the architectures that no node can train, one sample at a time.

    Args:
        space: all architectures that the budgets allow.
        nodes: the machines of the cluster, at least one.
        bf16: are matrix products computed in bfloat16 there?
        label: the cell, for messages.
        networks: number of networks that a trial trains by turns, one for each fold.

    Raises:
        InfeasibleError: none is left.
    """
    found = _left_out(space, nodes, bf16=bf16, networks=networks)
    if found is None:
        return space
    require(
        len(found.needed) < len(space.shapes),
        label,
        "a training step of some architecture must fit the memory of a node at micro-batch 1",
        got=found.numbers(),
        remedy=_remedy(nodes),
        error=InfeasibleError,
    )
    return space.without(found)


def _remedy(nodes: Sequence[Node]) -> str:
    held = roomiest(nodes).held_bytes
    if not held:
        return "Choose a smaller budget or a larger machine."
    return (
        f"Other programs hold {gib(held, 1)} of the device: end them (nvidia-smi lists them), or "
        "choose a smaller budget, or --device cpu."
    )


def begun_space(space: SearchSpace, begun: Mapping[str, Any]) -> SearchSpace:
    """Return the space of a search as it was begun: its schedules, and without what was left out.

    The memory that is free when a search starts decides which architectures fit. A search is
    resumed with those that it began with, on a larger machine too: its sampler has learnt from them
    alone, and a search without an interruption would have ended with them.

    Args:
        space: all architectures that the budgets allow.
        begun: the description of the search in ``cell.yaml``.
    """
    epochs = begun_epochs(begun)
    if epochs is not None and space.epochs not in (epochs, None):
        # Longer schedules begin in the journal.
        space = space.with_epochs(epochs)
    recorded = begun.get("left_out")
    if recorded is None:
        return space
    return space.without(LeftOut.from_record(LeftOutRecord.from_json(recorded)))


def require_fits(
    space: SearchSpace, nodes: Sequence[Node], *, bf16: bool, label: str, networks: int = 1
) -> None:
    """Refuse to resume a search if one of its architectures fits no node.

    Raises:
        InfeasibleError: one does not fit.
    """
    found = _left_out(space, nodes, bf16=bf16, networks=networks)
    if found is None:
        return
    raise InfeasibleError(
        f"{label}: can only go on where every one of its architectures fits a node at micro-batch "
        f"1, but got {len(found.needed)} of {len(space.shapes)} that do not ({found.numbers()}). "
        "Free memory, or go on on a machine like the one where it was begun. A new search here "
        "can know the old results: --fresh --import-trials with the cell's folder."
    )


def _left_out(
    space: SearchSpace, nodes: Sequence[Node], *, bf16: bool, networks: int
) -> LeftOut | None:
    steps = {
        shape: step_bytes(config, 1, bf16=bf16, networks=networks)
        for shape, config in zip(space.shapes, space.configs(), strict=True)
    }
    needed = {shape: needed_bytes(n) for shape, n in steps.items() if not fits(nodes, n)}
    if not needed:
        return None
    return LeftOut(needed=needed, limit_bytes=most_bytes(nodes), node=roomiest(nodes).name)
