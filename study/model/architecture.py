"""The fields that define a network, each of them checked by itself.

Torch is not imported here, so that a command can refuse an unknown family or field before torch is
loaded. ``study.model.model_config`` adds the rules of the family.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from study.errors import quoted, require
from study.fields import Rule, check_values, flag, one_of, share, whole

Head = Literal["last", "mean", "flatten"]
"""Tokens from which the logit is computed: the last one, the mean of all, or all of them."""

AssetAttention = Literal["none", "all", "sector"]
"""Assets of a day that an asset attends to: none, all of them, or those of its sector and a token
for each sector."""

FAMILY_NAMES = ("informer", "itransformer", "patchtst")
"""Names of the families of networks, whose classes ``study.model.families`` holds."""

DEFAULT_FAMILY = "patchtst"
"""Name of the family of a configuration that names none."""

MODEL_RULES: dict[str, Rule] = {
    # Upper bounds far beyond what a machine can train: without one a count might loop for hours.
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
    "n_assets": whole(1, 1_000_000),
    "asset_attention": one_of(get_args(AssetAttention)),
    "n_sectors": whole(0, 1_000_000),
    "n_horizons": whole(1, 1_000),
}
"""Rule for the value of each field, whatever the values of the others are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """The architecture of a network. Every field may be a search dimension."""

    family: str = DEFAULT_FAMILY
    """Name of the family of networks, which defines tokens and attention."""
    n_features: int
    """Number of input features per day."""
    d_model: int
    n_layers: int
    n_heads: int
    d_ff_ratio: int = 4
    """Width of the feed-forward block as a multiple of ``d_model``."""
    context_length: int = 60
    """Number of days in a window."""
    patch_length: int = 10
    """Number of days in a patch, for a family whose tokens are patches of days."""
    patch_stride: int = 5
    """Number of days from the start of one patch to that of the next."""
    dropout: float = 0.0
    head: Head = "last"
    """Tokens from which the logit is computed: the last one (that of the most recent days or, where
    a token is a feature, a read-out token), the mean of all, or all of them."""
    revin: bool = False
    """Is every window normalised per feature before it is embedded?"""
    last_day_skip: bool = False
    """Is there a linear path from the last day's features to each logit?"""
    auxiliary_head: bool = False
    """Is the log range of the coming days predicted too? TrainConfig.auxiliary_weight weights its
    loss."""
    n_assets: int = 1
    """Number of assets of a sample: one, or those of a panel, whose windows the network reads with
    the same weights."""
    asset_attention: AssetAttention = "none"
    """Assets of the day that an asset attends to, after each window has been read by itself."""
    n_sectors: int = 0
    """Number of sectors of a panel; 0 without a panel."""
    n_horizons: int = 1
    """Number of horizons for which a panel's assets are scored, with a head for each."""

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
        require(
            self.asset_attention == "none" or self.n_assets > 1,
            where,
            "asset_attention needs a panel of several assets",
            got=f"asset_attention={self.asset_attention}, n_assets={self.n_assets}",
            remedy="Choose none.",
        )
        require(
            self.n_horizons == 1 or (self.n_assets > 1 and not self.auxiliary_head),
            where,
            "several horizons need a panel of several assets, which has no auxiliary head",
            got=f"n_horizons={self.n_horizons}, n_assets={self.n_assets}, "
            f"auxiliary_head={self.auxiliary_head}",
            remedy="Choose one horizon.",
        )
        require(
            self.asset_attention != "sector" or self.n_sectors > 0,
            where,
            "asset_attention sector needs the number of sectors",
            got=f"n_sectors={self.n_sectors}",
            remedy="Choose all, or give the panel's assets sectors.",
        )
        require(
            self.asset_attention == "none" or self.head != "flatten",
            where,
            "asset_attention needs a head that reads one token, last or mean",
            got=f"asset_attention={self.asset_attention}, head={self.head}",
            remedy="Choose another head, or asset_attention none.",
        )

    @property
    def d_ff(self) -> int:
        """Width of the feed-forward block."""
        return self.d_ff_ratio * self.d_model

    @property
    def n_patches(self) -> int:
        """Number of patches of days in a window, for a family whose tokens are such patches."""
        return (self.context_length - self.patch_length) // self.patch_stride + 1


def check_family(name: object, where: str) -> None:
    """Refuse a value that is not the name of a family.

    Raises: SpecError if it is not one.
    """
    require(
        isinstance(name, str) and name in FAMILY_NAMES,
        where,
        f"family must be one of {', '.join(FAMILY_NAMES)}",
        got=f"family={quoted(name)}",
        remedy="Choose one of them.",
    )
