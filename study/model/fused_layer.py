"""One encoder layer as a single autograd node, for the CPU.

A layer composed of library modules spends more time around its matrix products than in them: on
Bernoulli masks, on attention kernels made for long sequences and, in narrow models, on the
bookkeeping of forty small autograd nodes. Here the same arithmetic is written out:

- Dropout masks are bytes of one random draw for the whole layer. The 1 / keep scales multiply
  copies of the weights, which are smaller than the activations.
- Attention is two batched products. With few tokens the softmax between them runs along a middle
  axis, with all windows and heads innermost, because rows of a dozen numbers do not vectorise.

``tests/model/test_encoder.py`` compares it with the composition, gradients included.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from study.model.dropout import apply_mask_

# A tensor without a letter per axis has B and N joined to one axis of rows.

_NORM_EPSILON = 1e-5
"""Number that is added to a variance before its root is taken: the default of nn.LayerNorm."""

MOST_COLUMN_TOKENS = 32
"""Largest number of keys for which the softmax runs along a middle axis. In bfloat16 a softmax over
rows was 10 to 50 % slower with 26 tokens and up to twice as fast with 212; it also needs only one
layout of the weights to be kept instead of two."""


class LayerOptions(NamedTuple):
    """The settings of a layer besides its tensors."""

    n_heads: int
    dtype: torch.dtype
    """Type of the operands of the matrix products."""
    last_only: bool
    """Is the last token alone computed? All tokens are keys and values."""
    keep: float
    """Share of elements that ``mask`` keeps; 1 without a mask."""


class LayerWeights(NamedTuple):
    """The parameters of a layer, float32, in the order the autograd node takes them."""

    attention_gain: Tensor
    attention_shift: Tensor
    query_key_value: Tensor
    query_key_value_bias: Tensor
    attention_out: Tensor
    attention_out_bias: Tensor
    feed_forward_gain: Tensor
    feed_forward_shift: Tensor
    feed_forward_in: Tensor
    feed_forward_in_bias: Tensor
    feed_forward_out: Tensor
    feed_forward_out_bias: Tensor


def n_masked(n_windows: int, n_queries: int, d_model: int, d_ff: int) -> int:
    """Count the elements that dropout decides: attention output, hidden, feed-forward output."""
    return n_windows * n_queries * (2 * d_model + d_ff)


def fused_layer(
    x_BND: Tensor, mask: Tensor | None, options: LayerOptions, weights: LayerWeights
) -> Tensor:
    """Map x to y = x + drop(attention(norm x)), then to y + drop(feed-forward(norm y)).

    Args:
        x_BND: residual stream, float32 (float64 in tests).
        mask: uint8 of ``n_masked`` elements, or None for no dropout.
        options: the settings.
        weights: the parameters.

    Returns: the residual stream, (B, N, D) or (B, 1, D) with ``last_only``.
    """
    result: Tensor = _FusedLayer.apply(x_BND, mask, options, *weights)  # type: ignore[no-untyped-call]
    return result


class _FusedLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x_BND: Tensor,
        mask: Tensor | None,
        options: LayerOptions,
        *parameters: Tensor,
    ) -> Tensor:
        w = LayerWeights(*parameters)
        dtype, scale = options.dtype, 1 / options.keep
        n_windows, _, d_model = x_BND.shape
        d_ff = w.feed_forward_in.shape[0]
        stream_BQD = x_BND[:, -1:] if options.last_only else x_BND
        n_rows = n_windows * stream_BQD.shape[1]
        masks = _split_mask(mask, n_rows * d_model, n_rows * d_ff)

        # The scales of dropout multiply the weights: once after attention, and in the feed-forward
        # block once for the hidden layer and once for the output.
        qkv_weight, qkv_bias = w.query_key_value.to(dtype), w.query_key_value_bias.to(dtype)
        attention_out = (w.attention_out * scale).to(dtype)
        attention_out_bias = (w.attention_out_bias * scale).to(dtype)
        feed_forward_in = w.feed_forward_in.to(dtype)
        feed_forward_out = (w.feed_forward_out * scale**2).to(dtype)
        feed_forward_out_bias = (w.feed_forward_out_bias * scale).to(dtype)

        normed, mean, rstd = torch.native_layer_norm(
            x_BND, (d_model,), w.attention_gain, w.attention_shift, _NORM_EPSILON
        )
        normed = normed.to(dtype)
        if options.last_only:
            # Two axes: with three that are not contiguous, F.linear would make a batched product
            # with a copy of the weight per window.
            query = F.linear(normed[:, -1], qkv_weight[:d_model], qkv_bias[:d_model])
            key_value = F.linear(normed, qkv_weight[d_model:], qkv_bias[d_model:])
            query_SQE = _to_heads(query.unsqueeze(1), 1, options.n_heads)[0]
            key_SNE, value_SNE = _to_heads(key_value, 2, options.n_heads)
        else:
            qkv = F.linear(normed, qkv_weight, qkv_bias)
            query_SQE, key_SNE, value_SNE = _to_heads(qkv, 3, options.n_heads)
        weight_QNS, weight_SQN = _attention_weights(query_SQE, key_SNE)
        mixed = _from_heads(torch.bmm(weight_SQN, value_SNE).unsqueeze(0), n_windows)
        mixed = mixed.view(n_rows, d_model)

        update = F.linear(mixed, attention_out, attention_out_bias)
        middle_BQD = stream_BQD + _masked(update, masks[0]).view_as(stream_BQD)

        normed_2, mean_2, rstd_2 = torch.native_layer_norm(
            middle_BQD, (d_model,), w.feed_forward_gain, w.feed_forward_shift, _NORM_EPSILON
        )
        normed_2 = normed_2.to(dtype).view(n_rows, d_model)
        inner = F.linear(normed_2, feed_forward_in, w.feed_forward_in_bias.to(dtype))
        hidden = _masked(F.gelu(inner), masks[1])
        update = F.linear(hidden, feed_forward_out, feed_forward_out_bias)

        ctx.options = options  # type: ignore[attr-defined]
        ctx.save_for_backward(
            x_BND, mean, rstd, normed, qkv_weight, query_SQE, key_SNE, value_SNE,
            weight_QNS,  # type: ignore[arg-type]  # None may be saved
            weight_SQN, mixed, attention_out,
            middle_BQD, mean_2, rstd_2, normed_2, feed_forward_in, inner, hidden,
            feed_forward_out, mask,  # type: ignore[arg-type]
            w.attention_gain, w.attention_shift, w.feed_forward_gain, w.feed_forward_shift,
        )  # fmt: skip
        return middle_BQD + _masked(update, masks[2]).view_as(middle_BQD)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_BQD: Tensor) -> tuple[Tensor | None, ...]:
        options: LayerOptions = ctx.options  # type: ignore[attr-defined]
        (
            x_BND, mean, rstd, normed, qkv_weight, query_SQE, key_SNE, value_SNE,
            weight_QNS, weight_SQN, mixed, attention_out,
            middle_BQD, mean_2, rstd_2, normed_2, feed_forward_in, inner, hidden,
            feed_forward_out, mask,
            attention_gain, attention_shift, feed_forward_gain, feed_forward_shift,
        ) = ctx.saved_tensors  # type: ignore[attr-defined]  # fmt: skip
        dtype, scale = options.dtype, 1 / options.keep
        n_windows, _, d_model = x_BND.shape
        n_rows, d_ff = inner.shape
        stream_dtype = x_BND.dtype
        masks = _split_mask(mask, n_rows * d_model, n_rows * d_ff)

        grad_update = _masked(_fresh(grad_BQD, dtype).view(n_rows, d_model), masks[2])
        grad_feed_forward_out = (grad_update.t() @ hidden).to(stream_dtype).mul_(scale**2)
        grad_feed_forward_out_bias = grad_update.sum(0).to(stream_dtype).mul_(scale)
        grad_hidden = _masked(grad_update @ feed_forward_out, masks[1])
        grad_inner = torch.ops.aten.gelu_backward(grad_hidden, inner)
        grad_feed_forward_in = (grad_inner.t() @ normed_2).to(stream_dtype)
        grad_feed_forward_in_bias = grad_inner.sum(0).to(stream_dtype)
        grad_middle_BQD, grad_gain_2, grad_shift_2 = torch.ops.aten.native_layer_norm_backward(
            (grad_inner @ feed_forward_in).to(stream_dtype).view_as(middle_BQD),
            middle_BQD, (d_model,), mean_2, rstd_2, feed_forward_gain, feed_forward_shift,
            [True, True, True],
        )  # fmt: skip
        grad_middle_BQD += grad_BQD

        grad_update = _masked(_fresh(grad_middle_BQD, dtype).view(n_rows, d_model), masks[0])
        grad_attention_out = (grad_update.t() @ mixed).to(stream_dtype).mul_(scale)
        grad_attention_out_bias = grad_update.sum(0).to(stream_dtype).mul_(scale)
        grad_mixed = (grad_update @ attention_out).view(n_windows, -1, d_model)
        grad_mixed_SQE = _to_heads(grad_mixed, 1, options.n_heads)[0]
        grads_SXE = _attention_backward(
            grad_mixed_SQE, query_SQE, key_SNE, value_SNE, weight_QNS, weight_SQN
        )
        normed_rows = normed.view(-1, d_model)
        if options.last_only:
            grad_query = _from_heads(grads_SXE[0].unsqueeze(0), n_windows).view(-1, d_model)
            grad_key_value = _from_heads(torch.stack(grads_SXE[1:]), n_windows)
            grad_key_value = grad_key_value.view(-1, 2 * d_model)
            grad_qkv_weight = torch.cat(
                (grad_query.t() @ normed[:, -1], grad_key_value.t() @ normed_rows)
            )
            grad_qkv_bias = torch.cat((grad_query.sum(0), grad_key_value.sum(0)))
            grad_normed = (grad_key_value @ qkv_weight[d_model:]).view_as(normed)
            grad_normed[:, -1] += grad_query @ qkv_weight[:d_model]
        else:
            grad_qkv = _from_heads(torch.stack(grads_SXE), n_windows).view(-1, 3 * d_model)
            grad_qkv_weight = grad_qkv.t() @ normed_rows
            grad_qkv_bias = grad_qkv.sum(0)
            grad_normed = (grad_qkv @ qkv_weight).view_as(normed)
        grad_x_BND, grad_gain, grad_shift = torch.ops.aten.native_layer_norm_backward(
            grad_normed.to(stream_dtype),
            x_BND, (d_model,), mean, rstd, attention_gain, attention_shift,
            [True, True, True],
        )  # fmt: skip
        (grad_x_BND[:, -1:] if options.last_only else grad_x_BND).add_(grad_middle_BQD)

        return (
            grad_x_BND, None, None,
            grad_gain, grad_shift,
            grad_qkv_weight.to(stream_dtype), grad_qkv_bias.to(stream_dtype),
            grad_attention_out, grad_attention_out_bias,
            grad_gain_2, grad_shift_2,
            grad_feed_forward_in, grad_feed_forward_in_bias,
            grad_feed_forward_out, grad_feed_forward_out_bias,
        )  # fmt: skip


def _attention_weights(query_SQE: Tensor, key_SNE: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return the softmax over keys as (Q, N, S) for its backward, (S, Q, N) for the products.

    Above ``MOST_COLUMN_TOKENS`` keys the second is used for both, and the first is None.
    """
    n_batch, n_queries, width = query_SQE.shape
    n_keys = key_SNE.shape[1]
    score = torch.baddbmm(
        query_SQE.new_zeros(1), query_SQE, key_SNE.transpose(1, 2), beta=0, alpha=width**-0.5
    )
    if n_keys > MOST_COLUMN_TOKENS:
        return None, torch.softmax(score, dim=-1)
    score = score.view(n_batch, -1).t().contiguous().view(n_queries, n_keys, n_batch)
    weight_QNS = torch.softmax(score, dim=1)
    weight_SQN = weight_QNS.view(-1, n_batch).t().contiguous().view(n_batch, n_queries, n_keys)
    return weight_QNS, weight_SQN


def _attention_backward(
    grad_SQE: Tensor,
    query_SQE: Tensor,
    key_SNE: Tensor,
    value_SNE: Tensor,
    weight_QNS: Tensor | None,
    weight_SQN: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    n_batch, _, width = query_SQE.shape
    grad_value_SNE = torch.bmm(weight_SQN.transpose(1, 2), grad_SQE)
    # One name for each layout in turn, so that no more than two of them exist at once.
    grad = torch.bmm(grad_SQE, value_SNE.transpose(1, 2))
    if weight_QNS is None:
        grad = torch.ops.aten._softmax_backward_data(grad, weight_SQN, -1, weight_SQN.dtype)
    else:
        grad = grad.view(n_batch, -1).t().contiguous().view_as(weight_QNS)
        grad = torch.ops.aten._softmax_backward_data(grad, weight_QNS, 1, weight_QNS.dtype)
        grad = grad.view(-1, n_batch).t().contiguous().view_as(weight_SQN)
    zero = query_SQE.new_zeros(1)
    alpha = width**-0.5
    grad_query_SQE = torch.baddbmm(zero, grad, key_SNE, beta=0, alpha=alpha)
    grad_key_SNE = torch.baddbmm(zero, grad.transpose(1, 2), query_SQE, beta=0, alpha=alpha)
    return grad_query_SQE, grad_key_SNE, grad_value_SNE


def _to_heads(x: Tensor, n_parts: int, n_heads: int) -> Tensor:
    """Split (B, N, parts*H*E) into contiguous (parts, B*H, N, E)."""
    n_windows, n_tokens, width = x.shape
    word = _widest_word(x.dtype, width // (n_parts * n_heads))
    parts = x.view(word).view(n_windows, n_tokens, n_parts, n_heads, -1).permute(2, 0, 3, 1, 4)
    return parts.contiguous().view(n_parts, n_windows * n_heads, n_tokens, -1).view(x.dtype)


def _from_heads(parts: Tensor, n_windows: int) -> Tensor:
    """Join (parts, B*H, N, E) into contiguous (B, N, parts*H*E)."""
    n_parts, n_batch, n_tokens, head_width = parts.shape
    word = _widest_word(parts.dtype, head_width)
    split = parts.view(word).view(n_parts, n_windows, n_batch // n_windows, n_tokens, -1)
    joined = split.permute(1, 3, 0, 2, 4).contiguous()
    return joined.view(n_windows, n_tokens, -1).view(parts.dtype)


def _widest_word(dtype: torch.dtype, n_elements: int) -> torch.dtype:
    """Return the widest type that divides a run of elements: it makes a permuting copy faster."""
    n_bytes = dtype.itemsize * n_elements
    words = (torch.complex128, torch.int64, torch.int32)
    return next((word for word in words if n_bytes % word.itemsize == 0), dtype)


def _split_mask(
    mask: Tensor | None, n_stream: int, n_hidden: int
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the masks of the attention output, the hidden layer and the feed-forward output."""
    if mask is None:
        return None, None, None
    attention, hidden, feed_forward = torch.split(mask, [n_stream, n_hidden, n_stream])
    return attention, hidden, feed_forward


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Apply a mask to ``x`` in place: no other name may refer to it."""
    return x if mask is None else apply_mask_(x, mask)


def _fresh(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a contiguous copy in ``dtype`` that may be changed in place."""
    return x.to(dtype, copy=True, memory_format=torch.contiguous_format)
