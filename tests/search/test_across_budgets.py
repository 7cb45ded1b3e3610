"""The decisions of a search across budgets: which trials compete, by which score, and its end."""

import random
from pathlib import Path
from typing import Any

import pytest

from study.results.epoch_report import EpochRecord
from study.results.journal import Journal
from study.results.scores import BestEpoch
from study.search.assignment import Assignment
from study.search.forced import first_configurations
from study.search.ledger import Ledger
from study.search.space import SearchSpace, build_space
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from tests.results.reports import best_epoch, epoch_record
from tests.search.simulated_search import untimed

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
STUDY = load_study(SPACES / "two_phase.yaml")
EPOCHS = 4
WORSE = {"2M": 0.0, "20M": 0.2}
"""Nats by which every model of a budget is worse, more than two models of one budget differ."""


def cell_of(**search: Any) -> Cell:
    return STUDY.cell_of_all(
        list(WORSE), None, Overrides(search={"trials": 40, "early_stop_patience": None, **search})
    )


def ledger_of(cell: Cell, journal: Journal) -> Ledger:
    space: SearchSpace = build_space(cell, n_features=25)
    return Ledger(
        journal, space=space, forced=first_configurations(space, cell), search=cell.search,
        granted_bytes={}, phase=cell.phase,
    )  # fmt: skip


def new_ledger(cell: Cell, folder: Path) -> Ledger:
    folder.mkdir()
    return ledger_of(cell, Journal.create(folder, "abcd", {"kind": "created", "time": 0.0}))


def report(trial: Assignment, epoch: int) -> EpochRecord:
    """Return an epoch in which log-loss and AUC disagree about which trial is the better one."""
    level = random.Random(trial.number).uniform(0.0, 0.1)
    return epoch_record(
        epoch,
        schedule_percent=100 * epoch // EPOCHS,
        stop_reason="completed" if epoch == EPOCHS else None,
        best=best_epoch(0.4 + WORSE[trial.config.budget] + level, auc=0.7 + level),
    )


def play(ledger: Ledger) -> None:
    while (trial := ledger.next()) is not None:
        epoch = 1
        while not ledger.epoch(trial.number, report(trial, epoch)):
            epoch += 1


def test_models_of_different_budgets_never_compete(tmp_path: Path) -> None:
    ledger = new_ledger(cell_of(), tmp_path / "cell")
    play(ledger)
    budgets = {record.number: record.budget for record in ledger.records}
    rungs = ledger.rungs()
    assert set(rungs) == set(WORSE)
    for budget, milestones in rungs.items():
        assert any(recorded for _, recorded in milestones)
        for _, recorded in milestones:
            assert {budgets[number] for number in recorded} <= {budget}
    # If budgets competed, trials of the worse one would hardly ever pass a rung.
    ends = [record.reason for record in ledger.records if record.budget == "20M"]
    assert ends.count("completed") >= 3
    assert ends.count("asha") >= 3


@pytest.mark.parametrize("metric", ["log_loss", "auc"])
def test_the_metric_decides_who_is_best_and_what_the_sampler_learns(
    metric: str, tmp_path: Path
) -> None:
    ledger = new_ledger(cell_of(metric=metric, scheduler="fifo", trials=16), tmp_path / "cell")
    play(ledger)
    records = ledger.records
    best = ledger.best
    assert best is not None
    assert isinstance(best.best, BestEpoch)
    auc = best.best.auc
    assert auc is not None
    if metric == "auc":
        assert auc == max(r.best.auc or 0.0 for r in records if isinstance(r.best, BestEpoch))
        assert (best.objective, best.objective_se) == (1 - auc, 0.03)
    else:
        assert best.value == min(r.value for r in records if r.value is not None)
        assert (best.objective, best.objective_se) == (best.value, 0.02)
    assert [value for _, _, value, _ in ledger.history()] == [r.objective for r in records]


def test_a_search_that_has_converged_asks_for_no_more_also_after_a_restart(tmp_path: Path) -> None:
    # The five best of 14 trials lie within .05, but not within a tenth of .02.
    rule = {"scheduler": "fifo", "early_stop_patience": 14}
    never = new_ledger(cell_of(**rule, trials=20), tmp_path / "never")
    play(never)
    assert (len(never.records), never.converged) == (20, None)
    cell = cell_of(**rule, early_stop_threshold=0.05)
    ledger = new_ledger(cell, tmp_path / "cell")
    play(ledger)
    assert ledger.is_complete
    assert (len(ledger.records), ledger.converged) == (14, "the five best lie within 0.05")
    again = ledger_of(cell, Journal.open(tmp_path / "cell", witness=None))
    assert again.is_complete
    assert again.next() is None
    assert again.converged == ledger.converged
    assert [untimed(r) for r in again.records] == [untimed(r) for r in ledger.records]


def test_records_say_phase_group_and_name(tmp_path: Path) -> None:
    ledger = new_ledger(cell_of(trials=14, scheduler="fifo"), tmp_path / "cell")
    play(ledger)
    named = [(r.phase, r.group, r.name) for r in ledger.records]
    assert named[1] == (1, "architecture", "2M_deep")
    assert named[6] == (1, "dropout", "dropout_0.7")
    assert named[12:] == [(1, None, None)] * 2
