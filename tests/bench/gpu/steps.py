"""The training step of several architectures, beside a usual one and the device's product rate."""

import dataclasses
import statistics
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.data import DataLoader

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.model.model_config import ModelConfig
from study.model.sizing import step_flops
from study.results.scores import Validation
from study.training.device import release_cached_memory, supports_bf16
from study.training.step.graphs import WARM_UP_RUNS, graphs_of
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer
from study.training.windows import TrainingData
from tests.bench.gpu.sizes import Sizes
from tests.bench.gpu.timing import Row, Rows, median_seconds
from tests.bench.test_step_speed import Reference, Windows, loss_of

LARGEST_USUAL = 40_000
"""Width times layers below which the usual step is timed too: larger ones take too long."""


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


def warm_trainer(model: ModelConfig, device: torch.device, batch: int, steps: int) -> Trainer:
    """Return a trainer whose steps are replayed from now on."""
    own = trainer(model, training_data(batch * steps), device, batch)
    for _ in range(WARM_UP_RUNS + 1):
        own.run_epoch()
    return own


def product_rate(device: torch.device, rows: int) -> float:
    """Return the device's floating-point operations per second in products of square matrices."""
    dtype = torch.bfloat16 if supports_bf16(device) else torch.float32
    a, b = (torch.randn(rows, rows, device=device, dtype=dtype) for _ in range(2))
    return 2 * rows**3 / median_seconds(lambda: a @ b, device, 10)


def our_rate(model: ModelConfig, device: torch.device, batch: int, steps: int) -> float:
    """Return the samples per second of the project's training steps."""
    own = warm_trainer(model, device, batch, steps)
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


def step_rows(sizes: Sizes, device: torch.device) -> Rows:
    rate = product_rate(device, sizes.product)
    yield Row("product rate", f"{rate / 1e12:.3g} TFLOP/s")
    for size in sizes.steps:
        ours = our_rate(size.model, device, sizes.batch, size.steps)
        share = ours * step_flops(size.model, 1) / rate
        usual = "-"
        if size.width * size.layers < LARGEST_USUAL:
            found = usual_rate(size.model, device, sizes.batch, size.steps)
            usual = f"{found:,.0f}/s, so {ours / found:.2f}x"
        release_cached_memory(device)
        measured = f"{ours:,.0f}/s, {share:.1%} of the product"
        yield Row(f"step {size.name}", measured, usual, size.bar)


def loss_rows(sizes: Sizes, device: torch.device) -> Rows:
    """Train with captured and with eager steps, and compare the best losses."""
    size = sizes.steps[0]
    best: dict[bool, list[float]] = {True: [], False: []}
    for capture, losses in best.items():
        for seed in range(sizes.seeds):
            own = trainer(
                size.model, training_data(sizes.batch * size.steps), device, sizes.batch,
                seed=seed, capture=capture, epochs=5,
            )  # fmt: skip
            reports = [own.run_epoch() for _ in range(5)]
            losses.append(
                min(e.validation.loss for e in reports if isinstance(e.validation, Validation))
            )
    captured, eager = (statistics.fmean(best[each]) for each in (True, False))
    spread = statistics.stdev(best[False]) / sizes.seeds**0.5 if sizes.seeds > 1 else float("nan")
    yield Row(
        f"best loss of {sizes.seeds} seeds, captured", f"{captured:.5f}",
        f"{eager:.5f} eager", f"within {spread:.5f}",
    )  # fmt: skip
