"""PatchTST: a token is a patch of days, with all their features."""

from torch import Tensor

from study.errors import require
from study.model.family import Family
from study.model.model_config import ModelConfig
from study.model.network import Network

# Shapes: B window, C day of the context, F feature, N patch, L day of a patch, P days of a patch
# times features.


class PatchTST(Network):
    """A transformer over patches of days, all features of a patch in one token."""

    def __init__(self, config: ModelConfig, *, bf16: bool = False) -> None:
        super().__init__(
            config,
            n_tokens=FAMILY.n_tokens(config),
            patch_width=FAMILY.patch_width(config),
            bf16=bf16,
        )

    def _patches(self, x_BCF: Tensor) -> Tensor:
        # ModelConfig refuses lengths that leave days over: the last patch ends with the last day.
        c = self.config
        patch_BNFL = x_BCF.unfold(1, c.patch_length, c.patch_stride)
        return patch_BNFL.transpose(2, 3).flatten(2)


class _PatchTSTFamily(Family):
    def build(self, config: ModelConfig, *, bf16: bool) -> PatchTST:
        return PatchTST(config, bf16=bf16)

    def check(self, config: ModelConfig) -> None:
        c = config
        require(
            c.patch_length <= c.context_length
            and (c.context_length - c.patch_length) % c.patch_stride == 0,
            "ModelConfig",
            "context_length - patch_length must be a multiple of patch_stride, "
            "or the most recent days are never seen",
            got=f"context_length={c.context_length}, patch_length={c.patch_length}, "
            f"patch_stride={c.patch_stride}",
            remedy="Choose a context that ends with a whole patch, such as 60 with 10 and 5.",
        )

    def n_tokens(self, config: ModelConfig) -> int:
        return config.n_patches

    def patch_width(self, config: ModelConfig) -> int:
        return config.patch_length * config.n_features


FAMILY = _PatchTSTFamily()
