"""What networks find on simulated panels: most of what can be found, and nothing where nothing is.

Run by hand with ``make bench ARGS="-k panel_oracle -s"``. Networks are trained by the trainer
itself, in this process, on one thread; the one of the best validation RankIC is judged on the test
days. The best possible scores of these panels are known, so that a network that beats them has
seen the future.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch

from analysis.panel.panel_judgement import judge_panel
from analysis.panel.panel_records import read_panel
from analysis.panel.panel_report import build_panel
from analysis.study_records import read_study
from study.data.arrays import SampleArray
from study.data.data_config import DataConfig
from study.data.embedded.synthetic_panel import SYNTHETIC_PANEL, PanelLaw, simulate_panel
from study.data.panel.build_panel import build_panel_dataset
from study.data.panel.panel_baselines import SeenPanel, panel_baseline_scores
from study.data.panel.panel_dataset import PanelDataset
from study.data.panel.panel_holdout import PanelHoldout, open_panel_holdout
from study.data.panel.shared_inputs import SharedInputs
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters
from study.results.finals.panel_predictions import panel_rows, write_panel_predictions
from study.statistics.block_length import block_days
from study.statistics.rank_comparison import compare_days
from study.statistics.rank_scores import daily_rank_ic
from study.storage.layout import FINAL_FOLDER, PREDICTIONS_FILE
from study.training.panel.panel_prediction import predict_scores
from study.training.panel.panel_samples import PanelTrainingData
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer
from tests.analysis.panel.planted import cell_name, write_panel_study
from tests.analysis.records import FAMILY

pytestmark = pytest.mark.bench

CPU = torch.device("cpu")
DailyRankICs = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One trial of a search without Ray: an architecture and how it is trained."""

    d_model: int
    n_layers: int
    dropout: float
    learning_rate: float
    epochs: int
    effective_batch: int
    asset_attention: Literal["none", "all"] = "none"

    def model(self, data: PanelDataset) -> ModelConfig:
        """Return the architecture for a data set."""
        return ModelConfig(
            n_features=len(data.feature_names),
            n_assets=len(data.assets),
            n_sectors=len(data.sector_names),
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=4,
            dropout=self.dropout,
            asset_attention=self.asset_attention,
            context_length=data.context_length,
            patch_length=data.context_length,
            patch_stride=data.context_length,
        )

    @property
    def train(self) -> TrainConfig:
        """The settings of the training."""
        return TrainConfig(
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            effective_batch=self.effective_batch,
            weight_decay=0.05,
            ema_decay=0.98,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Found:
    """The chosen network of some settings, and what it ranks."""

    model: ModelConfig
    validation: DailyRankICs
    """RankICs of its best epoch on the validation days, by which it was chosen."""
    scores: SampleArray
    """Scores on the test days."""
    test: DailyRankICs


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def opened(law: PanelLaw, horizon: int, context_length: int) -> tuple[PanelDataset, PanelHoldout]:
    """Return what a search sees of a simulated panel, and its test days."""
    panel = simulate_panel(law).panel
    config = DataConfig(
        horizon=horizon,
        source=SYNTHETIC_PANEL,
        tier="closes",
        normalization="cross_z",
        task="ranking",
        target="z",
        context_length=context_length,
    )
    data = build_panel_dataset(config, panel)
    return data, open_panel_holdout(config, data, panel)


def judged(holdout: PanelHoldout, scores: SampleArray) -> DailyRankICs:
    """Return the RankICs of scores by test day."""
    returns = holdout.returns[holdout.test_days]
    mask = holdout.present[holdout.test_days] & np.isfinite(returns)
    return daily_rank_ic(scores, returns, mask)


def oracle_of(holdout: PanelHoldout, horizon: int) -> SampleArray:
    """Return the best possible scores on the test days."""
    first = len(holdout.panel.dates) - len(holdout.dates)
    return holdout.panel.oracle[horizon][first:][holdout.test_days].astype(np.float32)


def searched(
    data: PanelDataset, holdout: PanelHoldout, settings: Sequence[Setting], first_seed: int = 0
) -> Found:
    """Train a network of each setting and judge the best one of the validation days."""
    samples, best, chosen = PanelTrainingData.of(data, share=0.2, cost_bps=10), -np.inf, None
    for seed, setting in enumerate(settings, first_seed):
        trainer = Trainer(
            model=setting.model(data), train=setting.train, data=samples, device=CPU,
            micro_batch=setting.effective_batch, seed=seed, bf16=False,
        )  # fmt: skip
        while trainer.run_epoch().stop_reason is None:
            pass
        trainer.restore_best()
        days = data.validation_days
        own = daily_rank_ic(trainer.predict(days), data.returns[days], data.labelled(days))
        print(f"\n  {setting}: validation RankIC {own.mean():.4f}", end="", flush=True)
        if own.mean() > best:
            best, chosen = own.mean(), (setting.model(data), trainer.best_weights(), own)
    assert chosen is not None
    model, weights, validation = chosen
    assert weights is not None
    scores = predict_scores(
        model, weights, holdout.inputs.values, holdout.present, data.sectors, holdout.test_days,
        device=CPU,
    )[..., 0]  # fmt: skip
    return Found(
        model=model, validation=validation, scores=scores, test=judged(holdout, scores)
    )  # fmt: skip


LARGE = (
    Setting(d_model=128, n_layers=1, dropout=0.2, learning_rate=5e-4, epochs=3, effective_batch=32),
    Setting(d_model=88, n_layers=1, dropout=0.2, learning_rate=3e-4, epochs=3, effective_batch=16,
            asset_attention="all"),
)  # fmt: skip
"""Trials of 200,000 parameters: shallow, with small rates and few epochs, because a day's returns
are nearly all noise."""

MOST_BELOW, MOST_ABOVE = 2.0, 3.0
"""Standard errors of the paired difference by which the test RankIC may lie below the best possible
one, and above it."""

LEAST_CORRELATION = 0.85
"""Least mean correlation with the best possible scores of a day. It has none of the noise of the
returns, in which a score that knows four fifths is within two errors too: ridge is, with .83."""


@pytest.mark.parametrize("horizon", [1, 5])
def test_a_network_ranks_nearly_as_well_as_is_possible_and_no_better(horizon: int) -> None:
    # The features look back over a year by themselves; earlier days of a window add noise alone.
    data, holdout = opened(PanelLaw(), horizon, 1)
    oracle_scores = oracle_of(holdout, horizon)
    oracle = judged(holdout, oracle_scores)
    found = searched(data, holdout, LARGE)
    assert 150_000 <= count_parameters(found.model) <= 250_000
    seen = SeenPanel(
        inputs=holdout.inputs.values,
        present=holdout.present,
        closes=holdout.panel.close[-len(holdout.dates) :],
    )
    rivals = panel_baseline_scores(data, holdout.test_days, seen)
    below = {}
    print(f"\n{horizon} days ahead, {len(oracle)} test days, best RankIC {oracle.mean():.4f}")
    for name, scores in {"network": found.scores, **rivals}.items():
        own = judged(holdout, scores)
        of_model = compare_days(oracle, own, block=block_days(horizon))
        assert of_model.se is not None
        below[name] = of_model.value / of_model.se
        print(
            f"{name}: {own.mean():.4f}, less by {of_model.value:+.4f}, which are {below[name]:+.1f}"
            f" standard errors; correlation of the scores {correlation(scores, oracle_scores):.3f}"
        )
    assert -MOST_ABOVE <= below["network"] <= MOST_BELOW
    assert correlation(found.scores, oracle_scores) >= LEAST_CORRELATION


def correlation(one: SampleArray, other: SampleArray) -> float:
    """Return the mean correlation of the scores of a day; 0 where those of one do not differ."""
    a, b = (each - each.mean(axis=1, keepdims=True) for each in (one, other))
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return float(np.divide((a * b).sum(axis=1), size, out=np.zeros(len(a)), where=size > 0).mean())


SMALL = (
    Setting(d_model=16, n_layers=1, dropout=0.1, learning_rate=1e-3, epochs=3, effective_batch=16),
    Setting(d_model=16, n_layers=2, dropout=0.0, learning_rate=3e-3, epochs=3, effective_batch=32),
    Setting(d_model=24, n_layers=1, dropout=0.3, learning_rate=3e-4, epochs=4, effective_batch=16),
    Setting(d_model=24, n_layers=2, dropout=0.2, learning_rate=1e-3, epochs=2, effective_batch=32),
    Setting(d_model=32, n_layers=1, dropout=0.0, learning_rate=1e-3, epochs=4, effective_batch=32),
)
"""Trials of a small search, of 6,000 to 18,000 parameters."""

N_SEARCHES, MOST_CLAIMS = 40, 2
"""One claim in favour of the network is expected of intervals of 95 %, and three or more have a
probability of 8 %."""


def test_where_nothing_is_known_a_search_seldom_claims_to_rank_better_than_zero() -> None:
    claims = early = worse = 0
    of_test = []
    for seed in range(N_SEARCHES):
        law = PanelLaw(n_days=1_700, n_assets=12, n_sectors=3, signal_ic=0.0, seed=100 + seed)
        data, holdout = opened(law, 1, 5)
        found = searched(data, holdout, SMALL)
        assert 5_000 <= count_parameters(found.model) <= 20_000
        test, before = (
            compare_days(own, np.zeros_like(own), block=block_days(1))
            for own in (found.test, found.validation)
        )
        claims, worse, early = (
            claims + test.is_better, worse + test.is_worse, early + before.is_better
        )  # fmt: skip
        of_test.append(test.value)
    print(
        f"\n{N_SEARCHES} searches without a signal: {claims} claim on the test days to rank better "
        f"than zero, {worse} worse, mean RankIC {np.mean(of_test):+.4f}; {early} would claim it "
        "on the validation days, which chose the epoch and the trial"
    )
    assert claims <= MOST_CLAIMS


@pytest.mark.parametrize("is_planted", [False, True])
def test_a_feature_that_is_the_future_return_raises_the_alarm(
    is_planted: bool, tmp_path: Path
) -> None:
    horizon, n_seeds = 1, 3
    data, holdout = opened(PanelLaw(n_days=1_700, n_assets=20), horizon, 5)
    if is_planted:
        data, holdout = with_future(data, holdout)
    model = SMALL[0].model(data)
    models: dict[str, list[SampleArray]] = {
        FAMILY: [searched(data, holdout, SMALL[:1], seed).scores for seed in range(n_seeds)],
        "oracle": [oracle_of(holdout, horizon)],
        "zero": [np.zeros((len(holdout.test_days), len(data.assets)), np.float32)],
    }
    size = count_parameters(model)
    write_panel_study(tmp_path, {size: 0.0}, horizons=(horizon,), oracle=0.0)
    days = holdout.test_days
    mask = holdout.present[days] & np.isfinite(holdout.returns[days])
    tables = [
        panel_rows(
            name, number if name == FAMILY else None, "test", holdout.dates[days], data.assets,
            scores, holdout.returns[days], mask,
        )
        for name, runs in models.items()
        for number, scores in enumerate(runs)
    ]  # fmt: skip
    folder = tmp_path / FINAL_FOLDER / cell_name(size, horizon)
    write_panel_predictions(folder / PREDICTIONS_FILE, tables)
    panel = judge_panel(read_panel(tmp_path, read_study(tmp_path, None)))
    (cell,) = panel.cells
    headline = build_panel(panel).first.headline
    print(f"\n{cell.oracle_errors:+.1f} standard errors from the best possible ranking: {headline}")
    assert cell.is_leak == is_planted
    assert ("Leak" in headline) == is_planted


def with_future(data: PanelDataset, holdout: PanelHoldout) -> tuple[PanelDataset, PanelHoldout]:
    """Return both with the return of the days to come in place of the first feature.

    A feature that was computed so is refused when the test days are opened; this one is planted
    in the arrays after that.
    """
    values = holdout.inputs.values.copy()
    spread = np.nanstd(holdout.returns)
    values[:, :, 0] = np.nan_to_num(holdout.returns / spread).clip(-5, 5)
    n_visible = len(data.dates)
    return (
        dataclasses.replace(data, inputs=SharedInputs(values[:n_visible])),
        dataclasses.replace(holdout, inputs=SharedInputs(values)),
    )
