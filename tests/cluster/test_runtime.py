"""A Ray of one machine, started and killed."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from study.cluster.temporary import ray_folder
from study.storage.lock import scratch_folder

PROGRAM = """
import ray, time
from study.cluster.runtime import cluster
with cluster(None, use_accelerators=False):
    @ray.remote(num_cpus=0)
    class Worker:
        def answer(self):
            return 42
    worker = Worker.remote()
    assert ray.get(worker.answer.remote()) == 42
    print("ready", flush=True)
    time.sleep(600)
"""

LOOPBACK = ("127.0.0.1", "::ffff:127.0.0.1", "::1")


def listening(process: psutil.Process) -> set[str]:
    """Return the addresses at which a process can be reached."""
    found = process.net_connections(kind="tcp")
    return {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN}


@pytest.mark.ray
def test_a_killed_driver_takes_its_ray_along_which_nobody_else_could_reach() -> None:
    # The path of a socket has 107 bytes: too few for a test's own folder.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        driver = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "RAY_TMPDIR": name},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "ready\n"
            family = psutil.Process(driver.pid).children(recursive=True)
            names = {process.name() for process in family}
            # The kernel cuts names, some systems keep the program's.
            lines = [" ".join(process.cmdline()) for process in family]
            assert names >= {"raylet", "gcs_server"}
            agents = [p for p, line in zip(family, lines, strict=True) if "Agent" in line]
            assert len(agents) == 2
            idle = ("monitor.py", "dashboard.py")
            assert not [line for line in lines if any(name in line for name in idle)]
            addresses = set().union(*map(listening, [psutil.Process(driver.pid), *family]))
            assert addresses
            assert addresses <= set(LOOPBACK)
            (folder,) = Path(name).glob("mss-*")
            assert folder.stat().st_mode & 0o777 == 0o700
            assert (folder / "r").is_dir()
            # The reaper looks for new processes every two seconds at the latest.
            time.sleep(5.0)
        finally:
            driver.kill()
            driver.communicate()
        # By themselves they would live on for a minute.
        _, left = psutil.wait_procs(agents, timeout=20.0)
        assert not left
        _, left = psutil.wait_procs(family, timeout=120.0)
        assert not left
        # The next start removes what this one left.
        os.utime(folder, (0, 0))
        with scratch_folder(Path(name)):
            assert not folder.exists()


def test_rays_folder_is_where_its_sockets_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.utils import validate_socket_filepath

    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        for room in (5, 60):
            parent = Path(short) / ("d" * room)
            monkeypatch.setenv("RAY_TMPDIR", str(parent))
            with ray_folder() as folder:
                session = "session_2026-11-27_21-25-30_123456_1234567"
                validate_socket_filepath(f"{folder}/{session}/sockets/plasma_store")
                assert folder.parent.parent == (parent if room == 5 else Path("/tmp"))
                assert folder.parent.stat().st_mode & 0o777 == 0o700
            assert not folder.parent.exists()
