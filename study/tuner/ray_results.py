"""Writes the results of a search in the files that Ray's own readers expect.

``ray.tune.ExperimentAnalysis`` and ``Tuner.restore(...).get_results()`` read them like those of any
run of Tune. A search is resumed from its journal and never reads them. Like all state files of Tune
they hold pickles, so a reader must trust their source.
"""

import copy
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from ray import tune
from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import StorageContext
from ray.tune.execution.placement_groups import resource_dict_to_pg_factory
from ray.tune.experiment import Trial

from study.errors import StudyError
from study.results.records import TrialRecord
from study.storage.documents import parse_json
from study.storage.files import read_text, write_bytes, write_text
from study.storage.layout import (
    CHECKPOINTS_FOLDER,
    EPOCHS_FILE,
    ERROR_FILE,
    TUNE_STATE_FILE,
    TUNER_FILE,
)
from study.storage.lock import scratch_folder

OBJECTIVE = "objective"
"""Name of the metric by which Ray ranks the trials: what the search minimises. A trial without a
usable result lacks it."""

_RAY_ERRORS = ("error", "oom", "stalled")
"""Reasons of an end that Ray counts as an error."""


class _ResumedByItsJournal(tune.CheckpointConfig):  # type: ignore[misc]
    """Refuses ``Tuner.fit``, which copies the configuration before it does anything else.

    Ray's state of a run lacks the state of the search: resuming from it would repeat trials, and
    lose the rungs and the sampler's history.
    """

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise StudyError(
            "Tuner.fit: a search is resumed from its journal, but got a Tuner restored from its "
            "folder. Repeat the study.tune command that began it, with --resume."
        )


def write_ray_results(
    folder: Path, records: Sequence[TrialRecord], trainable: type[tune.Trainable]
) -> None:
    """Write the state files of Tune for the trials of a search that have ended.

    Configurations, reports and checkpoints are not copied: a trial's ``result.json`` has the name
    and the form that Ray reads, and its folder of checkpoints serves as its checkpoint.

    Args:
        folder: the cell's folder.
        records: the records of its trials.
        trainable: the class that ran them, which ``Tuner.restore`` must be given too.

    Raises:
        OSError: they cannot be written.
    """
    with scratch_folder() as scratch:
        # Ray marks the storage path with a file of its own, hence the temporary one.
        storage = StorageContext(storage_path=str(scratch), experiment_dir_name=folder.name)
        storage.storage_fs_path = folder.parent.as_posix()
        states = [_trial(folder, each, storage, trainable).get_json_state() for each in records]
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(metric=OBJECTIVE, mode="min"),
            run_config=tune.RunConfig(
                name=folder.name,
                storage_path=str(scratch),
                checkpoint_config=_ResumedByItsJournal(checkpoint_at_end=False),
            ),
        )
        write_bytes(folder / TUNER_FILE, (scratch / folder.name / TUNER_FILE).read_bytes())
    write_text(folder / TUNE_STATE_FILE, json.dumps({"trial_data": states}))


def _trial(
    folder: Path, record: TrialRecord, storage: StorageContext, trainable: type[tune.Trainable]
) -> Trial:
    """Return Ray's object for a trial that has ended."""
    trial = Trial(
        trainable.__name__,
        config=dict(record.params),
        evaluated_params=dict(record.params),
        trial_id=record.trial_id,
        storage=copy.copy(storage),
        stub=True,
        _setup_default_resource=False,
    )
    trial.storage.trial_dir_name = record.folder
    cpus, gpus = record.assigned_cpus or 0, record.assigned_gpus or 0
    # A trial that ended before its first epoch has no resources on record, and Ray refuses none.
    trial.placement_group_factory = resource_dict_to_pg_factory(
        {"cpu": cpus, "gpu": gpus} if cpus or gpus else {"cpu": 1}
    )
    *earlier, last = _epochs(folder / record.folder) or [{}]
    for report in earlier:
        trial.update_last_result(report)
    result = {**last, **_end(record)}
    trial.update_last_result(result)
    checkpoints = folder / record.folder / CHECKPOINTS_FOLDER
    if checkpoints.is_dir():
        trial.on_checkpoint(_TrainingResult(tune.Checkpoint(str(checkpoints)), result))
    is_error = record.reason in _RAY_ERRORS
    if is_error and (folder / record.folder / ERROR_FILE).is_file():
        trial.run_metadata.error_filename = ERROR_FILE
    trial.set_status(Trial.ERROR if is_error else Trial.TERMINATED)
    trial.run_metadata.start_time = record.started
    trial.run_metadata.last_result_time = record.ended
    return trial


def _epochs(trial: Path) -> list[dict[str, Any]]:
    """Return the reports of a trial, each with Ray's ``training_iteration``."""
    reports = []
    for line in (read_text(trial / EPOCHS_FILE) or "").splitlines():
        # A line that is damaged is left out; the next start of the search rewrites it.
        with suppress(StudyError):
            report = parse_json(line.encode())
            if isinstance(report, dict) and isinstance(report.get("epoch"), int):
                reports.append({**report, "training_iteration": report["epoch"]})
    return reports


def _end(record: TrialRecord) -> dict[str, Any]:
    """Return the values that a trial's last result holds besides its last report."""
    # Some names occur in the report of an epoch and, with another meaning, in the record.
    own = {name: value for name, value in record.to_json().items() if name != "params"}
    end = {
        "trial_id": record.trial_id,
        "config": dict(record.params),
        "done": True,
        "time_total_s": record.duration_seconds,
        "state": record.state,
        "reason": record.reason,
        "record": own,
    }
    return {**end, OBJECTIVE: record.objective} if record.is_rankable else end
