"""TensorBoard: one event folder per trial, its HParams from the first epoch on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import FileWriter, SummaryWriter
from tensorboardX.summary import hparams

_SCALARS = (
    "train_loss", "validation_loss", "best_validation_loss", "skill", "auc", "brier",
    "prediction_sd", "learning_rate", "gradient_norm", "samples_per_second", "peak_memory_bytes",
    "data_seconds", "step_seconds", "validation_seconds", "checkpoint_seconds",
)  # fmt: skip


class TrialEvents:
    """The event file of one trial. Steps are epochs."""

    def __init__(self, folder: Path, params: Mapping[str, Any], *, first_epoch: int) -> None:
        """Open the folder and, for a new trial, write its HParams.

        Args:
            folder: the trial's folder; created if needed.
            params: budget, horizon, every architecture and training value, parameter count.
            first_epoch: the next epoch that will be written. If there are events already, those
                of that epoch and later are hidden: a crash may have left some that are written
                again now.
        """
        resumed = any(folder.glob("events.out.*"))
        self._writer = SummaryWriter(str(folder), purge_step=first_epoch if resumed else None)
        plain = {name: value for name, value in params.items() if value is not None}
        # The experiment-level summary is left out: TensorBoard then gathers names and values
        # from all trials of all cells, instead of trusting the first that it meets.
        _, start, self._end = hparams(plain, {})
        if not resumed:
            self._file().add_summary(start)
        self._writer.flush()

    def epoch(self, report: Mapping[str, Any]) -> None:
        """Write one epoch's scalars; missing ones are left out."""
        for name in _SCALARS:
            if report.get(name) is not None:
                self._writer.add_scalar(name, report[name], global_step=report["epoch"])
        self._writer.flush()

    def close(self, *, ended: bool) -> None:
        """Close the file; ``ended`` marks the trial's session as finished."""
        if ended:
            self._file().add_summary(self._end)
        self._writer.close()

    def _file(self) -> FileWriter:
        return self._writer._get_file_writer()
