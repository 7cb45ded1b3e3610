"""Attention across the assets of a day, after the window of each has been read by itself.

Every present asset attends to every present asset or, in the sector graph, to those of its sector
and to a token per sector, which is the mean of its present members. No asset has a position, so
that their order does not matter.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from study.model.architecture import Architecture
from study.model.dropout import dropout
from study.model.encoder import EncoderLayer

_FLOAT32 = 4
"""Bytes of a float32."""


class AssetLayer(EncoderLayer):
    """An encoder layer whose tokens are the assets of a day, composed of library kernels.

    An absent asset is no key, so that it changes nothing but its own answer, which is ignored.

    Args:
        config: the architecture.
    """

    is_fused: ClassVar[bool] = False

    def __init__(self, config: Architecture) -> None:
        super().__init__(config.d_model, config.n_heads, config.d_ff, config.dropout)
        self._n_sectors = config.n_sectors if config.asset_attention == "sector" else 0

    def mix(
        self,
        x_BAD: Tensor,
        present_BA: Tensor,
        sector_A: Tensor,
        *,
        generator: torch.Generator,
        bf16: bool,
    ) -> Tensor:
        """Apply the layer to the assets of days.

        Args:
            x_BAD: residual stream, float32.
            present_BA: assets that are ranked, bool.
            sector_A: sector of each asset, int64.
            generator: source of the dropout masks on the CPU.
            bf16: are matrix products computed in bfloat16?

        Returns: float32 (B, A, D).
        """
        dtype = torch.bfloat16 if bf16 else x_BAD.dtype

        def drop(x: Tensor) -> Tensor:
            return dropout(x, self.dropout_rate, training=self.training, generator=generator)

        seen_BQK = present_BA[:, None, :]
        key_BKD = x_BAD
        if self._n_sectors:
            sector_BGD, seen_BQK = self._sector_graph(x_BAD, present_BA, sector_A)
            key_BKD = torch.cat((x_BAD, sector_BGD), dim=1)
        weight, bias = self.query_key_value.operands(dtype)
        d_model, n_assets = x_BAD.shape[2], x_BAD.shape[1]
        normed_BKD = self.attention_norm(key_BKD).to(dtype)
        query_BAD = F.linear(normed_BKD[:, :n_assets], weight[:d_model], bias[:d_model])
        key_BKD, value_BKD = F.linear(normed_BKD, weight[d_model:], bias[d_model:]).chunk(2, -1)
        mixed_BHAE = F.scaled_dot_product_attention(
            self._split_heads(query_BAD),
            self._split_heads(key_BKD),
            self._split_heads(value_BKD),
            attn_mask=seen_BQK[:, None],
        )
        mixed_BAD = mixed_BHAE.transpose(1, 2).flatten(2)
        x_BAD = x_BAD + drop(self.attention_out.product(mixed_BAD, dtype))
        hidden_BAM = self.feed_forward_in.product(self.feed_forward_norm(x_BAD), dtype)
        hidden_BAM = drop(F.gelu(hidden_BAM))
        return x_BAD + drop(self.feed_forward_out.product(hidden_BAM, dtype))

    def _sector_graph(
        self, x_BAD: Tensor, present_BA: Tensor, sector_A: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the token of each sector, (B, G, D), and what each asset sees, (B, A, A + G)."""
        belongs_GA = torch.arange(self._n_sectors, device=x_BAD.device)[:, None] == sector_A
        member_BGA = belongs_GA & present_BA[:, None, :]
        n_members_BG1 = member_BGA.sum(dim=2, keepdim=True)
        mean_BGA = member_BGA / n_members_BG1.clamp(min=1)
        is_peer_BAA = (sector_A[:, None] == sector_A) & present_BA[:, None, :]
        is_token_BAG = (n_members_BG1 > 0).transpose(1, 2).expand(-1, x_BAD.shape[1], -1)
        return mean_BGA @ x_BAD, torch.cat((is_peer_BAA, is_token_BAG), dim=2)


def asset_parameters(config: Architecture, d_model: int, d_ff: int) -> int:
    """Count the parameters of attention across assets, with another width than ``config`` has."""
    if config.asset_attention == "none":
        return 0
    attention = 4 * (d_model * d_model + d_model)
    feed_forward = 2 * d_model * d_ff + d_ff + d_model
    norms = 4 * d_model
    return attention + feed_forward + norms


def asset_flops(config: Architecture) -> int:
    """Return the operations of attention across assets in a training step, per day."""
    c = config
    if c.asset_attention == "none":
        return 0
    assets, keys = c.n_assets, _n_keys(c)
    projections = 2 * c.d_model**2 * (2 * assets + 2 * keys)
    attention = 2 * 2 * assets * keys * c.d_model
    feed_forward = 2 * 2 * assets * c.d_model * c.d_ff
    return 3 * (projections + attention + feed_forward)


def asset_bytes(config: Architecture, n_days: int, operand: int) -> int:
    """Return the bytes of attention across assets at the end of its backward pass.

    Args:
        config: the architecture.
        n_days: number of days of a micro-batch.
        operand: bytes of an operand of the matrix products.
    """
    c = config
    if c.asset_attention == "none":
        return 0
    rows, keys = n_days * c.n_assets, n_days * _n_keys(c)
    stream = (3 * rows + 2 * keys) * c.d_model * _FLOAT32
    operands = (3 * rows + 3 * keys) * c.d_model * operand
    hidden = rows * (2 * c.d_ff * operand + c.d_ff)
    # A mask of flags is made one of numbers.
    mask = (rows * _n_keys(c) if c.asset_attention == "sector" else keys) * (1 + operand)
    gradients = rows * c.d_ff * operand + (rows + 3 * keys) * c.d_model * operand
    return stream + operands + hidden + mask + gradients


def _n_keys(config: Architecture) -> int:
    """Return the number of tokens that an asset may attend to."""
    return config.n_assets + (config.n_sectors if config.asset_attention == "sector" else 0)
