"""Memory that is mapped from files: vectors in scratch files, and pages that are handed back."""

import ctypes
import mmap
import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

_MAPPINGS = Path("/proc/self/maps")
"""Linux's list of what is mapped where in this process, proc(5)."""

_DONT_NEED = 4
"""MADV_DONTNEED of Linux, include/uapi/asm-generic/mman-common.h."""

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


def drop_file_pages(address: int, n_bytes: int, *, only_shared: bool) -> None:
    """Hand back the whole pages within a range of addresses, if they are those of a file.

    Args:
        address: first byte.
        n_bytes: number of bytes.
        only_shared: leave private mappings, whose changes would be lost.
    """
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    n_whole = (address + n_bytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
    if n_whole > 0 and _is_of_file(first, first + n_whole, only_shared=only_shared):
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(n_whole), _DONT_NEED)


def _is_of_file(start: int, stop: int, *, only_shared: bool) -> bool:
    """Does this range lie in one mapping of a file?"""
    if not _MAPPINGS.exists():
        return False
    with _MAPPINGS.open() as lines:
        for line in lines:
            addresses, rights, _, _, inode, *_ = line.split(maxsplit=5)
            low, high = (int(each, 16) for each in addresses.split("-"))
            if low <= start and stop <= high:
                return inode != "0" and (rights.endswith("s") or not only_shared)
    return False


def _allocate(handle: int, n_bytes: int) -> None:
    """Take the room on the disk at once: a disk that is full later would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, n_bytes)
        return
    for written in range(0, n_bytes, len(_ZEROS)):
        os.write(handle, _ZEROS[: n_bytes - written])
