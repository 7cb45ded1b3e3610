"""The trainer on an accelerator: on torch's own Python code alone, and by hand on a real device.

The stand-ins run everywhere. The real device is what ``pytest -m gpu`` takes, by hand.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from study.training.device import resolve_device
from study.training.state_file import HostCopy
from study.training.step.graphs import graphs_of
from study.training.trainer import Trainer
from study.training.windows import TrainingData
from tests.accelerator import accelerator
from tests.training.planted import DATA, MODEL, TRAIN

HAS_ACCELERATOR = torch.cuda.is_available() or torch.backends.mps.is_available()
REAL = [
    pytest.mark.gpu,
    pytest.mark.skipif(not HAS_ACCELERATOR, reason="needs an accelerator"),
]


@pytest.fixture(autouse=True, params=[pytest.param("real", marks=REAL), "cuda", "mps"])
def _device(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "real":
        yield
        return
    with accelerator(request.param):
        yield


CAPTURE = pytest.mark.parametrize("capture", [False, True])


def accelerated(
    data: TrainingData = DATA, *, capture: bool = False, dropout: float = 0.2, bf16: bool = False
) -> Trainer:
    device = resolve_device(1.0)
    return Trainer(
        model=replace(MODEL, dropout=dropout, auxiliary_head=True),
        train=replace(TRAIN, auxiliary_weight=0.5, ema_decay=0.9),
        data=data,
        device=device,
        micro_batch=24,
        seed=7,
        bf16=bf16,
        graphs=graphs_of(device, is_wanted=capture),
    )


def test_a_copied_state_is_pinned_and_resumes_as_it_was_when_the_device_goes_on() -> None:
    trainer = accelerated()
    trainer.run_epoch()
    kept = HostCopy()
    state = trainer.state_dict()
    copied = kept.of(state)
    weights = list(copied["model"].values())
    assert all(weight.device.type == "cpu" for weight in weights)
    # The tensors of a stand-in lie on the CPU.
    are_of_a_gpu = all(weight.is_cuda for weight in state["model"].values())
    assert all(weight.is_pinned() for weight in weights) == are_of_a_gpu
    expected = trainer.run_epoch().train_loss
    resumed = accelerated()
    resumed.load_state_dict(copied)
    assert resumed.run_epoch().train_loss == pytest.approx(expected, abs=1e-4)
    again = kept.of(trainer.state_dict())
    assert [value.data_ptr() for value in again["model"].values()] == [
        weight.data_ptr() for weight in weights
    ]


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_captured_steps_are_the_eager_ones(dropout: float, bf16: bool) -> None:
    eager = accelerated(dropout=dropout, bf16=bf16)
    captured = accelerated(dropout=dropout, bf16=bf16, capture=True)
    tolerance = 1e-3 if bf16 else 1e-4
    for _ in range(2):
        expected, report = eager.run_epoch(), captured.run_epoch()
        assert captured.capture == ("captured" if torch.cuda.is_available() else None)
        assert report.train_loss == pytest.approx(expected.train_loss, abs=tolerance)
        # A replay must advance the device's generator by as much as the eager kernels do.
        random, other = (each.state_dict()["device_random"] for each in (captured, eager))
        assert torch.equal(random, other)
    assert report.validation is not None
    assert expected.validation is not None
    assert report.validation.loss == pytest.approx(expected.validation.loss, abs=10 * tolerance)


@pytest.mark.slow
def test_a_torch_without_graphs_of_all_accelerators_captures_those_of_cuda(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("only CUDA has graphs")
    expected = [accelerated(capture=True).run_epoch().train_loss]
    monkeypatch.delattr(torch.accelerator, "Graph", raising=False)
    trainer = accelerated(capture=True)
    assert [trainer.run_epoch().train_loss] == pytest.approx(expected, abs=1e-4)
    assert trainer.capture == "captured"


def test_memory_running_out_during_a_capture_leaves_an_eager_trial() -> None:
    if not torch.cuda.is_available():
        pytest.skip("only CUDA has graphs")
    trainer = accelerated(capture=True)
    calls = iter(range(100))

    def refuse(*_: object) -> None:
        if next(calls) == 3:
            raise torch.OutOfMemoryError("planted")

    trainer.model.layers[1].register_forward_pre_hook(refuse)
    report = trainer.run_epoch()
    assert trainer.capture == "eager: OutOfMemoryError: planted"
    assert report.out_of_memory_count == 0
    expected = accelerated().run_epoch()
    assert report.train_loss == pytest.approx(expected.train_loss, abs=1e-4)


def test_a_host_that_reads_during_a_capture_leaves_an_eager_trial() -> None:
    if not torch.cuda.is_available():
        pytest.skip("only CUDA has graphs")
    trainer = accelerated(capture=True)

    def read(_: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        bool(given[0].any())

    trainer.model.final_norm.register_forward_pre_hook(read)
    report = trainer.run_epoch()
    assert trainer.capture is not None
    assert trainer.capture.startswith("eager: ")
    assert report.train_loss == pytest.approx(accelerated().run_epoch().train_loss, abs=1e-4)


@pytest.mark.slow
@CAPTURE
def test_dropout_has_a_separate_stream_that_is_resumed(capture: bool) -> None:
    torch.manual_seed(1)
    straight = accelerated(capture=capture)
    expected = [straight.run_epoch().train_loss for _ in range(2)]
    torch.manual_seed(2)
    first = accelerated(capture=capture)
    losses = [first.run_epoch().train_loss]
    second = accelerated(capture=capture)
    second.load_state_dict(first.state_dict())
    losses.append(second.run_epoch().train_loss)
    # Kernels may add in another order in each run; other masks would change the loss far more.
    assert losses == pytest.approx(expected, abs=1e-4)
    after = torch.rand(3, device=resolve_device(1.0))
    torch.manual_seed(2)
    assert torch.equal(torch.rand(3, device=resolve_device(1.0)), after)


@pytest.mark.slow
@CAPTURE
def test_a_paused_epoch_is_resumed_after_loading(capture: bool) -> None:
    straight = accelerated()
    expected = straight.run_epoch()
    trainer = accelerated(capture=capture)
    for _ in range(4):  # of five steps
        assert trainer.run_epoch(lambda: True) is None
        state = trainer.state_dict()
        trainer = accelerated(capture=capture)
        trainer.load_state_dict(state)
    report = trainer.run_epoch()
    assert report.step == expected.step
    assert report.train_loss == pytest.approx(expected.train_loss, abs=1e-4)
    assert report.validation is not None
    assert expected.validation is not None
    assert report.validation.loss == pytest.approx(expected.validation.loss, abs=1e-3)
    assert report.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-3)


@CAPTURE
def test_a_divergence_before_a_pause_ends_the_epoch_instead(capture: bool) -> None:
    features = DATA.features.copy()
    features[DATA.train_days] = np.nan
    trainer = accelerated(replace(DATA, features=features), capture=capture)
    report = trainer.run_epoch(lambda: True)
    assert report is not None
    assert report.stop_reason == "diverged"
    assert trainer.state_dict()["partial"] is None
    assert all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters())


@CAPTURE
def test_divergence_touches_no_weight(capture: bool) -> None:
    features = DATA.features.copy()
    features[DATA.train_days[-1]] = np.nan
    trainer = accelerated(replace(DATA, features=features), capture=capture)
    report = trainer.run_epoch()
    assert report.stop_reason == "diverged"
    assert report.train_loss is None
    assert all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters())


@CAPTURE
def test_the_epoch_is_timed_in_parts(capture: bool) -> None:
    report = accelerated(capture=capture).run_epoch()
    assert report.data_seconds > 0
    assert report.step_seconds > 0
    assert report.peak_memory_bytes > 0


def lean() -> Trainer:
    return Trainer(
        model=replace(MODEL, dropout=0.2),
        train=replace(TRAIN, memory="lean", ema_decay=0.9),
        data=DATA,
        device=resolve_device(1.0),
        micro_batch=24,
        seed=7,
        bf16=False,
    )


def test_the_lean_memory_mode_trains_pauses_and_resumes() -> None:
    straight, trainer = lean(), lean()
    expected = [straight.run_epoch() for _ in range(2)]
    assert trainer.run_epoch(lambda: True) is None
    resumed = lean()
    resumed.load_state_dict(HostCopy().of(trainer.state_dict()))
    reports = [resumed.run_epoch() for _ in range(2)]
    losses = [report.train_loss for report in reports]
    assert losses == pytest.approx([report.train_loss for report in expected], abs=1e-3)
    best = resumed.best_weights()
    assert best is not None
    assert all(weight.device.type == "cpu" for weight in best.values())
