"""What a trainer refuses: parts that do not fit together, and the state of another trial."""

from dataclasses import MISSING, asdict, fields
from typing import Any

from study.errors import require
from study.model.model_config import ModelConfig
from study.training.phases.pretraining import require_patches
from study.training.phases.trained_modules import require_trainable
from study.training.step.samples import Samples
from study.training.train_config import TrainConfig


def require_own_state(
    state: dict[str, Any], model: ModelConfig, train: TrainConfig, seed: int
) -> None:
    """Refuse the state of another trial; its schedule may be shorter than ``train`` has it.

    A state of an earlier version lacks later fields, which its trial had at their defaults.

    Raises: StudyError.
    """
    begun = asdict(train) | {"epochs": min(state["train_config"]["epochs"], train.epochs)}
    for name, own, defaults in (
        ("model_config", asdict(model), _defaults(ModelConfig)),
        ("train_config", begun, _defaults(TrainConfig)),
        ("seed", seed, None),
    ):
        require(
            (state[name] if defaults is None else defaults | state[name]) == own,
            "checkpoint",
            f"must hold the state of this trial, whose {name} is {own}",
            got=state[name],
            remedy="Load it into a trainer built from the same values.",
        )


def require_fit(
    model: ModelConfig, train: TrainConfig, data: Samples, micro_batch: int, seed: int
) -> None:
    """Refuse parts that do not fit together.

    Raises: StudyError.
    """
    data.require_fit(model, train)
    require_lean(train)
    for phase in train.phase_list:
        data.require_fit(model, train.in_phase(phase))
    require_trainable(model, train.phase_list)
    require_patches(model, train)
    require(
        micro_batch >= 1,
        "Trainer",
        "micro_batch must be >= 1",
        got=f"micro_batch={micro_batch}",
        remedy="Derive it from the memory model.",
    )
    require(seed >= 0, "Trainer", "seed must be >= 0", got=f"seed={seed}", remedy="Mend it.")


def require_lean(train: TrainConfig) -> None:
    """Refuse settings that the lean memory mode has not.

    Raises: StudyError.
    """
    if train.memory == "full":
        return
    for name, only in (("optimizer", "adamw"), ("phases", ""), ("pretrain_epochs", 0)):
        value = getattr(train, name)
        require(
            value == only,
            f"train.{name}",
            f"the lean memory mode needs {only!r}",
            got=f"{name}={value!r}",
            remedy="Leave it out, or set train.memory to full.",
        )


def _defaults(config: type[ModelConfig] | type[TrainConfig]) -> dict[str, Any]:
    return {f.name: f.default for f in fields(config) if f.default is not MISSING}
