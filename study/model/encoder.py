"""The pre-norm transformer encoder layer."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.model.dropout import draw_mask, dropout, keep_probability
from study.model.fused_layer import LayerOptions, LayerWeights, fused_layer, n_masked
from study.model.linear import Linear


class EncoderLayer(nn.Module):
    """A layer that maps x to y = x + drop(attention(norm x)), then y + drop(feed-forward(norm y)).

    The feed-forward block has a GELU inside. The residual stream is float32 whatever the precision
    of the matrix products, because there may be 256 layers. Attention weights have no dropout: with
    a dozen tokens it would cost more than the layer itself, and the outputs of attention are
    dropped out anyway.
    """

    is_fused: ClassVar[bool] = True
    """Is there a fused kernel of the layer, for the CPU?"""

    def __init__(self, d_model: int, n_heads: int, d_ff: int, dropout_rate: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout_rate = dropout_rate
        self.attention_norm = nn.LayerNorm(d_model)
        self.query_key_value = Linear(d_model, 3 * d_model)
        self.attention_out = Linear(d_model, d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.feed_forward_in = Linear(d_model, d_ff)
        self.feed_forward_out = Linear(d_ff, d_model)

    def forward(
        self,
        x_BND: Tensor,
        *,
        generator: torch.Generator,
        bf16: bool = False,
        last_only: bool = False,
    ) -> Tensor:
        """Apply the layer to all tokens or, with ``last_only``, compute the last one alone.

        Args:
            x_BND: residual stream, float32.
            generator: source of the dropout masks on the CPU.
            bf16: are matrix products computed in bfloat16?
            last_only: is only the last token a query? Every token is still a key and a value, so
                that the last one is exact.

        Returns: float32 (B, N, D), or (B, 1, D) with ``last_only``.
        """
        dtype = torch.bfloat16 if bf16 else x_BND.dtype
        if self.is_composed_on(x_BND.device):
            return self.compose(x_BND, generator=generator, dtype=dtype, last_only=last_only)
        n_windows, n_tokens, d_model = x_BND.shape
        mask, keep = None, 1.0
        if self.training and self.dropout_rate > 0:
            n_queries = 1 if last_only else n_tokens
            n_elements = n_masked(n_windows, n_queries, d_model, self.feed_forward_in.out_features)
            mask = draw_mask(n_elements, self.dropout_rate, generator)
            keep = keep_probability(self.dropout_rate)
        options = LayerOptions(self.n_heads, dtype, last_only, keep)
        return fused_layer(x_BND, mask, options, self._weights())

    def is_composed_on(self, device: torch.device) -> bool:
        """Is the layer composed of library kernels there?"""
        return device.type != "cpu" or not self.is_fused

    def linear_maps(self) -> tuple[Linear, ...]:
        """Return the linear maps of the layer."""
        return (
            self.query_key_value,
            self.attention_out,
            self.feed_forward_in,
            self.feed_forward_out,
        )

    def _weights(self) -> LayerWeights:
        modules = (
            self.attention_norm,
            self.query_key_value,
            self.attention_out,
            self.feed_forward_norm,
            self.feed_forward_in,
            self.feed_forward_out,
        )
        return LayerWeights(*(p for module in modules for p in (module.weight, module.bias)))

    def compose(
        self,
        x_BND: Tensor,
        *,
        generator: torch.Generator,
        dtype: torch.dtype,
        last_only: bool = False,
    ) -> Tensor:
        """Apply the layer with library kernels, which are fast on an accelerator."""

        def drop(x: Tensor) -> Tensor:
            return dropout(x, self.dropout_rate, training=self.training, generator=generator)

        normed_BND = self.attention_norm(x_BND).to(dtype)
        mixed_BQD = self._attend(normed_BND, dtype, last_only=last_only)
        x_BQD = x_BND[:, -1:] if last_only else x_BND
        x_BQD = x_BQD + drop(self.attention_out.product(mixed_BQD, dtype))
        hidden_BQM = self.feed_forward_in.product(self.feed_forward_norm(x_BQD), dtype)
        hidden_BQM = drop(F.gelu(hidden_BQM))
        return x_BQD + drop(self.feed_forward_out.product(hidden_BQM, dtype))

    def _attend(self, normed_BND: Tensor, dtype: torch.dtype, *, last_only: bool) -> Tensor:
        """Mix the values of all tokens for every token, or for the last one alone; (B, Q, D)."""
        if last_only:
            d_model = normed_BND.shape[-1]
            weight, bias = self.query_key_value.operands(dtype)
            # Two axes instead of three, for less memory: see fused_layer.
            query_BQD = F.linear(normed_BND[:, -1], weight[:d_model], bias[:d_model])[:, None]
            key_value = F.linear(normed_BND, weight[d_model:], bias[d_model:])
            key_BND, value_BND = key_value.chunk(2, dim=-1)
        else:
            query_BQD, key_BND, value_BND = self.query_key_value.product(normed_BND, dtype).chunk(
                3, dim=-1
            )
        mixed_BHQE = F.scaled_dot_product_attention(
            self._split_heads(query_BQD), self._split_heads(key_BND), self._split_heads(value_BND)
        )
        return mixed_BHQE.transpose(1, 2).flatten(2)

    def _split_heads(self, x_BND: Tensor) -> Tensor:
        """Return (B, H, N, E)."""
        return x_BND.view(*x_BND.shape[:2], self.n_heads, -1).transpose(1, 2)
