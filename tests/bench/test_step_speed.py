"""One training step against a step as usually written, and against the machine's matrix product.

Run by hand: ``pytest -m bench -s tests/bench/test_step_speed.py``. Everything is measured in one
process in turns, and only ratios are judged: other load moves all of them together. Two threads on
two cores need both: with a core taken away, every parallel region waits for the scheduler, a step
of hundreds of regions far longer than a few products. Read the runs with one thread then.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from study.model.architecture import Head
from study.model.families.patchtst import PatchTST
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters, step_flops
from study.training.device import supports_bf16

BATCH = 256
ROUNDS = 9
WIDE = ModelConfig(
    n_features=25, d_model=192, n_layers=4, n_heads=8, dropout=0.2, auxiliary_head=True
)
DEEP = replace(WIDE, d_model=64, n_layers=48)
AUXILIARY_WEIGHT = 0.5


class Windows(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Windows of a series, made one at a time, as a loader wants them."""

    def __init__(self, series_TF: Tensor, context: int) -> None:
        self.series_TF = series_TF
        self.context = context
        self.label = (torch.rand(len(series_TF)) < 0.3).float()
        self.range = torch.randn(len(series_TF))

    def __len__(self) -> int:
        return len(self.series_TF) - self.context

    def __getitem__(self, day: int) -> tuple[Tensor, Tensor, Tensor]:
        window = self.series_TF[day : day + self.context]
        return window, self.label[day], self.range[day]


class ReferenceLayer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, p = config.d_model, config.dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attention = nn.MultiheadAttention(d, config.n_heads, dropout=p, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.Linear(d, config.d_ff), nn.GELU(), nn.Dropout(p), nn.Linear(config.d_ff, d)
        )
        self.drop = nn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_1(x)
        x = x + self.drop(self.attention(y, y, y)[0])
        update: Tensor = self.drop(self.feed_forward(self.norm_2(x)))
        return x + update


class Reference(nn.Module):
    """The same network from library modules."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.patch_length * config.n_features, config.d_model)
        self.position = nn.Parameter(torch.randn(1, config.n_patches, config.d_model))
        self.drop = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(ReferenceLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        width = config.d_model * (config.n_patches if config.head == "flatten" else 1)
        self.heads = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        patches = x.unfold(1, self.config.patch_length, self.config.patch_stride).flatten(2)
        x = self.drop(self.embed(patches) + self.position)
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        x = self.heads(x.flatten(1) if self.config.head == "flatten" else x[:, -1])
        return x[:, 0], x[:, 1]


def loss_of(logit: Tensor, auxiliary: Tensor, label: Tensor, log_range: Tensor) -> Tensor:
    loss = F.binary_cross_entropy_with_logits(logit, label)
    return loss + AUXILIARY_WEIGHT * F.mse_loss(auxiliary, log_range)


def reference_step(config: ModelConfig) -> Callable[[], None]:
    model = Reference(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    data = Windows(torch.randn(8000, config.n_features), config.context_length)

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        while True:
            yield from DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True)

    source = batches()

    def step() -> None:
        x, label, log_range = next(source)
        optimizer.zero_grad()
        logit, auxiliary = model(x)
        loss = loss_of(logit, auxiliary, label, log_range)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()

    return step


def our_step(config: ModelConfig, bf16: bool) -> Callable[[], None]:
    model = PatchTST(config, bf16=bf16)
    model.initialise(torch.Generator().manual_seed(0), 0.3)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    data = Windows(torch.randn(8000, config.n_features), config.context_length)
    window_days = torch.arange(config.context_length)

    def step() -> None:
        days = torch.randint(len(data), (BATCH,))
        x = data.series_TF[days[:, None] + window_days]
        logit, auxiliary = model(x)
        assert auxiliary is not None
        loss = loss_of(logit, auxiliary, data.label[days], data.range[days])
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def product(flops: int, bf16: bool) -> Callable[[], None]:
    """Products of 2816 x 192 by 192 x 768, as many as make about ``flops``.

    As long as a step, so that other load on the machine hits both alike.
    """
    dtype = torch.bfloat16 if bf16 else torch.float32
    x, weight = torch.randn(2816, 192, dtype=dtype), torch.randn(768, 192, dtype=dtype)

    def multiply() -> None:
        for _ in range(round(flops / PRODUCT_FLOPS)):
            F.linear(x, weight)

    return multiply


PRODUCT_FLOPS = 2 * 2816 * 192 * 768


def interleaved_seconds(
    steps: dict[str, Callable[[], None]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of every step in every round, all steps in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= 2:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    torch.manual_seed(0)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.bench
@pytest.mark.skipif(not supports_bf16(torch.device("cpu")), reason="the bar is for native bfloat16")
@pytest.mark.parametrize("head", ["last", "flatten"])
def test_a_step_of_a_wide_model(head: Head, n_threads: int) -> None:
    print(f"\n{n_threads} threads", end="")
    config = replace(WIDE, head=head)
    n_reference = sum(p.numel() for p in Reference(config).parameters())
    assert n_reference == count_parameters(config)
    flops = step_flops(config, BATCH)
    steps = {
        "reference": reference_step(config),
        "float32": our_step(config, bf16=False),
        "product float32": product(flops, False),
        "bf16": our_step(config, bf16=True),
        "product bf16": product(flops, True),
    }
    seconds = interleaved_seconds(steps, ROUNDS)
    for name in ("reference", "float32", "bf16"):
        rate = BATCH / statistics.median(seconds[name])
        print(f"\n{head} {name}: {rate:.0f} samples/s", end="")
    gain = median_ratio(seconds["reference"], seconds["bf16"])
    share = median_ratio(seconds["product bf16"], seconds["bf16"])
    gain_32 = median_ratio(seconds["reference"], seconds["float32"])
    share_32 = median_ratio(seconds["product float32"], seconds["float32"])
    print(f"\n{head} bf16: {gain:.2f}x the reference, {share:.0%} of the product rate", end="")
    print(f"\n{head} float32: {gain_32:.2f}x the reference, {share_32:.0%} of the product rate")
    assert gain >= 2
    assert share >= 0.4


@pytest.mark.bench
@pytest.mark.parametrize("config", [WIDE, DEEP], ids=["wide", "deep"])
def test_samples_per_second(config: ModelConfig, n_threads: int) -> None:
    bf16 = supports_bf16(torch.device("cpu"))
    steps = {"ours": our_step(config, bf16), "reference": reference_step(config)}
    seconds = interleaved_seconds(steps, 7)
    rate = BATCH / statistics.median(seconds["ours"])
    gain = median_ratio(seconds["reference"], seconds["ours"])
    print(f"\nd_model {config.d_model}, {config.n_layers} layers, {n_threads} threads: ", end="")
    print(f"{rate:.0f} samples/s, {gain:.2f}x the reference")
    assert gain >= 2
