"""Checks and times the study on a GPU in one go, and prints one table: ``make gpu``.

Each figure stands beside a reference of the same run: a usual training step (library modules, AdamW
and a loader, in bfloat16 where the device has it), and the device's rate of matrix products. Where
there is no GPU everything runs in tiny sizes, which shows that it runs and nothing else.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from study.cluster.accelerator.devices import nvidia_devices
from study.cluster.accelerator.mps import describe, mps_daemon
from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.model.model_config import ModelConfig
from study.model.sizing import step_flops
from study.results.store import read_cell
from study.training.device import resolve_device, supports_bf16, synchronise
from study.training.step.graphs import WARM_UP_RUNS, graphs_of
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer
from study.training.windows import TrainingData
from tests.bench.test_cell_overhead import epochs_of, slot_use
from tests.bench.test_step_speed import Reference, Windows, loss_of

ROOT = Path(__file__).parent.parent.parent
BATCH = 256
DRY = "DRY RUN on a CPU in tiny sizes: no figure below is a GPU's, or of any use."

BASE = ModelConfig(
    n_features=25, d_model=192, n_layers=4, n_heads=8, d_ff_ratio=4, dropout=0.2,
    auxiliary_head=True, last_day_skip=True,
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much is measured."""

    steps: tuple[tuple[int, int, int, int, str], ...]
    """Width, layers, heads and steps per epoch of each row, and the bar of its step."""
    batch: int
    product: int
    """Rows of the square matrices whose product is the device's rate."""
    processes: tuple[int, ...]
    together_seconds: float
    seeds: int
    trials: int
    """Trials of the cell; 0 leaves it out."""


FULL = Sizes(
    steps=(
        (192, 4, 8, 13, "6x of 28,300/s"),
        (64, 64, 8, 8, "6x of 2,095/s"),
        (384, 12, 8, 13, "4x of 11,460/s"),
        (768, 28, 16, 8, "1.8x of 4,458/s"),
        (2048, 48, 16, 3, "50 % of the product"),
        (1024, 192, 16, 2, "35 % of the product"),
    ),
    batch=BATCH, product=8192, processes=(1, 8, 16), together_seconds=5.0, seeds=3, trials=24,
)  # fmt: skip
TINY = Sizes(
    steps=((16, 1, 2, 2, "-"), (8, 2, 2, 2, "-")),
    batch=8, product=64, processes=(1, 2), together_seconds=0.2, seeds=1, trials=0,
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    what: str
    measured: str
    reference: str
    bar: str


def training_data(days: int) -> TrainingData:
    whole = TrainingData.of(build_dataset(DataConfig(horizon=3)))
    few = min(days, len(whole.validation_days))
    return dataclasses.replace(
        whole, train_days=whole.train_days[:days], validation_days=whole.validation_days[:few]
    )


def trainer(
    model: ModelConfig, data: TrainingData, device: torch.device, batch: int, *,
    seed: int = 1, capture: bool = True, epochs: int = 10_000,
) -> Trainer:  # fmt: skip
    train = TrainConfig(
        learning_rate=1e-4, epochs=epochs, effective_batch=batch, weight_decay=0.01,
        auxiliary_weight=0.5, ema_decay=0.99, patience=None, collapse_grace_share=1.0,
    )  # fmt: skip
    return Trainer(
        model=model, train=train, data=data, device=device, micro_batch=batch, seed=seed,
        bf16=supports_bf16(device), graphs=graphs_of(device, is_wanted=capture),
    )  # fmt: skip


def product_rate(device: torch.device, rows: int) -> float:
    """Return the device's floating-point operations per second in products of square matrices."""
    dtype = torch.bfloat16 if supports_bf16(device) else torch.float32
    a, b = (torch.randn(rows, rows, device=device, dtype=dtype) for _ in range(2))
    return 2 * rows**3 / median_seconds(lambda: a @ b, device, 10)


def median_seconds(step: Callable[[], object], device: torch.device, times: int) -> float:
    seconds = []
    for number in range(times + 2):
        synchronise(device)
        began = time.perf_counter()
        step()
        synchronise(device)
        if number >= 2:
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def our_rate(model: ModelConfig, device: torch.device, batch: int, steps: int) -> float:
    """Return the samples per second of the project's training steps."""
    own = trainer(model, training_data(batch * steps), device, batch)
    for _ in range(WARM_UP_RUNS + 1):
        own.run_epoch()
    return statistics.median(own.run_epoch().samples_per_second for _ in range(3))


def usual_rate(model: ModelConfig, device: torch.device, batch: int, steps: int) -> float:
    """Return the samples per second of a training step as it is usually written."""
    network = Reference(model).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    data = Windows(torch.randn(8000, model.n_features), model.context_length)

    def batches() -> Iterator[list[torch.Tensor]]:
        while True:
            yield from DataLoader(data, batch_size=batch, shuffle=True, drop_last=True)

    source = batches()

    def step() -> None:
        x, label, log_range = (each.to(device) for each in next(source))
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=supports_bf16(device)):
            logit, auxiliary = network(x)
        loss = loss_of(logit.float(), auxiliary.float(), label, log_range)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        loss.item()

    return batch / median_seconds(step, device, steps)


def step_rows(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    rate = product_rate(device, sizes.product)
    yield Row("product rate", f"{rate / 1e12:.3g} TFLOP/s", "", "")
    for width, layers, heads, steps, bar in sizes.steps:
        model = dataclasses.replace(BASE, d_model=width, n_layers=layers, n_heads=heads)
        ours = our_rate(model, device, sizes.batch, steps)
        share = ours * step_flops(model, 1) / rate
        usual = "-"
        if width * layers < 40_000:
            found = usual_rate(model, device, sizes.batch, steps)
            usual = f"{found:,.0f}/s, so {ours / found:.2f}x"
        release(device)
        measured = f"{ours:,.0f}/s, {share:.1%} of the product"
        yield Row(f"step d{width} L{layers}", measured, usual, bar)


def release(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def together(sizes: Sizes, number: int) -> float:
    """Return the samples per second of so many processes that train the first row at once."""
    start = time.time() + (25.0 + number * 0.5 if sizes is FULL else 0.0)
    command = [sys.executable, "-m", "tests.bench.gpu_table", "--worker", str(start)]
    command += [] if sizes is FULL else ["--dry-run"]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(number)
    ]
    return sum(float(worker.communicate()[0]) for worker in workers)


def work(sizes: Sizes, device: torch.device, start: float) -> float:
    """Train the first row from a time on, and return the samples per second."""
    width, layers, heads, steps, _ = sizes.steps[0]
    torch.set_num_threads(1)
    model = dataclasses.replace(BASE, d_model=width, n_layers=layers, n_heads=heads)
    own = trainer(model, training_data(sizes.batch * steps), device, sizes.batch)
    for _ in range(WARM_UP_RUNS + 1):
        own.run_epoch()
    time.sleep(max(0.0, start - time.time()))
    began, n_samples = time.perf_counter(), 0
    while time.perf_counter() - began < sizes.together_seconds:
        own.run_epoch()
        n_samples += sizes.batch * steps
    return n_samples / (time.perf_counter() - began)


def together_rows(sizes: Sizes) -> Iterator[Row]:
    width, layers = sizes.steps[0][:2]
    for setting in ("off", "on"):
        os.environ["STUDY_MPS"] = setting
        with tempfile.TemporaryDirectory() as folder:
            with mps_daemon(Path(folder) / "m", n_gpus=nvidia_devices()):
                for number in sizes.processes:
                    rate = together(sizes, number)
                    what = f"d{width} L{layers}, {number} processes, MPS {describe()}"
                    yield Row(what, f"{rate:,.0f}/s in all", "", "20x one usual step")
        del os.environ["STUDY_MPS"]


def loss_rows(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """Train with captured and with eager steps, and compare the best losses."""
    width, layers, heads, steps, _ = sizes.steps[0]
    model = dataclasses.replace(BASE, d_model=width, n_layers=layers, n_heads=heads)
    best: dict[bool, list[float]] = {True: [], False: []}
    for capture, losses in best.items():
        for seed in range(sizes.seeds):
            own = trainer(
                model, training_data(sizes.batch * steps), device, sizes.batch,
                seed=seed, capture=capture, epochs=5,
            )  # fmt: skip
            reports = [own.run_epoch() for _ in range(5)]
            losses.append(min(each.validation.loss for each in reports if each.validation))
    captured, eager = (statistics.fmean(best[each]) for each in (True, False))
    spread = statistics.stdev(best[False]) / sizes.seeds**0.5 if sizes.seeds > 1 else float("nan")
    yield Row(
        f"best loss of {sizes.seeds} seeds, captured", f"{captured:.5f}",
        f"{eager:.5f} eager", f"within {spread:.5f}",
    )  # fmt: skip


def cell_rows(sizes: Sizes) -> Iterator[Row]:
    if not sizes.trials:
        yield Row("cell of trials", "not run", "", "30 s; 10 % outside steps")
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "study.tune", "--budget", "2M", "--horizon", "3"]
        command += ["--trials", str(sizes.trials), "--storage", folder]
        began = time.time()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
        seconds = time.time() - began
        if done.returncode:
            yield Row("cell of trials", "FAILED: " + done.stderr.decode()[-200:].strip(), "", "")
            return
        (cell,) = (path.parent.parent for path in Path(folder).glob("*/trial_000*/result.json"))
        trials = epochs_of(cell)
        steps = sum(
            epoch["data_seconds"] + epoch["step_seconds"] for one in trials for epoch in one
        )
        whole = sum(one[-1]["reported"] - one[0]["began"] for one in trials)
        unknown = slot_use(trials).outside_training
        estimate = read_cell(cell, "estimate")["estimate"]
        start = min(one[0]["began"] for one in trials) - began
    expected, planned = estimate["search_seconds_expected"], estimate["start_seconds"]
    yield Row("from the command to the first step", f"{start:.1f} s", f"{planned:.1f} s planned",
              "15 s")  # fmt: skip
    yield Row(f"cell of {sizes.trials} trials, to summary", f"{seconds:.0f} s", "", "30 s")
    yield Row("the same against its plan", f"{seconds / expected - 1:+.0%}",
              f"{expected:.0f} s planned", "+-30 %")  # fmt: skip
    outside = f"{1 - steps / whole:.0%}, of it {unknown:.1%} in no phase"
    yield Row("slot time outside steps", outside, "", "10 %")


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(prog="python -m tests.bench.gpu_table", description=__doc__)
    flags.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    flags.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    arguments = flags.parse_args(argv)
    has_gpu = torch.cuda.is_available() and not arguments.dry_run
    sizes, device = (FULL, resolve_device(1.0)) if has_gpu else (TINY, torch.device("cpu"))
    if arguments.worker is not None:
        print(json.dumps(work(sizes, device, arguments.worker)))
        return 0
    print(torch.cuda.get_device_name() if has_gpu else DRY)
    print(f"torch {torch.__version__}\n")
    print("what | measured | reference | bar", flush=True)
    is_whole = True
    # The processes beside each other come first, while this one holds nothing of the device.
    for rows in (together_rows(sizes), cell_rows(sizes), step_rows(sizes, device),
                 loss_rows(sizes, device)):  # fmt: skip
        try:
            for row in rows:
                print(" | ".join(dataclasses.astuple(row)), flush=True)
        except (RuntimeError, ValueError, OSError) as error:
            # One figure that cannot be had must not cost the others, on a machine lent for minutes.
            print(f"FAILED: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
            is_whole = False
    if not has_gpu:
        print(f"\n{DRY}")
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
