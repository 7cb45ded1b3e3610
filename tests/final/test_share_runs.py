"""Shares of the training days on which a winner can be trained, and those that are refused."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from study.data.data_share import DataShare
from study.errors import StudyError
from study.final.candidates import Candidate
from study.final.outcomes import FinalSettings
from study.final.searched_cell import SearchedCell
from study.final.share_runs import require_trainable, share_plan, shares_left
from study.results.finals.final_records import RunRecord, ShareRecord, write_share
from tests.final.test_walk_forward import N_FOLDS, cell, folds, searched, small
from tests.results.conftest import record

TRIAL = record(7, params=small().flat())


def of_share(part: float) -> DataShare:
    return DataShare(share=part, choice="recent", seed=42)


def share_record(**changes: Any) -> ShareRecord:
    found = ShareRecord(
        cell="demo", share=0.25, choice="recent", seed=42, winner=7, n_train=[500],
        runs=[RunRecord.of(record(0), fold=0)], commit="0123456789ab",
    )  # fmt: skip
    return dataclasses.replace(found, **changes)


def test_a_share_of_less_than_a_batch_is_refused_with_its_fold_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    search = searched(tmp_path)
    batch = small().train.effective_batch
    fewest = min(search.data.fold_train_rows)
    require_trainable(search, [of_share((batch + 1) / fewest)], [TRIAL], tmp_path)
    with pytest.raises(StudyError) as refused:
        require_trainable(search, [of_share(0.5), of_share(0.05)], [TRIAL], tmp_path)
    n_samples = round(0.05 * search.data.fold_train_rows[0])
    assert str(refused.value) == (
        f"{search.finalist.name}: --data-shares 0.05: must leave at least a batch of {batch} "
        f"training samples, but got {n_samples} before fold 1. Give a larger share."
    )


def test_a_share_with_one_answer_alone_is_refused(tmp_path: Path) -> None:
    search = with_threshold(searched(tmp_path), 12.0)
    with pytest.raises(StudyError, match=r"--data-shares 0\.5: must leave .* both answers, but"):
        require_trainable(search, [of_share(0.5)], [TRIAL], tmp_path)


def with_threshold(search: SearchedCell, percent: float) -> SearchedCell:
    """Return a search of rises that no day of the share sees."""
    own = dataclasses.replace(cell().data, task=f"threshold_{percent:g}pct")
    finalist = dataclasses.replace(search.finalist, cell=dataclasses.replace(cell(), data=own))
    return dataclasses.replace(search, finalist=finalist)


def test_a_winner_is_trained_on_the_same_share_before_every_fold(tmp_path: Path) -> None:
    best = Candidate(trial=TRIAL, again=(), n_asked=0)
    plan = share_plan(searched(tmp_path), best, of_share(0.5), tmp_path)
    assert len(plan.folds) == N_FOLDS
    assert [len(data.train_days) for data in plan.folds] == [
        round(0.5 * len(data.train_days)) for data in folds()
    ]
    assert plan.configuration.config == small()


def test_shares_that_have_ended_are_not_trained_again(tmp_path: Path) -> None:
    write_share(tmp_path, share_record())
    assert shares_left(tmp_path, [of_share(0.25), of_share(0.5)]) == [of_share(0.5)]
    write_share(tmp_path, share_record(n_train=[]))
    with pytest.raises(StudyError, match=r"share\.json: must be the record of recent_0\.25"):
        shares_left(tmp_path, [of_share(0.25)])


def test_budgets_of_a_search_have_the_same_blocks_and_searches_others() -> None:
    settings = FinalSettings(
        results=Path(), n_candidates=1, n_selection_seeds=1, n_seeds=1, with_validation=False,
        may_differ=False, data_shares=(0.25,), data_choice="blocks",
    )  # fmt: skip
    first, second = (settings.shares_of(cell().of_search(number)) for number in (1, 2))
    assert first == [DataShare(share=0.25, choice="blocks", seed=cell().search.seed)]
    assert first != second
