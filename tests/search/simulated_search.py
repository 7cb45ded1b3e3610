"""A search without Ray and without training: the reports of trials are made up."""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.cluster.resources import SearchResources, TrialResources
from study.results.epoch_report import EpochRecord
from study.results.journal import Journal
from study.results.records import TrialRecord
from study.search.assignment import Assignment
from study.search.beyond import Beyond
from study.search.forced import forced_configurations
from study.search.ledger import Ledger
from study.search.space import SearchSpace, build_space
from study.spec.search_config import SearchConfig
from study.spec.spec_file import load_study
from tests.results.reports import epoch_record, panel_best, panel_validation

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
CELL = load_study(SPACES / "smoke.yaml").cell("50k", 1)
SPACE: SearchSpace = build_space(CELL, n_features=25)
SEARCH = SearchConfig(
    trials=12, seed=3, startup_trials=3, grace_share=0.25, reduction_factor=2, forced="extremes6"
)
RANKED = dataclasses.replace(SEARCH, metric="rank_ic", trials=8)
"""A search whose trials are judged as those of a panel."""
EPOCHS = 4


def request(capacity: int, *, cpus: int = 1) -> TrialResources:
    """Return the resources of a trial of which ``capacity`` fit; with two CPUs it is exclusive."""
    return TrialResources(
        cpus=cpus, gpus=0.0, memory_bytes=2**30, share_bytes=2**29, exclusive=cpus > 1,
        capacity=capacity,
    )  # fmt: skip


MANY = SearchResources(by_budget={CELL.budget_label: request(100)}, n_nodes=1)
"""Resources of a cluster on which a hundred trials fit, more than any test runs at once."""


def new_ledger(folder: Path, search: SearchConfig = SEARCH) -> Ledger:
    folder.mkdir(exist_ok=True)
    return ledger_of(Journal.create(folder, "abcd", {"kind": "created", "time": 0.0}), search)


def ledger_of(
    journal: Journal, search: SearchConfig = SEARCH, beyond: Beyond | None = None
) -> Ledger:
    forced = forced_configurations(SPACE, search.forced)
    ledger = Ledger(
        journal, space=SPACE, forced=forced, search=search, granted_bytes={}, beyond=beyond
    )
    ledger.finish_due()
    ledger.look_beyond()
    return ledger


def reopened(folder: Path, search: SearchConfig = SEARCH) -> Ledger:
    return ledger_of(Journal.open(folder, witness=None), search)


def report(
    assignment: Assignment, epoch: int, *, of: int = EPOCHS, worker: dict[str, Any] | None = None
) -> EpochRecord:
    """Return a made-up report, which depends on the trial and the epoch alone.

    Args:
        assignment: the trial.
        epoch: number of the epoch, from 1.
        of: number of epochs of its schedule.
        worker: facts about its worker that differ from the usual ones.
    """
    draw = random.Random(assignment.number)
    level, slope = draw.uniform(0.4, 0.6), draw.uniform(0.0, 0.02)
    losses = [level - slope * e for e in range(1, epoch + 1)]
    is_last = epoch == of
    diverges = assignment.number % 7 == 5
    return epoch_record(
        epoch,
        loss=None if diverges else losses[-1],
        schedule_percent=100 * epoch // of,
        stop_reason="diverged" if diverges else "completed" if is_last else None,
        best_is_collapsed=assignment.number % 7 == 4,
        worker={"reported": float(epoch), **(worker or {})},
    )


def ranked_report(trial: Assignment, epoch: int, *, of: int, **_: Any) -> EpochRecord:
    """Return a made-up epoch: the first trial ranks best, and each epoch better."""
    rank_ics = [0.1 - 0.01 * trial.number + 0.001 * each for each in range(1, epoch + 1)]
    return epoch_record(
        epoch,
        schedule_percent=100 * epoch // of,
        stop_reason="completed" if epoch == of else None,
        validation=panel_validation(rank_ics[-1]),
        best=panel_best(rank_ics[-1], epoch=epoch),
        train_terms={"squared": 0.9, "rank": 0.95},
    )


def n_epochs(assignment: Assignment) -> int:
    """Return how many epochs a trial runs here: twice as many as its schedule has."""
    return 2 * assignment.config.train.epochs


def play(
    ledger: Ledger,
    order: random.Random,
    slots: int,
    saved: dict[int, int],
    make_report: Callable[..., EpochRecord] = report,
) -> None:
    """Advance running trials in random order.

    Args:
        ledger: the search.
        order: draws the trial that advances.
        slots: number of trials at once.
        saved: the last saved epoch by trial.
        make_report: makes the reports, as ``report`` does.
    """
    running: dict[int, Assignment] = {}
    while not ledger.is_complete:
        while len(running) < slots and (assignment := ledger.next()) is not None:
            assert assignment.number not in running
            running[assignment.number] = assignment
        number = order.choice(sorted(running))
        epoch = saved.get(number, 0)
        if (epoch and epoch == len(ledger.epochs(number))) or not epoch:
            epoch += 1
        # A checkpoint is written before its report, and its report is repeated after a restart.
        saved[number] = epoch
        assignment = running[number]
        if ledger.epoch(number, make_report(assignment, epoch, of=n_epochs(assignment))):
            del running[number]


def known(ledger: Ledger) -> dict[str, Any]:
    """Return everything of a ledger that must survive a restart."""
    return {
        "records": [untimed(record) for record in ledger.records],
        "rungs": ledger.rungs(),
        "history": ledger.history(),
        "assignments": [ledger.assignment(n) for n in ledger.numbers],
        "epochs": [ledger.epochs(n) for n in ledger.numbers],
    }


def untimed(record: TrialRecord) -> TrialRecord:
    return dataclasses.replace(record, started=0.0, ended=0.0)
