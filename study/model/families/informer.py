"""Informer (Zhou et al. 2021, AAAI, https://arxiv.org/abs/2012.07436): only a few queries attend.

A token is a day with all its features. In ProbSparse self-attention the queries that differ most
from uniform attention attend to every key; each other token takes the mean of the values, which is
what uniform attention would give it. How far a query is from uniform is measured on a sample of
keys: the largest of its scores less their mean.

The encoder differs from the published one in three points:

- The sampled keys are evenly spaced and end with the last day, where the authors' code draws them
  anew in every pass. So nothing random happens in evaluation, no state has to be saved to resume
  bit for bit, and no generator has to be shared between devices.
- Layers are not distilled (a convolution and a max-pooling that halve the tokens between two
  layers, an option of the authors' code too). That saves memory for windows of hundreds of days;
  here sixty days would be one token after six layers of up to 256, the weights of the convolutions
  would take a part of the budget from depth and width, and batch normalisation would make the
  result depend on the micro-batch.
- A day is embedded by itself and its position is learned, as in the other families, instead of a
  convolution over three days and fixed waves.
"""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from study.model.architecture import Architecture
from study.model.encoder import EncoderLayer
from study.model.family import layer_matrices
from study.model.network import Network

_FACTOR = 5
"""Sampling factor c of the paper, dimensionless: its default in the authors' code."""

_FLOAT32, _INT64 = 4, 8


def n_kept(n_tokens: int, factor: int) -> int:
    """Return how many queries attend, and how many keys measure them: factor * ceil(ln N)."""
    return max(1, min(n_tokens, factor * math.ceil(math.log(n_tokens))))


def prob_sparse_attention(
    query_BHNE: Tensor, key_BHNE: Tensor, value_BHNE: Tensor, factor: int
) -> Tensor:
    """Let the queries with the most uneven attention attend, and give the rest the mean value.

    With a factor that keeps all of them this is scaled dot-product attention.

    Returns: (B, H, N, E) in the type of its arguments.
    """
    n_tokens = query_BHNE.shape[2]
    n = n_kept(n_tokens, factor)
    with torch.no_grad():
        sampled_U = torch.arange(1, n + 1, device=query_BHNE.device) * n_tokens // n - 1
        score_BHNU = (query_BHNE @ key_BHNE[:, :, sampled_U].transpose(2, 3)).float()
        kept_BHK = (score_BHNU.amax(dim=-1) - score_BHNU.mean(dim=-1)).topk(n, dim=-1).indices
    kept_BHKE = kept_BHK[..., None].expand(-1, -1, -1, query_BHNE.shape[3])
    attended_BHKE = F.scaled_dot_product_attention(
        query_BHNE.gather(2, kept_BHKE), key_BHNE, value_BHNE
    )
    mean_BHNE = value_BHNE.mean(dim=2, keepdim=True).expand_as(value_BHNE)
    return mean_BHNE.scatter(2, kept_BHKE, attended_BHKE)


class ProbSparseLayer(EncoderLayer):
    """The encoder layer with ProbSparse attention, composed of library kernels on every device."""

    factor: ClassVar[int] = _FACTOR

    is_fused: ClassVar[bool] = False

    def _attend(self, normed_BND: Tensor, dtype: torch.dtype, *, last_only: bool) -> Tensor:
        # The last token needs all queries too: whether it attends depends on the others.
        query, key, value = self.query_key_value.product(normed_BND, dtype).chunk(3, dim=-1)
        mixed_BHNE = prob_sparse_attention(
            self._split_heads(query), self._split_heads(key), self._split_heads(value), self.factor
        )
        mixed_BHQE = mixed_BHNE[:, :, -1:] if last_only else mixed_BHNE
        return mixed_BHQE.transpose(1, 2).flatten(2)


class Informer(Network):
    """A transformer over days whose attention is ProbSparse."""

    unread: ClassVar[tuple[str, ...]] = ("patch_length", "patch_stride")

    layer_type: ClassVar[type[ProbSparseLayer]] = ProbSparseLayer

    @classmethod
    def check(cls, config: Architecture) -> None:
        """Refuse nothing: every context can be embedded day by day."""

    @classmethod
    def n_tokens(cls, config: Architecture) -> int:
        """Return the days of the context."""
        return config.context_length

    @classmethod
    def patch_width(cls, config: Architecture) -> int:
        """Return the features of a day."""
        return config.n_features

    @classmethod
    def layer_flops(cls, config: Architecture, n_queries: int) -> int:
        """Return the operations of one layer; see ``Family``.

        All tokens are queries, and the products that measure them have no backward pass.
        """
        c, tokens, d = config, cls.n_tokens(config), config.d_model
        kept = n_kept(tokens, cls.layer_type.factor)
        measure = 2 * tokens * kept * d
        projections = 2 * d * d * (3 * tokens + n_queries)
        attention = 2 * 2 * kept * tokens * d
        feed_forward = 2 * 2 * n_queries * d * c.d_ff
        return measure + 3 * (projections + attention + feed_forward)

    @classmethod
    def layer_bytes(cls, config: Architecture, rows: int, asked: int, operand: int) -> int:
        """Return the bytes that a layer saves for its backward pass; see ``Family``.

        The kernel of attention saves its operands and its result, but no weights of attention.
        """
        c, tokens = config, cls.n_tokens(config)
        both = rows + asked
        kept = rows // tokens * n_kept(tokens, cls.layer_type.factor)
        stream = both * c.d_model * _FLOAT32
        statistics = 2 * both * _FLOAT32
        normed = both * c.d_model * operand
        query_key_value = 3 * rows * c.d_model * operand
        attended = 2 * kept * c.d_model * operand + kept * c.n_heads * (_INT64 + _FLOAT32)
        mixed = asked * c.d_model * operand
        hidden = 2 * asked * c.d_ff * operand
        mask = asked * (2 * c.d_model + c.d_ff) if c.dropout > 0 else 0
        # In float32 the products take the weights themselves.
        cast = 0 if operand == _FLOAT32 else layer_matrices(c)
        saved = stream + statistics + normed + query_key_value + attended + mixed + hidden + mask
        return saved + cast * operand

    @classmethod
    def layer_temporary_bytes(
        cls, config: Architecture, rows: int, asked: int, operand: int
    ) -> int:
        """Return the bytes that a layer holds for a moment; see ``Family``.

        No weights of attention are among them. The scores of the sampled keys, in the operands'
        type and in float32, are freed in the forward pass, but the peaks of
        ``tests/model/test_memory.py`` show that their room is not all used again.
        """
        c, tokens = config, cls.n_tokens(config)
        stream, product = c.d_model * _FLOAT32, c.d_model * operand
        is_float32 = operand == _FLOAT32
        kept = n_kept(tokens, cls.layer_type.factor)
        measure = rows * c.n_heads * kept * (operand if is_float32 else operand + _FLOAT32)
        # The gradient that came in, that between the blocks, one of the update and two of the mix.
        common = asked * (2 * stream + 2 * c.d_ff * operand + 3 * product)
        # What goes out; the norm's; one each of query, key and value, by head and joined.
        end = rows * (stream + product) + 6 * rows * product
        if not is_float32:
            # The norm's is widened, and the gradient of the query, key and value weights not yet.
            end += rows * stream + 3 * c.d_model**2 * operand
        return measure + common + end

    def _patches(self, x_BTF: Tensor) -> Tensor:
        return x_BTF
