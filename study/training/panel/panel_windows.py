"""The windows of all assets of a day, cut from inputs that lie on the device once."""

import torch
from torch import Tensor

from study.data.arrays import IndexArray, SampleArray
from study.training.windows import days_on_device


class AssetWindows:
    """Cuts the windows of all assets of a day.

    On the CPU the inputs lie where they were, mapped from a file or not. A window is cut for every
    asset, an absent one too, whose answer is ignored: the shapes of a batch are then the same on
    all days, as a device needs that replays its steps.

    Args:
        values: model inputs, float32 of shape (n_days, n_assets, n_features).
        context_length: days of a window.
        device: the device.
    """

    def __init__(self, values: SampleArray, *, context_length: int, device: torch.device) -> None:
        # Torch shares writable arrays alone; a read-only one comes from memory and is copied.
        shares = device.type == "cpu" and values.flags.writeable and values.flags.c_contiguous
        series = torch.from_numpy(values) if shares else torch.tensor(values, device=device)
        self.row_F = series.flatten(0, 1)
        """Features of each asset and day, the assets of a day one after the other."""
        self._n_assets = values.shape[1]
        self._context_length = context_length
        self._device = device
        asset_A = torch.arange(self._n_assets, device=device)
        offset_T = torch.arange(1 - context_length, 1, device=device)
        self._offset_AT = offset_T * self._n_assets + asset_A[:, None]

    def days(self, days: IndexArray) -> Tensor:
        """Return row numbers on the device, int64 (n,).

        Raises: DataError if a window would begin before the inputs, where an index would wrap.
        """
        return days_on_device(days, self._context_length, self._device)

    def cut(self, days: Tensor) -> Tensor:
        """Return the windows of ``days``, int64 (B,) on the device: float32 (B, A, T, F)."""
        row_BAT = days[:, None, None] * self._n_assets + self._offset_AT
        return self.row_F.index_select(0, row_BAT.flatten()).view(*row_BAT.shape, -1)
