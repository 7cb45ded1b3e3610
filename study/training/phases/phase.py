"""The phases of a trial's schedule: epochs that share a rate, a loss and the modules that train."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from study.errors import SpecError, quoted, require
from study.fields import Rule, above, rebuild, whole

Module = Literal["encoder", "assets", "heads"]
"""Part of a network: the layers over each window, attention across the assets of a day, and what
reads the answer."""

_LONGEST_NAME = 40
"""Most characters of a phase's name."""

_REMEDY = "Mend the phase; PyYAML reads 1e-4 as text: write 1.0e-4."

PHASE_RULES: dict[str, Rule] = {
    "name": Rule(
        f"be a printable text of at most {_LONGEST_NAME} characters",
        lambda value: (
            isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_NAME
        ),
    ),
    "epochs": whole(1, 1_000_000),
    "learning_rate_factor": above(0, 1e6),
    "trains": Rule(
        f"list some of {', '.join(get_args(Module))}, each once",
        lambda value: (
            isinstance(value, list | tuple)
            and 0 < len(value) == len(set(map(str, value)))
            and all(each in get_args(Module) for each in value)
        ),
    ),
}
"""Rule for the value of each field that settings of a training do not have."""

OVERRIDDEN = (
    "clip_norm", "base_loss", "ic_weight", "rank_weight", "sharpe_weight", "regime_strength",
)  # fmt: skip
"""Fields of TrainConfig that a phase may have values of its own for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Some epochs of a schedule. A setting that is None is that of the trial."""

    name: str
    epochs: int
    """Number of epochs."""
    learning_rate_factor: float = 1.0
    """Factor of the rate that the trial's schedule has at a step. There is no rate of a phase's
    own, which would leave a searched one unread."""
    trains: Sequence[Module] = get_args(Module)
    """Modules whose weights change. The others stay exactly as they are: no gradient, no decay."""
    clip_norm: float | None = None
    base_loss: str | None = None
    ic_weight: float | None = None
    rank_weight: float | None = None
    sharpe_weight: float | None = None
    regime_strength: float | None = None

    def __post_init__(self) -> None:
        for name, rule in PHASE_RULES.items():
            value = getattr(self, name)
            require(
                rule.holds(value), "train.phases", f"{name} must {rule.words}",
                got=f"{name}={quoted(value)}", remedy=_REMEDY,
            )  # fmt: skip
        # One order, so that equal phases have equal texts; and a value that can be hashed.
        ordered = tuple(each for each in get_args(Module) if each in self.trains)
        object.__setattr__(self, "trains", ordered)

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings that are its own, by their names in TrainConfig."""
        own = {name: getattr(self, name) for name in OVERRIDDEN}
        return {name: value for name, value in own.items() if value is not None}

    def plain(self) -> dict[str, Any]:
        """Return its name, its epochs and what else is not left at its default."""
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }


def phases_text(phases: Sequence[Phase]) -> str:
    """Return phases as the text that a configuration and its record hold: a list in JSON."""
    return json.dumps([phase.plain() for phase in phases])


def phases_of(raw: object, where: str) -> tuple[Phase, ...]:
    """Return the phases that a list of mappings describes.

    Raises: SpecError: it is no such list, or a phase has an unknown field or a wrong value.
    """
    require(
        isinstance(raw, list) and len(raw) > 0 and all(isinstance(each, Mapping) for each in raw),
        where, "must be a list of phases, each with a name and epochs", got=quoted(raw),
        remedy="Start from a copy of panel_phases.yaml.",
    )  # fmt: skip
    assert isinstance(raw, list)
    names = [field.name for field in dataclasses.fields(Phase)]
    for number, each in enumerate(raw):
        unknown = [str(key) for key in each if key not in names]
        require(
            not unknown, f"{where}[{number}]", f"a phase has {', '.join(names)}",
            got=quoted(unknown), remedy="Mend the name.",
        )  # fmt: skip
    phases = tuple(
        rebuild(Phase, each, f"{where}[{number}]", _REMEDY, SpecError)
        for number, each in enumerate(raw)
    )
    titles = [phase.name for phase in phases]
    require(
        len(set(titles)) == len(titles), where, "phases must have different names",
        got=quoted(titles), remedy="Rename one.",
    )  # fmt: skip
    return phases


@functools.lru_cache(maxsize=64)
def parse_phases(text: str) -> tuple[Phase, ...]:
    """Return the phases of a text; none if it is empty.

    Raises: SpecError: the text does not describe phases.
    """
    if not text:
        return ()
    try:
        raw = json.loads(text)
    except json.JSONDecodeError:
        raw = text
    return phases_of(raw, "train.phases")


def phase_in(phases: Sequence[Phase], epoch: int) -> Phase | None:
    """Return the phase of epoch number ``epoch``, from 1; None of a schedule without phases."""
    last = 0
    for phase in phases:
        last += phase.epochs
        if epoch <= last:
            return phase
    return None
