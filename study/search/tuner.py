"""Runs the Tune experiment of one cell, from its start or from where it was interrupted."""

import json
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import optuna
from ray import tune
from ray.tune.experiment import Trial

from study.data.dataset import Dataset
from study.errors import StudyError, require
from study.results.records import TrialRecord
from study.results.store import CellIdentity, read_cell, read_trials, write_cell
from study.search.plan import CellPlan, commit, machine, versions
from study.search.recorder import Recorder
from study.search.scheduler import RungKeeper, build_scheduler
from study.search.searcher import CellSearcher
from study.search.trainable import CellTrainable, TrialSettings, trial_folder_name
from study.spec import Cell

RAY_FOLDER = "ray"
"""Ray's own files live apart from ours: on a restore it copies every JSON file of its folder aside
and later writes the stale copies back."""

_WORKER_RETRIES = 2
"""Times a trial goes on from its checkpoint after its worker died; a shortage of memory and a
divergence are handled before Ray sees them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchOutcome:
    """What a search left."""

    folder: Path
    records: list[TrialRecord]
    is_interrupted: bool


def search_cell(plan: CellPlan, results: Path, *, resume: bool) -> SearchOutcome:
    """Search ``plan.cell`` in ``results/<cell>``; Ray must be running.

    Args:
        plan: the cell, ready to run.
        results: the results folder; absolute, because workers use it.
        resume: go on with the trials that are in the folder.

    Raises:
        StudyError: the folder cannot be resumed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = results / plan.cell.name
    trainable = tune.with_resources(
        tune.with_parameters(
            CellTrainable,
            data=plan.data,
            baseline_losses=plan.baseline_losses,
            settings=TrialSettings(
                cell_folder=folder,
                device=plan.device,
                share_bytes=plan.resources.share_bytes,
            ),
        ),
        plan.resources.request(),
    )
    if resume:
        tuner = tune.Tuner.restore(str(folder / RAY_FOLDER), trainable=trainable)
    else:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise StudyError(
                f"{folder}: must be a folder that can be made, but got {error.strerror}. "
                "Choose another --storage."
            ) from error
        write_cell(folder, _description(plan, folder))
        tuner = _new_tuner(plan, folder, trainable)
    with _ray_log_in(folder), _graceful_interruption() as interruption:
        tuner.fit()
    return SearchOutcome(
        folder=folder, records=read_trials(folder), is_interrupted=interruption.requested
    )


def check_resumable(
    cell: Cell, data: Dataset, folder: Path, *, concurrency: int | None
) -> dict[str, Any]:
    """Refuse to resume what was started differently, and say what differs.

    Returns: what ``cell.yaml`` says: Ray goes on with the concurrency and the resources of then.

    Raises:
        StudyError: the folder holds no restorable search, or its space, data or versions differ.
    """
    before = read_cell(folder)
    for part, now in _identity(cell, data, folder).items():
        differences = _differences(before.get(part), now, part)
        require(
            not differences,
            str(folder),
            "can only be resumed as it was started",
            got="; ".join(differences),
            remedy="Start with the same file, flags, data and versions, or use --fresh.",
            error=StudyError,
        )
    require(
        concurrency in (None, before["concurrency"]),
        "--concurrency",
        f"a search goes on with as many trials at once as it was started with, "
        f"{before['concurrency']}",
        got=f"--concurrency {concurrency}",
        remedy="Leave it out.",
        error=StudyError,
    )
    ray_folder = folder / RAY_FOLDER
    states = sorted(ray_folder.glob("experiment_state-*.json"))
    require(
        bool(states) and (ray_folder / "tuner.pkl").is_file(),
        str(folder),
        "must hold Ray's saved state",
        got="none: it was interrupted before the first save",
        remedy="Use --fresh; the trials so far are kept aside.",
        error=StudyError,
    )
    try:
        json.loads(states[-1].read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise StudyError(
            f"{states[-1]}: must be Ray's saved state, but got a damaged file ({error}). "
            "Use --fresh; the trials so far are kept aside."
        ) from error
    return before


def _new_tuner(plan: CellPlan, folder: Path, trainable: object) -> tune.Tuner:
    cell, search = plan.cell, plan.cell.search
    scheduler = build_scheduler(search)
    identity = CellIdentity(
        name=cell.name,
        study=cell.study,
        budget=cell.budget.label,
        horizon=cell.data.horizon,
        task=cell.data.task,
        data_sha256=plan.data.fingerprint,
        versions=versions(),
    )
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=search.trials,
            search_alg=CellSearcher(
                plan.space,
                plan.forced,
                seed=search.seed,
                startup_trials=search.startup_trials,
            ),
            scheduler=scheduler,
            max_concurrent_trials=plan.concurrency,
            reuse_actors=not plan.resources.exclusive,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=tune.RunConfig(
            name=RAY_FOLDER,
            storage_path=str(folder),
            callbacks=[
                Recorder(
                    folder,
                    identity,
                    plan.baseline,
                    slots=plan.concurrency,
                    resources=plan.resources,
                    bf16=plan.bf16,
                ),
                RungKeeper(scheduler),
            ],
            # The trainable writes its own checkpoints, before it reports an epoch.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=_WORKER_RETRIES),
            verbose=0,
        ),
    )


def _trial_folder(trial: Trial) -> str:
    return trial_folder_name(trial.config)


def _description(plan: CellPlan, folder: Path) -> dict[str, object]:
    return {
        **_identity(plan.cell, plan.data, folder),
        "commit": commit(),
        "machine": machine(),
        **plan.describe(),
    }


def _identity(cell: Cell, data: Dataset, folder: Path) -> dict[str, object]:
    """Return what must be equal for a search to go on."""
    return {
        "spec": cell.resolved(),
        "data_sha256": data.fingerprint,
        "feature_hash": data.feature_hash,
        "versions": versions(),
        # Ray and the records keep absolute paths: a moved folder would be continued in two places.
        "folder": str(folder),
    }


def _differences(before: object, now: object, where: str) -> list[str]:
    """Return one line per leaf that differs between two plain values."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in {**before, **now}
            for line in _differences(before.get(key), now.get(key), f"{where}.{key}")
        ]
    # Tuples become lists on their way through YAML.
    return [] if before == now else [f"{where} was {before!r} and is {now!r}"]


@dataclass(slots=True)
class _Interruption:
    requested: bool = False


@contextmanager
def _graceful_interruption() -> Iterator[_Interruption]:
    """Turn the first Ctrl+C or SIGTERM into a graceful end, the second into an immediate one.

    Ray saves its state and stops its workers on SIGUSR1 only; SIGTERM would save nothing.
    """
    interruption = _Interruption()

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if interruption.requested:
            raise KeyboardInterrupt
        interruption.requested = True
        # Not print: the handler may run inside one, and its buffer is not reentrant.
        os.write(2, b"\nending: saving what runs. Ctrl+C again ends at once.\n")
        os.kill(os.getpid(), signal.SIGUSR1)

    def too_early(signum: int, frame: FrameType | None) -> None:
        # Ray installs its own handler when the run begins; until then there is nothing to save.
        interruption.requested = True
        raise KeyboardInterrupt

    handlers = {
        signal.SIGUSR1: too_early,
        signal.SIGINT: interrupt,
        signal.SIGTERM: interrupt,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield interruption
    except KeyboardInterrupt:
        interruption.requested = True
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ray_log_in(folder: Path) -> Iterator[None]:
    """Send what Ray logs to the cell's folder: the terminal has one voice."""
    handler = logging.FileHandler(folder / "ray.log", delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train", "ray.air")]
    before = [(logger.handlers[:], logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
        handler.close()
