import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.data.panel.shared_inputs import SharedInputs
from study.errors import StudyError
from study.model.families import family_of
from study.model.sizing import count_parameters
from study.results.epoch_report import EpochReport
from study.training.folded_trainer import FoldedTrainer
from study.training.panel.panel_samples import PanelTrainingData
from study.training.phases.masked_encoder import MaskedEncoder
from study.training.phases.phase import Phase, phases_text
from study.training.phases.trained_modules import module_of
from study.training.seeds import derived_generator
from study.training.state_file import load, save
from study.training.trainer import Trainer
from tests.recorded_graph import RecordedGraphs
from tests.training.panel.planted_panel import CPU, DATA, MODEL, TRAIN, make_trainer
from tests.training.planted import DATA as SINGLE_DATA
from tests.training.planted import MODEL as SINGLE_MODEL
from tests.training.planted import make_trainer as make_single
from tests.training.planted import trace

FULL_MODEL = replace(
    MODEL, n_layers=1, patch_stride=4, dropout=0.2, asset_attention="all", last_day_skip=True
)
PRETRAINED = replace(TRAIN, pretrain_epochs=2, ema_decay=0.9)


def smooth(data: PanelTrainingData) -> PanelTrainingData:
    """Return a panel whose inputs are waves, so that the patches around one say what it is."""
    days, assets, features = np.indices(data.inputs.values.shape)
    values = np.sin(days / 4 + assets + 2 * features) * np.sqrt(2)
    return replace(data, inputs=SharedInputs(values.astype(np.float32)))


def trainer_with(**changes: Any) -> Trainer:
    return make_trainer(**{"model": FULL_MODEL, "train": PRETRAINED, **changes})


def pretrained(**changes: Any) -> dict[str, torch.Tensor]:
    """Return the weights at the end of the pretraining, before the first epoch."""
    trainer = trainer_with(**changes)
    assert trainer._pretrain(None)
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def after_steps(n_steps: int) -> Callable[[], bool]:
    asked = iter(range(1, n_steps + 1))
    return lambda: next(asked) == n_steps


def with_inputs(change: Callable[[np.ndarray], None]) -> PanelTrainingData:
    values = DATA.inputs.values.copy()
    change(values)
    return replace(DATA, inputs=SharedInputs(values))


def test_nothing_after_the_last_training_day_is_read() -> None:
    last = int(DATA.train_days.max())

    def later(values: np.ndarray) -> None:
        values[last + 1 :] = 100

    def earlier(values: np.ndarray) -> None:
        values[last] = 100

    before = pretrained()
    assert same(before, pretrained(data=with_inputs(later)))
    assert not same(before, pretrained(data=with_inputs(earlier)))


def test_no_label_and_no_absent_asset_is_read() -> None:
    # The last asset is listed after a third of the days; the days before are taken alone.
    early = replace(DATA, train_days=np.arange(10, 50))
    assert not early.present[:50, -1].any()

    def absent(values: np.ndarray) -> None:
        values[:50, -1] = 100

    before = pretrained(data=early)
    changed = replace(early, inputs=with_inputs(absent).inputs, targets=early.targets * 3)
    assert same(before, pretrained(data=changed))


@pytest.mark.slow
def test_the_encoder_learns_and_nothing_else_moves() -> None:
    trainer = trainer_with(data=smooth(DATA), pretrain_epochs=30)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    assert trainer._pretrain(None)
    moved = {
        module_of(name)
        for name, p in trainer.model.named_parameters()
        if not torch.equal(p, before[name])
    }
    assert moved == {"encoder"}
    assert trainer._pretraining is not None
    losses = trainer._pretraining.losses
    assert losses[0] == pytest.approx(1, abs=0.2)
    assert losses[-1] < 0.5


def test_the_first_report_carries_the_losses_and_no_other_does() -> None:
    trainer = trainer_with()
    first, second = trainer.run_epoch(), trainer.run_epoch()
    assert (first.epoch, second.epoch) == (1, 2)
    assert first.pretrain_losses is not None
    assert len(first.pretrain_losses) == 2
    assert first.pretrain_seconds is not None
    assert first.pretrain_seconds > 0
    assert (second.pretrain_losses, second.pretrain_seconds) == (None, None)
    assert EpochReport.from_json(first.to_json()) == first
    # The head that fills patches in is no part of the model.
    best = trainer.best_weights()
    assert best is not None
    assert sum(w.numel() for w in best.values()) == count_parameters(FULL_MODEL)


@pytest.mark.parametrize("n_steps", [(1,), (6,), (9, 2), (12,), (14,)], ids=str)
def test_a_pause_in_the_middle_of_it_changes_nothing(
    tmp_path: Path, n_steps: tuple[int, ...]
) -> None:
    # Two epochs of six steps are pretraining; its last step never pauses.
    straight, paused = trainer_with(), trainer_with()
    expected = [straight.run_epoch() for _ in range(2)]
    for n in n_steps:
        assert paused.run_epoch(after_steps(n)) is None
        save(paused.state_dict(), tmp_path / "state.pt")
        paused = trainer_with()
        paused.load_state_dict(load(tmp_path / "state.pt"))
    reports = [paused.run_epoch() for _ in range(2)]
    assert trace(reports) == trace(expected)
    for a, b in zip(straight.model.parameters(), paused.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_captured_steps_are_the_eager_ones() -> None:
    def made(graphs: Any) -> Trainer:
        return Trainer(
            model=FULL_MODEL, train=PRETRAINED, data=DATA, device=CPU, micro_batch=16, seed=7,
            bf16=False, graphs=graphs,
        )  # fmt: skip

    eager, captured = made(None), made(RecordedGraphs())
    reports = [[trainer.run_epoch()] for trainer in (eager, captured)]
    assert trace(reports[0]) == trace(reports[1])
    assert captured.capture == "captured"


def test_a_network_in_bfloat16_learns_from_the_weights_as_they_are() -> None:
    trainers = [trainer_with(data=smooth(DATA)) for _ in range(2)]
    trainers[1] = Trainer(
        model=FULL_MODEL, train=PRETRAINED, data=smooth(DATA), device=CPU, micro_batch=16, seed=7,
        bf16=True,
    )  # fmt: skip
    exact, rounded = (trainer.run_epoch() for trainer in trainers)
    maps = trainers[1].model.cast_maps(CPU)
    assert maps
    for linear in maps:
        assert torch.equal(linear._kept[0], linear.weight.to(torch.bfloat16))
    assert exact.pretrain_losses is not None
    assert rounded.pretrain_losses == pytest.approx(list(exact.pretrain_losses), rel=0.02)
    assert rounded.train_loss == pytest.approx(exact.train_loss, rel=0.05)


def test_a_smaller_micro_batch_hides_other_patches_and_learns_as_much() -> None:
    whole, parts = (trainer_with(micro_batch=n).run_epoch() for n in (16, 5))
    assert whole.pretrain_losses is not None
    assert parts.pretrain_losses == pytest.approx(list(whole.pretrain_losses), rel=0.1)


def test_a_hidden_patch_is_not_seen() -> None:
    network = family_of(FULL_MODEL).build(replace(FULL_MODEL, dropout=0.0), bf16=False, device=CPU)
    network.initialise(derived_generator(1, "weights"), 0.5)
    encoder = MaskedEncoder(network, 0.4, CPU)
    answers: list[torch.Tensor] = []
    encoder.fill_in.register_forward_hook(lambda _, inputs, __: answers.append(inputs[0].clone()))
    x = torch.randn(500, 8, 3, generator=torch.Generator().manual_seed(1))
    state = network.dropout_generator.get_state()
    is_hidden = encoder._draw(network.patches(x))
    assert float(is_hidden.float().mean()) == pytest.approx(0.4, abs=0.05)
    other = torch.where(is_hidden.expand(-1, -1, 12).reshape(500, 8, 3), 50.0, x)
    for each in (x, other, x + 1):
        network.dropout_generator.set_state(state)
        encoder(each)
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


def test_a_frozen_encoder_can_follow_it() -> None:
    heads = Phase(name="heads", epochs=4, trains=("heads",))
    trainer = trainer_with(phases=phases_text([heads]))
    report = trainer.run_epoch()
    assert report.phase == "heads"
    expected = pretrained()
    found = dict(trainer.model.named_parameters())
    assert all(torch.equal(found[n], expected[n]) == (module_of(n) != "heads") for n in found)


def test_a_trainer_goes_back_to_a_state_before_its_encoder_was_frozen() -> None:
    heads = Phase(name="heads", epochs=4, trains=("heads",))
    trainer = trainer_with(phases=phases_text([heads]))
    assert trainer.run_epoch(after_steps(3)) is None
    state = copy.deepcopy(trainer.state_dict())
    first = trainer.run_epoch()
    trainer.load_state_dict(state)
    again = trainer.run_epoch()
    assert trace([again]) == trace([first])
    expected = pretrained()
    found = dict(trainer.model.named_parameters())
    assert all(torch.equal(found[n], expected[n]) == (module_of(n) != "heads") for n in found)


def test_networks_of_folds_are_pretrained_each_and_report_their_mean() -> None:
    days = np.arange(10, 150)
    folds = [
        replace(DATA, train_days=own, validation_days=rest, baseline_rank_ics=None)
        for own, rest in ((days[:70], days[75:]), (days[75:], days[:70]))
    ]
    trainer = FoldedTrainer(
        model=FULL_MODEL, train=PRETRAINED, folds=folds, device=CPU, micro_batch=16, seed=7,
        bf16=False,
    )  # fmt: skip
    report, own = trainer.run_epoch(), [network.report for network in trainer._networks]
    firsts = [each.pretrain_losses[0] for each in own if each and each.pretrain_losses]
    assert report.pretrain_losses is not None
    assert report.pretrain_losses[0] == pytest.approx(np.average(firsts, weights=[70, 65]))


def test_one_asset_is_pretrained_too() -> None:
    trainer = make_single(model=replace(SINGLE_MODEL, patch_stride=4), pretrain_epochs=1)
    report = trainer.run_epoch()
    assert report.pretrain_losses is not None
    assert len(SINGLE_DATA.train_days) == 300
    assert report.pretrain_losses[0] == pytest.approx(1, abs=0.2)


def test_a_loss_that_is_not_finite_ends_the_trial() -> None:
    trainer, resumed = trainer_with(), trainer_with()
    assert trainer.run_epoch(after_steps(8)) is None
    state = copy.deepcopy(trainer.state_dict())
    # The network itself could still be trained.
    state["pretraining"]["running"]["head"]["weight"].fill_(float("nan"))
    resumed.load_state_dict(state)
    report = resumed.run_epoch()
    assert (report.stop_reason, report.validation, report.step) == ("diverged", None, 0)
    assert report.pretrain_losses is not None
    assert len(report.pretrain_losses) == 1
    assert EpochReport.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    "changes", [{"patch_stride": 2}, {"family": "informer"}, {"family": "itransformer"}]
)
def test_patches_that_give_each_other_away_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="patchtst with patches that do not overlap"):
        trainer_with(model=replace(FULL_MODEL, **changes))
