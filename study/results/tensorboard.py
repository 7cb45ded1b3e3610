"""Writes the TensorBoard event file of a trial, with its HParams from the first epoch on."""

import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from study.results.epoch_report import EpochRecord
from study.results.records import PHASES

_SCALARS = (
    "train_loss", "validation_loss", "best_validation_loss", "skill", "auc", "brier",
    "rank_ic", "ic", "hit_rate", "long_short", "turnover", "sharpe", "sharpe_net", "base_loss",
    "best_rank_ic", "prediction_sd", "learning_rate", "gradient_norm", "samples_per_second",
    "peak_memory_bytes",
    "temperature_max",
    *(f"{phase}_seconds" for phase in PHASES),
)  # fmt: skip

_FILES = "events.out.tfevents.*"

_OURS = re.compile(r"events\.out\.tfevents\.\d{16}\..+\.\d+")
"""Pattern of the names of files written here; those of other writers begin with ten digits."""


class TrialEvents:
    """The event file of one trial. Steps are epochs.

    Opening it writes everything that is known of the trial into a new file and then removes the
    old one, so that each epoch is there once whatever a crash left. Files of other writers are
    kept. Each call passes its events to the system before it returns; no thread writes them later,
    which a full disk could block.
    """

    def __init__(
        self,
        folder: Path,
        params: Mapping[str, Any],
        epochs: Sequence[EpochRecord],
        *,
        group: str,
    ) -> None:
        """Begin the file.

        Args:
            folder: the trial's folder, which exists.
            params: budget, horizon, every architecture and training value, parameter count.
            epochs: reports so far, in order.
            group: name of the trial in HParams, which averages over all trials of one name.

        Raises:
            OSError: it could not be written; the old file is still there.
        """
        before = _own_files(folder)
        # Readers take files in the order of their names, which begin with the time.
        name = f"{time.time_ns() // 1000:016d}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / f"events.out.tfevents.{name}"
        self._file = self._path.open("xb")
        self._writer = RecordWriter(self._file)
        try:
            self._begin(params, epochs, group)
        except BaseException:
            with suppress(OSError):
                self._file.close()
            self._path.unlink(missing_ok=True)
            raise
        for path in before:
            path.unlink()

    def _begin(self, params: Mapping[str, Any], epochs: Sequence[EpochRecord], group: str) -> None:
        self._write(file_version="brain.Event:2")
        # A TensorBoard that has read the old file then drops its steps and takes these.
        self._write(step=1, session_log=SessionLog(status=SessionLog.START))
        plain = {key: value for key, value in params.items() if value is not None}
        self._write(summary=hparams_pb(plain, trial_id=group))
        for report in epochs:
            self._epoch(report)
        self._writer.flush()

    def epoch(self, report: EpochRecord) -> None:
        """Write one epoch's scalars; missing ones are left out."""
        self._epoch(report)
        self._writer.flush()

    def close(self, *, ended: bool) -> None:
        """Close the file; ``ended`` marks the trial's session as finished."""
        if ended:
            self._write(summary=_session_end())
        self._writer.close()

    def _epoch(self, report: EpochRecord) -> None:
        line = report.to_json()
        values = [
            Summary.Value(tag=name, simple_value=line[name]) for name in _SCALARS if name in line
        ]
        values += [
            Summary.Value(tag=f"term/{name}", simple_value=value)
            for name, value in (report.train_terms or {}).items()
        ]
        values += [
            Summary.Value(tag=f"rank_ic/h{horizon}", simple_value=value)
            for horizon, value in line.get("further_rank_ic", {}).items()
        ]
        self._write(
            wall_time=report.worker.reported, step=report.epoch, summary=Summary(value=values)
        )

    def _write(self, **fields: Any) -> None:
        event = Event(**{"wall_time": time.time(), **fields})
        self._writer.write(event.SerializeToString())


def has_events(folder: Path, n_epochs: int) -> bool:
    """Does an ended trial have exactly one event file, and is it complete?"""
    paths = _own_files(folder)
    if len(paths) != 1:
        return False
    # Version, start of the log, HParams, the epochs, end of the session. A torn event is no event.
    return sum(1 for _ in RawEventFileLoader(str(paths[0])).Load()) == 3 + n_epochs + 1


def is_event_file(name: str) -> bool:
    """Is this the name of a file that ``TrialEvents`` has written?"""
    return _OURS.fullmatch(name) is not None


def _own_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob(_FILES) if is_event_file(path.name) and path.is_file()]


def _session_end() -> Summary:
    """Mark the trial as finished; TensorBoard's own function for it needs TensorFlow."""
    end = SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
    data = HParamsPluginData(session_end_info=end, version=metadata.PLUGIN_DATA_VERSION)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG, metadata=metadata.create_summary_metadata(data)
    )
    return Summary(value=[value])
