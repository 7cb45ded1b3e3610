import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.data.panel.shared_inputs import SharedInputs
from study.errors import StudyError
from study.model.architecture import AssetAttention
from study.model.model_config import ModelConfig
from study.results.epoch_report import EpochReport
from study.results.scores import PanelBest, PanelValidation
from study.training.folded_trainer import FoldedTrainer
from study.training.panel.panel_prediction import predict_scores
from study.training.panel.panel_samples import PanelTrainingData
from study.training.state_file import load, save
from study.training.step.full_training import FullTraining
from study.training.train_config import PANEL_SETTINGS, TrainConfig
from study.training.trainer import Trainer
from tests.recorded_graph import RecordedGraphs
from tests.training.panel.planted_panel import CPU, DATA, MODEL, TRAIN, make_trainer
from tests.training.planted import make_trainer as make_single
from tests.training.planted import run_to_end, trace

FULL_MODEL = replace(MODEL, dropout=0.2, asset_attention="sector", last_day_skip=True)
FULL_TRAIN = replace(
    TRAIN,
    base_loss="huber",
    ic_weight=0.5,
    rank_weight=0.3,
    sharpe_weight=0.2,
    regime_strength=0.5,
    ema_decay=0.9,
    weight_decay=0.01,
)


def full_trainer(**changes: Any) -> Trainer:
    # Five does not divide a step of 16 days, nor 16 an epoch of 89.
    return make_trainer(**{"model": FULL_MODEL, "train": FULL_TRAIN, "micro_batch": 5, **changes})


def pause_after(n_steps: int) -> Callable[[], bool]:
    """Return a function for ``run_epoch`` that is true once, in its ``n_steps``-th call."""
    asked = iter(range(1, n_steps + 1))
    return lambda: next(asked) == n_steps


def gradients(
    data: PanelTrainingData, *, micro_batch: int, attention: AssetAttention = "sector"
) -> list[torch.Tensor]:
    """Return the gradients of the first 32 training days at the weights after an epoch."""
    trainer = full_trainer(model=replace(FULL_MODEL, dropout=0.0, asset_attention=attention))
    trainer.run_epoch()
    step = trainer._training
    assert isinstance(step, FullTraining)
    windows = data.windows(FULL_MODEL.context_length, CPU)
    step.begin()
    step._n_samples.fill_(32)
    for part in torch.split(windows.days(data.train_days[:32]), micro_batch):
        step._propagate(windows.gather(part))
    return [p.grad.clone() for p in step.parameters if p.grad is not None]


def test_a_planted_ranking_is_learned_and_reported() -> None:
    reports = run_to_end(make_trainer())
    last = reports[-1]
    assert last.stop_reason == "completed"
    assert isinstance(last.validation, PanelValidation)
    assert isinstance(last.best, PanelBest)
    assert last.validation.rank_ic > 0.6
    assert last.best.loss == pytest.approx(1 - last.best.rank_ic)
    assert last.best.difference == pytest.approx(0.1 - last.best.rank_ic)
    assert last.best_is_collapsed is False
    assert last.train_terms == {"squared": last.train_loss}
    assert EpochReport.from_json(json.loads(json.dumps(last.to_json()))) == last


def test_every_weighted_term_is_reported_by_its_name() -> None:
    report = full_trainer().run_epoch()
    assert report.train_terms is not None
    assert list(report.train_terms) == ["huber", "ic", "rank", "sharpe"]
    assert report.train_terms["huber"] == report.train_loss
    assert EpochReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    only = full_trainer(ic_weight=0.0, sharpe_weight=0.0).run_epoch()
    assert list(only.train_terms or ()) == ["huber", "rank"]


def test_every_setting_of_a_panel_changes_the_training() -> None:
    base = full_trainer(base_loss="squared").run_epoch()
    changes = {
        "base_loss": "huber", "ic_weight": 1.0, "rank_weight": 1.0, "rank_temperature": 0.9,
        "sharpe_weight": 1.0, "regime_strength": 0.0,
    }  # fmt: skip
    assert changes.keys() == PANEL_SETTINGS.keys()
    for name, value in changes.items():
        other = full_trainer(**{"base_loss": "squared", name: value}).run_epoch()
        assert other.validation != base.validation, name


def test_several_days_give_the_sum_of_the_gradients_of_each() -> None:
    together, alone = (gradients(DATA, micro_batch=n) for n in (32, 1))
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    assert max(float(a.abs().max()) for a in together) > 0.01


def test_an_absent_asset_and_an_unlabelled_one_teach_nothing() -> None:
    # The last asset is not there yet on the days whose gradients are computed.
    values, targets, returns = (a.copy() for a in (DATA.inputs.values, DATA.targets, DATA.returns))
    assert not DATA.present[:50, -1].any()
    values[:50, -1], targets[:50, -1], returns[:50, -1] = 10, 50, 0.5
    # Another one has no return on one of them.
    day = int(DATA.train_days[5])
    returns[day, 2] = np.nan
    one = replace(DATA, returns=returns)
    targets[day, 2] = 1000
    other = replace(one, inputs=SharedInputs(values), targets=targets)
    first, second, labelled = (gradients(each, micro_batch=32) for each in (one, other, DATA))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], labelled[0])
    # Where no asset attends to another one, absent is the same as unlabelled.
    present = DATA.present.copy()
    present[day, 2] = False
    without = replace(DATA, present=present)
    pair = [gradients(each, micro_batch=32, attention="none") for each in (one, without)]
    assert all(torch.equal(a, b) for a, b in zip(*pair, strict=True))


@pytest.mark.parametrize("calls", [(1,), (3, 2)], ids=str)
def test_a_paused_and_saved_epoch_is_the_epoch_bit_for_bit(
    tmp_path: Path, calls: tuple[int, ...]
) -> None:
    straight, paused = full_trainer(), full_trainer()
    expected = [straight.run_epoch() for _ in range(2)]
    reports = []
    for _ in range(2):
        for n_calls in calls:
            assert paused.run_epoch(pause_after(n_calls)) is None
            save(paused.state_dict(), tmp_path / "state.pt")
            paused = full_trainer()
            paused.load_state_dict(load(tmp_path / "state.pt"))
        reports.append(paused.run_epoch())
    assert trace(reports) == trace(expected)
    for a, b in zip(straight.model.parameters(), paused.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert paused.best_weights() is not None


def test_memory_that_runs_out_halves_the_days_of_a_pass() -> None:
    straight, short = (full_trainer(model=replace(FULL_MODEL, dropout=0.0)) for _ in range(2))
    inner = short._training
    assert isinstance(inner, FullTraining)
    propagate, calls = inner._propagate, []

    def once(batch: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("simulated")
        propagate(batch)

    inner._propagate = once  # type: ignore[method-assign]
    expected, report = straight.run_epoch(), short.run_epoch()
    assert (report.micro_batch, report.out_of_memory_count) == (3, 1)
    assert report.train_loss == pytest.approx(expected.train_loss, rel=1e-5)


@pytest.mark.slow
def test_captured_steps_are_the_eager_ones() -> None:
    def made(graphs: Any) -> Trainer:
        return Trainer(
            model=FULL_MODEL, train=FULL_TRAIN, data=DATA, device=CPU, micro_batch=5, seed=7,
            bf16=False, graphs=graphs,
        )  # fmt: skip

    eager, captured = made(None), made(RecordedGraphs())
    reports = [[trainer.run_epoch() for _ in range(2)] for trainer in (eager, captured)]
    assert trace(reports[0]) == trace(reports[1])
    assert captured.capture == "captured"


def test_a_loss_that_is_not_finite_ends_the_trial() -> None:
    trainer = make_trainer()
    trainer.run_epoch()
    next(trainer.model.parameters()).data.fill_(float("nan"))
    report = trainer.run_epoch()
    assert (report.stop_reason, report.validation, report.train_terms) == ("diverged", None, None)
    assert report.best is not None
    assert EpochReport.from_json(report.to_json()) == report


def test_a_model_that_scores_all_assets_alike_has_collapsed() -> None:
    trainer = make_trainer(learning_rate=1e-30, collapse_grace_share=0.5)
    first, second = trainer.run_epoch(), trainer.run_epoch()
    assert (first.stop_reason, first.best_is_collapsed) == (None, True)
    assert second.stop_reason == "collapsed"


def test_networks_of_folds_are_judged_by_all_their_days(tmp_path: Path) -> None:
    days = np.arange(10, 150)
    # The second fold validates the first days.
    folds = [
        replace(
            DATA,
            train_days=train,
            validation_days=own,
            baseline_rank_ics=np.full(len(own), 0.1 + number / 10),
        )
        for number, (train, own) in enumerate([(days[:70], days[75:]), (days[75:], days[:70])])
    ]

    def made() -> FoldedTrainer:
        return FoldedTrainer(
            model=FULL_MODEL, train=FULL_TRAIN, folds=folds, device=CPU, micro_batch=8, seed=7,
            bf16=False,
        )  # fmt: skip

    straight, paused = made(), made()
    report = straight.run_epoch()
    assert paused.run_epoch(pause_after(7)) is None
    save(paused.state_dict(), tmp_path / "state.pt")
    paused = made()
    paused.load_state_dict(load(tmp_path / "state.pt"))
    assert trace([paused.run_epoch()]) == trace([report])
    networks = [network.report for network in straight._networks]
    ranks = [
        n.validation.rank_ic for n in networks if n and isinstance(n.validation, PanelValidation)
    ]
    assert isinstance(report.validation, PanelValidation)
    assert isinstance(report.best, PanelBest)
    assert report.validation.rank_ic == pytest.approx(np.average(ranks, weights=[65, 70]))
    baseline = np.average([0.1, 0.2], weights=[65, 70])
    assert report.best.difference == pytest.approx(baseline - report.validation.rank_ic)
    terms = [network.train_terms["rank"] for network in networks if network and network.train_terms]
    assert report.train_terms is not None
    assert report.train_terms["rank"] == pytest.approx(np.average(terms, weights=[70, 65]))


def test_mapped_inputs_are_not_copied_on_the_cpu(tmp_path: Path) -> None:
    values = DATA.inputs.values
    (tmp_path / "inputs").write_bytes(values.tobytes())
    inputs = SharedInputs.mapped(tmp_path / "inputs", 0, values.shape)
    windows = replace(DATA, inputs=inputs).windows(8, CPU)
    assert windows.windows.row_F.data_ptr() == inputs.values.ctypes.data
    day = int(DATA.train_days[0])
    batch = windows.gather(windows.days(DATA.train_days[:2]))
    expected = values[day - 7 : day + 1].transpose(1, 0, 2)
    assert np.array_equal(batch.x_BATF[0].numpy(), expected)
    values = values.copy()
    values.flags.writeable = False
    frozen = replace(DATA, inputs=SharedInputs(values))
    assert trace([make_trainer(data=frozen).run_epoch()]) == trace([make_trainer().run_epoch()])


def test_scores_of_any_days_are_those_that_the_trainer_gives() -> None:
    trainer = full_trainer(ema_decay=0.0)
    trainer.run_epoch()
    weights = trainer.best_weights()
    assert weights is not None
    scores = predict_scores(
        FULL_MODEL,
        weights,
        inputs=DATA.inputs.values,
        present=DATA.present,
        sectors=DATA.sectors,
        days=DATA.validation_days,
        device=CPU,
    )
    assert trainer.validation_logit is not None
    np.testing.assert_allclose(scores, trainer.validation_logit, rtol=1e-5, atol=1e-5)
    assert scores.std() > 0.1


def test_a_state_of_an_earlier_version_had_the_defaults_of_later_settings() -> None:
    first = make_single()
    first.run_epoch(pause_after(2))
    state = first.state_dict()
    for name in ("n_assets", "asset_attention", "n_sectors"):
        del state["model_config"][name]
    for name in ("base_loss", "rank_weight", "regime_strength"):
        del state["train_config"][name]
    second = make_single()
    second.load_state_dict(state)
    assert trace([second.run_epoch()]) == trace([first.run_epoch()])
    state["model_config"]["n_assets"] = 6
    with pytest.raises(StudyError, match="must hold the state of this trial"):
        second.load_state_dict(state)


def test_parts_that_do_not_fit_a_panel_are_refused() -> None:
    with pytest.raises(StudyError, match="n_assets=7, panel with 6"):
        make_trainer(model=replace(MODEL, n_assets=7))
    with pytest.raises(StudyError, match="n_sectors=3, panel with 2"):
        make_trainer(model=replace(MODEL, n_sectors=3, asset_attention="sector"))
    with pytest.raises(StudyError, match="n_features=4, data with 3"):
        make_trainer(model=replace(MODEL, n_features=4))
    with pytest.raises(StudyError, match="fall_weight must be off on a panel"):
        make_trainer(fall_weight=0.5)
    with pytest.raises(StudyError, match=r"ic_weight must be 0\.0 for one asset"):
        make_single(ic_weight=0.5)
    with pytest.raises(StudyError, match="must have n_assets 1"):
        make_single(model=ModelConfig(**{**asdict(MODEL), "n_features": 4}))
    unknown = DATA.returns.copy()
    unknown[DATA.validation_days[3], 2:] = np.nan
    with pytest.raises(StudyError, match="validation_days must have 3 assets with a label"):
        replace(DATA, returns=unknown)
    flat = np.where(np.isfinite(DATA.returns), np.float32(0), np.nan).astype(np.float32)
    with pytest.raises(StudyError, match="returns must differ"):
        replace(DATA, returns=flat)
    with pytest.raises(StudyError, match="every sample needs context_length days"):
        make_trainer(data=replace(DATA, train_days=np.arange(5, 60)))


def test_the_settings_of_a_panel_are_within_their_rules() -> None:
    with pytest.raises(StudyError, match="rank_temperature must lie in"):
        TrainConfig(learning_rate=1e-3, epochs=1, rank_temperature=0.0)
    with pytest.raises(StudyError, match="base_loss must be"):
        TrainConfig(learning_rate=1e-3, epochs=1, base_loss="absolute")  # type: ignore[arg-type]
