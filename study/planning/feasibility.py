"""Which architectures of a search space the nodes can train, in which memory mode, or not."""

from collections.abc import Mapping, Sequence
from typing import Any

from study.cluster.resources import (
    Node,
    fits,
    machine_bytes,
    most_bytes,
    needed_bytes,
    roomiest,
)
from study.errors import SpecError, require
from study.results.plans.grid_record import LeftOutRecord
from study.results.plans.machine_record import BudgetNeed, MachineFit
from study.search.cell_folder import begun_epochs
from study.search.space import LeftOut, SearchSpace, Shape, TrialConfig
from study.search.trial_memory import MEMORY_MODES, StepSetting, heaviest, lean_obstacle, step_bytes
from study.spec.specification import Cell
from study.text.byte_text import GIB, gib
from study.training.checkpoint_bytes import checkpoint_bytes
from study.training.train_config import Memory


def _machine(name: str, gibibytes: int, *, gpus: int = 0) -> Node:
    memory = gibibytes * GIB
    return Node(
        name=name,
        cpus=8,
        gpus=gpus,
        memory_bytes=memory,
        device_bytes=memory,
        unified_memory=not gpus,
    )


MACHINES: dict[str, tuple[str, Node]] = {
    "MacBook 16 GB": ("cpu", _machine("MacBook 16 GB", 16)),
    "MacBook 32 GB": ("cpu", _machine("MacBook 32 GB", 32)),
    "24 GiB": ("cpu", _machine("24 GiB", 24)),
    "H200": ("cuda", _machine("H200", 140, gpus=1)),
}
"""Machines of the table of needs, with the device of their trials: a MacBook trains on its CPU, and
nothing else runs. An H200 has 143,771 MiB by nvidia-smi."""


class InfeasibleError(SpecError):
    """The nodes can train no architecture of a cell, or not all of a search that is resumed."""


def fitting_space(
    space: SearchSpace, nodes: Sequence[Node], setting: StepSetting, *, label: str
) -> SearchSpace:
    """Return the space without the architectures that no node can train, one sample at a time.

    An architecture is trained in full where that fits, else in the memory mode ``lean``, unless
    the space names ``memory`` itself or has something that this mode refuses.

    Args:
        space: all architectures that the budgets allow.
        nodes: the machines of the cluster, at least one.
        setting: how the trials take their steps there.
        label: the cell, for messages.

    Raises:
        InfeasibleError: none is left.
        SpecError: the space says lean, and has something that this mode refuses.
    """
    obstacle = lean_obstacle(space, setting.networks)
    is_chosen = "memory" not in space.train
    require(
        obstacle is None or is_chosen or not space.train["memory"].contains("lean"),
        label,
        "a search whose file has train.memory: lean must be one that lean can train",
        got=f"one that it cannot: {obstacle}",
        remedy="Leave train.memory out, or change that.",
    )
    if is_chosen:
        full = _left_out(space.with_lean(()), nodes, setting)
        space = space.with_lean(full.needed if full is not None and obstacle is None else ())
    found = _left_out(space, nodes, setting)
    if found is None:
        return space
    needed = found.needed
    require(
        len(needed) < len(space.shapes),
        label,
        "a training step of some architecture must fit the memory of a node at micro-batch 1"
        + (", in memory mode lean" if found.memory == "lean" else ""),
        got=found.numbers(),
        remedy=_remedy(space, nodes, setting, obstacle, min(needed.values())),
        error=InfeasibleError,
    )
    if space.lean is not None:
        space = space.with_lean(space.lean - set(needed))
    return space.without(found)


def _remedy(
    space: SearchSpace,
    nodes: Sequence[Node],
    setting: StepSetting,
    obstacle: str | None,
    least_bytes: int,
) -> str:
    """Return what would train some architecture of a space of which none fits: one line."""
    held = roomiest(nodes).held_bytes
    if held:
        return (
            f"Other programs hold {gib(held, 1)} of the device: end them (nvidia-smi lists them), "
            "or choose a smaller budget, or --device cpu."
        )
    machine = gib(machine_bytes(least_bytes))
    lines = [f"A machine of {machine} can train one of them; or choose a smaller budget."]
    if obstacle is not None:
        steps = [step_bytes(config, 1, setting, "lean") for config in heaviest(space)]
        n_fit = sum(fits(nodes, step) for step in steps)
        needs = gib(needed_bytes(min(steps)))
        lines.append(
            f"Memory mode lean would train {n_fit} of {len(steps)} architectures here ({needs} for "
            f"the smallest), but {obstacle}."
        )
    return " ".join(lines)


def begun_space(space: SearchSpace, begun: Mapping[str, Any]) -> SearchSpace:
    """Return the space of a search as it was begun: schedules, memory modes, what was left out.

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
    if "memory" not in space.train:
        # A search of an earlier version has no lean architectures.
        lean = begun.get("lean") or ()
        space = space.with_lean(Shape(**row) for row in lean)
    recorded = begun.get("left_out")
    if recorded is None:
        return space
    return space.without(LeftOut.from_record(LeftOutRecord.from_json(recorded)))


def require_fits(
    space: SearchSpace, nodes: Sequence[Node], setting: StepSetting, *, label: str
) -> None:
    """Refuse to resume a search if one of its architectures fits no node.

    Raises:
        InfeasibleError: one does not fit.
    """
    found = _left_out(space, nodes, setting)
    if found is None:
        return
    mode = ", in memory mode lean" if found.memory == "lean" else ""
    raise InfeasibleError(
        f"{label}: can only go on where every one of its architectures fits a node at micro-batch "
        f"1{mode}, but got {len(found.needed)} of {len(space.shapes)} that do not "
        f"({found.numbers()}). "
        "Free memory, or go on on a machine like the one where it was begun. A new search here "
        "can know the old results: --fresh --import-trials with the cell's folder."
    )


def _left_out(space: SearchSpace, nodes: Sequence[Node], setting: StepSetting) -> LeftOut | None:
    """Return the architectures that fit no node, one sample at a time; None if all fit.

    Each is taken in the memory mode that it has in the space.
    """
    steps = (
        (shape, config.train.memory, step_bytes(config, 1, setting))
        for shape, config in zip(space.shapes, heaviest(space), strict=True)
    )
    unfit = [step for step in steps if not fits(nodes, step[-1])]
    if not unfit:
        return None
    return LeftOut(
        needed={shape: needed_bytes(n_bytes) for shape, _, n_bytes in unfit},
        limit_bytes=most_bytes(nodes),
        node=roomiest(nodes).name,
        memory="lean" if all(memory == "lean" for _, memory, _ in unfit) else "full",
    )


def needs(cell: Cell, space: SearchSpace) -> list[BudgetNeed]:
    """Return what a trial of a cell of one budget needs in each memory mode, and where it fits.

    Matrix products are in bfloat16, and a trial has the machine to itself.

    Args:
        cell: the cell.
        space: all architectures that its budget allows.
    """
    return [_need(cell.budget_label, space, memory) for memory in MEMORY_MODES]


def _need(budget: str, space: SearchSpace, memory: Memory) -> BudgetNeed:
    configs, setting = list(heaviest(space)), StepSetting(bf16=True)
    needed = [needed_bytes(step_bytes(config, 1, setting, memory)) for config in configs]
    states = (
        checkpoint_bytes(config.model, memory=memory, ema=config.train.ema_decay > 0)
        for config in configs
    )
    return BudgetNeed(
        budget=budget,
        memory=memory,
        n_architectures=len(configs),
        needed_min_bytes=min(needed),
        needed_max_bytes=max(needed),
        state_bytes=max(map(sum, states)),
        machines={
            name: _machine_fit(configs, memory, node, StepSetting(bf16=True, device=device))
            for name, (device, node) in MACHINES.items()
        },
    )


def _machine_fit(
    configs: Sequence[TrialConfig], memory: Memory, node: Node, setting: StepSetting
) -> MachineFit:
    def n_fit(micro_batch: int) -> int:
        return sum(fits([node], step_bytes(c, micro_batch, setting, memory)) for c in configs)

    batch = configs[0].train.effective_batch
    powers = (1 << n for n in reversed(range(batch.bit_length())))
    return MachineFit(
        n_fit=n_fit(1), micro_batch=next((n for n in powers if n_fit(n) == len(configs)), None)
    )
