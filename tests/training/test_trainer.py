import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from study.data.evaluation.probability_scores import auc, log_losses
from study.errors import DataError, StudyError
from study.model.architecture import FAMILY_NAMES
from study.model.network import Prediction
from study.results.scores import BestEpoch, Validation
from study.training.metrics import evaluate
from study.training.step.losses import Batch, LogLoss
from study.training.stopping import EarlyStopping
from study.training.trainer import Trainer
from study.training.windows import Windows
from tests.training.planted import (
    CPU,
    DATA,
    MODEL,
    TRAIN,
    make_trainer,
    planted_data,
    run_to_end,
    trace,
)


def weights_of(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_micro_batches_equal_the_big_batch(family: str) -> None:
    model = replace(MODEL, family=family, auxiliary_head=True)
    # Adam's first step has the full size whatever the gradient, so that rounding may change the
    # sign of a step; the rate is chosen so that two such steps differ by less than the tolerance.
    train = replace(TRAIN, learning_rate=1e-5, auxiliary_weight=0.5, epochs=1)
    big = make_trainer(model=model, train=train, micro_batch=64)
    report = big.run_epoch()
    # 300 samples in steps of 64 end with one of 44, which 12 does not divide either.
    for micro_batch in (32, 12, 1):
        small = make_trainer(model=model, train=train, micro_batch=micro_batch)
        small_report = small.run_epoch()
        assert small_report.accumulation_steps == math.ceil(64 / micro_batch)
        assert small_report.step == report.step == 5
        torch.testing.assert_close(weights_of(small), weights_of(big), rtol=0, atol=1e-6)
        assert small_report.train_loss == pytest.approx(report.train_loss, abs=1e-6)
        assert small_report.gradient_norm == pytest.approx(report.gradient_norm, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_planted_answer_is_recovered(family: str) -> None:
    data = planted_data(n_train=1500, n_validation=400)
    days = data.validation_days
    truth = evaluate(3 * data.features[days, 0] - 1, data.labels[days], base_rate=data.base_rate)
    assert truth is not None
    trainer = make_trainer(model=replace(MODEL, family=family), data=data)
    last = run_to_end(trainer)[-1]
    assert last.stop_reason == "completed"
    assert last.schedule_percent == 100
    assert isinstance(last.best, BestEpoch)
    assert truth.skill > 0.3
    assert last.best.skill > 0.75 * truth.skill
    assert last.best.auc is not None
    assert last.best.auc > 0.85
    assert last.best_is_collapsed is False


@pytest.mark.slow
def test_one_batch_is_overfitted() -> None:
    data = planted_data(signal=0.0, n_train=32)
    trainer = make_trainer(
        data=data, epochs=150, learning_rate=3e-3, schedule="constant", collapse_grace_share=1.0
    )
    losses = [report.train_loss for report in run_to_end(trainer)]
    assert losses[0] is not None
    assert losses[-1] is not None
    assert losses[0] > 0.5
    assert losses[-1] < 0.01


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_objective_is_the_loss_of_the_restored_best_weights(ema_decay: float) -> None:
    # A large constant rate on few samples overfits: the best epoch is not the last.
    trainer = make_trainer(
        data=planted_data(signal=1.0, n_train=100),
        epochs=25,
        schedule="constant",
        ema_decay=ema_decay,
    )
    data = planted_data(signal=1.0, n_train=100)
    reports = run_to_end(trainer)
    last = reports[-1]
    found = [report.validation for report in reports]
    losses = [each.loss for each in found if isinstance(each, Validation)]
    assert len(losses) == 25
    assert last.best is not None
    assert last.best.epoch < 25
    assert last.best.loss == min(losses) == losses[last.best.epoch - 1]
    trainer.restore_best()
    logit = trainer.predict(data.validation_days).astype(np.float64)
    labels = data.labels[data.validation_days].astype(np.float64)
    assert float(log_losses(logit, labels).mean()) == last.best.loss
    with pytest.raises(RuntimeError, match="has ended"):
        trainer.run_epoch()


def test_patience_ignores_small_gains_and_resets_on_large_ones() -> None:
    stopping = EarlyStopping(replace(TRAIN, patience=3, min_delta=0.01))
    for loss in (1.0, 0.995, 0.991, 0.989):  # the last is more than 0.01 under the reference 1.0
        stopping.update(loss)
        assert not stopping.is_exhausted
    for loss in (0.985, 0.98, 0.9795):
        assert not stopping.is_exhausted
        stopping.update(loss)
    assert stopping.is_exhausted
    endless = EarlyStopping(replace(TRAIN, patience=None))
    for _ in range(1000):
        endless.update(1.0)
    assert not endless.is_exhausted


def test_a_gain_below_min_delta_is_kept_though_it_does_not_buy_time() -> None:
    trainer = make_trainer(epochs=20, patience=2, min_delta=10.0)
    reports = run_to_end(trainer)
    assert [r.stop_reason for r in reports] == [None, None, "early_stopping"]
    best, validation = reports[-1].best, reports[-1].validation
    assert best is not None
    assert validation is not None
    assert (best.epoch, best.loss) == (3, validation.loss)


def test_averaged_weights_are_what_is_validated() -> None:
    # At this large rate the weights vary from step to step, and their average less.
    plain = run_to_end(make_trainer(schedule="constant", learning_rate=1e-2))
    averaged = run_to_end(make_trainer(schedule="constant", learning_rate=1e-2, ema_decay=0.95))
    assert [r.train_loss for r in plain] == [r.train_loss for r in averaged]
    assert all(a.validation != b.validation for a, b in zip(plain, averaged, strict=True))


def test_a_nan_in_the_features_is_a_divergence_and_touches_no_weight() -> None:
    features = DATA.features.copy()
    features[DATA.train_days[-1]] = np.nan
    trainer = make_trainer(data=replace(DATA, features=features))
    report = trainer.run_epoch()
    assert report.stop_reason == "diverged"
    assert report.train_loss is None
    assert report.validation is None
    assert report.best is None
    assert torch.isfinite(weights_of(trainer)).all()
    with pytest.raises(RuntimeError, match="has ended"):
        trainer.run_epoch()
    with pytest.raises(RuntimeError, match="no best weights"):
        trainer.restore_best()


def test_a_huge_learning_rate_diverges_and_keeps_the_best_it_had() -> None:
    reports = run_to_end(make_trainer(learning_rate=1e20, warmup_share=0.9, epochs=40))
    assert reports[-1].stop_reason in ("diverged", "collapsed")
    broken = run_to_end(make_trainer(learning_rate=1e38, schedule="constant", epochs=40))
    assert broken[-1].stop_reason == "diverged"
    for report in reports + broken:
        for name, value in report.to_json().items():
            assert not isinstance(value, float) or math.isfinite(value), name


def test_a_validation_that_is_not_finite_is_a_divergence() -> None:
    features = DATA.features.copy()
    features[DATA.validation_days[-1]] = np.inf
    report = make_trainer(data=replace(DATA, features=features)).run_epoch()
    assert report.stop_reason == "diverged"
    assert report.validation is None
    assert report.best is None


def test_noise_collapses_after_the_grace_and_not_before() -> None:
    data = planted_data(signal=0.0)
    reports = run_to_end(make_trainer(data=data, epochs=10, learning_rate=1e-6))
    assert [r.stop_reason for r in reports] == [None, None, "collapsed"]  # 30 % of 10
    assert reports[-1].best_is_collapsed


def test_no_other_reason_hides_a_collapse() -> None:
    early = run_to_end(make_trainer(learning_rate=1e-9, patience=1, collapse_grace_share=1.0))
    assert len(early) < TRAIN.epochs
    assert early[-1].stop_reason == "collapsed"
    whole = run_to_end(make_trainer(learning_rate=1e-9, collapse_grace_share=1.0))
    assert len(whole) == TRAIN.epochs
    assert whole[-1].stop_reason == "collapsed"


def test_memory_running_out_halves_the_micro_batch_and_repeats_the_step() -> None:
    model = replace(MODEL, dropout=0.2)

    def refuse(_: torch.nn.Module, arguments: tuple[torch.Tensor]) -> None:
        if len(arguments[0]) > 16:
            raise torch.OutOfMemoryError("planted")

    short = make_trainer(model=model, micro_batch=64)
    # Before the second layer dropout has drawn masks, and must draw the same ones again.
    short.model.layers[1].register_forward_pre_hook(refuse)
    report = short.run_epoch()
    assert (report.micro_batch, report.accumulation_steps) == (16, 4)
    assert report.out_of_memory_count == 2
    roomy = make_trainer(model=model, micro_batch=16)
    roomy.run_epoch()
    assert torch.equal(weights_of(short), weights_of(roomy))

    # The state holds the smaller micro-batch, so that memory does not run out again.
    later = make_trainer(model=model, micro_batch=64)
    later.load_state_dict(short.state_dict())
    assert later.micro_batch == 16


def test_other_errors_are_raised() -> None:
    def fail(_: torch.nn.Module, __: tuple[torch.Tensor]) -> None:
        raise RuntimeError("planted")

    trainer = make_trainer()
    trainer.model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="planted"):
        trainer.run_epoch()


def test_the_label_of_falls_teaches_the_logit_of_the_label() -> None:
    # The label is of one kind for nearly all days: what can be learned is in the falls.
    data = planted_data(n_train=1500, n_validation=400)
    rare = np.where(np.arange(len(data.labels)) % 50 == 0, data.labels, 0.0).astype(np.float32)
    taught = replace(data, labels=rare, falls=data.labels)
    score = {}
    for weight in (0.0, 1.0):
        trainer = make_trainer(data=taught, fall_weight=weight)
        run_to_end(trainer)
        logit = trainer.predict(data.validation_days)
        answers = data.labels[data.validation_days].astype(np.float64)
        score[weight] = auc(logit.astype(np.float64), answers) or 0.0
    assert score[1.0] > 0.75
    assert score[0.0] < score[1.0] - 0.1


def test_the_loss_of_falls_is_that_of_the_shifted_logit() -> None:
    logit, label, fall = torch.randn(3, 20).unbind()
    label, fall = (label > 0).float(), (fall > 0).float()
    batch = Batch(torch.empty(20, 1, 1), label, torch.zeros(20), fall)
    prediction = Prediction(logit, None)
    total, parts = LogLoss.of(replace(TRAIN, fall_weight=0.5), -0.3)(prediction, batch)
    expected = log_losses((logit - 0.3).double().numpy(), fall.double().numpy()).sum()
    own = log_losses(logit.double().numpy(), label.double().numpy()).sum()
    assert parts[0] is not None
    assert float(parts[0]) == pytest.approx(own, rel=1e-5)
    assert float(total) == pytest.approx(own + 0.5 * expected, rel=1e-5)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(StudyError, match="label of falls"):
        make_trainer(data=replace(DATA, falls=None), fall_weight=0.5)
    with pytest.raises(DataError, match="falls must be"):
        replace(DATA, falls=np.full_like(DATA.labels, np.nan))
    with pytest.raises(StudyError, match="auxiliary head"):
        make_trainer(auxiliary_weight=0.5)
    with pytest.raises(StudyError, match="n_features=5, data with 4"):
        make_trainer(model=replace(MODEL, n_features=5))
    with pytest.raises(DataError, match="day=10, context_length=12"):
        make_trainer(data=replace(DATA, train_days=np.arange(10, 20)))
    with pytest.raises(DataError, match="labels must be 0 or 1"):
        replace(DATA, labels=np.full_like(DATA.labels, np.nan))
    with pytest.raises(DataError, match="auxiliary must be known"):
        replace(DATA, auxiliary=np.full_like(DATA.auxiliary, np.nan))


def test_the_record_is_read_from_the_optimizer() -> None:
    trainer = make_trainer(weight_decay=0.05, warmup_share=0.5)
    record = trainer.optimizer_record
    assert (record.name, record.weight_decay, record.is_fused) == ("AdamW", 0.05, True)
    assert record.learning_rate == TRAIN.learning_rate
    assert record.n_decayed + record.n_undecayed == len(weights_of(trainer))
    report = trainer.run_epoch()
    assert trainer.optimizer_record.learning_rate == report.learning_rate < TRAIN.learning_rate


def test_a_window_ends_with_its_own_day() -> None:
    windows = Windows(DATA, context_length=12, device=CPU)
    days = np.array([11, 40])
    batch = windows.gather(windows.days(days))
    for x_TF, day in zip(batch.x_BTF.numpy(), days, strict=True):
        assert np.array_equal(x_TF, DATA.features[day - 11 : day + 1])
    assert np.array_equal(batch.label_B.numpy(), DATA.labels[days])


def test_read_only_arrays_are_welcome() -> None:
    frozen = planted_data()
    for name in ("features", "labels", "auxiliary", "train_days", "validation_days"):
        getattr(frozen, name).flags.writeable = False
    assert trace([make_trainer(data=frozen).run_epoch()]) == trace([make_trainer().run_epoch()])
