"""A search that is killed repeatedly, and damaged, has the results of one that was left alone.

CI kills it 10 times; ``make chaos KILLS=100`` kills it a hundred times.
"""

import csv
import json
import os
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from study.results.journal import Journal
from study.results.records import TrialRecord
from study.search.forced import first_configurations
from study.search.ledger import Ledger
from study.search.space import build_space
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from study.storage.layout import JOURNAL_FILES, STATUS_FILE
from tests.preloaded import Command
from tests.tuner.command import (
    CELL,
    cell_folder,
    epochs_of,
    left_over,
    processes,
    run,
    start,
    trials,
    wait_until,
    write_space,
)

EPOCHS = 3

pytestmark = pytest.mark.ray

_LAST_KILLS = 4
"""Number of last kills that end Ray's processes too: its agents need a minute or two to notice that
their driver is gone."""

_OWN_TIME = {"started", "ended", "seconds", "peak_memory_bytes", "thermal_max_temp", "trial_id"}
"""Fields of a record that differ between two runs of one trial."""


def trials_for(kills: int) -> int:
    """Return a number of trials so large that the last kill still interrupts one."""
    return max(8, kills // 2)


@dataclass(frozen=True)
class Untouched:
    """A search that nobody has touched."""

    here: Path
    """The folder with its space and its results; a test may change them."""
    trials: int
    """Number of its trials."""
    outcome: dict[str, Any]
    """Its results."""


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, kills: int) -> Untouched:
    here = tmp_path_factory.mktemp("untouched")
    write_space(here, trials=trials_for(kills), epochs=EPOCHS)
    run(here, "--concurrency", "1")
    check_whole(here)
    return Untouched(here, trials_for(kills), outcome(here))


def cell_of(here: Path) -> Cell:
    return load_study(here / "tiny.yaml").cell("50k", 3)


def ledger(here: Path) -> Ledger:
    """Return the ledger that a search rebuilds from its journal."""
    cell = cell_of(here)
    space = build_space(cell, n_features=25)
    return Ledger(
        Journal.open(cell_folder(here), witness=None),
        space=space,
        forced=first_configurations(space, cell),
        search=cell.search,
        granted_bytes={},
    )


def check_whole(here: Path) -> None:
    """Check what must hold of every complete search, whatever happened before its end."""
    rows, folder, asked = trials(here), cell_folder(here), cell_of(here).search.trials
    assert [row["number"] for row in rows] == list(range(asked))
    assert len({row["trial_id"] for row in rows}) == asked
    assert len({json.dumps(row["params"], sort_keys=True) for row in rows}) == asked
    assert sorted(p.name for p in folder.glob("trial_*")) == [row["folder"] for row in rows]
    for row in rows:
        epochs = epochs_of(here, row)
        assert [epoch["epoch"] for epoch in epochs] == list(range(1, row["epochs_trained"] + 1))
        if row["reason"] != "diverged":
            assert row["value"] == min(epoch["validation_loss"] for epoch in epochs)
        metrics = json.loads((folder / row["folder"] / "metrics.json").read_text())
        assert metrics == {**row, "learning_curve": epochs}
        shown = EventAccumulator(str(folder / row["folder"]))
        shown.Reload()
        steps = [event.step for event in shown.Scalars("learning_rate")]
        assert steps == [epoch["epoch"] for epoch in epochs]
        left = {p.name[:4] for p in (folder / row["folder"]).glob("checkpoints/*")}
        assert left <= {"best", "stat"}
    with (here / "ray_results" / "experiment_results.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert Counter(row["run_id"] for row in table) == {f"{CELL}/{r['trial_id']}": 1 for r in rows}
    known = ledger(here)
    assert [record.number for record in known.records] == list(range(asked))
    assert known.is_complete


def outcome(here: Path) -> dict[str, Any]:
    """Return the results that two searches of one seed share if they run one trial at a time."""
    known = ledger(here)
    return {
        "trials": [{k: v for k, v in row.items() if k not in _OWN_TIME} for row in trials(here)],
        "losses": [[e.get("validation_loss") for e in epochs_of(here, r)] for r in trials(here)],
        "rungs": known.rungs(),
        "history": known.history(),
    }


def n_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def has_come_to(process: Command, journal: Path, lines: int) -> bool:
    return n_lines(journal) >= lines or process.poll() == 0


def kill(process: Command, *, with_ray: bool) -> None:
    """Kill a driver, and its Ray too if ``with_ray``; other processes of Ray exit by themselves."""
    process.kill()
    process.wait()
    if with_ray:
        for other in processes(process.pid):
            # A process may end meanwhile.
            with suppress(psutil.NoSuchProcess):
                other.kill()
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()


def has_two_states(process: Command, here: Path) -> bool:
    """Has a running trial saved two states, of which the newer one can be damaged?"""
    return process.poll() == 0 or any(
        len([*folder.glob("checkpoints/state_*.pt")]) >= 2
        for folder in cell_folder(here).glob("trial_*")
    )


def damage(here: Path, draw: random.Random) -> None:
    """Truncate every file but one copy of the journal and the older state of the last trial."""
    folder = cell_folder(here)
    for path in (
        folder / draw.choice(JOURNAL_FILES),
        *here.glob("ray_results/*.csv"),
        *(p for p in folder.glob("*") if p.suffix in (".yaml", ".json")),
        *folder.glob("trial_*/*.json"),
        *folder.glob("trial_*/events*"),
        *sorted(folder.glob("trial_*/checkpoints/state_*.pt"))[-1:],
    ):
        os.truncate(path, draw.randrange(path.stat().st_size or 1))


def kill_again_and_again(
    here: Path, kills: int, *flags: str, with_ray: bool, damaged: tuple[int, ...] = ()
) -> None:
    """Start, kill and resume a search, then let it end; ended trials must never change.

    Args:
        here: the folder with its space.
        kills: number of kills.
        flags: the command's.
        with_ray: do all kills end Ray's processes too?
        damaged: the kills after which the search's files are damaged.
    """
    moments = random.Random(kills)
    before: list[TrialRecord] = []
    sessions = []
    asked = cell_of(here).search.trials
    print(f"\n{kills} kills of a search of {asked} trials {' '.join(flags)}")
    for number in range(kills):
        resumed = ["--resume"] if cell_folder(here).exists() else []
        process = start(here, *flags, *resumed)
        sessions.append(process.pid)
        journal = cell_folder(here) / JOURNAL_FILES[0]
        began = time.monotonic()
        if number in damaged:
            wait_until(partial(has_two_states, process, here), process)
        elif number % 5 not in (0, 2):
            # Killed while it starts, when existing files must not change, or soon after.
            time.sleep(moments.uniform(0.0, 5.0))
        else:
            wanted = n_lines(journal) + moments.randint(1, 6)
            wait_until(partial(has_come_to, process, journal, wanted), process)
            # Killed at once, while the records are written, or between two events.
            time.sleep(moments.choice([0.0, moments.uniform(0.0, 0.5)]))
        # The test would have to wait for processes that outlive the last kills, and a worker that
        # has not yet exited would rewrite damaged files.
        is_thorough = with_ray or number in damaged or number >= kills - _LAST_KILLS
        kill(process, with_ray=is_thorough)
        seconds = time.monotonic() - began
        records = ledger(here).records if journal.exists() else []
        print(f"  kill {number + 1:>3} after {seconds:5.1f} s, {len(records):>2} trials ended")
        assert [r for r in records if r.number in {b.number for b in before}] == before
        before = records
        if number in damaged:
            assert not left_over(process.pid)
            damage(here, moments)
    run(here, *flags, "--resume")
    check_whole(here)
    for session in sessions:
        # Agents of a Ray whose driver was killed notice it after a minute or two.
        assert not left_over(session, patience_seconds=180)


def test_a_search_killed_again_and_again_and_damaged_is_the_search_that_nobody_touched(
    untouched: Untouched, tmp_path: Path, kills: int
) -> None:
    write_space(tmp_path, trials=untouched.trials, epochs=EPOCHS)
    # Workers outlive their driver for a while, and may still be writing when the next one starts.
    kill_again_and_again(
        tmp_path,
        kills,
        *("--concurrency", "1"),
        with_ray=False,
        damaged=(kills // 3, 2 * kills // 3),
    )
    found = outcome(tmp_path)
    for part, expected in untouched.outcome.items():
        assert found[part] == expected, part


def test_of_trials_side_by_side_none_is_lost_or_run_twice(tmp_path: Path, kills: int) -> None:
    kills = max(4, kills // 4)
    write_space(tmp_path, trials=trials_for(kills), epochs=EPOCHS)
    kill_again_and_again(tmp_path, kills, "--concurrency", "2", with_ray=True)


def records_of(here: Path) -> dict[Path, bytes]:
    """Return all records but status.json, which only names the last driver and its end."""
    paths = cell_folder(here).rglob("*.json")
    return {p: p.read_bytes() for p in paths if p.name != STATUS_FILE}


def test_a_search_without_a_whole_journal_is_never_begun_anew_and_its_trials_are_imported(
    untouched: Untouched,
) -> None:
    here = untouched.here
    before = records_of(here)
    for name in JOURNAL_FILES:
        path = cell_folder(here) / name
        os.truncate(path, path.stat().st_size // 2)
    _, errors = run(here, "--resume", expect=2)
    assert "--import-trials" in errors
    assert records_of(here) == before

    # Its first trial is then one that was imported.
    space = here / "tiny.yaml"
    space.write_text(space.read_text().replace("forced: extremes6", "forced: none"))
    flags = ("--import-trials", str(cell_folder(here)), "--trials", "1", "--concurrency", "1")
    output, _ = run(here, "--fresh", *flags)
    assert f"the sampler knows {untouched.trials} old trials" in output
    assert trials(here)[0]["source"].startswith("imported:")
