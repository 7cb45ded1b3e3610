"""What broke a trial off: what may pass, what is a matter of memory, and what would come again."""

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

from study.search.search_state import FaultKind
from study.storage.lock import LockError
from study.training.device import is_out_of_memory

_LOW_ON_MEMORY = "low on memory"
"""Ray's words where its memory monitor ended a worker."""

MEMORY_MONITOR = "Ray's memory monitor ended the worker: the machine ran low"

_STORAGE = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM,
        errno.ENXIO, errno.ENODEV,
    }
)  # fmt: skip
"""Errors of a file system; other ones of the operating system are of the code's making."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a trial broke off."""

    kind: FaultKind | Literal["storage"]
    """Storage concerns all trials, and says nothing about this one."""
    message: str
    """One line."""
    detail: str
    """All that is known, with the traceback."""


def fault_of(trial: Trial) -> Fault:
    """Read what Ray noted of a trial's failure.

    Ray hands an error to a callback only through two files that it has just written itself, in the
    folder of this very process: the exception, and its text.
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
        # An exception whose class cannot be built again here.
        return Fault("error", _last_line(detail), detail)
    return classify(error, detail)


def classify(error: BaseException, detail: str) -> Fault:
    """Say what kind of fault an exception from a worker is."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    message = f"{type(cause).__name__}: {_last_line(str(cause))}"
    if isinstance(cause, OutOfMemoryError) or _LOW_ON_MEMORY in str(error):
        return Fault("memory", MEMORY_MONITOR, detail)
    if isinstance(cause, OutOfDiskError):
        return Fault("storage", message, detail)
    if isinstance(cause, RayActorError):
        return Fault("worker", f"its worker died: {_exit_detail(str(cause))}", detail)
    if isinstance(cause, RayError):
        # Its node, its process or its data set is gone.
        return Fault("worker", message, detail)
    if is_out_of_memory(cause) or getattr(cause, "errno", None) == errno.ENOMEM:
        return Fault("oom", message, detail)
    if isinstance(cause, LockError) or getattr(cause, "errno", None) in _STORAGE:
        return Fault("storage", message, detail)
    return Fault("error", message, detail)


def _exit_detail(text: str) -> str:
    """Return the sentence in which Ray says how a worker ended, out of a page of advice."""
    found = re.search(r"Worker exit detail: (.*?\.)(\s|$)", text)
    return found[1] if found else _last_line(text)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no message"


def storage_problem(error: OSError) -> str:
    """Return what to tell a user whose results folder cannot be written."""
    if isinstance(error, BrokenPipeError):
        return "nobody reads the output any more"
    where = error.filename or "the results folder"
    return f"{where}: the records must be written, but got {error.strerror or error}"
