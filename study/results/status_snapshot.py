"""What the files of a storage folder say about its searches now; nothing is written or locked."""

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from study.errors import one_line
from study.results.records import HOT_CELSIUS
from study.results.status_files import (
    Description,
    EndedTrial,
    OpenTrial,
    age,
    damaged_records,
    folders_in,
    read_asked,
    read_description,
    read_driver,
    read_ended,
    read_open,
    read_planned,
    unreadable,
)
from study.storage.driver_status import DriverStatus
from study.storage.layout import JOURNAL_FILES, LOCK_FILE

CellState = Literal[
    "waiting", "left out", "running", "stalled", "dead", "stale", "interrupted", "stopped",
    "complete", "failed", "unknown",
]  # fmt: skip
"""State of a cell; ``_state`` has the rules, and ``_state_without_driver`` those of a cell on which
no process has worked yet."""

ALARMING = frozenset({"stalled", "dead", "stale", "stopped", "failed"})
"""States that somebody has to look at."""

_SILENT_SECONDS = 120.0
"""Seconds without a sign of life after which a driver or a trial is silent. A driver shows life
every second, a trial after every step; a busy machine has taken a minute for the start of a worker
and the first use of its kernels."""

_SILENT_STEPS = 5
"""Number of steps, or of validations with their checkpoint, for which a trial may show no life."""

_SLOW = 2.0
"""Ratio of an epoch's seconds to the expected ones above which something slows a trial down."""

_COLLAPSED_SHARE = 0.2
"""Share of the ended trials: if more have collapsed, the search is in a bad region."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningTrial:
    """A trial that was asked for and has not ended; None is what no file says."""

    number: int
    architecture: str | None
    epoch: int
    epochs: int | None
    loss: float | None
    rank_ic: float | None
    """RankIC of the last epoch on a panel; None on a market."""
    seconds: Mapping[str, float]
    """Seconds of the last epoch by phase."""
    first_seconds: float | None
    """Seconds of the first epoch, all phases."""
    expected_seconds: float | None
    """Seconds per epoch that the plan expects for this width and depth."""
    device: str | None
    peak_memory_bytes: int | None
    temperature: float | None
    """Degrees Celsius."""
    silent_seconds: float | None
    """Seconds since the last sign of life."""
    step_seconds: float | None
    """Seconds of a training step: measured in the last epoch or, before the first, planned."""

    @property
    def epoch_seconds(self) -> float | None:
        """Return the seconds of the last epoch, all phases."""
        return sum(self.seconds.values()) if self.seconds else None


@dataclass(frozen=True, kw_only=True, slots=True)
class CellStatus:
    """One cell; None is what no file says."""

    cell: str
    budget: str | None
    horizon: int | None
    search_number: int
    """Number of the search among the independent ones of the cell, from 1."""
    state: CellState
    reason: str | None
    asked: int | None
    """Number of trials asked for in all."""
    complete: int
    pruned: int
    failed: int
    metric: str | None
    """Score by which its trials are ranked."""
    best_loss: float | None
    best_loss_se: float | None
    best_rank_ic: float | None
    """RankIC of the best trial of a panel; None of a market."""
    best_rank_ic_se: float | None
    best_architecture: str | None
    running: Sequence[RunningTrial]
    heartbeat_seconds: float | None
    eta_seconds: float | None
    """Seconds of work left in this cell with as many trials at once as now, or as planned; None if
    nothing was measured or planned."""
    cluster_seconds: float | None
    """Seconds of work left if the cell had the whole cluster: what it adds to a sweep."""
    damage: Sequence[str]
    """Phrases, one for each of its records that cannot be read."""
    warnings: Sequence[str]

    @property
    def ended(self) -> int:
        """Return how many trials have ended."""
        return self.complete + self.pruned + self.failed


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyStatus:
    """All cells of a storage folder, in the order of the plan."""

    storage: str
    time: float
    cells: Sequence[CellStatus]
    sweeps: Mapping[str, str]
    """State of each sweep's driver, by the name of its folder."""
    warnings: Sequence[str]
    """Warnings about sweeps; those about a cell stand with it."""
    eta_seconds: float | None
    milestones: Sequence[tuple[str, float]]
    """Budgets, each with the Unix time at which its last cell will be done."""

    @property
    def is_alarming(self) -> bool:
        """Does somebody have to look?"""
        states = {*(cell.state for cell in self.cells), *self.sweeps.values()}
        return bool(states & ALARMING) or any(cell.damage for cell in self.cells)


def read_status(storage: Path, names: Sequence[str] = ()) -> StudyStatus:
    """Read the state of every cell, or of those that have one of the names.

    Args:
        storage: the results folder.
        names: names of cells, or of studies, which stand for all of their cells; empty means all.
    """
    now = time.time()
    folders = {path.name: path for path in folders_in(storage)}
    planned: dict[str, Description] = {}
    sweeps: dict[str, str] = {}
    closed = {name: unreadable(folder) for name, folder in folders.items()}
    warnings: list[str] = []
    for name, folder in folders.items():
        if name.endswith("_sweep"):
            planned |= read_planned(folder)
            driver = read_driver(folder)
            if driver is not None and _wanted(name, names):
                sweeps[one_line(name)] = _state(driver, age(folder / LOCK_FILE, now), [])
                warnings += [f"{name}: {text}" for text in _output_warnings(driver)]
    cells = [
        name
        for name, folder in folders.items()
        if name not in planned
        and (closed[name] is not None or any((folder / copy).exists() for copy in JOURNAL_FILES))
    ]
    found = [
        _cell(storage / name, planned.get(name), now, closed.get(name))
        for name in [*planned, *cells]
        if _wanted(name, names)
    ]
    ends = _ends(found, now)
    return StudyStatus(
        storage=str(storage),
        time=now,
        cells=found,
        sweeps=sweeps,
        warnings=warnings,
        eta_seconds=None if not ends or ends[-1][1] is None else ends[-1][1] - now,
        milestones=_milestones(found, ends),
    )


def _state(
    driver: DriverStatus, heartbeat: float | None, trials: Sequence[RunningTrial]
) -> CellState:
    """Return the state that a driver's own record and the signs of life amount to.

    complete, interrupted, stopped, failed: the driver's own record says so.
    dead: it says running, but its process is gone from this machine; it can be resumed.
    stale: it says running on another machine, whose processes cannot be seen from here, and has
        shown no life for long.
    stalled: its process runs, but it or a running trial has shown no life for too long.
    running: none of these.
    """
    if driver.state != "running":
        return driver.state
    alive = driver.is_alive
    if alive is False:
        return "dead"
    if alive is None:
        return "stale" if heartbeat is None or heartbeat > _SILENT_SECONDS else "running"
    silent = heartbeat is not None and heartbeat > _SILENT_SECONDS
    return "stalled" if silent or any(map(_is_silent, trials)) else "running"


def _is_silent(trial: RunningTrial) -> bool:
    # What a trial does without a sign of life: a step, or a validation with its checkpoint.
    rest = sum(trial.seconds.get(phase, 0.0) for phase in ("validation", "checkpoint"))
    longest = max(rest, trial.step_seconds or 0.0)
    return trial.silent_seconds is not None and trial.silent_seconds > max(
        _SILENT_SECONDS, _SILENT_STEPS * longest
    )


def _state_without_driver(
    description: Description, *, is_there: bool, n_ended: int
) -> tuple[CellState, str | None]:
    """Return the state of a cell without a driver's record, and its reason.

    waiting: it is planned and has no folder.
    left out: the same, but none of its architectures fits a node.
    complete, interrupted: all of its trials have ended, or not.
    unknown: its files do not say how many there are.
    """
    if not is_there:
        if description.is_left_out:
            return "left out", description.problem
        return "waiting", None
    if description.n_trials is None:
        return "unknown", None
    return ("complete" if n_ended >= description.n_trials else "interrupted"), None


def _cell(folder: Path, planned: Description | None, now: float, closed: str | None) -> CellStatus:
    """Return a cell; ``closed`` says why its folder cannot be read, if it cannot."""
    planned = planned or Description.from_json({})
    description = _described(folder, planned)
    table = read_ended(folder)
    ended = table or []
    states = Counter(trial.state for trial in ended)
    driver = read_driver(folder)
    trials: list[RunningTrial] = []
    if driver is not None and driver.state == "running":
        expected = planned.epoch_seconds or description.epoch_seconds
        trials = [
            _running(trial, expected, description.n_train)
            for trial in read_open(folder, ended, now)
        ]
    heartbeat = age(folder / LOCK_FILE, now)
    damage = damaged_records(folder, has_table=table is not None) if closed is None else []
    state: CellState
    if driver is not None:
        state, reason = _state(driver, heartbeat, trials), driver.reason
    elif closed is not None:
        state, reason = "unknown", f"it cannot be read: {closed}"
    else:
        n_ended = sum(states[word] for word in ("COMPLETE", "PRUNED", "FAIL"))
        state, reason = _state_without_driver(
            description, is_there=folder.exists(), n_ended=n_ended
        )
    best = _best(ended)
    eta = _eta(ended, trials, state, description)
    fitting = description.capacity or max(1, len(trials))
    return CellStatus(
        cell=one_line(folder.name),
        budget=description.budget,
        horizon=description.horizon,
        search_number=description.search_number,
        state=state,
        reason=reason,
        asked=description.n_trials,
        complete=states["COMPLETE"],
        pruned=states["PRUNED"],
        failed=states["FAIL"],
        metric=description.metric,
        best_loss=None if best is None else best.loss,
        best_loss_se=None if best is None else best.loss_se,
        best_rank_ic=None if best is None else best.rank_ic,
        best_rank_ic_se=None if best is None else best.rank_ic_se,
        best_architecture=None if best is None else best.architecture,
        running=trials,
        heartbeat_seconds=heartbeat,
        eta_seconds=eta,
        cluster_seconds=eta if eta is None or not trials else eta * min(1.0, len(trials) / fitting),
        damage=damage,
        warnings=[
            *damage,
            *_outcome_warnings(ended),
            *_trial_warnings(trials),
            *_output_warnings(driver),
        ],
    )


def _described(folder: Path, planned: Description) -> Description:
    """Return what a cell's own file says of it, else its plan, with the trials asked for since."""
    found = read_description(folder) or planned
    return dataclasses.replace(found, n_trials=read_asked(folder) or found.n_trials)


def _running(trial: OpenTrial, expected: Mapping[str, float], n_train: int | None) -> RunningTrial:
    """Return a trial that has not ended, with the seconds that a plan expects of its epochs."""
    last = trial.last_epoch
    planned = None if trial.shape is None else expected.get(trial.shape)
    return RunningTrial(
        number=trial.number,
        architecture=trial.architecture,
        epoch=last.number,
        epochs=trial.n_epochs,
        loss=last.loss,
        rank_ic=last.rank_ic,
        seconds=last.seconds,
        first_seconds=sum(trial.first_epoch.seconds.values()) or None,
        expected_seconds=planned,
        device=last.device,
        peak_memory_bytes=last.peak_memory_bytes,
        temperature=last.temperature,
        silent_seconds=trial.silent_seconds,
        step_seconds=_step_seconds(last.seconds.get("step") or planned, n_train, trial.batch),
    )


def _step_seconds(
    epoch_seconds: float | None, n_train: int | None, batch: int | None
) -> float | None:
    if epoch_seconds is None or n_train is None or batch is None or min(n_train, batch) < 1:
        return None
    return epoch_seconds / math.ceil(n_train / batch)


def _eta(
    ended: Sequence[EndedTrial],
    trials: Sequence[RunningTrial],
    state: CellState,
    description: Description,
) -> float | None:
    """Return seconds of work left: from the trials that ended, before the first from the plan."""
    if state in ("complete", "failed", "left out"):
        return 0.0
    times = [trial.seconds for trial in ended if trial.seconds is not None]
    if not times or description.n_trials is None:
        return description.search_seconds
    mean = sum(times) / len(times)
    at_once = max(1, len(trials) or description.concurrency or 1)
    left = max(0, description.n_trials - len(ended) - len(trials)) * mean
    for trial in trials:
        done = trial.epoch * (trial.epoch_seconds or 0.0)
        # A trial beyond the mean may still be pruned at any time; its own schedule bounds it.
        rest = (
            (trial.epochs - trial.epoch) * trial.epoch_seconds
            if (trial.epochs is not None and trial.epoch_seconds is not None)
            else mean
        )
        left += min(rest, mean - done) if done < mean else rest
    return max(0.0, left / at_once)


def _ends(cells: Sequence[CellStatus], now: float) -> list[tuple[str | None, float | None]]:
    """Return the budget of each cell and when the cell will be done: one at a time, in order.

    The time is None from the first cell on whose time is unknown.
    """
    ends: list[tuple[str | None, float | None]] = []
    at: float | None = now
    for cell in cells:
        at = None if at is None or cell.cluster_seconds is None else at + cell.cluster_seconds
        ends.append((cell.budget, at))
    return ends


def _milestones(
    cells: Sequence[CellStatus], ends: Sequence[tuple[str | None, float | None]]
) -> list[tuple[str, float]]:
    left = {cell.budget for cell in cells if cell.eta_seconds != 0.0}
    last = {budget: at for budget, at in ends if budget in left}
    return [(budget, at) for budget, at in last.items() if budget is not None and at is not None]


def _output_warnings(driver: DriverStatus | None) -> list[str]:
    reason = None if driver is None or driver.state != "running" else driver.lost_output
    return [] if reason is None else [f"nobody reads its output ({reason}); log.txt has it"]


def _outcome_warnings(ended: Sequence[EndedTrial]) -> list[str]:
    reasons = Counter(trial.reason for trial in ended)
    failures = [
        f"{reasons[reason]} {reason}"
        for reason in ("oom", "diverged", "error", "stalled")
        if reasons[reason]
    ]
    found = [f"failed trials: {', '.join(failures)}"] if failures else []
    if ended and reasons["collapsed"] / len(ended) > _COLLAPSED_SHARE:
        is_panel = any(trial.rank_ic is not None for trial in ended)
        to = "one score for all assets of a day" if is_panel else "the base rate"
        found.append(
            f"{reasons['collapsed']} of {len(ended)} trials collapsed to {to}: lower "
            "learning rates, or less dropout"
        )
    return found


def _trial_warnings(trials: Sequence[RunningTrial]) -> list[str]:
    found = []
    for trial in trials:
        took = trial.epoch_seconds
        for usual, of in (
            (trial.expected_seconds, "the plan"),
            (trial.first_seconds, "its first epoch"),
        ):
            if took is not None and usual is not None and took > _SLOW * usual:
                found.append(
                    f"trial {trial.number} takes {took:.1f} s per epoch, {took / usual:.1f} x that "
                    f"of {of}: background throttling (macOS: caffeinate -i), heat, other programs?"
                )
                break
        if trial.temperature is not None and trial.temperature >= HOT_CELSIUS:
            found.append(f"trial {trial.number}: {trial.temperature:.0f} degrees C, may throttle")
    return found


def _best(ended: Sequence[EndedTrial]) -> EndedTrial | None:
    """Return the rankable trial with the lowest loss, the first of equals, as ``best_trial``."""
    rankable = [
        (trial.loss, index)
        for index, trial in enumerate(ended)
        if trial.loss is not None and trial.reason in ("completed", "early_stopping", "asha")
    ]
    return ended[min(rankable)[1]] if rankable else None


def _wanted(name: str, names: Sequence[str]) -> bool:
    """Is it a cell or a sweep of one of these names, which may be studies of two phases?"""
    starts = [f"{n}{phase}_" for n in names for phase in ("", "-1", "-2")]
    return not names or name in names or name.startswith(tuple(starts))
