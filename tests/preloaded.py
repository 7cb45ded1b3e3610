"""Runs commands in separate processes that need not import Ray and torch first.

Imports take five of the ten seconds of a search of tiny models. A server process imports once and
forks: each command is a process with its own session, folder, environment and streams, and can be
signalled and killed like one that ``python -m`` has started, through the interface of
``subprocess.Popen``.
"""

import atexit
import gc
import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

_PRELOADED = (
    "study.tune", "study.tuner.run_cell", "study.train", "study.final.train_cell", "study.sweep",
    "study.plan", "study.planning.study_plan", "study.predict", "study.final.export",
    "analysis.report", "ray.dag.compiled_dag_node",
)  # fmt: skip
"""Modules of the commands, and those that they or, as it shuts down, Ray import on use."""

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(list(_PRELOADED))


class Command:
    """A process of ``python -m MODULE FLAGS...``, with the part of a Popen that tests use."""

    def __init__(
        self, module: str, flags: Sequence[str], *, cwd: Path, env: Mapping[str, str]
    ) -> None:
        self.args = [sys.executable, "-m", module, *flags]
        pipes = [os.pipe() for _ in range(2)]
        self._process = _server.Process(
            target=_become,
            args=(module, list(flags), str(cwd), dict(env), *(DupFd(end) for _, end in pipes)),
        )
        self._process.start()
        for _, end in pipes:
            os.close(end)
        self.stdout, self.stderr = (open(end, encoding="utf-8") for end, _ in pipes)
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, or minus the signal that has ended the process; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended, and return its exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return the unread rest of both streams, once the process has ended."""
        read: dict[str, str] = {}

        def drain(name: str, stream: io.TextIOBase) -> None:
            read[name] = stream.read()

        readers = [
            threading.Thread(target=drain, args=(name, stream), daemon=True)
            for name, stream in (("stdout", self.stdout), ("stderr", self.stderr))
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self.wait(timeout)
        self.stdout.close()
        self.stderr.close()
        return read["stdout"], read["stderr"]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)


def _become(
    module: str, flags: list[str], cwd: str, env: dict[str, str], stdout: Any, stderr: Any
) -> None:
    """Turn this process into the one that ``python -m`` would have started."""
    os.setsid()
    # What the server has imported stays: no collection of garbage needs to search it.
    gc.freeze()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # found anew, with the environment of this command
    for end, number in ((stdout, 1), (stderr, 2)):
        held = end.detach()
        os.dup2(held, number)
        os.close(held)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)
    sys.argv = [module, *flags]
    for name in (module, f"{module}.__main__"):  # imported again, as the main module
        if name in sys.modules and not hasattr(sys.modules[name], "__path__"):
            del sys.modules[name]
    # A process that was started in that folder has it as its first path.
    sys.path[0] = cwd if sys.path[0] == "" else sys.path[0]
    added = env.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [folder for folder in added if folder and folder not in sys.path]
    code: Any = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)
