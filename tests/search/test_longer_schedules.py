"""A search whose trials are given longer schedules, without Ray and without training."""

import contextlib
import random
from pathlib import Path

import pytest

from study.results.journal import Journal
from study.search.ledger import Ledger
from tests.search.simulated_search import SPACE, known, ledger_of, new_ledger, play, reopened
from tests.search.test_ledger import Killed, Mortal

BEGUN = SPACE.epochs or 0
LONGER = 2 * BEGUN


def lengthened(folder: Path) -> tuple[Ledger, dict[int, int]]:
    """Return an ended search that has just been asked for longer schedules, and saved epochs."""
    saved = dict[int, int]()
    ledger = new_ledger(folder)
    play(ledger, random.Random(0), 1, saved)
    ledger.lengthen(LONGER)
    return ledger, saved


def test_what_ran_to_its_end_goes_on_and_what_was_stopped_stays_as_it_is(tmp_path: Path) -> None:
    before = new_ledger(tmp_path / "before")
    play(before, random.Random(0), 1, {})
    completed = [r.number for r in before.records if r.reason == "completed"]
    assert completed
    ledger, saved = lengthened(tmp_path / "cell")
    assert ledger.reopened() == completed
    assert not ledger.is_complete
    play(ledger, random.Random(0), 1, saved)
    assert ledger.reopened() == []
    for record, earlier in zip(ledger.records, before.records, strict=True):
        goes_on = record.number in completed
        assert record.epochs_trained == earlier.epochs_trained * (2 if goes_on else 1)
        assert record.params == {**earlier.params, "epochs": LONGER if goes_on else BEGUN}
        assert record.reason == earlier.reason
        assert record.trial_id == earlier.trial_id
    # What ASHA has decided stays decided.
    assert ledger.rungs() == before.rungs()


def test_the_sampler_knows_the_new_end_of_a_trial_and_not_the_old_one_too(tmp_path: Path) -> None:
    ledger, saved = lengthened(tmp_path / "cell")
    assert [state for state, *_ in ledger.history()].count("RUNNING") == len(ledger.reopened())
    play(ledger, random.Random(0), 1, saved)
    told = {value for state, _, value, _ in ledger.history() if state == "COMPLETE"}
    assert told == {r.objective for r in ledger.records if r.reason == "completed"}


def test_new_trials_have_the_longer_schedule_and_no_configuration_of_an_old_one(
    tmp_path: Path,
) -> None:
    ledger, saved = lengthened(tmp_path / "cell")
    ledger.extend(20)
    play(ledger, random.Random(0), 1, saved)
    assignments = [ledger.assignment(number) for number in ledger.numbers]
    assert {a.config.train.epochs for a in assignments[12:]} == {LONGER}
    assert len({a.config.with_epochs(LONGER) for a in assignments}) == 20


@pytest.mark.slow
@pytest.mark.parametrize("life", [0, 1, 2, 5, 9, 14])
def test_a_search_killed_after_it_was_lengthened_is_the_one_that_was_not(
    tmp_path: Path, life: int
) -> None:
    ledger, saved = lengthened(tmp_path / "undisturbed")
    play(ledger, random.Random(0), 1, saved)
    folder = tmp_path / "killed"
    _, saved = lengthened(folder)
    journal = Mortal.open(folder, witness=None)
    assert isinstance(journal, Mortal)
    journal.lives = life
    with contextlib.suppress(Killed):
        play(ledger_of(journal), random.Random(0), 1, saved)
    again = reopened(folder)
    play(again, random.Random(0), 1, saved)
    assert known(again) == known(ledger)
    assert known(reopened(folder)) == known(ledger)
    latest = Journal.open(folder, witness=None).latest("lengthened")
    assert latest is not None
    assert latest["epochs"] == LONGER


def test_a_trial_that_still_runs_gets_the_longer_schedule_too(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    assignment = ledger.next()
    assert assignment is not None
    ledger.interrupt()
    ledger.lengthen(LONGER)
    again = ledger.next()
    assert again is not None
    assert (again.number, again.config.train.epochs) == (assignment.number, LONGER)
    assert ledger.reopened() == []
