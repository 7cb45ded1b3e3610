"""PatchTST: a token is a patch of days, with all their features."""

from torch import Tensor

from study.errors import require
from study.model.architecture import Architecture
from study.model.network import Network


class PatchTST(Network):
    """A transformer over patches of days, all features of a patch in one token."""

    @classmethod
    def check(cls, config: Architecture) -> None:
        """Refuse lengths that leave days over: the last patch ends with the last day."""
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

    @classmethod
    def n_tokens(cls, config: Architecture) -> int:
        """Return the number of patches."""
        return config.n_patches

    @classmethod
    def patch_width(cls, config: Architecture) -> int:
        """Return the days of a patch times the features."""
        return config.patch_length * config.n_features

    def _patches(self, x_BTF: Tensor) -> Tensor:
        patch_BNFL = x_BTF.unfold(1, self.config.patch_length, self.config.patch_stride)
        return patch_BNFL.transpose(2, 3).flatten(2)
