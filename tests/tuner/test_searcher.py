"""The searcher hands out the trials of the ledger, without a cluster."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from study.cluster.resources import SearchResources
from study.interruptions import Stop
from study.results.journal import Journal
from study.search.assignment import Assignment
from study.search.forced import Forced
from study.search.ledger import Ledger
from study.search.space import SearchSpace, build_space
from study.spec.dimension import Fixed
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.tuner.searcher import LedgerSearcher
from study.tuner.slot_limit import Slots
from tests.results.conftest import full_disk
from tests.search.simulated_search import (
    EPOCHS,
    SPACE,
    SPACES,
    new_ledger,
    reopened,
    request,
)
from tests.tuner.ledger_run import TWO, Run, run_of


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(tmp_path / "cell", new_ledger(tmp_path / "cell", TWO))


def test_trials_are_handed_out_until_every_one_has_ended(run: Run) -> None:
    first, second = run.trial(), run.trial()
    assert [t.config["number"] for t in (first, second)] == [0, 1]
    # None, not FINISHED: a trial that is interrupted now would be handed out again.
    assert run.searcher.suggest("id") is None
    for trial in (first, second):
        assert run.searcher.suggest("id") is None
        decisions = [run.epoch(trial, epoch) for epoch in range(1, EPOCHS + 1)]
        assert decisions == [TrialScheduler.CONTINUE] * (EPOCHS - 1) + [TrialScheduler.STOP]
    assert run.searcher.suggest("id") == Searcher.FINISHED
    assert [record.reason for record in run.ledger.records] == ["completed", "completed"]
    assert not run.stop.is_requested


def test_a_sweep_may_change_how_many_trials_are_at_work(run: Run) -> None:
    slots = run.folder / "slots"
    slots.write_text("1")
    run.trial("first")
    assert run.searcher.suggest("second") is None
    assert run.searcher.has_none
    slots.write_text("2")
    run.trial("second")
    assert not run.searcher.has_none
    # Running trials are left alone; a slot that was withdrawn stays empty once its trial ends.
    slots.write_text("1")
    run.searcher.on_trial_complete("first")
    assert run.searcher.suggest("third") is None


SHARED = SearchResources(
    by_budget={"2M": request(4), "20M": request(2), "200M": request(1, cpus=2)}, n_nodes=1
)


def across(folder: Path, *budgets: str) -> LedgerSearcher:
    """Return a searcher that hands out one trial of each of these budgets, in order."""
    cell = load_study(SPACES / "two_phase.yaml").cell_of_all(
        None, None, Overrides(search={"trials": len(budgets), "forced": "none"})
    )
    space = build_space(cell, n_features=25)
    shapes = {shape.budget: shape for shape in space.shapes}
    forced = [Forced(name=b, config=space.forced(shapes[b])) for b in budgets]
    folder.mkdir()
    ledger = Ledger(
        Journal.create(folder, "abcd", {"kind": "created", "time": 0.0}),
        space=space, forced=forced, search=cell.search, granted_bytes={}, may_repeat=True,
    )  # fmt: skip
    return LedgerSearcher(ledger, Stop(folder / "stop"), Slots(None, most=4), SHARED)


def test_a_large_trial_waits_for_its_room_and_none_overtakes_it(tmp_path: Path) -> None:
    searcher = across(tmp_path / "cell", "2M", "2M", "200M", "2M", "2M")

    def asked() -> list[str]:
        before = searcher.budgets_at_work
        for _ in range(4):
            # Ray asks repeatedly.
            searcher.suggest(f"trial {len(searcher.budgets_at_work)} after {before}")
        return searcher.budgets_at_work[len(before) :]

    assert isinstance(searcher.suggest("a"), dict)
    searcher.has_begun("a")
    # Small trials may start together; the large one is handed out while a small one would fit.
    assert isinstance(searcher.suggest("b"), dict)
    assert isinstance(searcher.suggest("large"), dict)
    assert asked() == []
    searcher.has_begun("b")
    searcher.on_trial_complete("a")
    assert asked() == []
    searcher.on_trial_complete("b")
    # Its resources are free, but it has not begun: another trial might take them.
    assert asked() == []
    searcher.has_begun("large")
    assert asked() == []
    searcher.on_trial_complete("large")
    assert asked() == ["2M", "2M"]


def test_trials_of_several_budgets_run_side_by_side_as_far_as_their_shares_go(
    tmp_path: Path,
) -> None:
    searcher = across(tmp_path / "cell", "2M", "20M", "2M", "2M")
    for name in "ab":
        assert isinstance(searcher.suggest(name), dict)
    # A quarter is free, but the larger trial has not received its half yet.
    assert searcher.suggest("c") is None
    searcher.has_begun("b")
    assert isinstance(searcher.suggest("c"), dict)
    # Three trials take a quarter, a half and a quarter.
    assert searcher.suggest("d") is None
    # No trial can start, but no other cell waits for the workers either.
    assert not searcher.has_none
    searcher.on_trial_complete("a")
    assert isinstance(searcher.suggest("d"), dict)


def test_an_interrupted_trial_is_handed_out_again(run: Run) -> None:
    first, _ = run.trial(), run.trial()
    run.epoch(first, 1)
    assert run.ledger.fault(0, "memory", "out of it", micro_batch=64)
    again = run.trial()
    assert again.config == {**first.config, "micro_batch_limit": 32}
    assert Assignment.from_flat(again.config) == run.ledger.assignment(0)


@pytest.mark.parametrize("is_asked_meanwhile", [False, True])
def test_an_exhausted_space_ends_the_search(tmp_path: Path, is_asked_meanwhile: bool) -> None:
    def fixed(dimensions: Any) -> dict[str, Fixed]:
        return {name: Fixed(each.values[0]) for name, each in dimensions.items()}

    single: SearchSpace = dataclasses.replace(
        SPACE, shapes=SPACE.shapes[:1], model=fixed(SPACE.model), train=fixed(SPACE.train)
    )
    folder = tmp_path / "cell"
    folder.mkdir()
    journal = Journal.create(folder, "abcd", {"kind": "created", "time": 0.0})
    ledger = Ledger(journal, space=single, forced=(), search=TWO, granted_bytes={})
    run = run_of(folder, ledger)
    trial = run.trial()
    if is_asked_meanwhile:
        assert run.searcher.suggest("id") is None
    for epoch in range(1, EPOCHS + 1):
        run.epoch(trial, epoch)
    assert run.searcher.suggest("id") == Searcher.FINISHED


def test_a_trial_that_cannot_be_written_down_is_not_handed_out(run: Run) -> None:
    with full_disk(run.journal_bytes + 10):
        assert run.searcher.suggest("id") == Searcher.FINISHED
    assert run.stop.is_fault
    assert run.stop.reason is not None
    assert "the records must be written, but got File too large" in run.stop.reason
    assert run.ledger.numbers == []
    assert reopened(run.folder, TWO).numbers == []


def test_nothing_of_a_search_is_left_to_the_snapshots_of_ray(run: Run, tmp_path: Path) -> None:
    run.trial()
    run.searcher.save(str(tmp_path / "state"))
    assert (tmp_path / "state").read_bytes() == b""
