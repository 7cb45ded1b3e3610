"""iTransformer (Liu et al. 2024, https://arxiv.org/abs/2310.06625): a token is a feature's window.

Attention is between features. The embedding is shared by all of them, so that only its position
tells a token which feature it reads.
"""

import torch.nn.functional as F
from torch import Tensor

from study.model.family import Family
from study.model.model_config import ModelConfig
from study.model.network import Network

# Shapes: B window, C day of the context, F feature, N token.


class ITransformer(Network):
    """A transformer over features, all days of a feature in one token.

    With the ``last`` head, which reads the last token, that one is a read-out: its patch is empty,
    so that it begins as its learned position, and it gathers what it needs from the features.
    """

    position_std = 1.0
    """That of a token's content: a feature must be known by its position from the first step. With
    0.02 the skill on ``tests/training/planted.py`` after 6 epochs is .28 to .42 instead of .46 to
    .49 (three seeds), the validation loss on the S&P 500 after 8 is .43 to .44, not .41 (2)."""

    def __init__(self, config: ModelConfig, *, bf16: bool = False) -> None:
        super().__init__(
            config,
            n_tokens=FAMILY.n_tokens(config),
            patch_width=FAMILY.patch_width(config),
            bf16=bf16,
        )

    def _patches(self, x_BCF: Tensor) -> Tensor:
        patch_BNC = x_BCF.transpose(1, 2)
        return F.pad(patch_BNC, (0, 0, 0, 1)) if self.config.head == "last" else patch_BNC


class _ITransformerFamily(Family):
    unread = ("patch_length", "patch_stride")

    def build(self, config: ModelConfig, *, bf16: bool) -> ITransformer:
        return ITransformer(config, bf16=bf16)

    def check(self, config: ModelConfig) -> None:
        """Refuse nothing: every context and every number of features can be embedded."""

    def n_tokens(self, config: ModelConfig) -> int:
        return config.n_features + (config.head == "last")

    def patch_width(self, config: ModelConfig) -> int:
        return config.context_length


FAMILY = _ITransformerFamily()
