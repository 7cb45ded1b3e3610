"""Output that cannot be written and faults of the code: one line and an exit code."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from study.command import exit_code
from study.status import main as status
from tests.results.cells import write_cell


@pytest.mark.parametrize("argv", [["--help"], ["--storage", "."]])
@pytest.mark.parametrize("unbuffered", [True, False])
def test_output_that_cannot_be_written_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    argv: list[str],
    unbuffered: bool,
) -> None:
    write_cell(tmp_path, "demo_2M_h1", ended=1)
    monkeypatch.chdir(tmp_path)
    full = io.TextIOWrapper(
        open("/dev/full", "wb", buffering=0) if unbuffered else open("/dev/full", "wb"),
        write_through=unbuffered,
    )
    with full:
        monkeypatch.setattr(sys, "stdout", full)
        assert status(argv) == 1
    line = "error: stdout: must be writable, but got: No space left on device. "
    line += "Free some space, or redirect it, as > /dev/null.\n"
    assert capfd.readouterr().err == line
    monkeypatch.setattr(sys, "stdout", None)
    assert status(argv) == 1
    assert "stdout: must be writable, but got: it was closed" in capfd.readouterr().err


def test_what_python_writes_when_it_ends_is_in_the_wall() -> None:
    command = [sys.executable, "-m", "study.status", "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_any_other_fault_is_one_line_and_a_file_of_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def broken() -> int:
        raise KeyError("two\nlines")

    assert exit_code(broken) == 1
    (line,) = capsys.readouterr().err.splitlines()
    (kept,) = tmp_path.iterdir()
    assert str(kept) in line
    assert "test_output_faults.py line" in line
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "in broken" in kept.read_text()


def test_a_disk_that_is_full_is_a_fault_and_a_wrong_path_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def write(path: str) -> int:
        with Path(path).open("w") as file:
            return file.write("x")

    assert exit_code(lambda: write("/dev/null/x")) == 2
    assert "/dev/null/x: Not a directory" in capsys.readouterr().err
    assert exit_code(lambda: write("/dev/full")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line


def test_markup_in_a_name_is_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cell(tmp_path, "[red]x[bold]:x:_2M_h1", ended=1)
    assert status(["--storage", str(tmp_path)]) == 0
    assert "[red]x[bold]:x:_2M_h1" in capsys.readouterr().out
