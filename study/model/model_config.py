"""An architecture that its family can build."""

from dataclasses import dataclass

from study.model.architecture import Architecture
from study.model.families import family_of


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(Architecture):
    """The network of one trial. A config that exists can be built."""

    def __post_init__(self) -> None:
        # super() would fail: a dataclass with slots is a new class, not the one defined here.
        Architecture.__post_init__(self)
        family_of(self).check(self)
