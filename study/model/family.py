"""The properties of a family that need no network: rules, counts, operations and memory."""

from abc import ABC, abstractmethod
from typing import ClassVar

from study.model.architecture import Architecture
from study.model.asset_attention import asset_flops, asset_parameters
from study.model.fused_layer import MOST_COLUMN_TOKENS

_FLOAT32 = 4
"""Bytes of a float32."""


class Family(ABC):
    """A family of networks: encoder layers over tokens, each a linear map of a patch of the window.

    The three abstract methods describe how a window is cut into patches. The others hold for a
    ``Network`` of plain encoder layers, and are overridden by a family that adds weights,
    operations or tensors.
    """

    unread: ClassVar[tuple[str, ...]] = ()
    """Fields of Architecture that its networks do not read, and that cannot be searched."""

    @classmethod
    @abstractmethod
    def check(cls, config: Architecture) -> None:
        """Refuse an architecture of which the family can build no network.

        The rules that hold for all families have been checked before.

        Raises: SpecError if it can build none.
        """

    @classmethod
    @abstractmethod
    def n_tokens(cls, config: Architecture) -> int:
        """Return the number of tokens in the encoder."""

    @classmethod
    @abstractmethod
    def patch_width(cls, config: Architecture) -> int:
        """Return how many numbers of a window one token is computed from."""

    @classmethod
    def count(cls, config: Architecture, d_model: int, n_layers: int, d_ff: int) -> int:
        """Count the parameters of ``config`` with another width, depth and feed-forward width."""
        c, tokens = config, cls.n_tokens(config)
        embedding = cls.patch_width(c) * d_model + d_model + tokens * d_model
        attention = 4 * (d_model * d_model + d_model)
        feed_forward = 2 * d_model * d_ff + d_ff + d_model
        norms = 4 * d_model
        final_norm = 2 * d_model
        read_out = d_model * (tokens if c.head == "flatten" else 1) + 1
        heads = read_out * (c.n_horizons + c.auxiliary_head)
        extras = c.n_features * (2 * c.revin + c.last_day_skip * c.n_horizons)
        layers = n_layers * (attention + feed_forward + norms)
        across_assets = asset_parameters(c, d_model, d_ff)
        return embedding + layers + final_norm + heads + extras + across_assets

    @classmethod
    def sample_flops(cls, config: Architecture) -> int:
        """Return the operations of a training step per sample: a window, or a day of a panel."""
        return config.n_assets * cls.window_flops(config) + asset_flops(config)

    @classmethod
    def window_flops(cls, config: Architecture) -> int:
        """Return the operations of the matrix products of a training step, per window.

        A multiply-add counts as two operations, and the backward pass as two forward passes, since
        every product has two gradients. Only executed operations count: the embedding has no
        gradient with respect to its input unless RevIN needs it, and with the ``last`` head the
        last layer computes one token.
        """
        c, tokens, d = config, cls.n_tokens(config), config.d_model
        embedding = 2 * tokens * cls.patch_width(c) * d
        last = cls.layer_flops(c, 1 if c.head == "last" else tokens)
        layers = (c.n_layers - 1) * cls.layer_flops(c, tokens) + last
        read_width = d * (tokens if c.head == "flatten" else 1)
        heads = 2 * read_width * (c.n_horizons + c.auxiliary_head)
        return (3 if c.revin else 2) * embedding + layers + 3 * heads

    @classmethod
    def layer_flops(cls, config: Architecture, n_queries: int) -> int:
        """Return the operations per window of a layer that computes ``n_queries`` of its tokens.

        Forward and backward pass are added.
        """
        c, tokens, d = config, cls.n_tokens(config), config.d_model
        projections = 2 * d * d * (2 * n_queries + 2 * tokens)
        attention = 2 * 2 * n_queries * tokens * d
        feed_forward = 2 * 2 * n_queries * d * c.d_ff
        return 3 * (projections + attention + feed_forward)

    @classmethod
    def embedding_bytes(cls, config: Architecture, n_windows: int, operand: int) -> int:
        """Return the bytes of the tensors before the first layer that a training step holds.

        Args:
            config: the architecture.
            n_windows: number of windows of a micro-batch.
            operand: bytes of an operand of the matrix products.
        """
        c, rows = config, n_windows * cls.n_tokens(config)
        windows = n_windows * c.context_length * c.n_features * _FLOAT32 * (4 if c.revin else 1)
        patches = rows * cls.patch_width(c) * operand
        mask = rows * c.d_model if c.dropout > 0 else 0
        return windows + patches + mask

    @classmethod
    def layer_bytes(cls, config: Architecture, rows: int, asked: int, operand: int) -> int:
        """Return the bytes that a layer saves for its backward pass, casts of weights included.

        Tensors are counted in the order of ``save_for_backward`` in ``study.model.fused_layer``.

        Args:
            config: the architecture.
            rows: number of tokens in all windows of a micro-batch.
            asked: number of tokens that the layer computes.
            operand: bytes of an operand of the matrix products.
        """
        c, tokens = config, cls.n_tokens(config)
        both = rows + asked
        stream = both * c.d_model * _FLOAT32
        statistics = 2 * both * _FLOAT32
        normed = both * c.d_model * operand
        query_key_value = (asked + 2 * rows) * c.d_model * operand
        # Few tokens are kept in two layouts: for the softmax and for the products.
        n_layouts = 2 if tokens <= MOST_COLUMN_TOKENS else 1
        attention = n_layouts * asked * tokens * c.n_heads * operand
        mixed = asked * c.d_model * operand
        hidden = 2 * asked * c.d_ff * operand
        mask = asked * (2 * c.d_model + c.d_ff) if c.dropout > 0 else 0
        # In float32 only the two matrices that carry the dropout scale are copied.
        is_float32 = operand == _FLOAT32
        cast = c.d_model**2 + c.d_model * c.d_ff if is_float32 else layer_matrices(c)
        saved = stream + statistics + normed + query_key_value + attention + mixed + hidden + mask
        return saved + cast * operand

    @classmethod
    def layer_temporary_bytes(
        cls, config: Architecture, rows: int, asked: int, operand: int
    ) -> int:
        """Return the most bytes that temporary tensors hold at once in a layer's backward pass.

        The arguments are those of ``layer_bytes``.
        """
        c = config
        stream = c.d_model * _FLOAT32
        product = c.d_model * operand
        attention = asked * cls.n_tokens(c) * c.n_heads * operand
        # All of these are gradients: that of the output, that between the blocks, one of the
        # update and two of the mixed values.
        common = asked * (2 * stream + 2 * c.d_ff * operand + 3 * product)
        # Inside attention: two layouts of that of the attention weights with that of the values,
        # or one layout with those of query, key and value.
        inside = max(2 * attention + rows * product, attention + (2 * rows + asked) * product)
        # At the end: that of the input, that of the norm's output, and those of query, key and
        # value, both by head and joined.
        end = rows * (stream + product) + 2 * (2 * rows + asked) * product
        if operand != _FLOAT32:
            # That of the norm's output is cast to float32, while that of the weights of query, key
            # and value still exists in the narrow type.
            end += rows * stream + 3 * c.d_model**2 * operand
        return common + max(inside, end)


def layer_matrices(config: Architecture) -> int:
    """Return how many weights the matrices of one encoder layer have, without biases and norms."""
    return 4 * config.d_model**2 + 2 * config.d_model * config.d_ff
