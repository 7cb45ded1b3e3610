"""NVIDIA's MPS daemon of a search: kernels of different trials run side by side on one device.

Without it the device switches between processes. The daemon needs no rights beyond the user's, and
nothing of the device's own settings is changed (https://docs.nvidia.com/deploy/mps).
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from study.errors import StudyError, require

PROGRAM = "nvidia-cuda-mps-control"
SETTING = "STUDY_MPS"
"""Environment variable with the user's choice: ``on`` (the default) or ``off``."""

PIPES, _LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
"""Environment variables by which a CUDA program finds its daemon, and the daemon its folders."""

_LIMIT = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
"""Environment variable with the most memory that a client may allocate, by its device."""

_USUAL_PIPES = Path("/tmp/nvidia-mps")
"""Folder of the pipes where the variable is not set."""

_PID_FILE = f"{PROGRAM}.pid"
_NO_DAEMON, _GIVEN_UP = "none", "given-up"
"""Folder without a daemon, and file that says that trials do without theirs, beside the pipes."""

_START_SECONDS = 20.0
_QUIT_SECONDS = 5.0
"""Seconds to wait for the daemon to end by itself; its servers wait for their clients."""

_CONTEXT_BYTES = 2**30
"""Bytes of a client's CUDA context and libraries, which count against its limit as well; an own
choice above the usual half."""


class MpsError(StudyError):
    """A CUDA call failed under the daemon, where the fault of one client ends the others too."""


@contextmanager
def mps_daemon(folder: Path, *, n_gpus: int) -> Iterator[None]:
    """Run a daemon of this process's own for as long as the block lasts, if one can be run.

    Programs that are started inside of the block use it. If a daemon of this user or of the system
    runs already where CUDA looks for one, that is used. Without the program, or if it does not
    start, nothing changes.

    Args:
        folder: a path in a private folder; nothing is there yet.
        n_gpus: NVIDIA devices of this machine; without one nothing is started.

    Raises:
        SpecError: the setting is unknown, or the daemon that runs is of somebody else.
    """
    setting = os.environ.get(SETTING, "on")
    require(
        setting in ("on", "off"),
        SETTING,
        "must be on or off",
        got=repr(setting),
        remedy="Leave it out for on.",
    )
    program = shutil.which(PROGRAM)
    if n_gpus == 0:
        yield
    elif setting == "off":
        with _variables({PIPES: _made(folder / _NO_DAEMON)}):
            yield
    elif _require_no_foreign(_pipes()) or program is None:
        yield
    else:
        pipes, logs = _made(pipes_of(folder)), _made(folder / "log")
        _made(folder / _NO_DAEMON)
        with _variables({PIPES: pipes, _LOGS: logs}):
            if not _start(program):
                os.environ[PIPES] = str(folder / _NO_DAEMON)
            try:
                yield
            finally:
                end_daemon(pipes)


def pipes_of(folder: Path) -> Path:
    """Return the folder of the pipes of a daemon that ``mps_daemon`` starts."""
    return folder / "pipe"


def describe() -> str:
    """Return in a few words whether CUDA programs that this process starts use a daemon."""
    if os.environ.get(SETTING) == "off":
        return f"off, as {SETTING} says"
    pipes = _pipes()
    if _control(pipes) is not None and not _is_given_up(pipes):
        return "on, a daemon of this search" if _is_own(pipes) else "on, a daemon that ran already"
    if pipes.name == _NO_DAEMON:
        return "off, the daemon did not start"
    if _is_given_up(pipes):
        return "off, the daemon failed"
    return f"off, there is no {PROGRAM}"


def end_daemon(pipes: Path) -> None:
    """End the daemon of these pipes and its servers: it is asked to, and then killed."""
    control = _control(pipes)
    if control is None:
        return
    with suppress(psutil.NoSuchProcess):
        members = [control, *control.children(recursive=True)]
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [PROGRAM], input="quit\n", text=True, capture_output=True, check=False,
                timeout=_QUIT_SECONDS, env={**os.environ, PIPES: str(pipes)},
            )  # fmt: skip
        _, alive = psutil.wait_procs(members, timeout=_QUIT_SECONDS)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def join_daemon(granted_bytes: int) -> None:
    """Prepare this process, before its first CUDA call, to be a client of the search's daemon.

    A process that allocates more than it was granted then fails itself, also where torch's own
    limit does not reach. If the daemon has failed or ended, this process does without it.

    Args:
        granted_bytes: bytes of the device that the process may hold, without its context.
    """
    pipes = _pipes()
    if not _is_own(pipes):
        return
    if _is_given_up(pipes) or _control(pipes) is None:
        os.environ[PIPES] = str(pipes.parent / _NO_DAEMON)
        return
    # A client counts the devices that it sees, of which there is one.
    os.environ[_LIMIT] = f"0={(granted_bytes + _CONTEXT_BYTES) // 2**20}M"


@contextmanager
def blaming_daemon() -> Iterator[None]:
    """Turn a CUDA error inside of the block into one of the daemon, which no trial uses again.

    The fault of one client ends the work of all (``Error Containment`` in NVIDIA's documentation),
    so the error says nothing about the trial that meets it. Without the daemon nothing is changed.

    Raises:
        MpsError: in place of the CUDA error.
    """
    try:
        yield
    except RuntimeError as error:
        pipes, text = _pipes(), str(error)
        is_memory = "out of memory" in text
        if not _is_own(pipes) or is_memory or not ("CUDA error" in text or "cudaError" in text):
            raise
        with suppress(OSError):
            (pipes.parent / _GIVEN_UP).touch()
        raise MpsError(f"under the MPS daemon, now off: {text.splitlines()[0]}") from error


def _start(program: str) -> bool:
    try:
        done = subprocess.run(
            [program, "-d"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, check=False, timeout=_START_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and _control(_pipes()) is not None


def _pipes() -> Path:
    return Path(os.environ.get(PIPES) or _USUAL_PIPES)


def _is_own(pipes: Path) -> bool:
    """Does a search keep its daemon's pipes here?"""
    return (pipes.parent / _NO_DAEMON).is_dir() and pipes.name != _NO_DAEMON


def _is_given_up(pipes: Path) -> bool:
    return (pipes.parent / _GIVEN_UP).exists() and _is_own(pipes)


def _control(pipes: Path) -> psutil.Process | None:
    """Return the daemon of these pipes; None without one that runs."""
    try:
        process = psutil.Process(int((pipes / _PID_FILE).read_text()))
        is_it = any(PROGRAM in word for word in process.cmdline())
        return process if is_it and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, psutil.Error):
        return None


def _require_no_foreign(pipes: Path) -> bool:
    """Return whether a daemon runs at these pipes, which must be this user's or the system's."""
    control = _control(pipes)
    if control is None:
        return False
    user, owner = os.getuid(), control.uids().real
    require(
        owner in (0, user),
        "MPS",
        f"the daemon in {pipes} must be that of user {user} or of the system, or its pipes would "
        "be waited for",
        got=f"one of user {owner}, process {control.pid}",
        remedy=f"Set {PIPES} to a folder of your own, or {SETTING}=off to train without.",
    )
    return True


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    folder.parent.chmod(0o700)
    return folder


@contextmanager
def _variables(values: dict[str, Path]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
