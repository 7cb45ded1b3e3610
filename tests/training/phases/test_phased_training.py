from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.errors import StudyError
from study.results.epoch_report import EpochReport
from study.training.folded_trainer import FoldedTrainer
from study.training.phases.phase import Phase, phases_text
from study.training.phases.trained_modules import module_of
from study.training.state_file import load, save
from study.training.step.optimizer import learning_rate
from study.training.train_config import Optimizer
from study.training.trainer import Trainer
from tests.recorded_graph import RecordedGraphs
from tests.training.panel.planted_panel import CPU, DATA, MODEL, TRAIN, make_trainer
from tests.training.planted import make_trainer as make_single
from tests.training.planted import trace

FULL_MODEL = replace(MODEL, n_layers=1, dropout=0.2, asset_attention="sector", revin=True)
PHASES = (
    Phase(name="start", epochs=1, trains=("encoder", "heads")),
    Phase(name="assets", epochs=2, learning_rate_factor=0.5, trains=("assets",), rank_weight=0.3),
    Phase(name="end", epochs=1, learning_rate_factor=0.1, base_loss="huber", clip_norm=0.5),
)
PHASED = replace(
    TRAIN, epochs=4, ema_decay=0.9, weight_decay=0.1, schedule="constant",
    phases=phases_text(PHASES),
)  # fmt: skip


def trainer_with(**changes: Any) -> Trainer:
    return make_trainer(**{"model": FULL_MODEL, "train": PHASED, **changes})


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Return the modules of which a weight is another."""
    return {module_of(name) for name in before if not torch.equal(before[name], after[name])}


def after_steps(n_steps: int) -> Callable[[], bool]:
    asked = iter(range(1, n_steps + 1))
    return lambda: next(asked) == n_steps


def test_every_phase_reads_the_sampled_rate_and_reports_its_name_and_terms() -> None:
    reports = [trainer.run_epoch() for trainer in [trainer_with()] for _ in range(4)]
    twice = [t.run_epoch() for t in [trainer_with(learning_rate=2e-2)] for _ in range(4)]
    assert [report.phase for report in reports] == ["start", "assets", "assets", "end"]
    assert [r.learning_rate for r in reports] == pytest.approx([1e-2, 5e-3, 5e-3, 1e-3])
    assert [r.learning_rate for r in twice] == pytest.approx([2e-2, 1e-2, 1e-2, 2e-3])
    terms = [list(report.train_terms or ()) for report in reports]
    assert terms == [["squared"], ["squared", "rank"], ["squared", "rank"], ["huber"]]
    assert EpochReport.from_json(reports[1].to_json()) == reports[1]
    assert reports[1].to_json()["phase"] == "assets"


def test_a_schedule_without_phases_reports_none_and_saves_nothing_more() -> None:
    trainer = make_trainer()
    line = trainer.run_epoch().to_json()
    assert not {"phase", "pretrain_losses", "pretrain_seconds"} & set(line)
    assert "pretraining" not in trainer.state_dict()


@pytest.mark.parametrize("name", ["adamw", "adabelief"])
def test_a_frozen_module_stays_bit_for_bit_and_moves_again_when_it_thaws(name: Optimizer) -> None:
    trainer = trainer_with(optimizer=name)
    found = []
    for _ in range(4):
        before = weights(trainer)
        trainer.run_epoch(after_steps(2))
        frozen = [p for n, p in trainer.model.named_parameters() if not p.requires_grad]
        assert all(p.grad is None for p in frozen)
        trainer.run_epoch()
        found.append(changed(before, weights(trainer)))
    everything = {"encoder", "assets", "heads"}
    assert found == [{"encoder", "heads"}, {"assets"}, {"assets"}, everything]


@pytest.mark.parametrize(("name", "factor"), [("adamw", 1.0), ("adabelief", 1 / 0.9)])
def test_the_first_steps_after_a_thaw_are_as_long_as_a_trials_first(
    name: Optimizer, factor: float
) -> None:
    trainer = trainer_with(optimizer=name, weight_decay=0.0)
    trainer.run_epoch()
    before = weights(trainer)
    trainer.run_epoch(after_steps(1))
    rate = trainer.optimizer_record.learning_rate
    moves = [
        float((new - before[key]).abs().max())
        for key, new in weights(trainer).items()
        if module_of(key) == "assets"
    ]
    # Adam's first step is the rate; one clock for all modules would make it 3.16 times that. That
    # of AdaBelief divides by the difference from the first moment, nine tenths of the gradient.
    assert max(moves) == pytest.approx(factor * rate, rel=0.01)


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_pause_in_the_middle_of_each_phase_changes_nothing(tmp_path: Path, epoch: int) -> None:
    straight, paused = trainer_with(), trainer_with()
    expected = [straight.run_epoch() for _ in range(4)]
    reports = [paused.run_epoch() for _ in range(epoch - 1)]
    assert paused.run_epoch(after_steps(3)) is None
    save(paused.state_dict(), tmp_path / "state.pt")
    paused = trainer_with()
    paused.load_state_dict(load(tmp_path / "state.pt"))
    reports += [paused.run_epoch() for _ in range(5 - epoch)]
    assert trace(reports) == trace(expected)
    for a, b in zip(straight.model.parameters(), paused.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_longer_schedule_goes_on_in_the_phase_that_is_due(tmp_path: Path) -> None:
    short, whole = trainer_with(epochs=1), trainer_with()
    assert short.run_epoch().stop_reason == "completed"
    save(short.state_dict(), tmp_path / "state.pt")
    whole.load_state_dict(load(tmp_path / "state.pt"))
    before = weights(whole)
    assert whole.run_epoch().phase == "assets"
    assert changed(before, weights(whole)) == {"assets"}


def test_a_trainer_goes_back_to_the_phase_of_an_older_state(tmp_path: Path) -> None:
    trainer = trainer_with()
    save(trainer.state_dict(), tmp_path / "state.pt")
    first = trainer.run_epoch()
    trainer.run_epoch()
    trainer.load_state_dict(load(tmp_path / "state.pt"))
    assert trace([trainer.run_epoch()]) == trace([first])


@pytest.mark.slow
def test_captured_steps_are_the_eager_ones_in_every_phase() -> None:
    def made(graphs: Any) -> Trainer:
        return Trainer(
            model=FULL_MODEL, train=PHASED, data=DATA, device=CPU, micro_batch=16, seed=7,
            bf16=False, graphs=graphs,
        )  # fmt: skip

    eager, captured = made(None), made(RecordedGraphs())
    reports = [[trainer.run_epoch() for _ in range(4)] for trainer in (eager, captured)]
    assert trace(reports[0]) == trace(reports[1])
    assert captured.capture == "captured"


def test_the_networks_of_folds_are_in_one_phase() -> None:
    days = np.arange(10, 150)
    folds = [
        replace(DATA, train_days=own, validation_days=rest, baseline_rank_ics=None)
        for own, rest in ((days[:70], days[75:]), (days[75:], days[:70]))
    ]
    trainer = FoldedTrainer(
        model=FULL_MODEL, train=PHASED, folds=folds, device=CPU, micro_batch=16, seed=7, bf16=False
    )
    assert [trainer.run_epoch().phase for _ in range(2)] == ["start", "assets"]


def test_one_asset_has_phases_too_but_none_of_a_panels_terms() -> None:
    heads = Phase(name="heads", epochs=1, trains=("heads",), learning_rate_factor=0.5)
    rest = Phase(name="all", epochs=5)
    trainer = make_single(phases=phases_text((heads, rest)))
    before = weights(trainer)
    report = trainer.run_epoch()
    config = replace(trainer._config, phases="")
    expected = learning_rate(trainer._step - 1, trainer._total_steps, config)
    assert report.learning_rate == pytest.approx(0.5 * expected)
    assert changed(before, weights(trainer)) == {"heads"}
    ranked = Phase(name="ranked", epochs=6, rank_weight=0.1)
    with pytest.raises(StudyError, match=r"rank_weight must be 0\.0 for one asset"):
        make_single(phases=phases_text([ranked]))


def test_a_phase_that_would_train_nothing_is_refused() -> None:
    with pytest.raises(StudyError, match=r"phase assets must train a module that the model has"):
        make_trainer(train=PHASED)
