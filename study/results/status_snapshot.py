"""What the files of a storage folder say about its searches now; nothing is written or locked."""

import math
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from study.errors import one_line
from study.fields import fits, is_folder_name
from study.results.records import HOT_CELSIUS, Parameters
from study.results.status_files import (
    age,
    as_dict,
    as_list,
    as_number,
    as_text,
    as_whole,
    damaged_records,
    first_report,
    folders_in,
    last_report,
    phase_seconds,
    read_asked,
    read_configurations,
    read_description,
    read_driver,
    unreadable,
)
from study.storage.driver_status import DriverStatus
from study.storage.files import read_json
from study.storage.layout import (
    EPOCHS_FILE,
    JOURNAL_FILES,
    LOCK_FILE,
    METRICS_FILE,
    PLAN_FILE,
    TRIALS_FILE,
)
from study.text.short_forms import architecture

CellState = Literal[
    "waiting", "left out", "running", "stalled", "dead", "stale", "interrupted", "stopped",
    "complete", "failed", "unknown",
]  # fmt: skip
"""The rules are in ``_state``."""

ALARMING = frozenset({"stalled", "dead", "stale", "stopped", "failed"})

_SILENT_SECONDS = 120.0
"""A driver shows life every second, a trial after every step; between them lie the start of a
worker and the first use of its kernels, for which a busy machine has taken a minute."""

_SILENT_STEPS = 5
"""Steps, or validations with their checkpoint, for which a trial may show no life."""

_SLOW = 2.0
"""Times the expected seconds per epoch from which something is holding a trial up."""

_COLLAPSED_SHARE = 0.2
"""Of the trials that ended: more than this is a search in a bad region, not bad luck."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningTrial:
    """A trial that was asked for and has not ended; None is what no file says."""

    number: int
    architecture: str | None
    epoch: int
    epochs: int | None
    loss: float | None
    seconds: Mapping[str, float]
    """Of the last epoch by phase."""
    first_seconds: float | None
    """Of the first epoch, all phases."""
    expected_seconds: float | None
    """Per epoch, of the plan, for this architecture."""
    device: str | None
    peak_memory_bytes: int | None
    temperature: float | None
    """Degrees Celsius."""
    silent_seconds: float | None
    """Since the last sign of life."""
    step_seconds: float | None
    """Of a training step, measured in the last epoch or, before the first, of the plan."""

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
    state: CellState
    reason: str | None
    asked: int | None
    """Trials asked for in all."""
    complete: int
    pruned: int
    failed: int
    best_loss: float | None
    best_loss_se: float | None
    best_architecture: str | None
    running: Sequence[RunningTrial]
    heartbeat_seconds: float | None
    eta_seconds: float | None
    """Left in this cell with as many trials at once as now, or as planned; None if nothing was
    measured or planned."""
    cluster_seconds: float | None
    """The same if it had the whole cluster: what it adds to a sweep."""
    damage: Sequence[str]
    """What of its records cannot be read, a phrase each."""
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
    """Of sweeps; those of a cell stand with it."""
    eta_seconds: float | None
    milestones: Sequence[tuple[str, float]]
    """Budget, and the Unix time at which its last cell will be done."""

    @property
    def is_alarming(self) -> bool:
        """Does somebody have to look?"""
        states = {*(cell.state for cell in self.cells), *self.sweeps.values()}
        return bool(states & ALARMING) or any(cell.damage for cell in self.cells)


def read_status(storage: Path, names: Sequence[str] = ()) -> StudyStatus:
    """Read the state of every cell, or of those whose name is given or begins with a study's.

    Args:
        storage: the results folder.
        names: cell folders or studies; empty means all.
    """
    now = time.time()
    folders = {path.name: path for path in folders_in(storage)}
    planned: dict[str, Mapping[str, Any]] = {}
    sweeps: dict[str, str] = {}
    closed = {name: unreadable(folder) for name, folder in folders.items()}
    warnings: list[str] = []
    for name, folder in folders.items():
        if name.endswith("_sweep"):
            for row in map(as_dict, as_list(as_dict(read_json(folder / PLAN_FILE)).get("cells"))):
                name_of_cell = row.get("cell")
                if is_folder_name(name_of_cell):
                    planned[name_of_cell] = row
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
        _cell(storage / name, planned.get(name, {}), now, closed.get(name))
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
    """Return the state that a driver's last words and the signs of life amount to.

    complete, interrupted, stopped, failed: its own last word.
    dead: it says running, but its process is gone from this machine; it can be resumed.
    stale: it says running on another machine and has shown no life for long; nobody can tell here.
    stalled: it lives, but it or a running trial has shown no life for too long.
    running: none of these.
    ``waiting`` is a cell of a plan without a folder, ``left out`` one of which nothing fits a node;
    ``unknown`` one whose files say nothing.
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


def _cell(folder: Path, planned: Mapping[str, Any], now: float, closed: str | None) -> CellStatus:
    """Return a cell; ``closed`` says why its folder cannot be read, if it cannot."""
    description = read_description(folder) or planned
    rows = [as_dict(row) for row in as_list(read_json(folder / TRIALS_FILE))]
    states = Counter(as_text(row.get("state")) for row in rows)
    begun = as_whole(as_dict(description.get("search")).get("trials") or description.get("trials"))
    asked = read_asked(folder) or begun
    driver = read_driver(folder)
    expected = as_dict(
        as_dict(planned.get("estimate") or description.get("estimate")).get("epoch_seconds")
    )
    is_running = driver is not None and driver.state == "running"
    n_train = as_whole(as_dict(as_dict(description.get("splits")).get("train")).get("rows"))
    trials = _running(folder, rows, expected, n_train, now) if is_running else []
    heartbeat = age(folder / LOCK_FILE, now)
    damage = damaged_records(folder) if closed is None else []
    ended = sum(states[word] for word in ("COMPLETE", "PRUNED", "FAIL"))
    state: CellState
    reason = None if closed is None else f"it cannot be read: {closed}"
    if driver is not None:
        state, reason = _state(driver, heartbeat, trials), as_text(driver.reason)
    elif reason is not None:
        state = "unknown"
    elif not folder.exists():
        state = "waiting"
        if planned.get("feasible") is False:
            state, reason = "left out", as_text(planned.get("problem"))
    elif asked is None:
        state = "unknown"
    else:
        state = "complete" if ended >= asked else "interrupted"
    best = _best(rows)
    eta = _eta(rows, asked, trials, state, description)
    fitting = as_whole(description.get("capacity")) or max(1, len(trials))
    return CellStatus(
        cell=one_line(folder.name),
        budget=as_text(description.get("budget")),
        horizon=as_whole(description.get("horizon")),
        state=state,
        reason=reason,
        asked=asked,
        complete=states["COMPLETE"],
        pruned=states["PRUNED"],
        failed=states["FAIL"],
        best_loss=as_number(best.get("value")),
        best_loss_se=as_number(best.get("value_se")),
        best_architecture=_architecture(as_dict(best.get("params"))),
        running=trials,
        heartbeat_seconds=heartbeat,
        eta_seconds=eta,
        cluster_seconds=eta if eta is None or not trials else eta * min(1.0, len(trials) / fitting),
        damage=damage,
        warnings=[
            *damage,
            *_outcome_warnings(rows),
            *_trial_warnings(trials),
            *_output_warnings(driver),
        ],
    )


def _running(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    expected: Mapping[str, Any],
    n_train: int | None,
    now: float,
) -> list[RunningTrial]:
    """Return the trials with a folder that are not among the ended ones."""
    ended = {as_text(row.get("folder")) for row in rows}
    asked = read_configurations(folder)
    trials = []
    for path in folders_in(folder):
        matched = re.match(r"trial_(\d{1,9})(?:_d(\d+)_L(\d+)_h(\d+))?", path.name)
        if not matched or path.name in ended or (path / METRICS_FILE).exists():
            continue
        number, width, layers, heads = matched.groups()
        last = last_report(path / EPOCHS_FILE)
        seconds = phase_seconds(last)
        params = asked.get(int(number), {})
        short = f"d{width} L{layers} h{heads}" if width else None
        planned = as_number(expected.get(f"d{width} L{layers}"))
        trials.append(
            RunningTrial(
                number=int(number),
                architecture=_architecture(params) or short,
                epoch=as_whole(last.get("epoch")) or 0,
                epochs=as_whole(params.get("epochs")),
                loss=as_number(last.get("validation_loss")),
                seconds=seconds,
                first_seconds=sum(phase_seconds(first_report(path / EPOCHS_FILE)).values()) or None,
                expected_seconds=planned,
                device=as_text(last.get("device")),
                peak_memory_bytes=as_whole(last.get("peak_memory_bytes")),
                temperature=as_number(last.get("temperature")),
                silent_seconds=age(path / LOCK_FILE, now),
                step_seconds=_step_seconds(seconds.get("step") or planned, n_train, params),
            )
        )
    return sorted(trials, key=lambda trial: trial.number)


def _step_seconds(
    epoch_seconds: float | None, n_train: int | None, params: Mapping[str, Any]
) -> float | None:
    batch = as_whole(params.get("effective_batch"))
    if epoch_seconds is None or n_train is None or batch is None or min(n_train, batch) < 1:
        return None
    return epoch_seconds / math.ceil(n_train / batch)


def _eta(
    rows: Sequence[Mapping[str, Any]],
    asked: int | None,
    trials: Sequence[RunningTrial],
    state: CellState,
    description: Mapping[str, Any],
) -> float | None:
    """Return seconds of work left: from the trials that ended, before the first from the plan."""
    if state in ("complete", "failed", "left out"):
        return 0.0
    times = [
        sum(seconds)
        for row in rows
        if (seconds := [as_number(s) or 0.0 for s in as_dict(row.get("seconds")).values()])
    ]
    if not times or asked is None:
        return as_number(as_dict(description.get("estimate")).get("search_seconds_expected"))
    mean = sum(times) / len(times)
    at_once = max(1, len(trials) or as_whole(description.get("concurrency")) or 1)
    left = max(0, asked - len(rows) - len(trials)) * mean
    for trial in trials:
        done = trial.epoch * (trial.epoch_seconds or 0.0)
        # One beyond the mean may still be pruned at any time; its own schedule bounds it.
        rest = (
            (trial.epochs - trial.epoch) * trial.epoch_seconds
            if (trial.epochs is not None and trial.epoch_seconds is not None)
            else mean
        )
        left += min(rest, mean - done) if done < mean else rest
    return max(0.0, left / at_once)


def _ends(cells: Sequence[CellStatus], now: float) -> list[tuple[str | None, float | None]]:
    """Return when each cell will be done, in order, sharing one cluster.

    None from the first unknown one on.
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
    reason = None if driver is None or driver.state != "running" else as_text(driver.lost_output)
    return [] if reason is None else [f"nobody reads its output ({reason}); log.txt has it"]


def _outcome_warnings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    reasons = Counter(as_text(row.get("reason")) for row in rows)
    failures = [
        f"{reasons[reason]} {reason}"
        for reason in ("oom", "diverged", "error", "stalled")
        if reasons[reason]
    ]
    found = [f"failed trials: {', '.join(failures)}"] if failures else []
    if rows and reasons["collapsed"] / len(rows) > _COLLAPSED_SHARE:
        found.append(
            f"{reasons['collapsed']} of {len(rows)} trials collapsed to the base rate: lower "
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


def _best(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the row of the rankable trial with the lowest loss, as ``best_trial`` does."""
    rankable = [
        (value, index)
        for index, row in enumerate(rows)
        if (value := as_number(row.get("value"))) is not None
        and row.get("reason") in ("completed", "early_stopping", "asha")
    ]
    return rows[min(rankable)[1]] if rankable else {}


def _wanted(name: str, names: Sequence[str]) -> bool:
    """Is it a cell or a sweep of one of these names, which may be studies of two phases?"""
    starts = [f"{n}{phase}_" for n in names for phase in ("", "-1", "-2")]
    return not names or name in names or name.startswith(tuple(starts))


def _architecture(params: Mapping[str, Any]) -> str | None:
    return architecture(params) if fits(params, Parameters) else None
