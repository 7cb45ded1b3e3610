import copy
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.errors import StudyError
from study.model.architecture import FAMILY_NAMES
from study.model.model_config import ModelConfig
from study.training.device import supports_bf16
from study.training.phases.phase import Phase, phases_text
from study.training.state_file import load, save
from study.training.step.optimizer import learning_rate
from study.training.train_config import PANEL_SETTINGS, TrainConfig
from study.training.trainer import Trainer
from tests.training.planted import CPU, DATA, MODEL, TRAIN, make_trainer, run_to_end, trace

FULL_MODEL = replace(MODEL, dropout=0.2, auxiliary_head=True, revin=True, last_day_skip=True)
FULL_TRAIN = replace(
    TRAIN, epochs=10, auxiliary_weight=0.5, ema_decay=0.9, weight_decay=0.05, patience=8
)


def full_trainer(family: str = "patchtst", **others: Any) -> Trainer:
    # 24 does not divide 64, nor 64 the 300 samples: short micro-batches and a short last step.
    model = replace(FULL_MODEL, family=family)
    return make_trainer(model=model, train=FULL_TRAIN, micro_batch=24, **others)


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_five_saved_and_five_more_are_ten_bit_for_bit(tmp_path: Path, family: str) -> None:
    straight = full_trainer(family)
    expected = [straight.run_epoch() for _ in range(10)]

    first = full_trainer(family)
    reports = [first.run_epoch() for _ in range(5)]
    save(first.state_dict(), tmp_path / "state.pt")
    first.run_epoch()  # steps after the save must not reach the file
    second = full_trainer(family)
    second.load_state_dict(load(tmp_path / "state.pt"))
    assert second.report == reports[-1]
    reports += [second.run_epoch() for _ in range(5)]

    assert trace(reports) == trace(expected)
    a, b = straight.state_dict(), second.state_dict()
    a.pop("report"), b.pop("report")
    assert_same(a, b)
    straight.restore_best()
    second.restore_best()
    days = DATA.validation_days
    assert np.array_equal(straight.predict(days), second.predict(days))


N_STEPS = 5
"""Number of steps of an epoch: 300 samples in steps of 64."""


def pause_after(n_steps: int) -> Callable[[], bool]:
    """Return a function for ``run_epoch`` that is true once, in its ``n_steps``-th call."""
    asked = iter(range(1, n_steps + 1))
    return lambda: next(asked) == n_steps


def reloaded(trainer: Trainer, path: Path) -> Trainer:
    save(trainer.state_dict(), path)
    other = full_trainer()
    other.load_state_dict(load(path))
    return other


@cache  # a module's fixture would run before one_thread, and add numbers in another order
def two_epochs() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the trace and the final state of a trainer that never paused."""
    trainer = full_trainer()
    reports = [trainer.run_epoch() for _ in range(2)]
    state = trainer.state_dict()
    state.pop("report")
    return trace(reports), state


@pytest.mark.slow
@pytest.mark.parametrize("is_saved", [False, True])
@pytest.mark.parametrize(
    "pieces", [(1,), (2,), (3,), (4,), (1, 1, 1, 1), (2, 1), (1, 3)], ids=lambda pieces: f"{pieces}"
)
def test_a_paused_epoch_is_the_epoch_bit_for_bit(
    tmp_path: Path, pieces: tuple[int, ...], is_saved: bool
) -> None:
    trainer = full_trainer()
    reports = []
    for epoch in range(2):
        for number, n_steps in enumerate(pieces, start=1):
            before = trainer.report
            assert trainer.run_epoch(pause_after(n_steps)) is None
            assert trainer.report is before
            state = trainer.state_dict()
            assert state["epoch"] == epoch
            assert state["step"] == epoch * N_STEPS + sum(pieces[:number])
            if is_saved:
                trainer = reloaded(trainer, tmp_path / "state.pt")
        reports.append(trainer.run_epoch())
    expected_reports, expected_state = two_epochs()
    assert trace(reports) == expected_reports
    state = trainer.state_dict()
    assert state["partial"] is None
    state.pop("report")
    assert_same(state, expected_state)


def test_a_paused_epoch_of_another_family_is_the_epoch_too(tmp_path: Path) -> None:
    straight, paused = full_trainer("itransformer"), full_trainer("itransformer")
    expected = straight.run_epoch()
    assert paused.run_epoch(pause_after(2)) is None
    save(paused.state_dict(), tmp_path / "state.pt")
    gone_on = full_trainer("itransformer")
    gone_on.load_state_dict(load(tmp_path / "state.pt"))
    assert trace([gone_on.run_epoch()]) == trace([expected])
    a, b = straight.state_dict(), gone_on.state_dict()
    a.pop("report"), b.pop("report")
    assert_same(a, b)


def test_the_last_step_of_an_epoch_never_pauses() -> None:
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return False

    trainer = full_trainer()
    report = trainer.run_epoch(count)
    assert asked == N_STEPS - 1
    assert report is not None
    assert report.step == N_STEPS
    assert make_trainer(effective_batch=300).run_epoch(lambda: True) is not None


def test_what_is_done_during_a_pause_does_not_reach_the_epoch() -> None:
    trainer = full_trainer()
    trainer.run_epoch(pause_after(2))
    state = copy.deepcopy(trainer.state_dict())
    trainer.predict(DATA.validation_days)
    assert_same(trainer.state_dict(), state)
    other = full_trainer()
    other.load_state_dict(trainer.state_dict())
    report = other.run_epoch()
    # The state of the first trainer, whose tensors the other was given, must be unchanged.
    assert_same(trainer.state_dict(), state)
    assert trace([trainer.run_epoch()]) == trace([report])


def test_the_seconds_of_the_pieces_add_up(tmp_path: Path) -> None:
    trainer = full_trainer()
    seconds = 0.0
    for n_steps in (1, 2):
        began = time.perf_counter()
        trainer.run_epoch(pause_after(n_steps))
        seconds += time.perf_counter() - began
        trainer = reloaded(trainer, tmp_path / "state.pt")
        time.sleep(0.05)
    partial = trainer.state_dict()["partial"]
    assert 0 < partial["data_seconds"] < partial["train_seconds"] <= seconds
    began = time.perf_counter()
    report = trainer.run_epoch()
    seconds += time.perf_counter() - began
    assert report.data_seconds > partial["data_seconds"]
    assert report.data_seconds + report.step_seconds > partial["train_seconds"]
    assert report.data_seconds + report.step_seconds + report.validation_seconds <= seconds
    assert report.samples_per_second == pytest.approx(
        300 / (report.data_seconds + report.step_seconds)
    )


@pytest.mark.parametrize("is_saved", [False, True])
def test_a_divergence_after_a_pause_is_the_same_divergence(tmp_path: Path, is_saved: bool) -> None:
    features = DATA.features.copy()
    order = full_trainer()
    order.run_epoch(lambda: True)
    # The NaN is in the first sample of the fourth step.
    features[order.state_dict()["partial"]["days"][3 * 64]] = np.nan
    # Windows overlap; one-day windows keep the NaN in its own step.
    data = replace(DATA, features=features)
    model = replace(FULL_MODEL, context_length=1, patch_length=1, patch_stride=1, revin=False)

    def trainer() -> Trainer:
        return make_trainer(model=model, train=FULL_TRAIN, micro_batch=24, data=data)

    straight = trainer()
    expected = straight.run_epoch()
    assert expected.stop_reason == "diverged"
    assert expected.step == 3
    paused = trainer()
    assert paused.run_epoch(pause_after(3)) is None
    if is_saved:
        save(paused.state_dict(), tmp_path / "state.pt")
        paused = trainer()
        paused.load_state_dict(load(tmp_path / "state.pt"))
    assert trace([paused.run_epoch(lambda: True) or expected]) == trace([expected])
    assert paused.report is not None
    assert paused.report.stop_reason == "diverged"
    a, b = straight.state_dict(), paused.state_dict()
    assert a["partial"] is None
    a.pop("report"), b.pop("report")
    assert_same(a, b)
    with pytest.raises(RuntimeError, match="has ended"):
        paused.run_epoch()


def test_a_step_that_an_error_cut_short_leaves_nothing_to_a_loaded_state() -> None:
    trainer = full_trainer()
    start = copy.deepcopy(trainer.state_dict())
    calls = iter(range(10))

    def fail(*_: object) -> None:
        if next(calls) == 4:  # the second micro-batch of the second step
            raise RuntimeError("planted")

    handle = trainer.model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="planted"):
        trainer.run_epoch()
    handle.remove()
    trainer.load_state_dict(start)
    assert trace([trainer.run_epoch()]) == two_epochs()[0][:1]


def test_a_loaded_state_is_copied_from() -> None:
    first = full_trainer()
    first.run_epoch()
    state = first.state_dict()
    second = full_trainer()
    second.load_state_dict(state)
    before = copy.deepcopy(state)
    report = second.run_epoch()
    assert_same(state, before)
    assert trace([first.run_epoch()]) == trace([report])


@pytest.mark.slow
@pytest.mark.skipif(not supports_bf16(CPU), reason="this CPU has no native bfloat16")
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_bfloat16_trains_and_resumes_too(family: str) -> None:
    first = full_trainer(family, bf16=True)
    first.run_epoch()
    second = full_trainer(family, bf16=True)
    second.load_state_dict(first.state_dict())
    report = second.run_epoch()
    assert trace([first.run_epoch()]) == trace([report])
    plain = full_trainer(family)
    plain.run_epoch()
    other = plain.run_epoch()
    assert report.train_loss != other.train_loss
    assert report.train_loss == pytest.approx(other.train_loss, rel=0.05)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 8},
        {"train": replace(FULL_TRAIN, learning_rate=1e-3)},
        {"model": replace(FULL_MODEL, dropout=0.1)},
        {"model": replace(FULL_MODEL, family="itransformer")},
    ],
)
def test_the_state_of_another_trial_is_refused(other: dict[str, Any]) -> None:
    state = full_trainer().state_dict()
    arguments: dict[str, Any] = {"model": FULL_MODEL, "train": FULL_TRAIN, **other}
    with pytest.raises(StudyError, match="must hold the state of this trial"):
        make_trainer(**arguments).load_state_dict(state)


@pytest.mark.slow
def test_same_seed_same_trace_other_seed_other_trace() -> None:
    def run(seed: int) -> list[dict[str, Any]]:
        trainer = full_trainer(seed=seed)
        return trace([trainer.run_epoch() for _ in range(2)])

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_global_randomness_is_neither_used_nor_moved() -> None:
    def run() -> list[dict[str, Any]]:
        trainer = full_trainer()
        return trace([trainer.run_epoch() for _ in range(2)])

    def global_states() -> tuple[bytes, str, Any]:
        numpy_state = repr(np.random.get_state(legacy=False))  # noqa: NPY002
        return torch.get_rng_state().numpy().tobytes(), numpy_state, random.getstate()

    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is what is tested
    random.seed(1)
    before = global_states()
    first = run()
    assert global_states() == before
    torch.manual_seed(2)
    assert run() == first


@pytest.mark.slow
def test_every_field_of_train_config_changes_the_training() -> None:
    # Each field is changed in a base configuration in which it has an effect.
    base = replace(TRAIN, epochs=6, patience=3, auxiliary_weight=0.5, weight_decay=0.1)
    # A pretraining hides patches, which must not overlap.
    model = replace(MODEL, auxiliary_head=True, patch_stride=4)
    slower = Phase(name="slower", epochs=6, learning_rate_factor=0.5)
    stuck = {"learning_rate": 1e-9, "patience": None}
    changes: dict[str, tuple[dict[str, Any], Any]] = {
        "learning_rate": ({}, 1e-3),
        "epochs": ({}, 4),
        "weight_decay": ({}, 0.0),
        "warmup_share": ({}, 0.2),
        "schedule": ({}, "constant"),
        "clip_norm": ({}, 0.1),
        "effective_batch": ({}, 32),
        "auxiliary_weight": ({}, 0.1),
        "fall_weight": ({}, 1.0),
        "ema_decay": ({}, 0.9),
        "patience": (stuck | {"patience": 3, "min_delta": 1.0, "collapse_grace_share": 1.0}, 2),
        "min_delta": ({"min_delta": 0.0, "collapse_grace_share": 1.0}, 10.0),
        "collapse_grace_share": (stuck | {"collapse_grace_share": 0.5}, 1.0),
        "optimizer": ({}, "adabelief"),
        "phases": ({}, phases_text([slower])),
        "memory": ({}, "lean"),
        "steps_per_epoch": ({}, 2),
        "pretrain_epochs": ({}, 1),
        "pretrain_mask_share": ({"pretrain_epochs": 1}, 0.8),
    }
    assert changes.keys() | PANEL_SETTINGS.keys() == TrainConfig.__dataclass_fields__.keys()
    for name, (setting, value) in changes.items():
        config = replace(base, **setting)
        other = replace(config, **{name: value})
        plain, changed = (
            [
                # What a setting does is seen in the epochs themselves.
                {**line, "phase": None, "pretrain_losses": None}
                for line in trace(run_to_end(make_trainer(model=model, train=train)))
            ]
            for train in (config, other)
        )
        assert plain != changed, name


def test_every_field_of_model_config_that_leaves_the_shape_changes_the_training() -> None:
    plain = trace([make_trainer().run_epoch()])
    for change in (
        {"dropout": 0.3},
        {"n_heads": 4},
        {"head": "mean"},
        {"revin": True},
        {"family": "itransformer"},
    ):
        model: ModelConfig = replace(MODEL, **change)
        assert trace([make_trainer(model=model).run_epoch()]) != plain, change


@pytest.mark.slow
def test_an_ended_trial_goes_on_with_a_longer_schedule() -> None:
    short, long = replace(FULL_TRAIN, epochs=4, patience=None), replace(FULL_TRAIN, patience=None)
    first = make_trainer(model=FULL_MODEL, train=short, micro_batch=24)
    last = run_to_end(first)[-1]
    assert last.stop_reason == "completed"
    second = make_trainer(model=FULL_MODEL, train=long, micro_batch=24)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.report == replace(last, stop_reason=None, schedule_percent=40)
    reports = run_to_end(second)
    assert [report.epoch for report in reports] == [5, 6, 7, 8, 9, 10]
    assert reports[-1].stop_reason == "completed"
    # The rate is that of a schedule of ten epochs at the same step, whose total is ten epochs' too.
    for report in reports:
        assert report.learning_rate == learning_rate(report.step - 1, 2 * reports[0].step, long)
    with pytest.raises(StudyError, match="train_config"):
        first.load_state_dict(second.state_dict())
