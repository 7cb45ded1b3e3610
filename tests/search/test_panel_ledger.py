"""The ledger of a search on a panel: RankIC decides, and the process may die at any event."""

import random
from pathlib import Path

from study.results.journal import Journal
from study.search.asked_trial import collapse_message
from tests.results.reports import epoch_record, panel_best, panel_validation
from tests.search.simulated_search import (
    RANKED,
    known,
    ledger_of,
    new_ledger,
    play,
    ranked_report,
    reopened,
)


def test_a_search_on_a_panel_killed_at_any_event_is_the_search_that_was_not(
    tmp_path: Path,
) -> None:
    ledger = new_ledger(tmp_path / "whole", RANKED)
    play(ledger, random.Random(0), 1, {}, ranked_report)
    undisturbed = known(ledger)
    reasons = {record.reason for record in ledger.records}
    assert reasons == {"completed", "asha"}
    best = ledger.best
    assert best is not None
    assert best.number == 0
    # The journal's lines up to each event are what a kill after it leaves.
    lines = (tmp_path / "whole" / "journal.jsonl").read_text().splitlines(keepends=True)
    for n_lines in range(1, len(lines), 3):
        folder = tmp_path / f"killed_{n_lines}"
        new_ledger(folder, RANKED)
        for name in ("journal.jsonl", "journal.copy.jsonl"):
            (folder / name).write_text("".join(lines[:n_lines]))
        again = ledger_of(Journal.open(folder, witness=None), RANKED)
        saved = {number: len(again.epochs(number)) for number in again.numbers}
        play(again, random.Random(0), 1, saved, ranked_report)
        assert known(again) == undisturbed
        assert known(reopened(folder, RANKED)) == undisturbed


def test_a_collapsed_trial_of_a_panel_says_how_little_its_scores_vary() -> None:
    last = epoch_record(
        2, validation=panel_validation(0.0, spread=0.5), best=panel_best(0.0, spread=0.00042)
    )
    assert collapse_message(last) == (
        "gives all assets of a day next to the same score: scores that vary by 0.00042 of the "
        "target across a day at its best epoch"
    )
