"""The network that all families share: it maps a window of days to one logit."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from study.errors import require
from study.model.architecture import Architecture
from study.model.asset_attention import AssetLayer
from study.model.dropout import dropout
from study.model.encoder import EncoderLayer
from study.model.family import Family
from study.model.linear import Linear

_REVIN_EPSILON = 1e-5
"""Number that is added to a standard deviation before a division by it."""

_SKIP_GAIN = 30.0
"""Factor of the linear path. Adam moves each weight by about the learning rate per step, whatever
its gradient: enough for a matrix with hundreds of columns, but 25 weights would need thousands of
steps to reach the size that logistic regression gives them."""


class Prediction(NamedTuple):
    """The outputs of a network for a batch of windows."""

    logit_B: Tensor
    """Log-odds of the label, float32, to which the loss and the predictions apply the sigmoid; of a
    network of panels the scores of a day's assets, which are used as they are."""
    auxiliary_B: Tensor | None
    """Standardised log range of the coming days, float32; None without an auxiliary head."""


class Network(nn.Module, Family):
    """A network of encoder layers over tokens, each a linear map of a patch of the window.

    A family is a subclass, which defines in ``_patches`` how a window is cut into patches, and may
    have its own encoder layer. ``build`` makes one, whose weights have no values until
    ``initialise`` or ``load_state_dict``. Dropout on the CPU draws from ``dropout_generator``,
    whose state a trainer saves and restores to resume bit for bit; on an accelerator it draws from
    the device's own generator.

    Args:
        config: the architecture.
        bf16: are matrix products computed in bfloat16, on a device that multiplies it natively? The
            residual stream, the norms and the heads are float32 in any case. Do not wrap the model
            in autocast.
    """

    position_std: ClassVar[float] = 0.02
    """Standard deviation of the first values of the positions."""

    layer_type: ClassVar[type[EncoderLayer]] = EncoderLayer
    """Class of its encoder layers."""

    @classmethod
    def build(cls, config: Architecture, *, bf16: bool, device: torch.device | str) -> Self:
        """Return a network whose weights have no values yet, allocated once, on ``device``.

        The device ``meta`` allocates nothing, and gives shapes alone.
        """
        with torch.device("meta"):
            network = cls(config, bf16=bf16)
        allocate(network, device)
        return network

    def __init__(self, config: Architecture, *, bf16: bool = False) -> None:
        super().__init__()
        n_tokens = self.n_tokens(config)
        self.config = config
        self.bf16 = bf16
        self.dropout_generator = torch.Generator(device="cpu")
        c = config
        if c.revin:
            self.revin_gain = nn.Parameter(torch.empty(c.n_features))
            self.revin_shift = nn.Parameter(torch.empty(c.n_features))
        self.embedding = Linear(self.patch_width(c), c.d_model)
        self.position = nn.Parameter(torch.empty(n_tokens, c.d_model))
        self.layers = nn.ModuleList(
            self.layer_type(c.d_model, c.n_heads, c.d_ff, c.dropout) for _ in range(c.n_layers)
        )
        if c.asset_attention != "none":
            self.asset_layer = AssetLayer(c)
        self.final_norm = nn.LayerNorm(c.d_model)
        read_width = c.d_model * (n_tokens if c.head == "flatten" else 1)
        self.head = nn.Linear(read_width, 1)
        if c.auxiliary_head:
            self.auxiliary_head = nn.Linear(read_width, 1)
        if c.last_day_skip:
            self.last_day_skip = nn.Linear(c.n_features, 1, bias=False)

    def initialise(self, generator: torch.Generator, base_rate: float) -> None:
        """Fill every weight with its first value and seed the dropout stream.

        Args:
            generator: see ``first_values``.
            base_rate: see ``first_values``.
        """
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, value in self.first_values(generator, base_rate):
                own[name].copy_(value)
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        self.dropout_generator.manual_seed(seed)

    def first_values(
        self, generator: torch.Generator, base_rate: float
    ) -> Iterator[tuple[str, Tensor]]:
        """Draw the first value of one parameter after the other, by name, float32.

        Matrices are N(0, 1 / fan_in). Those that write to the residual stream are also divided by
        sqrt(2 * n_layers), so that its variance does not grow with depth (Radford et al. 2019,
        "Language Models are Unsupervised Multitask Learners", section 2.3); attention across assets
        is one more layer. Positions are N(0, ``position_std``^2), biases zero, norms one. All heads
        are zero except for the bias of the logit, so that training starts at the base rate.

        Args:
            generator: a generator on the CPU, so that a seed gives the same weights on every
                device.
            base_rate: share of positive labels in the training part, in (0, 1).

        Yields: values on the generator's device; the parameters may have none, as on ``meta``.
        """
        require(
            0 < base_rate < 1,
            type(self).__name__,
            "base_rate must lie in (0, 1)",
            got=f"base_rate={base_rate!r}",
            remedy="The training part needs both labels.",
        )
        n_layers = self.config.n_layers + (self.config.asset_attention != "none")
        depth_scale = (2 * n_layers) ** -0.5
        at_base_rate = math.log(base_rate / (1 - base_rate))
        for name, parameter in self.named_parameters():
            value = torch.zeros(parameter.shape, device=generator.device)
            if name == "position":
                value.normal_(0, self.position_std, generator=generator)
            elif name.endswith(("norm.weight", "revin_gain")):
                value.fill_(1)
            elif name == "head.bias":
                value.fill_(at_base_rate)
            elif not (parameter.ndim < 2 or "head" in name or "skip" in name):
                std = parameter.shape[1] ** -0.5
                writes_stream = name.endswith("_out.weight")
                std = std * depth_scale if writes_stream else std
                value.normal_(0, std, generator=generator)
            yield name, value

    def cast_maps(self, device: torch.device) -> list[Linear]:
        """Return the linear maps whose weights a pass in bfloat16 casts by itself on ``device``.

        The fused layer of the CPU is without them: it scales its weights before it casts them.
        """
        layers = [layer for layer in self.modules() if isinstance(layer, EncoderLayer)]
        composed = [layer for layer in layers if layer.is_composed_on(device)]
        return [self.embedding, *(linear for layer in composed for linear in layer.linear_maps())]

    def forward(
        self, x: Tensor, present_BA: Tensor | None = None, sector_A: Tensor | None = None
    ) -> Prediction:
        """Predict from windows, oldest day first.

        Args:
            x: float32 of shape (B, T, F) or, for the assets of a panel's days, (B, A, T, F).
            present_BA: which assets are ranked, bool; None of one asset.
            sector_A: sector of each asset, int64; None of one asset.

        Returns: a number per window or, for a panel, per day and asset, (B, A). Those of absent
            assets mean nothing.
        """
        flat = x if x.ndim == 3 else x.flatten(0, 1)
        x_BND = self._apply_layers(
            self.embed(self.patches(flat)), last_only=self.config.head == "last"
        )
        return self.answer(x_BND, x, present_BA, sector_A)

    def answer(
        self,
        x_BND: Tensor,
        x: Tensor,
        present_BA: Tensor | None = None,
        sector_A: Tensor | None = None,
    ) -> Prediction:
        """Read the answer from the residual stream of each window after all layers.

        Args:
            x_BND: float32 (B, N, D), or (B, 1, D) of the ``last`` head; the windows of a panel's
                days one after the other.
            x: the windows, and the other two, as ``forward`` has them.
            present_BA: which assets are ranked.
            sector_A: sector of each asset.
        """
        if x.ndim == 3:
            return self._read_out(self._read(x_BND), x)
        flat = x.flatten(0, 1)
        if self.config.asset_attention == "none":
            read_BR = self._read(x_BND)
        else:
            read_BR = self._mix_assets(x_BND, present_BA, sector_A)
        logit_B, auxiliary_B = self._read_out(read_BR, flat)
        return Prediction(logit_B.view(x.shape[:2]), auxiliary_B)

    def patches(self, x_BTF: Tensor) -> Tensor:
        """Return what the encoder reads of each token of a window, (B, N, P)."""
        return self._patches(self._normalise(x_BTF) if self.config.revin else x_BTF)

    def encode_patches(self, patch_BNP: Tensor) -> Tensor:
        """Return the residual stream of every token after all layers, (B, N, D)."""
        return self._apply_layers(self.embed(patch_BNP), last_only=False)

    def embed(self, patch_BNP: Tensor) -> Tensor:
        """Return the residual stream of every token before the first layer, float32 (B, N, D)."""
        dtype = torch.bfloat16 if self.bf16 else patch_BNP.dtype
        x_BND = self.embedding.product(patch_BNP, dtype) + self.position
        return dropout(
            x_BND, self.config.dropout, training=self.training, generator=self.dropout_generator
        )

    def _apply_layers(self, x_BND: Tensor, *, last_only: bool) -> Tensor:
        """Return the residual stream after all layers, (B, N, D) or (B, 1, D)."""
        for index, layer in enumerate(self.layers):
            x_BND = layer(
                x_BND,
                generator=self.dropout_generator,
                bf16=self.bf16,
                last_only=last_only and index == len(self.layers) - 1,
            )
        return x_BND

    def _read(self, x_BND: Tensor) -> Tensor:
        """Return what the heads read of each window, (B, R)."""
        x_BND = self.final_norm(x_BND)
        read_BR: Tensor = x_BND.mean(dim=1) if self.config.head == "mean" else x_BND.flatten(1)
        return read_BR

    def _mix_assets(
        self, x_BND: Tensor, present_BA: Tensor | None, sector_A: Tensor | None
    ) -> Tensor:
        """Return what the head reads of each asset once it has seen others, (B * A, D)."""
        assert present_BA is not None
        assert sector_A is not None
        token = x_BND.mean(dim=1) if self.config.head == "mean" else x_BND[:, -1]
        mixed_BAD = self.asset_layer.mix(
            token.view(*present_BA.shape, -1),
            present_BA,
            sector_A,
            generator=self.dropout_generator,
            bf16=self.bf16,
        )
        read: Tensor = self.final_norm(mixed_BAD).flatten(0, 1)
        return read

    def _read_out(self, read_BR: Tensor, x_BTF: Tensor) -> Prediction:
        c = self.config
        logit_B = self.head(read_BR).squeeze(-1)
        if c.last_day_skip:
            # The path reads the features before RevIN, which removes the level that it is for.
            logit_B = logit_B + _SKIP_GAIN * self.last_day_skip(x_BTF[:, -1]).squeeze(-1)
        auxiliary_B = self.auxiliary_head(read_BR).squeeze(-1) if c.auxiliary_head else None
        return Prediction(logit_B, auxiliary_B)

    def _normalise(self, x_BTF: Tensor) -> Tensor:
        centred_BTF = x_BTF - x_BTF.mean(dim=1, keepdim=True)
        sd_B1F = x_BTF.std(dim=1, keepdim=True)
        return centred_BTF / (sd_B1F + _REVIN_EPSILON) * self.revin_gain + self.revin_shift

    @abstractmethod
    def _patches(self, x_BTF: Tensor) -> Tensor:
        """Cut windows into one row of numbers per token, (B, N, P); the head's token is last."""


def decay_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the weights with weight decay, and those without: norms, biases, positions."""
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim >= 2 and not name.endswith("position")
        (decayed if is_matrix else undecayed).append(parameter)
    return decayed, undecayed


def allocate(module: nn.Module, device: torch.device | str) -> None:
    """Give every parameter of a module built on ``meta`` memory on a device, without values."""
    # Module.to_empty would import sympy for this, a quarter of a second of every worker.
    for each in module.modules():
        for name, parameter in list(each.named_parameters(recurse=False)):
            empty = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            setattr(each, name, nn.Parameter(empty))
