"""What a trainer asks of the mode in which a network's state is held."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from study.model.network import Network
from study.results.epoch_report import OptimizerRecord
from study.training.device import PhaseClock
from study.training.phases.phase import Module
from study.training.step.samples import Objective
from study.training.train_config import TrainConfig


class StepTaken(NamedTuple):
    """The values that the report needs of one optimizer step."""

    sums: Tensor
    """Sums over its samples, float32 (n_parts + 1,) on the device, as ``EpochProgress.sums``."""
    norm: Tensor
    """Global gradient norm before clipping, float32 () on the device."""


class Training(Protocol):
    """A network with the state that its optimizer steps change, and the answers that it gives."""

    model: Network
    micro_batch: int
    """Most samples in one forward and backward pass; halved whenever memory runs out."""
    out_of_memory_count: int
    """Number of times that memory has run out."""

    @property
    def optimizer_record(self) -> OptimizerRecord:
        """The settings of the optimizer, with the rate that is set now."""

    @property
    def eager_reason(self) -> str | None:
        """Why its steps cannot be captured; None if they can."""

    def begin(self) -> None:
        """Make ready for the next of several steps."""

    def is_finite(self) -> bool:
        """Has every loss and every norm been finite since ``begin``? Waits for the device."""

    def take(
        self, days: Tensor, *, learning_rate: float, number: int, clock: PhaseClock
    ) -> StepTaken | None:
        """Take one step; see ``TrainingStep.take``."""

    def follow(self, config: TrainConfig, objective: Objective, trains: Collection[Module]) -> None:
        """Take the next steps by the settings of a phase; see ``TrainingStep.follow``."""

    def take_over(self) -> None:
        """Train the weights on, after other steps have changed them."""

    def logits(self, days: Tensor) -> Tensor:
        """Return the logits of ``days`` by the weights that are evaluated.

        Args:
            days: int64 (n,) on the device.

        Returns: float32 (n,) or, of a panel, (n, A), without gradients.
        """

    def copy_weights(self, into: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Copy the weights that are evaluated to the CPU.

        Args:
            into: an earlier copy, which is overwritten; None makes one.

        Returns: the copy, by the names of the parameters.
        """

    def keep(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a copy of saved best weights, where ``copy_weights`` can overwrite it."""

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Answer by these weights from now on; no further step can be taken."""

    def state_dict(self) -> dict[str, Any]:
        """Return weights, their average and the optimizer's state; no tensor is copied."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy what ``state_dict`` returned, whatever else ``state`` holds."""
