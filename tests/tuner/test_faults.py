import errno
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray.cloudpickle
import torch
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
)

from study.storage.lock import LockError
from study.tuner.faults import classify, fault_of, storage_problem

FULL = OSError(errno.ENOSPC, "No space left on device", "cell/checkpoint")


def raised(cause: Exception) -> RayTaskError:
    return RayTaskError("step", f"Traceback ...\n{type(cause).__name__}: {cause}", cause)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ActorDiedError(), "worker", "its worker died: The actor died unexpectedly"),
        (RayActorError(error_msg="one\nthe node is gone"), "worker", "died: the node is gone"),
        (ActorUnavailableError("no answer", b"a" * 16), "worker", "its worker died: "),
        (OutOfMemoryError("killed"), "memory", "Ray's memory monitor ended the worker"),
        (
            RayActorError(error_msg="The node was running low on memory.\nBye"),
            "memory",
            "Ray's memory monitor",
        ),
        (raised(torch.OutOfMemoryError("CUDA out of memory")), "oom", "OutOfMemoryError: CUDA"),
        (raised(MemoryError("too much")), "oom", "MemoryError: too much"),
        (
            raised(RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")),
            "oom",
            "RuntimeError: DefaultCPUAllocator",
        ),
        (raised(FULL), "storage", "OSError: [Errno 28] No space left on device"),
        (raised(PermissionError(errno.EACCES, "no")), "storage", "PermissionError: "),
        (raised(LockError("another")), "storage", "LockError: another"),
        (raised(ValueError("first\nlast")), "error", "ValueError: last"),
        (raised(RuntimeError("shapes differ")), "error", "RuntimeError: shapes differ"),
        (raised(ValueError()), "error", "ValueError: no message"),
        (ValueError("bare"), "error", "ValueError: bare"),
        (FULL, "storage", "OSError: [Errno 28]"),
    ],
)
def test_what_broke_a_trial_off(error: Exception, kind: str, message: str) -> None:
    fault = classify(error, "all of it")
    assert fault.kind == kind
    assert message in fault.message
    assert "\n" not in fault.message
    assert fault.detail == "all of it"


def test_an_error_that_ray_wraps_is_classified_like_its_cause() -> None:
    for cause in (ValueError("why"), MemoryError("much"), FULL):
        dressed = raised(cause).as_instanceof_cause()
        assert isinstance(dressed, type(cause))
        assert classify(dressed, "").kind == classify(cause, "").kind
        assert classify(dressed, "").message == classify(cause, "").message


@dataclass
class Failed:
    """The fields of Ray's trial with the files of its error: text and pickle."""

    error_file: str | None
    pickled_error_file: str | None


def test_what_ray_noted_of_a_failure_is_read(tmp_path: Path) -> None:
    text, pickled = tmp_path / "error.txt", tmp_path / "error.pkl"
    text.write_text("Traceback (most recent call last): all of it\nValueError: why")
    pickled.write_bytes(ray.cloudpickle.dumps(raised(torch.OutOfMemoryError("out of memory"))))
    fault = fault_of(Failed(str(text), str(pickled)))
    assert (fault.kind, fault.detail) == ("oom", text.read_text())
    fault = fault_of(Failed(str(text), None))
    assert (fault.kind, fault.message) == ("error", "ValueError: why")


def test_a_failure_of_which_ray_noted_nothing_is_an_error() -> None:
    fault = fault_of(Failed(None, None))
    assert (fault.kind, fault.message, fault.detail) == ("error", "no word", "no word")


def test_a_problem_of_the_storage_names_its_file() -> None:
    assert storage_problem(OSError(28, "No space left on device", "/cell/log.txt")) == (
        "/cell/log.txt: the records must be written, but got No space left on device"
    )
    assert "the results folder: the records" in storage_problem(OSError("gone"))
    assert storage_problem(OSError("gone")).endswith("but got gone")
