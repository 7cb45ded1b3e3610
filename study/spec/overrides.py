"""Values that flags lay over those of a search space's file."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.errors import require
from study.spec.dimension import Dimension


@dataclass(frozen=True, kw_only=True, slots=True)
class Overrides:
    """What a command was asked to change in every cell of a study."""

    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Values for fields of DataConfig."""
    search: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Values for fields of SearchConfig."""
    model: Mapping[str, Dimension] = dataclasses.field(default_factory=dict)
    """Dimensions for fields of ModelConfig."""
    max_epochs: int | None = None
    """Number of epochs to which every schedule is cut; None cuts none."""

    def __post_init__(self) -> None:
        """Check what no other configuration checks.

        Raises:
            SpecError: a schedule would be cut to nothing.
        """
        require(
            self.max_epochs is None or self.max_epochs >= 1,
            "--max-epochs",
            "must be >= 1",
            got=f"--max-epochs {self.max_epochs}",
            remedy="Give a number of epochs.",
        )


NO_OVERRIDES = Overrides()
"""A study exactly as its file describes it."""
