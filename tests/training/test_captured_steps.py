"""Steps and validations that are captured and replayed give what eager ones give, bit for bit."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from study.model.architecture import FAMILY_NAMES
from study.model.encoder import EncoderLayer
from study.results.epoch_report import EpochReport
from study.training.step.graphs import Graphs, graphs_of
from study.training.trainer import Trainer
from study.training.windows import TrainingData
from tests.recorded_graph import Graph, RecordedGraphs
from tests.training.planted import CPU, DATA, MODEL, TRAIN, run_to_end, trace

FULL = replace(MODEL, auxiliary_head=True, revin=True, last_day_skip=True)
WITH_DROPOUT = replace(FULL, dropout=0.2)
FULL_TRAIN = replace(TRAIN, auxiliary_weight=0.5, ema_decay=0.9, weight_decay=0.05, epochs=3)


class NoGraphs(RecordedGraphs):
    """Refuses every capture, so that the same steps are run eagerly."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("planted")


def full_trainer(
    graphs: Graphs | None, *, data: TrainingData = DATA, micro_batch: int = 24, **others: Any
) -> Trainer:
    # 24 does not divide 64, nor 64 the 300 samples: short micro-batches and a short last step.
    given = {"model": FULL, "train": FULL_TRAIN, **others}
    return Trainer(
        data=data, device=CPU, micro_batch=micro_batch, seed=7, bf16=False, graphs=graphs, **given
    )


def tensors(trainer: Trainer) -> list[Tensor]:
    """Return weights, moments, steps, average and best weights."""
    state = trainer.state_dict()
    optimizer = state["optimizer"]
    best = {} if state["best"] is None else state["best"]["weights"]
    return [
        *state["model"].values(),
        optimizer["n_steps"],
        *optimizer["first_moments"],
        *optimizer["second_moments"],
        *(state["average"] or ()),
        *best.values(),
        state["dropout"],
    ]


def assert_same(one: Trainer, other: Trainer) -> None:
    for a, b in zip(tensors(one), tensors(other), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_captured_trial_is_the_eager_one(family: str, dropout: float) -> None:
    model = replace(FULL, family=family, dropout=dropout)
    graphs = RecordedGraphs()
    eager, captured = full_trainer(None, model=model), full_trainer(graphs, model=model)
    assert trace(run_to_end(captured)) == trace(run_to_end(eager))
    assert_same(captured, eager)
    assert (captured.capture, eager.capture) == ("captured", None)
    # Micro-batches of 24, 16 and, in the last step, 20; the change of the weights; validations of
    # 24 and 6. Each is run twice before it is captured.
    assert graphs.n_captures == 6
    n_runs = 3 * (4 * 3 + 2) + 3 * 5 + 3 * 7
    assert graphs.n_replays == n_runs - 2 * 6
    eager.restore_best()
    captured.restore_best()
    days = DATA.validation_days
    assert np.array_equal(captured.predict(days), eager.predict(days))


@pytest.mark.slow
def test_a_captured_trial_of_adabelief_is_the_eager_one() -> None:
    train = replace(FULL_TRAIN, optimizer="adabelief")
    eager, captured = (full_trainer(graphs, train=train) for graphs in (None, RecordedGraphs()))
    assert trace(run_to_end(captured)) == trace(run_to_end(eager))
    assert_same(captured, eager)
    assert captured.optimizer_record.name == "AdaBelief"


def test_without_an_average_or_an_auxiliary_output_it_is_the_eager_one_too() -> None:
    parts: dict[str, Any] = {"model": MODEL, "train": replace(TRAIN, epochs=2)}
    eager, captured = full_trainer(None, **parts), full_trainer(RecordedGraphs(), **parts)
    assert trace(run_to_end(captured)) == trace(run_to_end(eager))
    assert_same(captured, eager)
    assert captured.capture == "captured"


@pytest.mark.slow
def test_a_pause_after_every_step_changes_nothing() -> None:
    straight, paused = (full_trainer(RecordedGraphs(), model=WITH_DROPOUT) for _ in range(2))
    expected = run_to_end(straight)
    reports: list[EpochReport] = []
    while not reports or reports[-1].stop_reason is None:
        report = paused.run_epoch(lambda: True)
        if report is not None:
            reports.append(report)
    assert trace(reports) == trace(expected)
    assert_same(paused, straight)


@pytest.mark.slow
@pytest.mark.parametrize("is_new", [False, True])
def test_a_restored_trial_goes_on_captured(is_new: bool) -> None:
    straight = full_trainer(None, model=WITH_DROPOUT)
    expected = run_to_end(straight)
    trainer = full_trainer(RecordedGraphs(), model=WITH_DROPOUT)
    reports = [trainer.run_epoch()]
    asked = iter((False, True))
    assert trainer.run_epoch(lambda: next(asked)) is None
    state = copy.deepcopy(trainer.state_dict())
    trainer.run_epoch()  # steps after the save, which the state must undo
    if is_new:
        trainer = full_trainer(RecordedGraphs(), model=WITH_DROPOUT)
    trainer.load_state_dict(state)
    reports += run_to_end(trainer)
    assert trace(reports) == trace(expected)
    assert_same(trainer, straight)
    assert trainer.capture == "captured"


@pytest.mark.slow
@pytest.mark.parametrize("smallest", [33, 44])
def test_memory_running_out_halves_the_micro_batch(smallest: int) -> None:
    # In the first step or, where only the 44 samples of an epoch's last step do not fit, once the
    # steps of 64 have been captured: the graphs are then freed before the micro-batch is halved.
    largest = 64 if smallest == 33 else 63

    def refuse(_: torch.nn.Module, arguments: tuple[Tensor]) -> None:
        if smallest <= len(arguments[0]) <= largest:
            raise torch.OutOfMemoryError("planted")

    eager, captured = (
        full_trainer(graphs, micro_batch=64, model=WITH_DROPOUT)
        for graphs in (None, RecordedGraphs())
    )
    for trainer in (eager, captured):
        # Dropout has drawn masks before the second layer, and must draw the same ones again.
        trainer.model.layers[1].register_forward_pre_hook(refuse)
    reports = run_to_end(captured)
    assert trace(reports) == trace(run_to_end(eager))
    assert_same(captured, eager)
    has_graphs = smallest == 44
    assert captured.capture == ("eager: OutOfMemoryError: planted" if has_graphs else "captured")
    assert (reports[-1].micro_batch, reports[-1].out_of_memory_count) == (32, 1)


def test_graphs_give_way_to_a_step_that_fits_without_them() -> None:
    graphs = RecordedGraphs()
    eager, captured = (
        full_trainer(each, micro_batch=64, model=WITH_DROPOUT) for each in (None, graphs)
    )
    held = 0

    def refuse(_: torch.nn.Module, arguments: tuple[Tensor]) -> None:
        nonlocal held
        if len(arguments[0]) == 44 and graphs.n_captures > 0 and held == 0:
            held = graphs.n_captures
            raise torch.OutOfMemoryError("planted")

    captured.model.layers[1].register_forward_pre_hook(refuse)
    reports = run_to_end(captured)
    assert held > 0
    assert (reports[-1].micro_batch, reports[-1].out_of_memory_count) == (64, 0)
    assert captured.capture == "eager: OutOfMemoryError: planted"
    assert trace(reports) == trace(run_to_end(eager))
    assert_same(captured, eager)


@pytest.mark.slow
def test_graphs_give_way_to_a_validation_that_fits_without_them() -> None:
    eager, captured = (full_trainer(graphs) for graphs in (None, RecordedGraphs()))
    calls = iter(range(100))

    def refuse(module: torch.nn.Module, _: tuple[Tensor]) -> None:
        if not module.training and next(calls) == 0:
            raise torch.OutOfMemoryError("planted")

    captured.model.layers[1].register_forward_pre_hook(refuse)
    assert trace(run_to_end(captured)) == trace(run_to_end(eager))
    assert captured.capture == "eager: OutOfMemoryError: planted"


@pytest.mark.slow
def test_memory_running_out_during_a_capture_leaves_an_eager_trial() -> None:
    eager, captured = (
        full_trainer(graphs, model=WITH_DROPOUT) for graphs in (None, RecordedGraphs())
    )
    calls = iter(range(100))

    def refuse(_: torch.nn.Module, arguments: tuple[Tensor]) -> None:
        if next(calls) == 3:  # two eager micro-batches of 24 and one of 16 come before
            raise torch.OutOfMemoryError("planted")

    captured.model.layers[1].register_forward_pre_hook(refuse)
    reports = run_to_end(captured)
    assert captured.capture == "eager: OutOfMemoryError: planted"
    assert reports[-1].out_of_memory_count == 0
    assert trace(reports) == trace(run_to_end(eager))
    assert_same(captured, eager)


@pytest.mark.slow
@pytest.mark.parametrize(
    "forbidden",
    [
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: torch.tensor(1.0),
    ],
)
def test_what_a_capture_forbids_leaves_an_eager_trial(
    forbidden: Callable[[Tensor], object],
) -> None:
    eager, captured = full_trainer(None), full_trainer(RecordedGraphs())

    def do(_: torch.nn.Module, arguments: tuple[Tensor]) -> None:
        forbidden(arguments[0].detach())

    captured.model.final_norm.register_forward_pre_hook(do)
    assert trace(run_to_end(captured)) == trace(run_to_end(eager))
    assert_same(captured, eager)
    # The first error, and not that of the end of the broken capture.
    assert captured.capture is not None
    assert captured.capture.startswith("eager: RuntimeError: CUDA error: operation not permitted")


@pytest.mark.parametrize("day", [-1, None])
def test_a_divergence_is_the_same_captured_and_eager(day: int | None) -> None:
    order = full_trainer(None)
    assert order.run_epoch(lambda: True) is None
    days = order.state_dict()["partial"]["days"].numpy()
    features = DATA.features.copy()
    # The last sample of the third step, which a captured micro-batch of 16 holds, or no sample of
    # a step but one of the validation.
    features[days[3 * 64 - 1] if day is not None else DATA.validation_days[-1]] = math.nan
    data = replace(DATA, features=features)
    narrow = replace(FULL, context_length=1, patch_length=1, patch_stride=1, revin=False)
    train = replace(FULL_TRAIN, effective_batch=16)
    found = []
    for graphs in (None, NoGraphs(), RecordedGraphs()):
        trainer = full_trainer(graphs, data=data, model=narrow, train=train, micro_batch=16)
        found.append((trainer, run_to_end(trainer)))
    (host, host_reports), (eager, eager_reports), (captured, captured_reports) = found
    assert eager.capture == "eager: RuntimeError: planted"
    assert captured.capture == "captured"
    assert captured_reports[-1].stop_reason == host_reports[-1].stop_reason == "diverged"
    assert trace(captured_reports) == trace(eager_reports)
    assert_same(captured, eager)
    # The device skips the broken step and all that follow, so that no weight differs from where the
    # host stops at once.
    for a, b in zip(host.model.parameters(), captured.model.parameters(), strict=True):
        assert torch.equal(a, b)
        assert bool(torch.isfinite(b).all())


def test_a_divergence_before_a_pause_ends_the_epoch_instead() -> None:
    features = DATA.features.copy()
    features[DATA.train_days] = np.nan
    trainer = full_trainer(RecordedGraphs(), data=replace(DATA, features=features))
    report = trainer.run_epoch(lambda: True)
    assert report is not None
    assert report.stop_reason == "diverged"
    assert trainer.state_dict()["partial"] is None


def test_gradients_stay_where_they_are() -> None:
    trainer = full_trainer(RecordedGraphs())
    trainer.run_epoch()
    before = [p.grad for p in trainer.model.parameters()]
    trainer.run_epoch()
    for parameter, gradient in zip(trainer.model.parameters(), before, strict=True):
        assert gradient is not None
        assert parameter.grad is gradient
        assert not gradient.any()


def test_only_a_cuda_device_has_graphs() -> None:
    assert graphs_of(CPU, is_wanted=True) is None
    assert graphs_of(torch.device("mps", 0), is_wanted=True) is None
    assert graphs_of(torch.device("cuda", 0), is_wanted=False) is None


def test_the_stand_in_replays_kernels_and_not_python() -> None:
    source, target, seen = torch.ones(3), torch.zeros(3), []
    draw = torch.Generator().manual_seed(1)
    noise = torch.zeros(4)
    graph = Graph(pool=(0, 1), capture_error_mode="thread_local")
    factor = 2.0
    with graph:
        target.add_(source * factor)
        noise.uniform_(generator=draw)
        seen.append(1)
    # A capture changes no tensor and draws no number.
    assert not target.any()
    assert not noise.any()
    factor = 5.0
    source.fill_(3)
    graph.replay()
    assert torch.equal(target, torch.full((3,), 6.0))
    assert torch.equal(noise, torch.rand(4, generator=torch.Generator().manual_seed(1)))
    assert seen == [1]
    # Another tensor under the same name is not what the graph writes to.
    target = torch.zeros(3)
    graph.replay()
    assert not target.any()
    with pytest.raises(RuntimeError, match="already owns a captured graph"):
        graph.capture_begin()
    with pytest.raises(RuntimeError, match="without a preceding successful capture"):
        Graph().replay()


@pytest.mark.slow
def test_captured_steps_cast_their_weights_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # On the CPU too the layer is composed of library kernels, as on an accelerator.
    monkeypatch.setattr(EncoderLayer, "is_fused", False)
    eager, captured = (
        Trainer(
            model=WITH_DROPOUT, train=FULL_TRAIN, data=DATA, device=CPU, micro_batch=24, seed=7,
            bf16=True, graphs=graphs,
        )
        for graphs in (None, RecordedGraphs())
    )  # fmt: skip
    assert trace(run_to_end(captured)) == trace(run_to_end(eager))
    assert_same(captured, eager)
    assert captured.capture == "captured"
