import platform
import sys

import psutil
import pytest
import torch

from study.errors import SpecError
from study.training.device import (
    is_out_of_memory,
    limit_memory,
    map_large_allocations,
    peak_memory_bytes,
    reset_peak_memory,
    resolve_device,
)
from study.training.seeds import derived_seed

CPU = torch.device("cpu")
MIB = 2**20
HAS_ACCELERATOR = torch.cuda.is_available() or torch.backends.mps.is_available()


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def test_the_device_follows_the_assignment() -> None:
    assert resolve_device(0.0) == CPU
    assert resolve_device(0.5, "cpu") == CPU
    with pytest.raises(SpecError, match="must be one of cpu, cuda, mps"):
        resolve_device(0.0, "tpu")


@pytest.mark.skipif(HAS_ACCELERATOR, reason="needs a machine without an accelerator")
def test_an_assigned_accelerator_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SpecError, match="must find one"):
        resolve_device(0.25)
    with pytest.raises(SpecError, match="must be present"):
        resolve_device(0.0, "cuda")


def test_the_process_has_a_peak() -> None:
    held = torch.ones(30_000_000)
    before = peak_memory_bytes(CPU)
    assert before > held.nbytes
    del held
    reset_peak_memory(CPU)
    assert peak_memory_bytes(CPU) <= before
    limit_memory(CPU, 0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can start a new peak")
def test_a_new_peak_forgets_an_earlier_trial() -> None:
    held = torch.ones(50_000_000)
    before = peak_memory_bytes(CPU)
    size = held.nbytes
    del held
    reset_peak_memory(CPU)
    assert peak_memory_bytes(CPU) < before - size // 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the GNU C library")
def test_large_memory_that_was_mapped_by_itself_is_given_back() -> None:
    map_large_allocations()
    # Freed once, blocks of this size would come from the heap, below smaller ones that stay.
    del (large := [torch.ones(24 * MIB, dtype=torch.uint8)])[:]
    before = resident_bytes()
    stay = []
    for _ in range(32):
        large.append(torch.ones(8 * MIB, dtype=torch.uint8))
        stay.append(torch.ones(MIB, dtype=torch.uint8))
    assert resident_bytes() > before + 280 * MIB
    large.clear()
    assert resident_bytes() < before + 48 * MIB


def test_a_real_lack_of_memory_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_streams_of_one_seed_differ() -> None:
    seeds = {derived_seed(s, p) for s in range(50) for p in ("weights", "shuffle", "dropout")}
    assert len(seeds) == 150
    assert all(0 <= s < 2**63 for s in seeds)
