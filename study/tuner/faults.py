"""Classifies the error that interrupted a trial: transient, memory, storage, or permanent."""

import errno
import re
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import ray.cloudpickle
from ray.exceptions import (
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.tune.experiment import Trial

from study.cluster.accelerator.mps import MpsError
from study.search.search_state import FaultKind
from study.storage.lock import LockError
from study.training.device import is_out_of_memory

_LOW_ON_MEMORY = "low on memory"
"""Part of the error message of Ray 2.60 if its memory monitor ended a worker."""

MEMORY_MONITOR = "Ray's memory monitor ended the worker: the machine ran low"
"""Message of a trial whose worker Ray's memory monitor ended; printed and recorded."""

_STORAGE = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM,
        errno.ENXIO, errno.ENODEV,
    }
)  # fmt: skip
"""Error numbers of a failing file system; any other OSError is a fault of the code."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The reason for which a trial was interrupted."""

    kind: FaultKind | Literal["storage"]
    """Kind of the fault; ``storage`` concerns all trials and says nothing about this one."""
    message: str
    """The fault in one line."""
    detail: str
    """Ray's whole text, with the traceback."""


def fault_of(trial: Trial) -> Fault:
    """Return the fault of a trial that Ray reports as failed.

    Ray passes an error to a callback through two files only, which it writes to the temporary
    folder of this process: the pickled exception, and its text.
    """
    pickled, text = trial.pickled_error_file, trial.error_file
    detail = Path(text).read_text(encoding="utf-8") if text else "no word"
    if pickled is None and _LOW_ON_MEMORY in detail:
        return Fault("memory", MEMORY_MONITOR, detail)
    if pickled is None:
        return Fault("error", _last_line(detail), detail)
    try:
        error = ray.cloudpickle.loads(Path(pickled).read_bytes())
    except (AttributeError, ImportError, TypeError, UnpicklingError):
        # The class of the exception cannot be unpickled in this process.
        return Fault("error", _last_line(detail), detail)
    return classify(error, detail)


def classify(error: BaseException, detail: str) -> Fault:
    """Return the fault for an exception from a worker."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    message = f"{type(cause).__name__}: {_last_line(str(cause))}"
    if isinstance(cause, OutOfMemoryError) or _LOW_ON_MEMORY in str(error):
        return Fault("memory", MEMORY_MONITOR, detail)
    if isinstance(cause, OutOfDiskError):
        return Fault("storage", message, detail)
    if isinstance(cause, RayActorError):
        return Fault("worker", f"its worker died: {_exit_detail(str(cause))}", detail)
    if isinstance(cause, RayError):
        # The worker's node, its process or its data set is lost.
        return Fault("worker", message, detail)
    if isinstance(cause, MpsError):
        # Another trial's fault, perhaps: the retry trains without the daemon.
        return Fault("worker", message, detail)
    if is_out_of_memory(cause) or getattr(cause, "errno", None) == errno.ENOMEM:
        return Fault("oom", message, detail)
    if isinstance(cause, LockError) or getattr(cause, "errno", None) in _STORAGE:
        return Fault("storage", message, detail)
    return Fault("error", message, detail)


def _exit_detail(text: str) -> str:
    """Return the sentence about the worker's end from Ray's page of advice."""
    found = re.search(r"Worker exit detail: (.*?\.)(\s|$)", text)
    return found[1] if found else _last_line(text)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no message"


def storage_problem(error: OSError) -> str:
    """Return the message for a user whose results folder cannot be written."""
    if isinstance(error, BrokenPipeError):
        return "nobody reads the output any more"
    where = error.filename or "the results folder"
    return f"{where}: the records must be written, but got {error.strerror or error}"
