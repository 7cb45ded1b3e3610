import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from study.cluster import temporary
from study.cluster.loopback import require_loopback
from study.errors import SpecError


@pytest.fixture
def long_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / ("a" * 60) / "T"
    folder.mkdir(parents=True)
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    return folder


def test_in_place_of_a_long_folder_a_short_one_is_taken(long_folder: Path) -> None:
    with temporary.ray_folder() as folder:
        assert folder.is_relative_to("/tmp")
        assert not folder.is_relative_to(long_folder)


def test_without_a_short_folder_the_cure_is_named(
    long_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary, "_SHORT", Path("/nowhere"))
    with (
        pytest.raises(SpecError, match="Set TMPDIR or RAY_TMPDIR to a shorter folder"),
        temporary.ray_folder(),
    ):
        pass


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs a network of its own")
def test_without_a_loopback_the_cure_is_named() -> None:
    program = "from study.cluster.loopback import require_loopback; require_loopback()"
    alone = ["unshare", "--net", "--map-root-user", sys.executable, "-c"]
    if subprocess.run([*alone, "pass"], capture_output=True).returncode != 0:
        pytest.skip("may not have a network of its own")
    done = subprocess.run([*alone, program], capture_output=True, text=True, timeout=60)
    assert "127.0.0.1: Network is unreachable" in done.stderr
    assert "`ip link set lo up`" in done.stderr


def test_another_address_family_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.cluster.loopback._ADDRESSES", ((socket.AF_INET, "192.0.2.1"),))
    with pytest.raises(SpecError, match=r"192\.0\.2\.1"):
        require_loopback()
