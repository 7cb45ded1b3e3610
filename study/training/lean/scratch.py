"""Vectors that lie in files instead of memory, and are read through it piece by piece."""

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from study.storage.file_pages import drop_file_pages

_ZEROS = bytes(1 << 20)


def scratch_vector(n_numbers: int, dtype: torch.dtype, folder: Path | None) -> Tensor:
    """Return zeros on the CPU that lie in a file without a name, which ends with the process.

    Args:
        n_numbers: their number, at least 1.
        dtype: their type.
        folder: folder of a disk with room for them; None keeps them in memory.

    Raises: OSError if the disk has no room for them.
    """
    if folder is None:
        return torch.zeros(n_numbers, dtype=dtype)
    n_bytes = n_numbers * dtype.itemsize
    handle, name = tempfile.mkstemp(prefix=".scratch-", dir=folder)
    try:
        try:
            mapped = torch.UntypedStorage.from_file(name, True, n_bytes)
        finally:
            # Without a name the file is gone with the process, however that ends.
            os.unlink(name)
        _allocate(handle, n_bytes)
    finally:
        os.close(handle)
    # The stub has from_file return a base class.
    return torch.empty(0, dtype=dtype).set_(mapped)  # type: ignore[arg-type]


def drop_pages(tensor: Tensor) -> None:
    """Hand the pages of a tensor back if they are those of a file, which is read again when needed.

    A tensor of a loaded state, mapped privately, must not have been changed. Memory that is no
    file's stays as it is, and so does all of it outside Linux.
    """
    storage = tensor.untyped_storage()
    if tensor.device.type == "cpu":
        drop_file_pages(storage.data_ptr(), storage.nbytes(), only_shared=False)


def _allocate(handle: int, n_bytes: int) -> None:
    """Take the room on the disk at once: a disk that is full later would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, n_bytes)
        return
    for written in range(0, n_bytes, len(_ZEROS)):
        os.write(handle, _ZEROS[: n_bytes - written])
