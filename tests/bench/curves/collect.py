"""Makes the bench of curves: complete searches, one row for each trial and epoch, in one Parquet.

``python -m tests.bench.curves.collect --cells 20k:1 20k:3`` searches these cells with the search
spaces beside this file, in which nothing ends a trial before its last epoch, and adds the curves of
each cell to the file once its search is complete. A cell that the file has is skipped, and a search
that was interrupted is resumed, so that the curves can be collected over several days. The code in
``study/`` must be the same until then, or the search is not resumed.

A row has these columns, and the trial's settings by the names of their fields:

loss                the epoch's loss on the validation days, of the averaged weights: the records
                    know none of the others, nor a standard error but that of the best epoch so far
best_is_collapsed   is the best epoch so far a collapsed one?
rate_reached        learning rate of the epoch's last step
seconds             seconds from the report before to this one; of a process's first epoch, and of
                    the first after an interruption, those of its phases
begin_seconds       in the first epoch's row: seconds from the request for the trial to the start of
                    that epoch; for the first trials of a search that has the start of their workers
expected_seconds    seconds of an epoch of its width and depth, as the search's plan timed them
fresh_loss          mean loss with fresh seeds, of the trials that study.train had trained again
sample_flops        operations of the matrix products of a training step, by sample
"""

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from study import Study
from study.api import SearchableCell
from study.command import CommandParser, exit_code
from study.errors import StudyError, quoted, require
from study.model.sizing import step_flops
from study.planning.prepared_cell import PlanOptions
from study.results.epoch_report import EpochRecord
from study.results.plans.plan_record import Estimate
from study.results.records import TrialRecord
from study.results.scheduling.curves import (
    begin_seconds,
    epoch_seconds,
    expected_epoch_seconds,
    fresh_losses,
    read_epochs,
)
from study.results.scores import BestEpoch, Validation
from study.results.store import read_cell, read_trials
from study.search.space import TrialConfig
from study.storage.files import write_bytes
from study.storage.place import place_of
from tests.bench.curves.cells import CURVES

HERE = Path(__file__).parent
SPACES = (HERE / "small.yaml", HERE / "large.yaml")
RESULTS = HERE.parents[2] / "build" / "curves"

_SINGLE = (
    "auc", "logit_sd", "best_loss_se", "best_difference", "best_difference_se", "train_loss",
    "rate_reached", "gradient_norm", "seconds", "data_seconds", "step_seconds",
    "validation_seconds", "checkpoint_seconds", "begin_seconds",
)  # fmt: skip
"""Columns that are kept in single precision, for a small file: no replay compares their values."""

AT_ONCE = 2
"""Trials of a search that run at the same time: own choice, for machines of two cores."""


def cell_of(name: str, results: Path) -> SearchableCell:
    """Return the cell that a name such as ``20k:1`` means."""
    budget, _, horizon = name.partition(":")
    for path in SPACES:
        study = Study.load(path, results)
        if budget in study.specification.budgets:
            require(
                horizon.isdecimal() and int(horizon) in study.specification.horizons,
                "--cells",
                f"must be BUDGET:HORIZON with a horizon of {path.name}",
                got=quoted(name),
                remedy="Write for example 20k:1.",
            )
            return study.cell(budget, int(horizon))
    raise StudyError(
        f"--cells: must be BUDGET:HORIZON with a budget of {' or '.join(p.name for p in SPACES)}, "
        f"but got {quoted(name)}. Write for example 20k:1."
    )


def searched(cell: SearchableCell, *, trials: int | None, max_epochs: int | None) -> bool:
    """Search a cell, or go on with its search; return whether all of its trials have ended."""
    wanted = trials or cell.specification.search.trials
    if len(read_trials(cell.folder)) < wanted:
        resume = place_of(None, cell.folder).has_search()
        cell.search(
            trials=trials,
            max_epochs=max_epochs,
            resume=resume,
            options=PlanOptions(results=cell.results, concurrency=AT_ONCE, device="cpu"),
        )
    return len(read_trials(cell.folder)) >= wanted


def curves_of(cell: SearchableCell) -> pd.DataFrame:
    """Return the curves of a complete search, one row for each trial and epoch."""
    description = read_cell(cell.folder, "commit", "data_sha256", "versions", "estimate")
    estimate = Estimate.from_json(description["estimate"], str(cell.folder))
    rows = [
        row for record in read_trials(cell.folder) for row in _rows(cell.folder, record, estimate)
    ]
    frame = pd.DataFrame(rows).dropna(axis="columns", how="all")
    frame["fresh_loss"] = frame["number"].map(fresh_losses(cell.folder)).astype(float)
    frame = frame.astype({name: "float32" for name in _SINGLE if name in frame})
    frame.insert(0, "cell", cell.folder.name)
    frame.insert(1, "horizon", cell.specification.data.horizon)
    return frame.assign(
        at_once=AT_ONCE,
        data_sha256=description["data_sha256"],
        commit=description["commit"],
        code=description["versions"]["code"],
        torch=description["versions"]["torch"],
    ).sort_values(["number", "epoch"], ignore_index=True)


def _rows(folder: Path, record: TrialRecord, estimate: Estimate) -> Iterable[Mapping[str, Any]]:
    config = TrialConfig.from_flat(record.params)
    epochs = read_epochs(folder, record)
    settings = {
        name: value
        for name, value in config.flat().items()
        if value is None or isinstance(value, str | int | float)
    }
    of_trial = {
        "number": record.number,
        "source": record.source,
        "seed": record.seed,
        "reason": record.reason,
        **settings,
        "d_ff": record.d_ff,
        "param_count": record.param_count,
        "sample_flops": step_flops(config.model, 1),
        "expected_seconds": expected_epoch_seconds(record, estimate),
    }
    for epoch, seconds in zip(epochs, epoch_seconds(epochs), strict=True):
        begin = begin_seconds(record, epochs) if epoch is epochs[0] else None
        yield {**of_trial, **_of_epoch(epoch), "seconds": seconds, "begin_seconds": begin}


def _of_epoch(epoch: EpochRecord) -> dict[str, Any]:
    validation, best = epoch.validation, epoch.best
    assert validation is None or isinstance(validation, Validation)
    assert best is None or isinstance(best, BestEpoch)
    return {
        "epoch": epoch.epoch,
        "loss": validation and validation.loss,
        "auc": validation and validation.auc,
        "logit_sd": validation and validation.logit_sd,
        "best_loss_se": best and best.loss_se,
        "best_difference": best and best.difference,
        "best_difference_se": best and best.difference_se,
        "best_is_collapsed": epoch.best_is_collapsed,
        "train_loss": epoch.train_loss,
        "rate_reached": epoch.learning_rate,
        "gradient_norm": epoch.gradient_norm,
        "step": epoch.step,
        "samples": round(epoch.samples_per_second * (epoch.data_seconds + epoch.step_seconds)),
        **{f"{phase}_seconds": value for phase, value in epoch.phase_seconds.items()},
        "replays": epoch.replays or 0,
    }


def add_cell(frame: pd.DataFrame, out: Path) -> None:
    """Write the file with the rows of one more cell."""
    known = [pd.read_parquet(out)] if out.exists() else []
    content = io.BytesIO()
    pd.concat([*known, frame], ignore_index=True).to_parquet(
        content, index=False, compression="zstd"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, content.getvalue())


def known_cells(out: Path) -> frozenset[str]:
    """Return the names of the cells whose curves a file has."""
    if not out.exists():
        return frozenset()
    return frozenset(pd.read_parquet(out, columns=["cell"])["cell"].unique())


def main(argv: Sequence[str] | None = None) -> int:
    return exit_code(lambda: _collect(argv))


def _collect(argv: Sequence[str] | None) -> int:
    flags = CommandParser(prog="python -m tests.bench.curves.collect", description=__doc__)
    flags.add_argument("--cells", nargs="+", required=True, metavar="BUDGET:HORIZON")
    flags.add_argument(
        "--out", type=Path, default=CURVES, help="the Parquet (default: %(default)s)"
    )
    flags.add_argument("--results", type=Path, default=RESULTS,
                       help="folder of the searches (default: %(default)s)")  # fmt: skip
    flags.add_argument("--trials", type=int, help="of each search, for a try with another --out")
    flags.add_argument("--max-epochs", type=int, help="of each trial, for a try as well")
    arguments = flags.parse_args(argv)
    for name in arguments.cells:
        cell = cell_of(name, arguments.results)
        if cell.folder.name in known_cells(arguments.out):
            print(f"{cell.folder.name}: its curves are in {arguments.out}", flush=True)
            continue
        if not searched(cell, trials=arguments.trials, max_epochs=arguments.max_epochs):
            print(f"{cell.folder.name}: not complete; the same command goes on", flush=True)
            return 1
        add_cell(curves_of(cell), arguments.out)
        print(f"{cell.folder.name}: added to {arguments.out}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
