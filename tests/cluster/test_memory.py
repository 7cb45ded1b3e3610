from pathlib import Path

import psutil
import pytest

from study.cluster.usable_memory import available_memory_bytes, most_copied_bytes
from tests.cluster.groups import written

_MIB = 2**20


@pytest.mark.parametrize(
    "files",
    [
        {"membership": "0::/job/step\n", "job/memory.max": f"{100 * _MIB}\n",
         "job/memory.current": f"{70 * _MIB}\n",
         "job/memory.stat": f"anon 5\ninactive_file {10 * _MIB}\nactive_file 7\n",
         "job/step/memory.max": "max\n", "job/step/memory.current": "1\n"},
        {"membership": "4:memory:/docker/abc\n", "memory/memory.limit_in_bytes": f"{100 * _MIB}",
         "memory/memory.usage_in_bytes": f"{70 * _MIB}",
         "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {10 * _MIB}\n"},
    ],
)  # fmt: skip
def test_what_is_left_of_the_limit_of_a_group_counts(files: dict[str, str], tmp_path: Path) -> None:
    assert available_memory_bytes(written("memory", tmp_path, files)) == 40 * _MIB


def test_a_group_that_is_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    files = {"membership": "0::/\n", "memory.max": "100", "memory.current": "900",
             "memory.stat": "inactive_file 0\n"}  # fmt: skip
    assert available_memory_bytes(written("memory", tmp_path, files)) == 0


@pytest.mark.parametrize(
    "files",
    [
        {"membership": "0::/\n"},
        {"membership": "0::/\n", "memory.max": "max\n", "memory.current": "1\n",
         "memory.stat": "inactive_file 0\n"},
        {"membership": "4:memory:/\n", "memory/memory.limit_in_bytes": "9223372036854771712",
         "memory/memory.usage_in_bytes": "5", "memory/memory.stat": "total_inactive_file 0\n"},
    ],
)  # fmt: skip
def test_without_a_limit_the_memory_of_the_machine_counts(
    files: dict[str, str], tmp_path: Path
) -> None:
    free = psutil.virtual_memory().available
    found = available_memory_bytes(written("memory", tmp_path, files))
    # Other programs take and give back meanwhile.
    assert found == pytest.approx(free, rel=0.2)


def test_a_state_is_copied_where_there_is_room_for_it() -> None:
    # It lies within what a trial is granted beyond its step, or within what the machine has free.
    assert most_copied_bytes(is_shared=True) == 64 * _MIB
    assert most_copied_bytes(is_shared=False) == pytest.approx(
        available_memory_bytes() / 8, rel=0.2
    )
