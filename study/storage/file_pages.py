"""Memory that is mapped from files, whose pages are handed back to the system."""

import ctypes
import mmap
from pathlib import Path

_MAPPINGS = Path("/proc/self/maps")
"""Linux's list of what is mapped where in this process, proc(5)."""

_DONT_NEED = 4
"""MADV_DONTNEED of Linux, include/uapi/asm-generic/mman-common.h."""


def drop_file_pages(address: int, n_bytes: int, *, only_shared: bool) -> None:
    """Hand back the whole pages within a range of addresses, if they are those of a file.

    They are read from it again when they are next used. Outside Linux nothing happens.

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
