import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from study.cluster.sockets import socket_options
from study.errors import SpecError


@pytest.fixture
def long_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / ("a" * 60) / "T"
    folder.mkdir(parents=True)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_a_short_folder_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert socket_options() == {}
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Ray does not ask TMPDIR")
def test_in_place_of_a_long_folder_a_short_one_is_taken_and_named(
    long_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert socket_options() == {"_temp_dir": "/tmp/ray"}
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{long_folder} is too long for Ray's sockets, which are in /tmp/ray now" in said


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Ray does not ask TMPDIR")
def test_without_a_short_folder_the_cure_is_named(long_folder: Path) -> None:
    for short in (long_folder, Path("/nowhere")):
        with pytest.raises(SpecError, match="Set TMPDIR or RAY_TMPDIR to a shorter folder"):
            socket_options(short)


def test_a_folder_that_just_fits_is_one_that_ray_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.utils import validate_socket_filepath

    session = f"ray/session_2026-11-27_21-25-30_123456_{os.getpid()}/sockets/plasma_store"
    longest = 103 if sys.platform == "darwin" else 107
    fits = "/" + "b" * (longest - len(session) - 2)
    validate_socket_filepath(f"{fits}/{session}")
    monkeypatch.setenv("RAY_TMPDIR", fits)
    assert socket_options() == {}
    with pytest.raises(OSError, match="AF_UNIX path length"):
        validate_socket_filepath(f"{fits}b/{session}")
    monkeypatch.setenv("RAY_TMPDIR", f"{fits}b")
    assert socket_options() != {}


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs a network of its own")
def test_without_a_loopback_the_cure_is_named() -> None:
    program = "from study.cluster.sockets import socket_options; socket_options()"
    alone = ["unshare", "--net", "--map-root-user", sys.executable, "-c"]
    if subprocess.run([*alone, "pass"], capture_output=True).returncode != 0:
        pytest.skip("may not have a network of its own")
    done = subprocess.run([*alone, program], capture_output=True, text=True, timeout=60)
    assert "127.0.0.1: Network is unreachable" in done.stderr
    assert "`ip link set lo up`" in done.stderr


def test_another_address_family_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setattr("study.cluster.sockets._ADDRESSES", ((socket.AF_INET, "192.0.2.1"),))
    with pytest.raises(SpecError, match=r"192\.0\.2\.1"):
        socket_options()
