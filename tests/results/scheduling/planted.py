"""Learning curves that are written by hand, and a search that has them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.results.scheduling.curves import Curve
from study.results.store import CellIdentity, CellStore
from study.results.store import write_cell as write_description
from tests.results.conftest import PARAMS, record
from tests.results.reports import best_epoch, epoch_record, validation
from tests.tuner.command import ESTIMATE


def planted(losses: Sequence[float], number: int = 0, **changes: Any) -> Curve:
    """Return a curve of one second an epoch, whose schedule ends with its last loss."""
    n = len(losses)
    best = [min(losses[: epoch + 1]) for epoch in range(n)]
    fields: dict[str, Any] = {
        "number": number, "group": "2M", "epochs": n, "losses": tuple(losses),
        "scores": tuple(best), "is_collapsed": (False,) * n, "epoch_seconds": (1.0,) * n,
        "begin_seconds": 0.5, "last_epoch": n,
    }  # fmt: skip
    return Curve(**{**fields, **changes})


def flat(levels: Sequence[float], *, epochs: int) -> list[Curve]:
    """Return curves that stay where they begin, so that ranks never change."""
    return [planted([level] * epochs, number) for number, level in enumerate(levels)]


EPOCHS = 4


def write_search(
    folder: Path, curves: list[list[float]], params: Mapping[str, Any] = PARAMS
) -> None:
    """Write a search in two slots whose workers take 20 s, an epoch 1.25 s and a begin 0.5 s.

    Args:
        folder: the folder of the cell, which is made.
        curves: the loss of each epoch of each trial; the first trials have whole schedules.
        params: the configuration of all, but for its width, depth and epochs.
    """
    folder.mkdir()
    write_description(
        folder,
        {
            "metric": "log_loss",
            "estimate": ESTIMATE,
            "commit": "abc",
            "data_sha256": "abc",
            "versions": {"code": "abc", "torch": "2"},
        },
    )
    store = CellStore(folder, CellIdentity(
        name="cell", study="demo", budget="2M", phase=None, metric="log_loss", horizon=1,
        task="threshold_1pct", data_sha256="abc", versions={},
    ))  # fmt: skip
    records = []
    for number, losses in enumerate(curves):
        asked = 100.0 * (number // 2)
        began = asked + (20.0 if number < 2 else 0.25)
        trial = record(
            number, started=asked, ended=began + 50, epochs_trained=len(losses),
            params={**params, "epochs": EPOCHS, "d_model": 32, "n_layers": 4},
            reason="completed" if len(losses) == EPOCHS else "asha",
        )  # fmt: skip
        epochs = [
            epoch_record(
                epoch, validation=validation(losses[epoch - 1]),
                best=best_epoch(min(losses[:epoch])),
                # Of the first epoch the phases are 1.3 s, so that it began 0.25 s after the worker.
                worker={"began": began, "reported": began + 0.25 + 1.3 + 1.25 * (epoch - 1)},
            )
            for epoch in range(1, len(losses) + 1)
        ]  # fmt: skip
        (folder / trial.folder).mkdir()
        store.write_trial(trial, epochs)
        records.append(trial)
    store.write_trials(records)
