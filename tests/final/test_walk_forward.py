"""The winner trained again before every fold of test days, and what is kept of its answers."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from study.data.data_config import DataConfig, Normalization
from study.data.dataset import Dataset, build_dataset
from study.data.holdout import open_holdout
from study.data.sources import load_prices
from study.final.answers.baseline_predictions import BASELINES
from study.final.answers.holdout_predictions import predict_holdout
from study.final.candidates import Candidate
from study.final.cell_record import _fold_record
from study.final.finalists import Finalist
from study.final.run_plan import RunPlan, plan_runs
from study.final.searched_cell import SearchedCell
from study.model.model_config import ModelConfig
from study.results.finals.final_records import FinalRecord, RunRecord
from study.results.records import StopReason, TrialRecord
from study.search.forced import Forced
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from study.storage.layout import CHECKPOINTS_FOLDER
from study.training.checkpoint import CheckpointFolder
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer
from study.training.windows import TrainingData
from tests.analysis.records import final_record
from tests.results.conftest import record
from tests.tuner.command import SPACES

CONFIG = DataConfig(
    horizon=3, splits="walk_forward", first_test_day="2008-01-02", fold_days=900,
    validation_days=520,
)  # fmt: skip
N_FOLDS = 3


@functools.cache
def folds() -> tuple[Dataset, ...]:
    return tuple(build_dataset(CONFIG, fold=fold) for fold in range(N_FOLDS))


def test_nothing_of_a_fold_depends_on_its_test_days() -> None:
    prices = load_prices("sp500")
    for fold in range(N_FOLDS):
        data = build_dataset(CONFIG, prices, fold=fold)
        first = data.splits["test"].first_day
        assert data.dates[-1] < np.datetime64(first)
        # Another future, from the first test day on: closes twice as high, in order.
        bars = prices.frame.copy()
        bars.loc[first:, ["Open", "High", "Low", "Close"]] *= 2.0
        other = build_dataset(CONFIG, dataclasses.replace(prices, frame=bars), fold=fold)
        for name in ("features", "labels", "auxiliary", "train_days", "validation_days"):
            np.testing.assert_array_equal(getattr(data, name), getattr(other, name))
        assert (data.scaler, data.base_rate) == (other.scaler, other.base_rate)


def test_a_search_sees_what_the_first_fold_sees_and_the_plan_knows_of_all() -> None:
    search, first = build_dataset(CONFIG), build_dataset(CONFIG, fold=0)
    np.testing.assert_array_equal(search.features, first.features)
    np.testing.assert_array_equal(search.labels, first.labels)
    assert search.fold_train_rows == tuple(len(each.train_days) for each in folds())
    assert search.splits["test"].rows == sum(each.splits["test"].rows for each in folds())


def test_a_window_slides_instead_of_growing() -> None:
    sliding = dataclasses.replace(CONFIG, window_days=1500)
    assert len(set(build_dataset(sliding).fold_train_rows)) == 1
    growing = build_dataset(CONFIG).fold_train_rows
    assert list(growing) == sorted(set(growing))


def small() -> TrialConfig:
    model = ModelConfig(
        n_features=25, d_model=16, n_layers=1, n_heads=2, context_length=60, patch_length=10,
        patch_stride=25,
    )  # fmt: skip
    return TrialConfig(budget="50k", model=model, train=TrainConfig(epochs=4, learning_rate=1e-3))


def cell() -> Cell:
    own = load_study(SPACES / "smoke.yaml").cell("50k", 3)
    return dataclasses.replace(own, data=CONFIG)


def searched(here: Path) -> SearchedCell:
    own = cell()
    data = build_dataset(CONFIG)
    return SearchedCell(
        finalist=Finalist(cell=own, budget=own.budget, ranges={}),
        folder=here,
        described={},
        records=[],
        end={"asked": 1, "ended": 1, "reasons": {}, "is_complete": True},
        data=data,
        space=space(data),
        differences=[],
    )


def space(data: Dataset) -> SearchSpace:
    return build_space(cell(), n_features=len(data.feature_names))


def plan(search: SearchedCell, *, with_validation: bool = False) -> RunPlan:
    best = record(7, params=small().flat())
    candidate = Candidate(trial=best, again=(record(0), record(1)), n_asked=2)
    return plan_runs(search, candidate, folds(), with_validation=with_validation)


def trained(here: Path, numbers: Sequence[int]) -> list[TrialRecord]:
    """Train runs for an epoch, each on the days of its own fold, and return their records."""
    runs, data = [], [TrainingData.of(each) for each in folds()]
    for number in numbers:
        run = record(number, params=small().flat())
        trainer = Trainer(
            model=small().model, train=small().train, data=data[number % N_FOLDS],
            device=torch.device("cpu"), micro_batch=256, seed=run.seed, bf16=False,
        )  # fmt: skip
        trainer.run_epoch()
        (here / run.folder).mkdir()
        CheckpointFolder(here / run.folder / CHECKPOINTS_FOLDER).save(trainer.state_dict())
        runs.append(run)
    return runs


def test_runs_keep_their_numbers_when_seeds_are_added(tmp_path: Path) -> None:
    runs = plan(searched(tmp_path))
    given = runs.given(3)
    assert [each.name for each in given[:4]] == [
        "trial 7, fold 1 of 3", "trial 7, fold 2 of 3", "trial 7, fold 3 of 3",
        "trial 7, fold 1 of 3",
    ]  # fmt: skip
    assert runs.given(2) == given[:6]
    assert [runs.fold_of(number) for number in range(6)] == [0, 1, 2] * 2
    one = dataclasses.replace(runs, folds=runs.folds[:1])
    assert one.given(2) == [Forced(name="trial 7", config=small())] * 2


def test_a_run_of_the_latest_fold_is_exported(tmp_path: Path) -> None:
    runs = [record(n, value=v) for n, v in ((0, 0.1), (2, 0.6), (3, 0.2), (5, 0.5))]
    search = searched(tmp_path)
    assert plan(search).best(runs).number == 5
    assert plan(search).best(runs[:1]).number == 0
    assert plan(search, with_validation=True).best(runs).number == 2


def test_a_seed_is_whole_if_it_answers_for_every_fold() -> None:
    def of(*reasons: StopReason) -> FinalRecord:
        runs = [
            RunRecord.of(record(n, reason=reason), fold=n % 2) for n, reason in enumerate(reasons)
        ]
        return final_record("x", 1, 1, runs=runs, folds=[_fold_record(folds()[0], CONFIG)] * 2)

    assert of("completed", "early_stopping", "completed", "collapsed").n_whole_seeds == 2
    assert of("completed", "diverged", "error", "completed").n_whole_seeds == 0
    assert not of("completed", "diverged", "error", "completed").is_usable


def test_a_fold_names_the_days_that_a_refit_has_learnt_from(tmp_path: Path) -> None:
    plain, again = plan(searched(tmp_path)), plan(searched(tmp_path), with_validation=True)
    for one, two in zip(plain.folds, again.folds, strict=True):
        before, after = _fold_record(one, CONFIG), _fold_record(two, CONFIG)
        assert after.n_train == before.n_train + before.n_validation
        assert before.last_train_day < after.last_train_day < after.first_test_day
        assert isinstance(two, Dataset)
        assert after.base_rate == two.base_rate
        assert after.train_positives is not None
        assert after.train_positives / after.n_train == pytest.approx(two.base_rate)


def test_a_fold_names_its_days_its_positives_and_the_input_that_moved_most() -> None:
    for number, data in enumerate(folds()):
        found, validation = _fold_record(data, CONFIG), data.splits["validation"]
        assert found.train_positives == data.splits["train"].positives
        assert found.validation_positives == data.labels[data.validation_days].sum()
        held = open_holdout(CONFIG, data, fold=number)
        assert found.test_positives == held.labels[held.test_days].sum()
        assert (found.first_validation_day, found.last_validation_day) == (
            str(data.dates[data.validation_days[0]]), str(data.dates[data.validation_days[-1]])
        )  # fmt: skip
        assert validation.rows == found.n_validation
        assert found.largest_shift_input is not None
        assert found.largest_shift == data.shift[found.largest_shift_input]
        assert abs(found.largest_shift) == max(map(abs, data.shift.values()))


@pytest.mark.parametrize(("normalization", "drifts"), [("relative", True), ("revin", False)])
def test_a_fold_drifts_where_a_search_would_be_refused(
    normalization: Normalization, drifts: bool
) -> None:
    moved = dataclasses.replace(folds()[0], shift={"a": 0.1, "b": -0.3})
    config = dataclasses.replace(CONFIG, normalization=normalization, max_shift=0.2)
    found = _fold_record(moved, config)
    assert (found.largest_shift, found.largest_shift_input) == (-0.3, "b")
    assert found.drifts is drifts
    assert not _fold_record(moved, dataclasses.replace(config, max_shift=0.3)).drifts


def test_a_window_bounds_what_garch_is_fitted_on(tmp_path: Path) -> None:
    prices = load_prices("sp500")
    config = dataclasses.replace(CONFIG, window_days=1500)
    data = build_dataset(config, prices, fold=1)
    first = int(open_holdout(config, data, prices, fold=1).bars[data.train_days[0]])
    bars = prices.frame.copy()
    columns = ["Open", "High", "Low", "Close"]
    # Another scale before the window changes one return before it, and none in it.
    scale = np.where(np.arange(len(bars)) < first - 200, 3.0, 1.0)
    bars[columns] = bars[columns].mul(scale, axis=0)
    other = dataclasses.replace(prices, frame=bars)
    answers = []
    for each in (prices, other):
        own = build_dataset(config, each, fold=1)
        held = open_holdout(config, own, each, fold=1)
        answers.append(BASELINES["GJR-GARCH"](config, held)[held.test_days])
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-6)


@pytest.mark.slow
def test_every_test_day_has_an_answer_of_its_own_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in BASELINES if each not in ("constant", "trailing prior")]:
        monkeypatch.delitem(BASELINES, name)
    search = searched(tmp_path)
    runs = trained(tmp_path, (0, 1, 2, 3, 5))
    answers = predict_holdout(search, plan(search), runs, tmp_path, tmp_path)
    table = answers.table
    # The second seed has no run of the second fold.
    assert set(table["seed"].dropna()) == {runs[0].seed}
    own = table[(table["model"] == "patchtst") & (table["part"] == "test")]
    assert isinstance(search.data, Dataset)
    opened = open_holdout(CONFIG, search.data)
    np.testing.assert_array_equal(
        own["date"].to_numpy().astype("datetime64[D]"), opened.dates[opened.test_days]
    )
    np.testing.assert_array_equal(own["y"], opened.labels[opened.test_days])
    parts = [answers.of_runs[runs[number].trial_id] for number in range(N_FOLDS)]
    expected = pd.concat([part[part["part"] == "test"] for part in parts])
    np.testing.assert_array_equal(own["p"], expected["p"])
    assert set(answers.of_runs) == {run.trial_id for run in runs}
    _check_baselines(table, search.data)


def _check_baselines(table: pd.DataFrame, data: Dataset) -> None:
    """Check that a baseline is fitted before each fold, and by the search's days for validation."""
    constant = table[table["model"] == "constant"]
    by_day = constant[constant["part"] == "test"].set_index("date")["p"]
    for fold in folds():
        test = fold.splits["test"]
        assert by_day.loc[test.first_day : test.last_day].to_numpy() == pytest.approx(
            fold.base_rate
        )
    validation = constant[constant["part"] == "validation"]
    assert len(validation) == len(data.validation_days)
    assert validation["p"].to_numpy() == pytest.approx(data.base_rate)


@pytest.mark.slow
def test_after_a_refit_baselines_have_not_seen_the_validation_days_that_judge_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in BASELINES if each != "constant"]:
        monkeypatch.delitem(BASELINES, name)
    search = searched(tmp_path)
    again = plan(search, with_validation=True)
    assert isinstance(search.data, Dataset)
    table = predict_holdout(search, again, trained(tmp_path, (0, 1, 2)), tmp_path, tmp_path).table
    parts = {name: part for name, part in table.groupby("part")}
    assert set(parts["validation"]["model"]) == {"constant"}
    assert parts["validation"]["p"].to_numpy() == pytest.approx(search.data.base_rate)
    constant = parts["test"][parts["test"]["model"] == "constant"]
    first = again.folds[0]
    assert isinstance(first, Dataset)
    assert constant["p"].iloc[0] == pytest.approx(first.base_rate)
    assert first.base_rate != pytest.approx(search.data.base_rate)
