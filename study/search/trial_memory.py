"""The memory of a trial's step by its configuration, in either memory mode."""

from collections.abc import Iterable
from dataclasses import dataclass

from study.model.lean_memory import lean_step_memory
from study.model.memory import StepMemory, step_memory
from study.search.space import SearchSpace, TrialConfig
from study.spec.dimension import Dimension, Scalar, numbers
from study.training.train_config import Memory

MEMORY_MODES: tuple[Memory, ...] = ("full", "lean")
"""The memory modes, that which needs more first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSetting:
    """How the trials of a cell take their steps, as far as their memory depends on it."""

    bf16: bool
    """Are matrix products computed in bfloat16?"""
    networks: int = 1
    """Number of networks that a trial trains by turns, one for each fold."""
    device: str = "cpu"
    """Kind of device: ``cpu``, ``cuda`` or ``mps``."""


def trial_step(
    config: TrialConfig, micro_batch: int, setting: StepSetting, memory: Memory | None = None
) -> StepMemory:
    """Return the modelled memory of a training step of a configuration.

    Args:
        config: a configuration.
        micro_batch: number of samples of one forward and backward pass.
        setting: how the trials take their steps.
        memory: the memory mode; None takes the configuration's own.
    """
    train, ema = config.train, config.train.ema_decay > 0
    if (memory or train.memory) == "lean":
        return lean_step_memory(
            config.model,
            micro_batch,
            effective_batch=train.effective_batch,
            bf16=setting.bf16,
            ema=ema,
            maps_files=setting.device == "cpu",
        )
    return step_memory(
        config.model,
        micro_batch,
        bf16=setting.bf16,
        ema=ema,
        networks=setting.networks,
        pretrains=train.pretrain_epochs > 0,
    )


def step_bytes(
    config: TrialConfig, micro_batch: int, setting: StepSetting, memory: Memory | None = None
) -> int:
    """Return the modelled bytes of a training step; the arguments are those of ``trial_step``."""
    return trial_step(config, micro_batch, setting, memory).total


def heaviest(space: SearchSpace) -> Iterable[TrialConfig]:
    """Yield, for every architecture, the configuration of the space that needs most memory.

    A lean step holds the inputs of its whole batch, so the batch is the largest; where both memory
    modes are searched, the mode is the full one.
    """
    values: dict[str, Scalar] = {
        "effective_batch": int(max(numbers(space.train["effective_batch"])))
    }
    if "memory" in space.train and space.train["memory"].contains("full"):
        values["memory"] = "full"
    return (space.forced(shape, **values) for shape in space.shapes)


def lean_obstacle(space: SearchSpace, networks: int) -> str | None:
    """Return why no architecture of a space can be trained lean; None if nothing is in the way.

    Args:
        space: the space; where it names ``memory`` itself, nothing is chosen for it.
        networks: number of networks that a trial trains by turns.
    """
    train = space.train

    def has(name: str, *usual: object) -> bool:
        dimension: Dimension | None = train.get(name)
        return dimension is not None and any(value not in usual for value in dimension.values)

    if "memory" in train and not has("memory", "full"):
        return "the search space fixes train.memory: full"
    if has("optimizer", "adamw"):
        return "lean has no AdaBelief, and the space has train.optimizer: adabelief"
    if has("phases", ""):
        return "lean has no phases, and the space has train.phases"
    if has("pretrain_epochs", 0):
        return "lean has no pretraining, and the space has train.pretrain_epochs"
    if networks > 1:
        return f"lean trains one network a trial, and this search has {networks}, one for each fold"
    return None


def what_would_fit(config: TrialConfig, obstacle: str | None) -> str:
    """Return what would train a configuration of which not even one sample at a time fitted.

    Args:
        config: the configuration.
        obstacle: what ``lean_obstacle`` says of its space.
    """
    if config.train.memory == "lean":
        return "Lean, one sample at a time, it needs a machine with more memory, or without others"
    lean = "needs less" if obstacle is None else f"would need less, but {obstacle}"
    return (
        "In full, one sample at a time, it needs a machine with more memory or fewer trials at "
        f"once (--concurrency); train.memory: lean {lean}"
    )
