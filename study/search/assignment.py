"""The assignment of a trial: its configuration, and all else that its worker is sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.errors import require
from study.model.memory import largest_micro_batch
from study.search.space import TrialConfig
from study.search.trial_memory import StepSetting, step_bytes

FORCED = "forced:"
"""Prefix of the source of a forced trial; the slot's name follows."""

SAMPLED = "sampled"
"""Source of a trial that the sampler drew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """One trial of a search, identified by its number and never by Ray's trial id."""

    number: int
    source: str
    """Origin of the configuration: ``sampled``, ``forced:<slot>``, ``imported:<old number>``,
    ``neighbour:<cell>/<its number>`` or ``beyond`` an edge."""
    group: str | None
    """Group of a forced slot; None if there is no slot or its list has no groups."""
    seed: int
    config: TrialConfig
    micro_batch_limit: int | None
    """Most samples in one pass after memory has run out; None: as the memory model allows."""

    @property
    def forced_name(self) -> str | None:
        """Name of its forced slot; None if it was sampled or imported."""
        is_forced = self.source.startswith(FORCED)
        return self.source.removeprefix(FORCED) if is_forced else None

    @property
    def folder(self) -> str:
        """Name of the trial's folder inside its cell."""
        model = self.config.model
        return f"trial_{self.number:04d}_d{model.d_model}_L{model.n_layers}_h{model.n_heads}"

    def flat(self) -> dict[str, Any]:
        """Return all fields as one mapping of plain values, which Ray calls the config."""
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
        """Rebuild the assignment from ``flat``; other keys are ignored."""
        return cls(
            number=flat["number"],
            source=flat["source"],
            group=flat["group"],
            seed=flat["seed"],
            config=TrialConfig.from_flat(flat),
            micro_batch_limit=flat["micro_batch_limit"],
        )


def first_micro_batch(
    trial: Assignment, share_bytes: Mapping[str, int], setting: StepSetting
) -> int:
    """Return the micro-batch that a trial starts with; running out of memory may halve it.

    Args:
        trial: the trial.
        share_bytes: bytes of memory that a training step may use, by budget.
        setting: how the trial takes its steps.

    Raises: SpecError if not even one sample fits.
    """
    config, limit = trial.config, share_bytes[trial.config.budget]
    largest = largest_micro_batch(
        lambda micro_batch: step_bytes(config, micro_batch, setting),
        effective_batch=config.train.effective_batch,
        limit_bytes=limit,
    )
    require(
        largest is not None,
        trial.folder,
        "a step of one sample must fit the memory of the trial",
        got=f"{step_bytes(config, 1, setting):,} bytes in memory mode {config.train.memory}, and "
        f"{limit:,} that it may use",
        remedy="Give the trial more memory, run fewer at once, or choose a smaller budget.",
    )
    assert largest is not None
    return min(largest, trial.micro_batch_limit or largest)
