"""What a training step of each budget needs on some machines, as typed values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.results.plans.grid_record import MemoryMode


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineFit:
    """How much of a budget a machine can train in one memory mode, a trial alone on it."""

    n_fit: int
    """Number of architectures of which one sample at a time fits."""
    micro_batch: int | None
    """Largest micro-batch at which every architecture fits; None if one fits at none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetNeed:
    """What a trial of a budget needs in one memory mode, and where it would fit."""

    budget: str
    memory: MemoryMode
    n_architectures: int
    needed_min_bytes: int
    """Least memory of any architecture, one sample at a time on a CPU, headroom included."""
    needed_max_bytes: int
    """Most memory of any architecture, one sample at a time on a CPU, headroom included."""
    state_bytes: int
    """Size of the largest state on the disk, with the best weights."""
    machines: Mapping[str, MachineFit]


@dataclass(frozen=True, kw_only=True, slots=True)
class NeedTable:
    """All budgets of a study in both memory modes."""

    study: str
    rows: Sequence[BudgetNeed]
