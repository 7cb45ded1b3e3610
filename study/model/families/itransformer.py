"""iTransformer (Liu et al. 2024, https://arxiv.org/abs/2310.06625): a token is a feature's window.

Attention is between features. The embedding is shared by all of them, so that only its position
tells a token which feature it reads.
"""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from study.model.architecture import Architecture
from study.model.network import Network


class ITransformer(Network):
    """A transformer over features, all days of a feature in one token.

    With the ``last`` head, which reads the last token, that one is a read-out: its patch is empty,
    so that it begins as its learned position, and it gathers what it needs from the features.
    """

    unread: ClassVar[tuple[str, ...]] = ("patch_length", "patch_stride")

    position_std: ClassVar[float] = 1.0
    """That of a token's content: a feature must be known by its position from the first step. With
    0.02 the skill on ``tests/training/planted.py`` after 6 epochs is .28 to .42 instead of .46 to
    .49 (three seeds), the validation loss on the S&P 500 after 8 is .43 to .44, not .41 (2)."""

    @classmethod
    def check(cls, config: Architecture) -> None:
        """Refuse nothing: every context and every number of features can be embedded."""

    @classmethod
    def n_tokens(cls, config: Architecture) -> int:
        """Return a token per feature, and the read-out of the ``last`` head."""
        return config.n_features + (config.head == "last")

    @classmethod
    def patch_width(cls, config: Architecture) -> int:
        """Return the days of the context."""
        return config.context_length

    def _patches(self, x_BTF: Tensor) -> Tensor:
        patch_BNT = x_BTF.transpose(1, 2)
        return F.pad(patch_BNT, (0, 0, 0, 1)) if self.config.head == "last" else patch_BNT
