"""Training days of a panel a second, against a plain loop over days.

Run by hand with ``make bench ARGS="-k panel_step -s"``. Both train in one process by turns, on one
thread, and only their ratio is judged: other load moves both alike. The plain loop has the same
network from library modules, in float32: one day with its assets is a batch of a DataLoader, and
every day is a step of AdamW. The trainer makes a step of sixteen days, with the precision that it
would have on this machine, and validates nothing meanwhile.
"""

import statistics
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from study.data.panel.shared_inputs import SharedInputs
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters
from study.training.device import PhaseClock, supports_bf16
from study.training.panel.panel_samples import PanelTrainingData
from study.training.step.full_training import FullTraining
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer

pytestmark = pytest.mark.bench

N_DAYS, N_ASSETS, N_FEATURES, CONTEXT = 1200, 20, 30, 60
DAYS_PER_ROUND, ROUNDS = 64, 5
LEAST_RATIO = 4.0
CPU = torch.device("cpu")

MODEL = ModelConfig(
    n_features=N_FEATURES,
    n_assets=N_ASSETS,
    d_model=64,
    n_layers=4,
    n_heads=4,
    d_ff_ratio=4,
    context_length=CONTEXT,
    dropout=0.1,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def panel() -> PanelTrainingData:
    draw = np.random.default_rng(0)
    values = draw.standard_normal((N_DAYS, N_ASSETS, N_FEATURES)).astype(np.float32)
    targets = draw.standard_normal((N_DAYS, N_ASSETS)).astype(np.float32)
    return PanelTrainingData(
        inputs=SharedInputs(values),
        present=np.ones((N_DAYS, N_ASSETS), dtype=bool),
        targets=targets,
        returns=targets / np.float32(50),
        volatility=np.ones(N_DAYS, np.float32),
        sectors=np.zeros(N_ASSETS, np.int64),
        train_days=np.arange(CONTEXT, 1000),
        validation_days=np.arange(1050, N_DAYS),
        horizon=5,
        cost_bps=10.0,
        share=0.2,
    )


class Days(Dataset[tuple[Tensor, Tensor]]):
    """The windows of all assets on a day, cut when a loader asks for them."""

    def __init__(self, data: PanelTrainingData) -> None:
        self.values = torch.from_numpy(data.inputs.values)
        self.targets = torch.from_numpy(data.targets)

    def __len__(self) -> int:
        return DAYS_PER_ROUND

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        day = CONTEXT + number
        return self.values[day - CONTEXT + 1 : day + 1].transpose(0, 1), self.targets[day]


class PlainNetwork(nn.Module):
    """The same network from library modules."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embed = nn.Linear(c.patch_length * c.n_features, c.d_model)
        self.position = nn.Parameter(0.02 * torch.randn(c.n_patches, c.d_model))
        layer = nn.TransformerEncoderLayer(
            c.d_model, c.n_heads, c.d_ff, c.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, c.n_layers, nn.LayerNorm(c.d_model), enable_nested_tensor=False
        )
        self.head = nn.Linear(c.d_model, 1)

    def forward(self, x_ATF: Tensor) -> Tensor:
        patches = x_ATF.unfold(1, self.config.patch_length, self.config.patch_stride).flatten(2)
        x = self.encoder(self.embed(patches) + self.position)
        scores: Tensor = self.head(x[:, -1]).squeeze(-1)
        return scores


def test_days_of_a_panel_train_several_times_as_fast_as_in_a_plain_loop() -> None:
    data = panel()
    plain = PlainNetwork(MODEL)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3)
    loader = DataLoader(Days(data), batch_size=None, shuffle=True)
    trainer = Trainer(
        model=MODEL,
        train=TrainConfig(learning_rate=1e-3, epochs=10, effective_batch=16),
        data=data,
        device=CPU,
        micro_batch=16,
        seed=0,
        bf16=supports_bf16(CPU),
    )
    step = trainer._training
    assert isinstance(step, FullTraining)
    days = trainer._windows.days(data.train_days[:DAYS_PER_ROUND])

    def plain_round() -> None:
        for x_ATF, target_A in loader:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(plain(x_ATF), target_A)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimizer.step()
            loss.item()

    def own_round() -> None:
        trainer.model.train()
        step.begin()
        clock = PhaseClock(CPU)
        for number, part in enumerate(torch.split(days, 16), start=1):
            step.take(part, learning_rate=1e-3, number=number, clock=clock)
        assert step.is_finite()

    plain_round()
    own_round()
    seconds: dict[str, list[float]] = {"plain": [], "own": []}
    for _ in range(ROUNDS):
        for name, work in (("plain", plain_round), ("own", own_round)):
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    plain_rate, own_rate = (DAYS_PER_ROUND / statistics.median(s) for s in seconds.values())
    ratios = [a / b for a, b in zip(seconds["plain"], seconds["own"], strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"\n{count_parameters(MODEL):,} parameters, {N_ASSETS} assets, one thread, "
        f"{'bfloat16' if step._model.bf16 else 'float32'}: {own_rate:.0f} days a second, "
        f"plain loop {plain_rate:.0f}, ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        end="",
    )
    assert ratio >= LEAST_RATIO
