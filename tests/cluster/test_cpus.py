import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.cluster.cpus import usable_cpus
from tests.cluster.groups import written

N_ALLOWED = usable_cpus([])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux pins processes")
def test_a_process_that_is_pinned_counts_what_it_is_pinned_to() -> None:
    assert N_ALLOWED == len(os.sched_getaffinity(0))
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from study.cluster.cpus import usable_cpus; print(usable_cpus())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


@pytest.mark.parametrize(
    "files",
    [
        {"membership": "0::/job/step\n", "job/step/cpu.max": "max 100000\n",
         "job/cpu.max": "150000 100000\n"},
        {"membership": "0::/\n", "cpu.max": "100000 100000\n"},
        # In a container the path is that on its host.
        {"membership": "0::/docker/abc\n", "cpu.max": "150000 100000\n"},
        # Less than one CPU is still one trial.
        {"membership": "0::/\n", "cpu.max": "50000 100000\n"},
        {"membership": "9:name=systemd:/\n5:cpu,cpuacct:/job\n0::/\n",
         "cpu/job/cpu.cfs_quota_us": "100000\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
        {"membership": "1:cpu:/docker/abc\n",
         "cpu/cpu.cfs_quota_us": "190000\n", "cpu/cpu.cfs_period_us": "100000\n"},
    ],
)  # fmt: skip
def test_what_control_groups_grant_is_rounded_down(files: dict[str, str], tmp_path: Path) -> None:
    assert usable_cpus(written("cpu", tmp_path, files)) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"membership": "0::/\n", "cpu.max": "max 100000\n"},
        {"membership": "1:cpu:/\n",
         "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        {"membership": "0::/\n", "cpu.max": "100000000 100000\n"},
        # Of another controller.
        {"membership": "3:cpuset:/\n", "cpu/cpu.cfs_quota_us": "50000\n",
         "cpu/cpu.cfs_period_us": "100000\n"},
        {"membership": "0::/\n", "cpu.max": "no number\n"},
        {"membership": "0::/\n", "cpu.max": "\n"},
        {"membership": ""},
    ],
)  # fmt: skip
def test_without_a_limit_the_cpus_it_may_run_on_count(
    files: dict[str, str], tmp_path: Path
) -> None:
    assert usable_cpus(written("cpu", tmp_path, files)) == N_ALLOWED
