"""The lean memory mode trains the network that the full one trains, layer by layer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from study.errors import StudyError
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters
from study.training.device import PhaseClock
from study.training.folded_trainer import FoldedTrainer
from study.training.lean.lean_training import LeanTraining
from study.training.phases.phase import Phase, phases_text
from study.training.prediction import predict_logits
from study.training.seeds import derived_generator
from study.training.step.full_training import FullTraining
from study.training.trainer import Trainer
from tests.recorded_graph import RecordedGraphs
from tests.training.panel.planted_panel import DATA as PANEL
from tests.training.panel.planted_panel import MODEL as PANEL_MODEL
from tests.training.panel.planted_panel import TRAIN as PANEL_TRAIN
from tests.training.panel.planted_panel import make_trainer as make_panel_trainer
from tests.training.planted import CPU, DATA, MODEL, TRAIN, make_trainer, run_to_end, trace

DEEP = replace(MODEL, n_layers=3)
NO_CLIP = 1e9


def lean(**changes: Any) -> Trainer:
    return make_trainer(**{"model": DEEP, "memory": "lean", **changes})


def training_of(trainer: Trainer) -> LeanTraining:
    assert isinstance(trainer._training, LeanTraining)
    return trainer._training


def with_head(trainer: Trainer) -> Trainer:
    """Give the head weights: it begins with zeros, which let no gradient through."""
    with torch.no_grad():
        trainer.model.head.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(5))
    return trainer


def lean_gradients(trainer: Trainer, n_days: int = 64) -> dict[str, torch.Tensor]:
    """Return the gradients that a step of all days has left: the first layer's, and all vectors."""
    days = trainer._windows.days(trainer._data.train_days[:n_days])
    trainer.model.train()
    training = training_of(trainer)
    assert training.take(days, learning_rate=1e-9, number=1, clock=PhaseClock(CPU)) is not None
    stage, step = training._stage, training._step
    first = stage.layout.views(stage.weight_gradient, stage.other_gradient)
    found = {f"layers.0.{name}": each.clone() for name, each in first.items()}
    for index, others in enumerate(step._other_gradients):
        for name, each in stage.layout.views(stage.weight_gradient, others).items():
            if each.ndim == 1:
                found[f"layers.{index}.{name}"] = each.clone()
    return found


def full_gradients(trainer: Trainer, n_days: int = 64) -> dict[str, torch.Tensor]:
    """Return those of the mean loss of the same days, from the lean trainer's first weights."""
    full = Trainer(
        model=trainer._model_config,
        train=replace(trainer._config, memory="full"),
        data=trainer._data,
        device=CPU,
        micro_batch=n_days,
        seed=7,
        bf16=trainer.model.bf16,
    )
    full.model.load_state_dict(trainer.copy_weights(None))
    full.model.train()
    step = full._training
    assert isinstance(step, FullTraining)
    step._n_samples.fill_(n_days)
    step._set_gradients(full._windows.days(full._data.train_days[:n_days]), PhaseClock(CPU))
    return {name: p.grad for name, p in full.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "model",
    [
        replace(DEEP, head="last"),
        replace(DEEP, head="mean", revin=True),
        replace(DEEP, family="informer"),
        replace(DEEP, family="itransformer"),
    ],
    ids=["last", "mean", "informer", "itransformer"],
)
@pytest.mark.parametrize("bf16", [False, True])
def test_gradients_are_those_of_the_full_mode_but_for_rounded_inputs(
    model: ModelConfig, bf16: bool
) -> None:
    trainer = with_head(lean(model=model, clip_norm=NO_CLIP, bf16=bf16))
    expected = full_gradients(trainer)
    for name, found in lean_gradients(trainer).items():
        # Inputs of layers have 8 bits: a relative error of 2^-9 each, which averages out.
        error = (found - expected[name]).norm() / expected[name].norm()
        assert error < (0.02 if bf16 else 0.01), name


def test_the_gradients_of_a_panel_reach_its_layers() -> None:
    model = replace(PANEL_MODEL, asset_attention="sector", n_layers=3)
    train = replace(PANEL_TRAIN, memory="lean", clip_norm=NO_CLIP)
    trainer = with_head(make_panel_trainer(model=model, train=train, micro_batch=5))
    expected = full_gradients(trainer, n_days=16)
    for name, found in lean_gradients(trainer, n_days=16).items():
        assert (found - expected[name]).norm() < 0.01 * expected[name].norm(), name


def test_the_micro_batch_changes_no_gradient() -> None:
    whole = lean_gradients(with_head(lean(clip_norm=NO_CLIP, micro_batch=64)))
    parts = lean_gradients(with_head(lean(clip_norm=NO_CLIP, micro_batch=5)))
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)


def test_masks_are_the_same_when_a_layer_is_computed_again() -> None:
    # All of the gradient of a layer's output would be masked by others if they were not.
    trainer = lean(model=replace(DEEP, dropout=0.5), micro_batch=24, effective_batch=64)
    masks: list[torch.Tensor] = []
    states: list[torch.Tensor] = []
    generator = trainer.model.dropout_generator

    def watch(_: torch.nn.Module, given: Any, answer: torch.Tensor) -> None:
        masks.append(answer.detach().clone())
        states.append(generator.get_state())

    training = training_of(trainer)
    training._stage.layer.register_forward_hook(watch)
    trainer.model.train()
    days = trainer._windows.days(DATA.train_days[:64])
    training.take(days, learning_rate=1e-9, number=1, clock=PhaseClock(CPU))
    first, again = masks[:9], masks[9:]
    # Three micro-batches of three layers, from the last layer to the first.
    for index in range(3):
        for part in range(3):
            forward = first[3 * index + part]
            backward = again[3 * (2 - index) + part]
            torch.testing.assert_close(forward, backward, rtol=0.05, atol=0.05)
    # The next step goes on where the forward pass has ended.
    assert torch.equal(generator.get_state(), states[8])


def test_first_weights_are_those_of_the_full_mode_in_bfloat16() -> None:
    trainer, full = lean(), make_trainer(model=DEEP)
    weights = trainer.copy_weights(None)
    for name, expected in full.model.state_dict().items():
        is_matrix = name.startswith("layers.") and expected.ndim == 2
        kept = expected.to(torch.bfloat16) if is_matrix else expected
        assert torch.equal(weights[name], kept), name
    assert list(weights) == [name for name, _ in full.model.named_parameters()]
    record = trainer.optimizer_record
    assert record.name == "LeanAdamW"
    assert record.n_decayed + record.n_undecayed == count_parameters(DEEP)
    assert (record.n_decayed, record.n_undecayed) == (
        full.optimizer_record.n_decayed,
        full.optimizer_record.n_undecayed,
    )
    del full
    generator = derived_generator(7, "weights")
    assert torch.equal(
        dict(trainer.model.first_values(generator, 0.5))["embedding.weight"],
        weights["embedding.weight"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_it_learns_as_the_full_mode_does(ema_decay: float) -> None:
    reports, expected = (
        run_to_end(make_trainer(memory=memory, ema_decay=ema_decay)) for memory in ("lean", "full")
    )
    for found, full in zip(reports, expected, strict=True):
        assert found.train_loss == pytest.approx(full.train_loss, abs=0.01)
        assert found.gradient_norm == pytest.approx(full.gradient_norm, rel=0.1)
        assert found.validation is not None
        assert full.validation is not None
        assert found.validation.loss == pytest.approx(full.validation.loss, abs=0.02)
    assert reports[-1].train_loss is not None
    assert reports[-1].train_loss < 0.5


@pytest.mark.slow
def test_the_loss_of_one_batch_falls_to_nothing() -> None:
    data = replace(DATA, train_days=DATA.train_days[:32])
    reports = run_to_end(lean(data=data, epochs=40, schedule="constant", effective_batch=32))
    assert reports[-1].train_loss is not None
    assert reports[-1].train_loss < 0.05


def test_the_global_norm_after_clipping_is_at_most_the_one_asked_for() -> None:
    clipped, free = (with_head(lean(clip_norm=norm)) for norm in (0.01, NO_CLIP))
    gradients = lean_gradients(clipped), lean_gradients(free)
    # The vectors of a layer are clipped by the norm of all of it, to a share of four parts.
    norms = [
        torch.cat([g.flatten() for name, g in each.items() if g.ndim == 1]).norm()
        for each in gradients
    ]
    assert norms[0] < 0.01 < norms[1]


def test_the_best_weights_answer_as_the_epoch_did(tmp_path: Path) -> None:
    trainer = lean(ema_decay=0.9)
    run_to_end(trainer)
    assert trainer.report is not None
    weights = trainer.best_weights()
    assert weights is not None
    trainer.restore_best()
    restored = trainer.predict(DATA.validation_days)
    logits = predict_logits(DEEP, weights, DATA.features, DATA.validation_days, device=CPU)
    assert restored == pytest.approx(logits, abs=1e-5)
    metrics = DATA.evaluate(logits)
    assert metrics is not None
    assert trainer.report.best is not None
    assert metrics.loss == pytest.approx(trainer.report.best.loss, abs=1e-5)


@pytest.mark.parametrize("backward", [False, True])
def test_memory_that_runs_out_halves_the_micro_batch(backward: bool) -> None:
    short = lean(model=replace(DEEP, dropout=0.2))
    calls = iter(range(10_000))

    def refuse(_: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        # Forward: in the second layer. Backward: in the first, when two have been changed.
        is_due = torch.is_grad_enabled() == backward and len(given[0]) > 16
        if is_due and next(calls) >= (2 if backward else 1):
            raise torch.OutOfMemoryError("planted")

    training_of(short)._stage.layer.register_forward_pre_hook(refuse)
    report = short.run_epoch()
    assert (report.micro_batch, report.out_of_memory_count) == (16, 2)
    roomy = lean(model=replace(DEEP, dropout=0.2), micro_batch=16)
    expected = roomy.run_epoch()
    if not backward:
        assert trace([report]) == trace([replace(expected, out_of_memory_count=2)])
    assert report.train_loss == pytest.approx(expected.train_loss, abs=0.01)


def test_a_layer_is_changed_once_in_a_step_in_which_memory_ran_out() -> None:
    short, roomy = with_head(lean()), with_head(lean(micro_batch=32))
    for trainer in (short, roomy):
        calls = iter(range(10_000))

        def refuse(_: torch.nn.Module, given: tuple[torch.Tensor], calls: Any = calls) -> None:
            if torch.is_grad_enabled() and len(given[0]) > 32 and next(calls) == 2:
                raise torch.OutOfMemoryError("planted")

        training_of(trainer)._stage.layer.register_forward_pre_hook(refuse)
        assert trainer.run_epoch(lambda: True) is None
    assert short.state_dict()["out_of_memory_count"] == 1
    first, other = (training_of(each)._store.moments for each in (short, roomy))
    for index in (1, 2):
        # The first moment of a layer that was changed twice would be nearly twice as large.
        n = first[index].first.codes.numel()
        ours, theirs = (each[index].first.decode(0, n).norm().item() for each in (first, other))
        assert ours == pytest.approx(theirs, rel=0.05)


def test_a_loss_or_a_gradient_that_is_not_finite_ends_the_trial() -> None:
    features = DATA.features.copy()
    features[DATA.train_days[-1]] = float("nan")
    trainer = lean(data=replace(DATA, features=features))
    report = trainer.run_epoch()
    assert report.stop_reason == "diverged"
    assert report.train_loss is None
    weights = trainer.copy_weights(None)
    assert all(bool(torch.isfinite(weight).all()) for weight in weights.values())


def test_steps_are_eager_and_say_why() -> None:
    trainer = Trainer(
        model=DEEP, train=replace(TRAIN, memory="lean"), data=DATA, device=CPU, micro_batch=64,
        seed=7, bf16=False, graphs=RecordedGraphs(),
    )  # fmt: skip
    trainer.run_epoch()
    assert trainer.capture == (
        "eager: the lean memory mode changes weights inside the backward pass"
    )
    assert lean().capture is None


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"optimizer": "adabelief"}, "needs 'adamw', but got optimizer='adabelief'"),
        ({"phases": phases_text([Phase(name="one", epochs=6)])}, "needs '', but got phases="),
        ({"pretrain_epochs": 1}, "needs 0, but got pretrain_epochs=1"),
    ],
)
def test_settings_that_it_has_not_are_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(StudyError, match=rule):
        lean(model=replace(DEEP, patch_stride=4), **changes)


def test_folds_are_refused() -> None:
    with pytest.raises(StudyError, match="must be full for a trial with a network for each fold"):
        FoldedTrainer(
            model=DEEP, train=replace(TRAIN, memory="lean"), folds=[DATA, DATA], device=CPU,
            micro_batch=64, seed=7, bf16=False,
        )  # fmt: skip


def test_a_panel_is_learned() -> None:
    model = replace(PANEL_MODEL, dropout=0.1, asset_attention="sector")
    train = replace(PANEL_TRAIN, memory="lean", ema_decay=0.5)
    reports = run_to_end(make_panel_trainer(model=model, train=train, data=PANEL))
    assert reports[-1].train_loss is not None
    assert reports[0].train_loss is not None
    assert reports[-1].train_loss < reports[0].train_loss
