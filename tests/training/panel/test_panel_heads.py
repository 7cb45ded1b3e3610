"""Networks with a head for each of several horizons: what each learns, and from what."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from study.data.panel.panel_labels import HorizonLabels
from study.model.families import family_of
from study.model.network import Network
from study.results.scores import PanelBest, PanelValidation
from study.statistics.rank_scores import daily_ic, daily_rank_ic
from study.training.panel.panel_loss import PanelBatch, PanelObjective
from study.training.panel.panel_prediction import predict_scores
from study.training.phases.phase import Phase, phases_text
from tests.training.panel.planted_panel import CPU, DATA, HEADS, MODEL, TRAIN, make_trainer
from tests.training.planted import run_to_end

HEADS_MODEL = replace(MODEL, n_horizons=3)
TERMS = replace(
    TRAIN, base_loss="huber", ic_weight=0.5, rank_weight=0.3, sharpe_weight=0.2, regime_strength=0.5
)


def network_of_heads() -> Network:
    """Return a network whose heads say something."""
    network = family_of(HEADS_MODEL).build(HEADS_MODEL, bf16=False, device="cpu")
    generator = torch.Generator().manual_seed(1)
    network.initialise(generator, 0.5)
    network.head.weight.data.normal_(0, 0.25, generator=generator)
    return network


def batch_of_heads() -> PanelBatch:
    windows = HEADS.windows(HEADS_MODEL.context_length, CPU)
    return windows.gather(windows.days(HEADS.train_days[:20]))


def of_horizon(number: int) -> PanelBatch:
    """Return the batch with labels of one horizon alone."""
    batch = batch_of_heads()
    own = torch.zeros_like(batch.labelled_BHA)
    own[:, number] = batch.labelled_BHA[:, number]
    return replace(batch, labelled_BHA=own)


def test_each_head_learns_the_signal_of_its_own_horizon() -> None:
    trainer = make_trainer(model=HEADS_MODEL, data=HEADS, epochs=6)
    last = run_to_end(trainer)[-1]
    assert isinstance(last.validation, PanelValidation)
    assert isinstance(last.best, PanelBest)
    assert last.best.further_rank_ic is not None
    assert last.best.further_rank_ic_se is not None
    assert list(last.best.further_rank_ic) == ["5", "10"]
    assert min(last.best.rank_ic, *last.best.further_rank_ic.values()) > 0.6
    # What decides is the horizon of the cell.
    assert last.best.loss == pytest.approx(1 - last.best.rank_ic)
    trainer.restore_best()
    scores = trainer.predict(HEADS.validation_days)
    weights = trainer.best_weights()
    assert weights is not None
    again = predict_scores(
        HEADS_MODEL, weights, HEADS.inputs.values, HEADS.present, HEADS.sectors,
        HEADS.validation_days, device=CPU,
    )  # fmt: skip
    np.testing.assert_allclose(again, scores, rtol=1e-5, atol=1e-5)
    days = HEADS.validation_days
    for head in range(3):
        for feature in range(3):
            mask = HEADS.present[days]
            signal = HEADS.inputs.values[days, :, feature]
            alike = np.nanmean(daily_ic(scores[..., head], signal, mask))
            assert (alike > 0.7) == (head == feature), (head, feature, alike)
    for number, labels in enumerate(HEADS.further, start=1):
        mask = np.isfinite(labels.returns[days])
        ranks = daily_rank_ic(scores[..., number], labels.returns[days], mask)
        assert np.isfinite(ranks).sum() == (60 if number == 1 else 40)
        found = last.best.further_rank_ic[str(labels.horizon)]
        assert found == pytest.approx(np.nanmean(ranks), abs=1e-6)
        # Forty days are too few for an error where labels cover ten.
        error = last.best.further_rank_ic_se[str(labels.horizon)]
        assert (error is None) == (number == 2)
        assert error is None or 0 < error < 0.1


def test_the_loss_is_the_mean_of_the_losses_of_the_horizons() -> None:
    network, batch = network_of_heads(), batch_of_heads()
    answer = network(*batch.inputs)
    objective = PanelObjective(TERMS)
    found = objective(answer, batch)
    alone = []
    for number in range(3):
        own = replace(
            batch,
            target_BHA=batch.target_BHA[:, [number]],
            labelled_BHA=batch.labelled_BHA[:, [number]],
        )
        alone.append(objective(answer._replace(logit_B=answer.logit_B[..., number]), own))
    assert len(found.parts) == 4
    expected = torch.stack([each.total for each in alone]).mean()
    torch.testing.assert_close(found.total, expected)
    for part, *of_each in zip(found.parts, *(each.parts for each in alone), strict=True):
        known = [value for value in of_each if value is not None]
        assert part is not None
        torch.testing.assert_close(part, torch.stack(known).mean())


@pytest.mark.parametrize("number", [0, 2])
def test_every_horizon_teaches_the_encoder_and_its_own_head_alone(number: int) -> None:
    network, batch = network_of_heads(), of_horizon(number)
    loss = PanelObjective(TRAIN)(network(*batch.inputs), batch).total
    torch.autograd.backward(loss)
    assert network.head.weight.grad is not None
    moved = network.head.weight.grad.abs().amax(dim=1) > 0
    assert moved.tolist() == [head == number for head in range(3)]
    encoder = [p for name, p in network.named_parameters() if not name.startswith("head")]
    assert all(p.grad is not None for p in encoder)
    assert max(float(p.grad.abs().max()) for p in encoder if p.grad is not None) > 1e-3


def test_a_phase_of_heads_trains_all_of_them_after_a_pretraining_that_trains_none() -> None:
    model = replace(HEADS_MODEL, patch_stride=4, asset_attention="sector")
    phases = phases_text([Phase(name="heads", epochs=4, trains=("heads",))])
    trainer = make_trainer(model=model, data=HEADS, phases=phases, pretrain_epochs=1)
    embedding, head = (trainer.model.embedding.weight, trainer.model.head.weight)
    before = embedding.detach().clone()
    calls = iter(range(1, 7))
    # Three of its six steps.
    assert trainer.run_epoch(lambda: next(calls) == 3) is None
    assert not torch.equal(embedding, before)
    assert not head.any()
    assert trainer.run_epoch().pretrain_losses is not None
    assert bool((head.abs().amax(dim=1) > 1e-3).all())
    before = embedding.detach().clone()
    trainer.run_epoch()
    assert torch.equal(embedding, before)


def test_a_label_of_a_further_horizon_that_is_not_known_teaches_nothing() -> None:
    first, other = HEADS.further
    day = int(HEADS.train_days[3])
    returns, targets = other.returns.copy(), other.targets.copy()
    returns[day, 2], targets[day, 2] = np.nan, 1e6
    changed = replace(HEADS, further=(first, replace(other, returns=returns, targets=targets)))
    targets = other.targets.copy()
    targets[day, 2] = np.nan
    without = replace(HEADS, further=(first, replace(other, targets=targets)))
    traces = []
    for data in (changed, without, HEADS):
        report = make_trainer(model=HEADS_MODEL, data=data).run_epoch()
        traces.append((report.train_loss, report.validation))
    assert traces[0] == traces[1] != traces[2]


def test_a_head_without_labels_on_validation_days_has_no_score() -> None:
    nothing = np.full_like(DATA.returns, np.nan)
    labels = HorizonLabels(horizon=20, returns=nothing, targets=nothing)
    data = replace(DATA, further=(*HEADS.further, labels))
    model = replace(HEADS_MODEL, n_horizons=4)
    report = make_trainer(model=model, data=data).run_epoch()
    assert isinstance(report.validation, PanelValidation)
    assert list(report.validation.further_rank_ic or ()) == ["5", "10"]
