"""Processes that train the same architecture side by side on one device.

A worker makes itself ready, says so, and then trains once for every line that it reads.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from study.cluster.accelerator.devices import nvidia_devices
from study.cluster.accelerator.mps import SETTING, describe, mps_daemon
from tests.bench.gpu.commands import ROOT, environment
from tests.bench.gpu.sizes import FULL, Sizes
from tests.bench.gpu.steps import warm_trainer
from tests.bench.gpu.timing import Row, Rows


def work(sizes: Sizes, device: torch.device) -> None:
    """Train for a while whenever a line is read, and print the samples per second."""
    size = sizes.steps[0]
    torch.set_num_threads(1)
    own = warm_trainer(size.model, device, sizes.batch, size.steps)
    print("ready", flush=True)
    for _ in sys.stdin:
        began, n_samples = time.perf_counter(), 0
        while time.perf_counter() - began < sizes.together_seconds:
            own.run_epoch()
            n_samples += sizes.batch * size.steps
        print(n_samples / (time.perf_counter() - began), flush=True)


def rows(sizes: Sizes, setting: str) -> Rows:
    """Train in more and more processes at once, with and without the MPS daemon."""
    with _variable(SETTING, setting), tempfile.TemporaryDirectory() as folder:
        with mps_daemon(Path(folder) / "m", n_gpus=nvidia_devices()):
            with _workers(sizes, max(sizes.processes)) as workers:
                for number in sizes.processes:
                    rate = _together(workers[:number])
                    what = f"{sizes.steps[0].name}, {number} processes, MPS {describe()}"
                    yield Row(what, f"{rate:,.0f}/s in all", "", "20x one usual step")


Worker = subprocess.Popen[str]


@contextmanager
def _workers(sizes: Sizes, number: int) -> Iterator[list[Worker]]:
    """Start processes that are ready to train, and end them."""
    command = [sys.executable, "-m", "tests.bench.gpu_table", "--worker"]
    command += [] if sizes is FULL else ["--dry-run"]
    workers = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=environment(),
        )
        for _ in range(number)
    ]  # fmt: skip
    try:
        for worker in workers:
            _line(worker)
        yield workers
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.communicate()


def _together(workers: list[Worker]) -> float:
    """Return the samples per second of these workers at once."""
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("train\n")
        worker.stdin.flush()
    return sum(float(_line(worker)) for worker in workers)


def _line(worker: Worker) -> str:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"a process side by side ended with {worker.wait()}")
    return line


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
