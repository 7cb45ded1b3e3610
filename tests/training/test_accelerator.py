"""Code that only an accelerator runs; these tests are run by hand with ``pytest -m gpu``."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from study.training.device import resolve_device
from study.training.state_file import HostCopy
from study.training.trainer import Trainer
from study.training.windows import TrainingData
from tests.training.planted import DATA, MODEL, TRAIN

HAS_ACCELERATOR = torch.cuda.is_available() or torch.backends.mps.is_available()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not HAS_ACCELERATOR, reason="needs an accelerator"),
]


def accelerated(data: TrainingData = DATA) -> Trainer:
    return Trainer(
        model=replace(MODEL, dropout=0.2, auxiliary_head=True),
        train=replace(TRAIN, auxiliary_weight=0.5, ema_decay=0.9),
        data=data,
        device=resolve_device(1.0),
        micro_batch=24,
        seed=7,
        bf16=False,
    )


def test_a_copied_state_is_pinned_and_resumes_as_it_was_when_the_device_goes_on() -> None:
    trainer = accelerated()
    trainer.run_epoch()
    kept = HostCopy()
    copied = kept.of(trainer.state_dict())
    weights = list(copied["model"].values())
    assert all(weight.device.type == "cpu" for weight in weights)
    assert all(weight.is_pinned() for weight in weights if torch.cuda.is_available())
    expected = trainer.run_epoch().train_loss
    resumed = accelerated()
    resumed.load_state_dict(copied)
    assert resumed.run_epoch().train_loss == pytest.approx(expected, abs=1e-4)
    again = kept.of(trainer.state_dict())
    assert [value.data_ptr() for value in again["model"].values()] == [
        weight.data_ptr() for weight in weights
    ]


def test_dropout_has_a_separate_stream_that_is_resumed() -> None:
    torch.manual_seed(1)
    straight = accelerated()
    expected = [straight.run_epoch().train_loss for _ in range(2)]
    torch.manual_seed(2)
    first = accelerated()
    losses = [first.run_epoch().train_loss]
    second = accelerated()
    second.load_state_dict(first.state_dict())
    losses.append(second.run_epoch().train_loss)
    # Kernels may add in another order in each run; other masks would change the loss far more.
    assert losses == pytest.approx(expected, abs=1e-4)
    after = torch.rand(3, device=resolve_device(1.0))
    torch.manual_seed(2)
    assert torch.equal(torch.rand(3, device=resolve_device(1.0)), after)


def test_a_paused_epoch_is_resumed_after_loading() -> None:
    straight = accelerated()
    expected = straight.run_epoch()
    trainer = accelerated()
    for _ in range(4):  # of five steps
        assert trainer.run_epoch(lambda: True) is None
        state = trainer.state_dict()
        trainer = accelerated()
        trainer.load_state_dict(state)
    report = trainer.run_epoch()
    assert report.step == expected.step
    assert report.train_loss == pytest.approx(expected.train_loss, abs=1e-4)
    assert report.validation is not None
    assert expected.validation is not None
    assert report.validation.loss == pytest.approx(expected.validation.loss, abs=1e-3)
    assert report.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-3)


def test_a_divergence_before_a_pause_ends_the_epoch_instead() -> None:
    features = DATA.features.copy()
    features[DATA.train_days] = np.nan
    trainer = accelerated(replace(DATA, features=features))
    report = trainer.run_epoch(lambda: True)
    assert report is not None
    assert report.stop_reason == "diverged"
    assert trainer.state_dict()["partial"] is None
    assert all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters())


def test_divergence_touches_no_weight() -> None:
    features = DATA.features.copy()
    features[DATA.train_days[-1]] = np.nan
    trainer = accelerated(replace(DATA, features=features))
    report = trainer.run_epoch()
    assert report.stop_reason == "diverged"
    assert report.train_loss is None
    assert all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters())


def test_the_epoch_is_timed_in_parts() -> None:
    report = accelerated().run_epoch()
    assert report.data_seconds > 0
    assert report.step_seconds > 0
    assert report.peak_memory_bytes > 0
