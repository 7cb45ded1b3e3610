"""Values of flags that override those of a search space's file."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.errors import require
from study.spec.dimension import Dimension


@dataclass(frozen=True, kw_only=True, slots=True)
class Overrides:
    """Values that a command's flags override in every cell of a study."""

    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Values for fields of DataConfig."""
    search: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Values for fields of SearchConfig."""
    model: Mapping[str, Dimension] = dataclasses.field(default_factory=dict)
    """Dimensions for fields of ModelConfig."""
    max_epochs: int | None = None
    """Number of epochs to which every schedule is cut; None cuts none."""
    may_lengthen: bool = False
    """May ``max_epochs`` be more than the study's, as for a search that is resumed?"""

    def __post_init__(self) -> None:
        """Check the number of epochs.

        Raises:
            SpecError: it is below 1.
        """
        require(
            self.max_epochs is None or self.max_epochs >= 1,
            "--max-epochs",
            "must be >= 1",
            got=f"--max-epochs {self.max_epochs}",
            remedy="Give a number of epochs.",
        )


NO_OVERRIDES = Overrides()
"""Overrides that change nothing."""
