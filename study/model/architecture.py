"""The numbers that shape a network, each of them checked by itself.

Torch is not imported here: a command refuses an unknown family or field before it is loaded.
``study.model.model_config`` adds the rules of the family.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from study.errors import quoted, require
from study.fields import Rule, check_values, flag, one_of, share, whole

Head = Literal["last", "mean", "flatten"]

FAMILY_NAMES = ("informer", "itransformer", "patchtst")
"""The keys of ``study.model.families.FAMILIES``, which imports torch."""

DEFAULT_FAMILY = "patchtst"

MODEL_RULES: dict[str, Rule] = {
    # Ends far beyond what a machine can train: a count without one is a loop without one.
    "n_features": whole(1, 1_000_000),
    "d_model": whole(1, 1_000_000),
    "n_layers": whole(1, 10_000),
    "n_heads": whole(1, 1_000_000),
    "d_ff_ratio": whole(1, 1_000),
    "context_length": whole(1, 100_000),
    "patch_length": whole(1, 100_000),
    "patch_stride": whole(1, 100_000),
    "dropout": share(one=False),
    "head": one_of(get_args(Head)),
    "revin": flag(),
    "last_day_skip": flag(),
    "auxiliary_head": flag(),
}
"""The rule that the value of each field must keep by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Every field may be a search dimension."""

    family: str = DEFAULT_FAMILY
    """Name of the class of networks: what a token is, and what attends to what."""
    n_features: int
    """Input features per day."""
    d_model: int
    n_layers: int
    n_heads: int
    d_ff_ratio: int = 4
    """Width of the feed-forward block as a multiple of ``d_model``."""
    context_length: int = 60
    """Days in a window."""
    patch_length: int = 10
    """Days in a patch, for a family that has such patches."""
    patch_stride: int = 5
    """Days from one patch to the next."""
    dropout: float = 0.0
    head: Head = "last"
    """What the logit reads: the last token (that of the most recent days, or a read-out where a
    token is a feature), the mean of all, or all of them."""
    revin: bool = False
    """Normalise every window per feature before it is embedded."""
    last_day_skip: bool = False
    """Add a linear path from the last day's features to the logit."""
    auxiliary_head: bool = False
    """Predict the log range of the coming days too (weighted by TrainConfig.auxiliary_weight)."""

    def __post_init__(self) -> None:
        where = "ModelConfig"
        check_values(MODEL_RULES, self, "Mend the search space.")
        require(
            self.d_model % self.n_heads == 0,
            where,
            "n_heads must divide d_model",
            got=f"d_model={self.d_model}, n_heads={self.n_heads}",
            remedy="Choose heads that divide the width.",
        )
        check_family(self.family, where)

    @property
    def d_ff(self) -> int:
        """Width of the feed-forward block."""
        return self.d_ff_ratio * self.d_model

    @property
    def n_patches(self) -> int:
        """Patches of days in a window, where a family cuts such patches."""
        return (self.context_length - self.patch_length) // self.patch_stride + 1


def check_family(name: object, where: str) -> None:
    """Refuse what is not the name of a family.

    Raises: SpecError if it is not.
    """
    require(
        isinstance(name, str) and name in FAMILY_NAMES,
        where,
        f"family must be one of {', '.join(FAMILY_NAMES)}",
        got=f"family={quoted(name)}",
        remedy="Choose one of them.",
    )
