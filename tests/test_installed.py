"""What a command says where the project is not, or not wholly, installed."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import study
from study.installed import PROJECT, what_is_missing

SOURCES = Path(study.__file__).parent.parent


def run(*command: str, path: Path, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """Return a command's exit code and all that it printed, with ``path`` before all else."""
    done = subprocess.run(
        [sys.executable, *options, "-m", *command],
        env={**os.environ, "PYTHONPATH": str(path)},
        cwd=path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder of the project's packages, beside nothing else."""
    for package in ("study", "analysis"):
        shutil.copytree(SOURCES / package, tmp_path / package, ignore=lambda *_: ["__pycache__"])
    return tmp_path


@pytest.mark.parametrize("command", ["study.tune", "study.status", "study.data", "analysis"])
def test_sources_alone_are_told_how_to_install(sources: Path, command: str) -> None:
    # -S: without site, and so without what is installed beside this interpreter.
    code, said = run(command, "--help", path=sources, options=("-S",))
    assert (code, said.count("\n")) == (2, 1)
    assert "but got its sources alone. Run `pip install -e .`" in said


def test_a_package_that_is_missing_is_named(sources: Path) -> None:
    # The metadata of this project, and of one of the packages that it needs.
    installed = Path(sysconfig.get_path("purelib"))
    for pattern in (f"{PROJECT.replace('-', '_')}-*.dist-info", "rich-*.dist-info"):
        (found,) = installed.glob(pattern)
        shutil.copytree(found, sources / found.name)
    code, said = run("study.tune", "--budget", "2M", path=sources, options=("-S",))
    assert (code, said.count("\n")) == (2, 1)
    assert "got no ray, optuna, torch, pandas" in said
    assert "rich" not in said


def test_here_everything_is_installed() -> None:
    assert what_is_missing() is None
