"""A network's encoder that fills in hidden patches, with a head that is thrown away afterwards.

A share of the patches of every window is set to zero before the embedding, and a linear head reads
from the encoder's answer what they were: the self-supervised setting of PatchTST (Nie et al. 2023,
https://arxiv.org/abs/2211.14730). Its patches do not overlap, or a neighbour would give the answer
away. Each patch is hidden independently of the others.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.model.dropout import draw_mask, keep_probability
from study.model.linear import Linear
from study.model.network import Network


class MaskedEncoder(nn.Module):
    """Hides patches, and returns how far the encoder is from filling them in.

    Only the encoder and the head have gradients: attention across assets and the heads that read
    the answer are not part of the pass.

    Args:
        network: the network, whose weights are shared.
        share: probability with which a patch is hidden, to the nearest 256th.
        device: device of the network.
    """

    def __init__(self, network: Network, share: float, device: torch.device) -> None:
        super().__init__()
        self.network = network
        # The masks of the CPU have shares of whole 256ths.
        self._share = 1 - keep_probability(share)
        c = network.config
        self.fill_in = nn.Linear(c.d_model, network.patch_width(c), device=device)
        # It begins with zero, the mean of standardised inputs.
        nn.init.zeros_(self.fill_in.weight)
        nn.init.zeros_(self.fill_in.bias)

    @property
    def bf16(self) -> bool:
        """Are the network's matrix products in bfloat16?"""
        return self.network.bf16

    @property
    def dropout_generator(self) -> torch.Generator:
        """Source of the hidden patches and the dropout masks on the CPU."""
        return self.network.dropout_generator

    def cast_maps(self, device: torch.device) -> list[Linear]:
        """Return the linear maps whose weights a pass in bfloat16 casts by itself."""
        return self.network.cast_maps(device)

    def forward(
        self, x: Tensor, present_BA: Tensor | None = None, sector_A: Tensor | None = None
    ) -> Tensor:
        """Return the mean squared error of the hidden patches of each sample, float32 (B,).

        The sum of errors is divided by the expected number of hidden values, so that a sample in
        which few patches are hidden counts as little as it should.

        Args:
            x: windows, (B, T, F) or, for the assets of a panel's days, (B, A, T, F).
            present_BA: assets that are ranked, bool, the windows of which count; None of one asset.
            sector_A: not read; as ``Network.forward`` has it.
        """
        del sector_A
        patch_BNP = self.network.patches(x if x.ndim == 3 else x.flatten(0, 1))
        is_hidden_BN1 = self._draw(patch_BNP)
        answer_BND = self.network.encode_patches(patch_BNP.masked_fill(is_hidden_BN1, 0.0))
        answer_BND = F.layer_norm(answer_BND, answer_BND.shape[-1:])
        # The target has no gradient, or normalisation would learn to make it small.
        error_BNP = (self.fill_in(answer_BND) - patch_BNP.detach()) ** 2
        error_B: Tensor = (error_BNP * is_hidden_BN1).flatten(1).mean(1) / self._share
        if present_BA is None:
            return error_B
        n_present_B = present_BA.sum(1).clamp_min(1)
        per_day: Tensor = (error_B.view(present_BA.shape) * present_BA).sum(1) / n_present_B
        return per_day

    def _draw(self, patch_BNP: Tensor) -> Tensor:
        """Return which patches are hidden, bool (B, N, 1)."""
        n_windows, n_tokens, _ = patch_BNP.shape
        shape = (n_windows, n_tokens, 1)
        if patch_BNP.device.type != "cpu":
            return torch.rand(shape, device=patch_BNP.device) < self._share
        return draw_mask(n_windows * n_tokens, self._share, self.dropout_generator).view(shape) == 0
