"""The architecture of one trial: every number that shapes the network."""

from dataclasses import dataclass
from typing import Literal, get_args

from study.errors import require

Head = Literal["last", "mean", "flatten"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A PatchTST. A config that exists can be built; every field may be a search dimension."""

    n_features: int
    """Input channels per day."""
    d_model: int
    n_layers: int
    n_heads: int
    d_ff_ratio: int = 4
    """Width of the feed-forward block as a multiple of ``d_model``."""
    context_length: int = 60
    """Days in a window."""
    patch_length: int = 10
    """Days in a patch."""
    patch_stride: int = 5
    """Days from one patch to the next."""
    dropout: float = 0.0
    head: Head = "last"
    """What the logit reads: the most recent patch's token, the mean of all, or all of them."""
    revin: bool = False
    """Normalise every window per feature before patching."""
    last_day_skip: bool = False
    """Add a linear path from the last day's features to the logit."""
    auxiliary_head: bool = False
    """Predict the log range of the coming days too (weighted by TrainConfig.auxiliary_weight)."""

    def __post_init__(self) -> None:
        where = "ModelConfig"
        for name in (
            "n_features", "d_model", "n_layers", "n_heads", "d_ff_ratio",
            "context_length", "patch_length", "patch_stride",
        ):  # fmt: skip
            value = getattr(self, name)
            require(
                isinstance(value, int) and value >= 1,
                where,
                f"{name} must be a whole number >= 1",
                got=f"{name}={value!r}",
                remedy="Mend the search space.",
            )
        require(
            self.d_model % self.n_heads == 0,
            where,
            "n_heads must divide d_model",
            got=f"d_model={self.d_model}, n_heads={self.n_heads}",
            remedy="Choose heads that divide the width.",
        )
        require(
            self.patch_length <= self.context_length
            and (self.context_length - self.patch_length) % self.patch_stride == 0,
            where,
            "context_length - patch_length must be a multiple of patch_stride, "
            "or the most recent days are never seen",
            got=f"context_length={self.context_length}, patch_length={self.patch_length}, "
            f"patch_stride={self.patch_stride}",
            remedy="Choose a context that ends with a whole patch, such as 60 with 10 and 5.",
        )
        require(
            0 <= self.dropout < 1,
            where,
            "dropout must lie in [0, 1)",
            got=f"dropout={self.dropout!r}",
            remedy="0.1 to 0.5 is usual.",
        )
        require(
            self.head in get_args(Head),
            where,
            f"head must be one of {', '.join(get_args(Head))}",
            got=f"head={self.head!r}",
            remedy="Choose one of them.",
        )

    @property
    def d_ff(self) -> int:
        """Width of the feed-forward block."""
        return self.d_ff_ratio * self.d_model

    @property
    def n_patches(self) -> int:
        """Tokens in a window."""
        return (self.context_length - self.patch_length) // self.patch_stride + 1
