"""Rules as text, and stop rules against those of a training and of a search."""

import dataclasses
import math
import random
import re
from pathlib import Path

import numpy as np
import pytest

from study.errors import SpecError
from study.results.scheduling.curves import Curve, StopRule, usual_begins
from study.results.scheduling.rules import TODAY, Rule
from study.results.scheduling.rungs import percentile
from study.search.space import build_space
from study.spec.spec_file import load_study
from study.training.stopping import EarlyStopping
from study.training.train_config import TrainConfig
from tests.results.scheduling.planted import planted
from tests.search.simulated_search import SEARCH, n_epochs, new_ledger, report
from tests.search.simulated_search import play as play_ledger


@pytest.mark.parametrize(
    "text",
    ["fifo", TODAY, "asha:grace=0.1,eta=4,patience=3", "pasha:cheap=10,tolerance=0.0005,finish=2"],
)
def test_a_rule_is_read_from_the_text_that_it_writes(text: str) -> None:
    assert str(Rule.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rule '': scheduler: must be one of fifo, asha, promote, pasha, but got ''. Write"),
        ("hyperband", "scheduler: must be one of"),
        ("asha:3", "with a key of grace, eta, patience, gain, collapse, cheap, tolerance, finish"),
        ("asha:rung=3", "but got 'rung=3'. Write for example asha"),
        ("asha:eta=", "but got 'eta='"),
        ("asha:eta=1", "rule 'asha:eta=1': eta: must lie in [1.1, 100], but got 1.0"),
        ("asha:grace=nan", "grace: must lie in [0.01, 1], but got nan"),
        ("asha:cheap=-1", "cheap: must be >= 0, but got -1"),
        ("pasha:tolerance=inf", "tolerance: must be finite and >= 0, but got inf"),
        ("pasha:finish=-1", "finish: must be >= 0, but got -1"),
        ("fifo:patience=0", "stop rule: patience: must be >= 1 or None, but got 0. Give for"),
        ("fifo:gain=-1", "stop rule: min_delta: must be >= 0, but got -1.0"),
        ("fifo:collapse=0", "stop rule: collapse_grace_share: must lie in (0, 1], but got 0.0"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        Rule.parse(text)


def test_the_rule_of_today_is_that_of_the_default_search() -> None:
    cell = load_study(Path("search_spaces/phase6a.yaml")).cell("2M", 3)
    train = next(iter(build_space(cell, n_features=25).configs())).train
    assert cell.search.scheduler == "asha"
    assert Rule.parse(TODAY) == Rule(
        scheduler="asha",
        grace_share=cell.search.grace_share,
        reduction_factor=cell.search.reduction_factor,
        patience=train.patience,
        min_delta=train.min_delta,
        collapse_grace_share=train.collapse_grace_share,
        n_cheap_first=0,
    )
    assert not cell.search.cheap_first


def test_the_percentile_of_a_rung_is_that_of_numpy() -> None:
    draw = np.random.default_rng(0)
    for _ in range(2000):
        values = draw.normal(size=draw.integers(1, 40)) * 10.0 ** draw.integers(-6, 6)
        share = (1 - 1 / draw.choice([2, 3, 4, draw.uniform(1.1, 6)])) * 100
        expected = float(np.percentile(values, share))
        assert percentile(sorted(values.tolist()), share / 100) == expected


def test_a_curve_ends_where_a_training_would_have_stopped() -> None:
    draw = np.random.default_rng(3)
    ends = set()
    for _ in range(300):
        losses = [math.inf if x > 0.99 else x for x in (0.5 + draw.normal(0, 0.02, 12)).tolist()]
        is_collapsed = tuple(sorted(draw.random(12) < 0.2, reverse=True))
        config = TrainConfig(
            learning_rate=1e-3, epochs=12, patience=int(draw.integers(1, 5)), min_delta=0.01
        )
        stopping, epoch = EarlyStopping(config), 0
        while (
            not epoch or stopping.reason(epoch, best_is_collapsed=is_collapsed[epoch - 1]) is None
        ):
            stopping.update(losses[epoch])
            epoch += 1
        rule = StopRule(
            patience=config.patience,
            min_delta=config.min_delta,
            collapse_grace_share=config.collapse_grace_share,
        )
        assert rule.applied(planted(losses, is_collapsed=is_collapsed)).last_epoch == epoch
        ends.add(epoch)
    assert len(ends) > 5


def test_a_replay_of_a_searchs_own_rule_trains_what_the_search_trained(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    play_ledger(ledger, random.Random(1), 1, {})
    curves = []
    for number in ledger.numbers:
        trial = ledger.assignment(number)
        of = n_epochs(trial)
        epochs = [report(trial, epoch, of=of) for epoch in range(1, of + 1)]
        n = next(n for n, each in enumerate(epochs, 1) if each.stop_reason is not None)
        curves.append(
            Curve.of(
                epochs[:n], number=number, group="50k", schedule=of, metric="log_loss",
                begin_seconds=0.0,
            )
        )  # fmt: skip
    rule = Rule(
        scheduler="asha", grace_share=SEARCH.grace_share, reduction_factor=SEARCH.reduction_factor
    )
    expected = tuple(record.epochs_trained for record in ledger.records)
    assert len(set(expected)) > 2
    # Nothing of this search ends a collapsed trial before its last epoch.
    assert rule.play(curves, slots=1).trained == expected
    whole = dataclasses.replace(rule, scheduler="fifo").play(curves, slots=1).trained
    assert whole == tuple(curve.last_epoch for curve in curves)


def test_the_start_of_a_worker_is_no_part_of_a_trials_begin() -> None:
    assert usual_begins([20.0, 21.0, 0.3, 0.1, 0.2], [True, True, False, False, False]) == [
        0.2, 0.2, 0.3, 0.1, 0.2,
    ]  # fmt: skip
    assert usual_begins([20.0], [True]) == [20.0]
