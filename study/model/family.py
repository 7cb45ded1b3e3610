"""What a family of networks says of itself: how it is built, what it counts, works and holds."""

from abc import ABC, abstractmethod

from study.model.families import load_family
from study.model.model_config import ModelConfig
from study.model.network import Network

_FLOAT32 = 4


class Family(ABC):
    """Encoder layers over tokens, each token the linear image of a patch of the window.

    The four abstract methods say how a window is cut; the rest follows for a ``Network`` and is
    overridden by a family that adds weights, work or tensors of its own.
    """

    unread: tuple[str, ...] = ()
    """Fields of ModelConfig that its networks do not read: none of them can be searched."""

    @abstractmethod
    def build(self, config: ModelConfig, *, bf16: bool) -> Network:
        """Return a network without values; see ``Network``."""

    @abstractmethod
    def check(self, config: ModelConfig) -> None:
        """Refuse what no network of the family can be built from, besides the rules for all.

        Raises: SpecError.
        """

    @abstractmethod
    def n_tokens(self, config: ModelConfig) -> int:
        """Tokens in the encoder."""

    @abstractmethod
    def patch_width(self, config: ModelConfig) -> int:
        """Numbers that one token is made from."""

    def count(self, config: ModelConfig, d_model: int, n_layers: int, d_ff: int) -> int:
        """Exact parameters of ``config`` with another width, depth and feed-forward width."""
        c, tokens = config, self.n_tokens(config)
        embedding = self.patch_width(c) * d_model + d_model + tokens * d_model
        attention = 4 * (d_model * d_model + d_model)
        feed_forward = 2 * d_model * d_ff + d_ff + d_model
        norms = 4 * d_model
        final_norm = 2 * d_model
        read_out = d_model * (tokens if c.head == "flatten" else 1) + 1
        heads = read_out * (2 if c.auxiliary_head else 1)
        extras = c.n_features * (2 * c.revin + c.last_day_skip)
        layers = n_layers * (attention + feed_forward + norms)
        return embedding + layers + final_norm + heads + extras

    def window_flops(self, config: ModelConfig) -> int:
        """Operations of the matrix products of a training step, per window.

        Two per multiply-add; forward plus twice that for the backward pass, as every product has
        two gradients. Counted as really done: the embedding has no gradient with respect to its
        input unless RevIN needs it, and with the ``last`` head the last layer asks, mixes and feeds
        forward for one token.
        """
        c, tokens, d = config, self.n_tokens(config), config.d_model
        embedding = 2 * tokens * self.patch_width(c) * d

        def layer(queries: int) -> int:
            projections = 2 * d * d * (2 * queries + 2 * tokens)
            attention = 2 * 2 * queries * tokens * d
            feed_forward = 2 * 2 * queries * d * c.d_ff
            return projections + attention + feed_forward

        last_queries = 1 if c.head == "last" else tokens
        layers = (c.n_layers - 1) * layer(tokens) + layer(last_queries)
        heads = 2 * d * (tokens if c.head == "flatten" else 1) * (1 + c.auxiliary_head)
        return (3 if c.revin else 2) * embedding + 3 * (layers + heads)

    def embedding_bytes(self, config: ModelConfig, n_windows: int, operand: int) -> int:
        """Bytes that a training step holds of what comes before the layers.

        Args:
            config: the architecture.
            n_windows: in a micro-batch.
            operand: bytes of an operand of the matrix products.
        """
        c, rows = config, n_windows * self.n_tokens(config)
        windows = n_windows * c.context_length * c.n_features * _FLOAT32 * (4 if c.revin else 1)
        patches = rows * self.patch_width(c) * operand
        mask = rows * c.d_model if c.dropout > 0 else 0
        return windows + patches + mask


def family_of(config: ModelConfig) -> Family:
    """Return the family of an architecture."""
    family: Family = load_family(config.family).FAMILY
    return family
