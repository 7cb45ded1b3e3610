"""An architecture that its family can build."""

from dataclasses import dataclass

from study.model.architecture import Architecture
from study.model.families import family_of


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(Architecture):
    """The network of one trial. A config that exists can be built."""

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one that was written.
        Architecture.__post_init__(self)
        family_of(self).check(self)
