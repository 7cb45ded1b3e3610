import copy
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.errors import StudyError
from study.model.config import ModelConfig
from study.training.checkpoint import load, save
from study.training.config import TrainConfig
from study.training.device import supports_bf16
from study.training.trainer import Trainer
from tests.training.planted import CPU, DATA, MODEL, TRAIN, make_trainer, run_to_end, trace

FULL_MODEL = replace(MODEL, dropout=0.2, auxiliary_head=True, revin=True, last_day_skip=True)
FULL_TRAIN = replace(
    TRAIN, epochs=10, auxiliary_weight=0.5, ema_decay=0.9, weight_decay=0.05, patience=8
)


def full_trainer(**others: Any) -> Trainer:
    # 24 does not divide 64, nor 64 the 300 samples: short micro-batches and a short last step.
    return make_trainer(model=FULL_MODEL, train=FULL_TRAIN, micro_batch=24, **others)


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


def test_five_saved_and_five_more_are_ten_bit_for_bit(tmp_path: Path) -> None:
    straight = full_trainer()
    expected = [straight.run_epoch() for _ in range(10)]

    first = full_trainer()
    reports = [first.run_epoch() for _ in range(5)]
    save(first.state_dict(), tmp_path / "state.pt")
    first.run_epoch()  # what goes on after the save must not reach the file
    second = full_trainer()
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


@pytest.mark.skipif(not supports_bf16(CPU), reason="this CPU has no native bfloat16")
def test_bfloat16_trains_and_resumes_too() -> None:
    first = full_trainer(bf16=True)
    first.run_epoch()
    second = full_trainer(bf16=True)
    second.load_state_dict(first.state_dict())
    report = second.run_epoch()
    assert trace([first.run_epoch()]) == trace([report])
    plain = full_trainer()
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
    ],
)
def test_the_state_of_another_trial_is_refused(other: dict[str, Any]) -> None:
    state = full_trainer().state_dict()
    arguments: dict[str, Any] = {"model": FULL_MODEL, "train": FULL_TRAIN, **other}
    with pytest.raises(StudyError, match="must hold the state of this trial"):
        make_trainer(**arguments).load_state_dict(state)


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


def test_every_field_of_train_config_changes_the_training() -> None:
    # Each beside a base in which it has something to act on.
    base = replace(TRAIN, epochs=6, patience=3, auxiliary_weight=0.5, weight_decay=0.1)
    model = replace(MODEL, auxiliary_head=True)
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
        "ema_decay": ({}, 0.9),
        "patience": (stuck | {"patience": 3, "min_delta": 1.0, "collapse_grace_share": 1.0}, 2),
        "min_delta": ({"min_delta": 0.0, "collapse_grace_share": 1.0}, 10.0),
        "collapse_grace_share": (stuck | {"collapse_grace_share": 0.5}, 1.0),
    }
    only_choice = {"optimizer"}
    assert changes.keys() | only_choice == TrainConfig.__dataclass_fields__.keys()
    for name, (setting, value) in changes.items():
        config = replace(base, **setting)
        plain = trace(run_to_end(make_trainer(model=model, train=config)))
        changed = trace(
            run_to_end(make_trainer(model=model, train=replace(config, **{name: value})))
        )
        assert plain != changed, name


def test_every_field_of_model_config_that_leaves_the_shape_changes_the_training() -> None:
    plain = trace([make_trainer().run_epoch()])
    for change in ({"dropout": 0.3}, {"n_heads": 4}, {"head": "mean"}, {"revin": True}):
        model: ModelConfig = replace(MODEL, **change)
        assert trace([make_trainer(model=model).run_epoch()]) != plain, change
