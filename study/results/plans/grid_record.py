"""The architectures of a cell as typed values: how many, what they take, and what is left out."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MemoryMode = Literal["full", "lean"]
"""How a trial's state is held (``TrainConfig.memory``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOutArchitecture:
    """An architecture that no node can train."""

    budget: str
    d_model: int
    n_layers: int
    d_ff_ratio: int
    n_heads: int
    needed_bytes: int
    """Memory that one sample at a time needs, headroom included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOutRecord:
    """All architectures of a search space that no node can train."""

    reason: str
    limit_bytes: int
    """Most memory that a trial could be granted."""
    node: str
    architectures: Sequence[LeftOutArchitecture]
    memory: MemoryMode = "full"
    """Memory mode that was judged: the one of those allowed that needs the least."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, from which ``from_json`` rebuilds the record."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "LeftOutRecord":
        """Return the record of which ``to_json`` made plain values."""
        rows = tuple(LeftOutArchitecture(**row) for row in raw["architectures"])
        return cls(**{**raw, "architectures": rows})


@dataclass(frozen=True, kw_only=True, slots=True)
class LeanArchitecture:
    """An architecture that is trained in the memory mode ``lean``."""

    budget: str
    d_model: int
    n_layers: int
    d_ff_ratio: int
    n_heads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModeRecord:
    """What the architectures of a search space would take in one memory mode."""

    memory: MemoryMode
    n_planned: int
    """Number of architectures that are planned in it."""
    needed_min_bytes: int
    """Least memory that one sample at a time needs of any architecture, headroom included."""
    needed_max_bytes: int
    """Most memory that one sample at a time needs of any architecture, headroom included."""
    checkpoint_bytes: int
    """Bytes that the largest architecture's checkpoints take on the disk while a trial runs."""
    obstacle: str | None
    """Reason why no trial of the search can have this mode; None if there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMemory:
    """The modelled bytes of a training step, and the architecture that needs them."""

    bytes: int
    architecture: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GridRecord:
    """The architectures that can be drawn: how many, of which sizes, and the memory of a step."""

    grid_size: int
    params_min: int
    params_median: int
    params_max: int
    n_dimensions: int
    left_out: LeftOutRecord | None
    lean: Sequence[LeanArchitecture] | None
    """Architectures that are trained lean, because a full step of theirs fits no node; None where
    that is not decided, or the search space itself says how trials are held."""
    modes: Sequence[ModeRecord]
    memory_min: StepMemory
    memory_max: StepMemory
