"""What a worker is told about a trial: the only thing that travels from the search to a trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.search.space import TrialConfig

FORCED = "forced:"
"""What the source of a forced trial begins with; the slot's name follows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """One trial of a search. Its number, never Ray's identity of a run, is what it is known by."""

    number: int
    source: str
    """``sampled``, ``forced:<slot>`` or ``imported:<number there>``."""
    group: str | None
    """Of a forced slot, if its list has groups."""
    seed: int
    config: TrialConfig
    micro_batch_limit: int | None
    """Most samples in one pass, after memory ran out; None: what the memory model allows."""

    @property
    def forced_name(self) -> str | None:
        """Name of the forced slot that it comes from; None if it is from elsewhere."""
        is_forced = self.source.startswith(FORCED)
        return self.source.removeprefix(FORCED) if is_forced else None

    @property
    def folder(self) -> str:
        """Name of the trial's folder inside its cell."""
        model = self.config.model
        return f"trial_{self.number:04d}_d{model.d_model}_L{model.n_layers}_h{model.n_heads}"

    def flat(self) -> dict[str, Any]:
        """Return all of it as one mapping of plain values, which Ray calls the config."""
        return {
            **self.config.flat(),
            "number": self.number,
            "source": self.source,
            "group": self.group,
            "seed": self.seed,
            "micro_batch_limit": self.micro_batch_limit,
        }

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> "Assignment":
        """Rebuild what ``flat`` returned; other keys are ignored."""
        return cls(
            number=flat["number"],
            source=flat["source"],
            group=flat["group"],
            seed=flat["seed"],
            config=TrialConfig.from_flat(flat),
            micro_batch_limit=flat["micro_batch_limit"],
        )
