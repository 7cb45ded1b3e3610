"""A search on a panel, killed and resumed: what it leaves, and what the commands say of it."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import tune
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import study.plan
import study.status
import study.tune
from study.cluster.runtime import cluster
from study.planning.cell_series import build_data, sample_shape
from study.planning.simple_models import samples_of, simple_models
from study.results.epoch_report import EpochRecord
from study.results.journal import Journal
from study.results.records import TrialRecord, best_trial
from study.results.scores import PanelBest
from study.results.store import read_trials
from study.search.forced import first_configurations
from study.search.ledger import Ledger
from study.search.space import build_space
from study.spec.spec_file import load_study
from study.training.device import supports_bf16
from study.training.trainer import Trainer
from study.tuner.trainable import CellTrainable
from tests.preloaded import Command
from tests.results.reports import epoch_record
from tests.tuner.command import left_over, processes, wait_until
from tests.tuner.in_process import MARKS, ray_environment
from tests.tuner.tiny_panel import CELL, CELL_OF_FOLDS, FLAGS, write_tiny_panel

EPOCHS = 3
TRIALS = 3

pytestmark = MARKS

_COMPARED = (
    "number", "source", "seed", "params", "state", "reason", "best", "objective", "objective_se",
    "epochs_trained",
)  # fmt: skip
"""Attributes of a record on which neither the machine nor the time has an influence."""


@dataclass(frozen=True)
class Left:
    """A results folder with the search, and what the commands have printed of it."""

    here: Path
    n_before: int
    """Number of trials that had ended when the search was killed."""
    resumed: str
    planned: str
    of_folds: str
    status: str

    @property
    def folder(self) -> Path:
        return self.here / "ray_results" / CELL

    @property
    def records(self) -> list[TrialRecord]:
        return read_trials(self.folder)

    @property
    def best(self) -> tuple[TrialRecord, PanelBest]:
        best = best_trial(self.records)
        assert best is not None
        assert isinstance(best.best, PanelBest)
        return best, best.best


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Add in the order of a worker, which has one CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """Search, kill it, resume it, plan a second search, and search on folds: two starts of Ray."""
    here = tmp_path_factory.mktemp("panel")
    write_tiny_panel(here, epochs=EPOCHS, trials=TRIALS)
    begin_and_kill(here)
    n_before = len(read_trials(here / "ray_results" / CELL))
    few = ["--trials", "1", "--max-epochs", "1"]
    of_folds = [*FLAGS, *few, "--search-splits", "purged_k_fold", "--estimate", "estimate.json"]
    with contextlib.chdir(here):
        with ray_environment(), cluster(None, use_accelerators=False):
            resumed = said(study.tune.main, [*FLAGS, "--resume"])
            planned = said(study.plan.main, [*FLAGS[:2], "--searches", "2"])
            folded = said(study.tune.main, of_folds)
        status = said(study.status.main, [])
    return Left(here, n_before, resumed, planned, folded, status)


def begin_and_kill(here: Path) -> None:
    """Begin the search, and kill all its processes after the first epoch of the second trial."""
    environment = {**os.environ, "HOME": str(here)}
    process = Command(
        "study.tune", [*FLAGS, "--estimate", "estimate.json"], cwd=here, env=environment
    )
    folder = here / "ray_results" / CELL

    def has_reported() -> bool:
        return any(path.stat().st_size for path in folder.glob("trial_0001*/result.json"))

    wait_until(has_reported, process)
    for each in processes(process.pid):
        with contextlib.suppress(ProcessLookupError):
            each.kill()
    process.communicate(timeout=60)
    assert not left_over(process.pid), "Ray processes were left"


def said(main: Callable[[list[str]], int], flags: list[str]) -> str:
    """Run a command in this process and return what it prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = main(flags)
    assert code == 0, output.getvalue()
    return output.getvalue()


def undisturbed(here: Path, folder: Path) -> list[TrialRecord]:
    """Return the trials of the search, trained one after the other in this process."""
    cell = load_study(here / "tiny.yaml").cell("20k", 1)
    data = build_data(cell.data, here / "ray_results")
    space = build_space(cell, **sample_shape(data))
    folder.mkdir()
    ledger = Ledger(
        Journal.create(folder, "abcd", {"kind": "created", "time": 0.0}),
        space=space,
        forced=first_configurations(space, cell),
        search=cell.search,
        granted_bytes={},
    )
    (samples,) = samples_of(
        data, cell.data, cell.search.metric, simple_models(data, cell.data).daily
    )
    device, worker = torch.device("cpu"), epoch_record(1).worker
    while (trial := ledger.next()) is not None:
        trainer = Trainer(
            model=trial.config.model, train=trial.config.train, data=samples, device=device,
            micro_batch=trial.config.train.effective_batch, seed=trial.seed,
            bf16=supports_bf16(device),
        )  # fmt: skip
        while not ledger.epoch(trial.number, EpochRecord.of(trainer.run_epoch(), worker)):
            pass
    return ledger.records


def compared(record: TrialRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _COMPARED}


@pytest.mark.usefixtures("one_thread")
def test_a_search_that_was_killed_has_the_trials_of_one_that_nobody_touched(
    left: Left, tmp_path: Path
) -> None:
    assert left.n_before < TRIALS
    (path,) = left.folder.glob("trial_0001*/result.json")
    began = [json.loads(line)["began"] for line in path.read_text().splitlines()]
    assert began[0] < began[-1], "no worker went on from the state of another one"
    expected = undisturbed(left.here, tmp_path / "undisturbed")
    assert list(map(compared, left.records)) == list(map(compared, expected))


def test_every_record_of_a_search_holds_the_scores_of_a_ranking(left: Left) -> None:
    best, scores = left.best
    rows = json.loads((left.folder / "all_trials.json").read_text())
    assert [row["number"] for row in rows] == [0, 1, 2]
    of_best = rows[best.number]
    for name in ("rank_ic", "rank_ic_se", "ic", "icir", "hit_rate", "sharpe", "sharpe_net"):
        assert of_best[name] == getattr(scores, name)
    assert of_best["auc"] is None
    metrics = json.loads((left.folder / best.folder / "metrics.json").read_text())
    curve = metrics["learning_curve"]
    assert max(epoch["rank_ic"] for epoch in curve) == scores.rank_ic
    assert all(set(epoch["train_terms"]) == {"squared", "rank"} for epoch in curve)
    chosen = json.loads((left.folder / "best_params.json").read_text())
    assert (chosen["metric"], chosen["best_value"]) == ("rank_ic", scores.rank_ic)
    assert (chosen["rank_ic"], chosen["rank_ic_se"]) == (scores.rank_ic, scores.rank_ic_se)
    assert "best_auc" not in chosen
    with (left.here / "ray_results" / "experiment_results.csv").open(newline="") as file:
        table = {row["run_id"]: row for row in csv.DictReader(file)}
    row = table[f"{CELL}/{best.trial_id}"]
    assert (row["task"], row["metric"]) == ("ranking", "rank_ic")
    assert float(row["rank_ic"]) == scores.rank_ic
    assert float(row["sharpe_net"]) == scores.sharpe_net
    assert row["auc"] == ""


def test_tensorboard_shows_the_scores_and_each_term_of_the_loss(left: Left) -> None:
    best, scores = left.best
    events = EventAccumulator(str(left.folder / best.folder))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"rank_ic", "ic", "sharpe", "term/squared", "term/rank"} <= tags
    assert not {"auc", "brier"} & tags
    shown = [event.value for event in events.Scalars("rank_ic")]
    assert len(shown) == EPOCHS
    assert max(shown) == pytest.approx(scores.rank_ic)


def test_rays_own_readers_open_it(left: Left) -> None:
    best, scores = left.best
    grid = tune.Tuner.restore(str(left.folder), trainable=CellTrainable).get_results()
    found = grid.get_best_result()
    assert found.metrics is not None
    assert found.metrics["trial_id"] == best.trial_id
    assert found.metrics["objective"] == pytest.approx(1 - scores.rank_ic)
    assert len(grid) == TRIALS


def test_every_command_speaks_of_rank_ics(left: Left) -> None:
    scores = left.best[1]
    assert f"RankIC {scores.rank_ic:+.4f} +- {scores.rank_ic_se:.3f}" in left.status
    assert f"best        RankIC {scores.rank_ic:+.4f}" in left.resumed
    for rival, own in (("ridge", scores.difference), ("boosting", scores.boosting_difference)):
        assert own is not None
        (line,) = (each for each in left.resumed.splitlines() if f"against {rival}" in each)
        assert f"RankIC {-own:+.4f} +- " in line
    assert "a mean RankIC can be told apart from zero from about" in left.resumed
    assert "RankIC: the smallest true mean RankIC that the part tells from zero" in left.planned
    assert "h1 (search 2)  new" in left.planned
    assert "510 days x 36 features" in left.of_folds
    for output in (left.status, left.resumed, left.planned, left.of_folds):
        assert "AUC" not in output
        assert "log-loss" not in output


def test_a_search_on_purged_folds_judges_the_days_of_all(left: Left) -> None:
    (record,) = read_trials(left.here / "ray_results" / CELL_OF_FOLDS)
    assert isinstance(record.best, PanelBest)
    assert "each trial trains 5 networks" in left.of_folds
    assert f"RankIC {record.best.rank_ic:+.4f}" in left.of_folds
    # Five times as many days as one validation part.
    of_one = left.best[1]
    assert record.best.rank_ic_se is not None
    assert of_one.rank_ic_se is not None
    assert record.best.rank_ic_se < 0.8 * of_one.rank_ic_se
