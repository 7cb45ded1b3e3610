from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.data.evaluation.probability_scores import auc, log_losses
from study.errors import StudyError
from study.model.memory import step_memory
from study.results.epoch_report import EpochReport
from study.results.scores import Validation
from study.training.folded_trainer import FoldedTrainer, trainer_of
from study.training.metrics import FoldAnswers, evaluate, evaluate_folds
from study.training.seeds import derived_seed
from study.training.state_file import load, save
from study.training.step.full_training import FullTraining
from study.training.trainer import Trainer
from study.training.windows import TrainingData
from tests.recorded_graph import RecordedGraphs
from tests.training.planted import CPU, MODEL, TRAIN, planted_data, trace

FULL_MODEL = replace(MODEL, dropout=0.2, auxiliary_head=True)
FULL_TRAIN = replace(
    TRAIN,
    epochs=5,
    auxiliary_weight=0.5,
    ema_decay=0.9,
    patience=4,
    learning_rate=0.01,
    collapse_grace_share=1.0,
)

N_STEPS = 12
"""Number of optimizer steps of an epoch of three networks: 194 samples in steps of 64."""


def folds() -> list[TrainingData]:
    """Return three folds of one market, each of which validates a third of its days."""
    data = planted_data(n_train=290, n_validation=1)
    groups = np.split(np.arange(20, 311), [97, 194])
    found = []
    for number, group in enumerate(groups):
        train = np.setdiff1d(np.arange(20, 311), group)
        found.append(
            replace(
                data,
                # A scaler of its own.
                features=data.features * np.float32(1 + number / 10),
                train_days=train,
                validation_days=group,
                base_rate=float(data.labels[train].mean()),
                baseline_losses=np.full(len(group), 0.6 + number / 100),
            )
        )
    return found


def make(**changes: Any) -> FoldedTrainer:
    given: dict[str, Any] = {"model": FULL_MODEL, "train": FULL_TRAIN, "seed": 7, "folds": folds()}
    return FoldedTrainer(device=CPU, bf16=False, micro_batch=24, **{**given, **changes})


def pause_after(n_calls: int) -> Callable[[], bool]:
    """Return a function for ``run_epoch`` that is true once, in its ``n_calls``-th call."""
    asked = iter(range(1, n_calls + 1))
    return lambda: next(asked) == n_calls


def run(trainer: FoldedTrainer) -> list[EpochReport]:
    reports = [trainer.run_epoch()]
    while reports[-1].stop_reason is None:
        reports.append(trainer.run_epoch())
    return reports


def assert_same_state(one: FoldedTrainer, two: FoldedTrainer) -> None:
    a, b = one.state_dict(), two.state_dict()
    assert _plain(a) == _plain(b)


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        # Reports hold seconds.
        return {key: _plain(each) for key, each in value.items() if key != "report"}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def test_each_network_is_the_one_that_a_trainer_of_its_fold_trains() -> None:
    together = make()
    report = together.run_epoch()
    alone = [
        Trainer(
            model=FULL_MODEL,
            train=FULL_TRAIN,
            data=data,
            device=CPU,
            micro_batch=24,
            seed=derived_seed(7, f"fold {number}"),
            bf16=False,
        )
        for number, data in enumerate(folds())
    ]
    reports = [each.run_epoch() for each in alone]
    best = together.best_weights()
    assert best is not None
    for number, own in enumerate(alone):
        weights = own.best_weights()
        assert weights is not None
        for name, weight in weights.items():
            assert torch.equal(best[f"{number}.{name}"], weight)
    # The networks learned from other days with other seeds.
    assert not torch.equal(best["0.head.weight"], best["1.head.weight"])
    # The schedule is that of each network, and so are the steps.
    assert {each.step for each in reports} == {report.step}
    sizes = [len(data.train_days) for data in folds()]
    losses = [each.train_loss or 0 for each in reports]
    assert report.train_loss == pytest.approx(np.average(losses, weights=sizes))
    assert report.validation is not None
    scores = [each.validation for each in reports]
    own_losses = [each.loss for each in scores if isinstance(each, Validation)]
    days = [len(data.validation_days) for data in folds()]
    assert report.validation.loss == pytest.approx(np.average(own_losses, weights=days))


@pytest.mark.parametrize(
    ("calls", "is_saved"),
    [((4,), False), ((1,), True), ((4,), True), ((5,), True), ((3, 6), True), ((13,), True)],
)
def test_a_pause_at_any_step_of_any_network_changes_nothing(
    tmp_path: Path, calls: tuple[int, ...], is_saved: bool
) -> None:
    straight, paused = make(), make()
    expected = [straight.run_epoch() for _ in range(2)]
    reports = []
    for _ in range(2):
        for n_calls in calls:
            ended = paused.run_epoch(pause_after(n_calls))
            if ended is not None:
                # The pause would have come after the last step.
                assert n_calls > N_STEPS
                reports.append(ended)
                break
            if is_saved:
                save(paused.state_dict(), tmp_path / "state.pt")
                paused = make()
                paused.load_state_dict(load(tmp_path / "state.pt"))
        else:
            reports.append(paused.run_epoch())
    assert trace(reports) == trace(expected)
    assert_same_state(straight, paused)


@pytest.mark.slow
def test_the_loss_over_all_folds_chooses_the_best_epoch_and_ends_the_trial() -> None:
    # A rate at which the networks overfit at once.
    train = replace(
        TRAIN, epochs=30, patience=2, learning_rate=0.03, schedule="constant", warmup_share=0.01
    )
    trainer = make(model=MODEL, train=train)
    reports = run(trainer)
    last = reports[-1]
    assert last.stop_reason == "early_stopping"
    found = [each.validation for each in reports]
    losses = [each.loss for each in found if isinstance(each, Validation)]
    assert last.best is not None
    assert last.best.loss == min(losses)
    assert last.best.epoch == 1 + losses.index(min(losses))
    assert len(losses) == last.best.epoch + 2
    with pytest.raises(RuntimeError, match="has ended"):
        trainer.run_epoch()


def test_a_network_that_diverges_ends_the_trial() -> None:
    trainer = make()
    trainer.run_epoch()
    network = trainer._networks[1]
    with np.errstate(all="ignore"):
        next(network.model.parameters()).data.fill_(float("nan"))
    report = trainer.run_epoch()
    assert (report.stop_reason, report.validation, report.train_loss) == ("diverged", None, None)
    assert report.best is not None
    assert report.best.epoch == 1


def test_memory_that_runs_out_halves_the_micro_batch_of_all_networks() -> None:
    trainer = make()
    inner = trainer._networks[1]._training
    assert isinstance(inner, FullTraining)
    propagate, calls = inner._propagate, []

    def once(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("simulated")
        return propagate(*given, **named)

    inner._propagate = once  # type: ignore[method-assign]
    first = trainer.run_epoch()
    assert (first.micro_batch, first.out_of_memory_count) == (12, 1)
    trainer.run_epoch()
    assert [network.micro_batch for network in trainer._networks] == [12, 12, 12]


def test_captured_networks_are_the_eager_ones() -> None:
    eager, captured = make(), make(graphs=RecordedGraphs())
    reports = [[trainer.run_epoch() for _ in range(3)] for trainer in (eager, captured)]
    assert trace(reports[0]) == trace(reports[1])
    assert (eager.capture, captured.capture) == (None, "captured")


def test_a_state_of_other_folds_is_refused() -> None:
    trainer = make()
    trainer.run_epoch()
    with pytest.raises(StudyError, match="the state of 2 networks, but got 3"):
        make(folds=folds()[:2]).load_state_dict(trainer.state_dict())
    with pytest.raises(StudyError, match="whose seed is 8"):
        make(seed=8).load_state_dict(trainer.state_dict())


def test_a_longer_schedule_goes_on_from_the_end_of_a_shorter_one() -> None:
    trainer = make(train=replace(FULL_TRAIN, epochs=4))
    assert run(trainer)[-1].stop_reason == "completed"
    longer = make(train=replace(FULL_TRAIN, epochs=5))
    longer.load_state_dict(trainer.state_dict())
    assert longer.report is not None
    assert (longer.report.stop_reason, longer.report.schedule_percent) == (None, 80)
    assert longer.run_epoch().stop_reason == "completed"


def test_one_fold_is_an_ordinary_trial() -> None:
    made = trainer_of(
        folds()[:1],
        model=MODEL,
        train=TRAIN,
        device=CPU,
        micro_batch=64,
        seed=7,
        bf16=False,
        graphs=None,
    )
    assert isinstance(made, Trainer)


def test_scores_over_folds_are_means_over_days() -> None:
    draw = np.random.default_rng(0)
    # Two networks judge each of 60 days, as in combinations of two of three groups.
    days = [np.arange(40), np.r_[0:20, 40:60], np.arange(20, 60)]
    label = (draw.random(60) < 0.3).astype(np.float32)
    logits = [draw.standard_normal(40).astype(np.float32) - 1 for _ in days]
    baseline = [np.full(40, 0.6) for _ in days]
    rates = (0.2, 0.3, 0.4)
    answers = [
        FoldAnswers(logit=z, label=label[d], days=d, base_rate=rate, baseline_losses=b)
        for z, d, rate, b in zip(logits, days, rates, baseline, strict=True)
    ]
    found = evaluate_folds(answers, horizon=1)
    assert found is not None
    by_day: dict[int, list[float]] = {}
    areas = []
    for z, own in zip(logits, days, strict=True):
        y = label[own].astype(np.float64)
        areas.append(auc(z.astype(np.float64), y))
        for day, loss in zip(own, log_losses(z.astype(np.float64), y), strict=True):
            by_day.setdefault(int(day), []).append(float(loss))
    mean = np.array([np.mean(by_day[day]) for day in range(60)])
    assert found.loss == pytest.approx(mean.mean())
    assert found.difference == pytest.approx(mean.mean() - 0.6)
    assert found.auc == pytest.approx(np.mean([area or 0 for area in areas]))
    constant = [
        float(log_losses(np.full(40, np.log(rate / (1 - rate))), label[own]).mean())
        for own, rate in zip(days, rates, strict=True)
    ]
    assert found.skill == pytest.approx(1 - found.loss / np.mean(constant))
    # Two networks that judge the same days are no second set of days.
    one = evaluate(logits[0], label[days[0]], base_rate=0.2, horizon=1, baseline_losses=baseline[0])
    assert one is not None
    assert one.auc_se is not None
    assert found.auc_se == pytest.approx(one.auc_se * np.sqrt(2 / 3), rel=0.25)
    broken = replace(answers[1], logit=np.full(40, np.nan, np.float32))
    assert evaluate_folds([answers[0], broken, answers[2]], horizon=1) is None


def test_states_are_counted_for_each_network_and_activations_once() -> None:
    one = step_memory(MODEL, 64, bf16=False, ema=True)
    five = step_memory(MODEL, 64, bf16=False, ema=True, networks=5)
    for part in ("weights", "gradients", "moments", "best_copy", "ema_copy"):
        assert getattr(five, part) == 5 * getattr(one, part)
    assert (five.activations, five.temporaries) == (one.activations, one.temporaries)
