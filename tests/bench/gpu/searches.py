"""A cell from its command to its summary, with and without MPS, and what a whole study would take.

The records that a search leaves tell where its time went, also if its time was up before its end.
"""

import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.cluster.accelerator.mps import SETTING
from study.results.store import read_cell
from study.storage.layout import EPOCHS_FILE, TRIALS_FILE
from tests.bench.gpu.commands import run_module
from tests.bench.gpu.sizes import Sizes
from tests.bench.gpu.timing import Row, Rows
from tests.bench.test_cell_overhead import PHASES, epochs_in, slot_use

BUDGETS, HORIZONS = ("2M", "20M", "200M", "2B"), ("1", "3", "5")
STEPS = ("data_seconds", "step_seconds")
"""Phases of an epoch that are steps."""

Epochs = list[list[dict[str, Any]]]
"""The records of the epochs of several trials."""


@dataclass(slots=True)
class Searches:
    """The searches of the table, whose measured epochs the extrapolation takes."""

    sizes: Sizes
    epoch_seconds: list[tuple[str, float]] = field(default_factory=list)
    """Width and depth of every trial so far, with the mean seconds of its epochs."""

    def cell(self, setting: str, seconds: float) -> Rows:
        """Search one cell under a setting of MPS."""
        name = f"cell of {self.sizes.trials} trials, MPS {setting}"
        if not self.sizes.trials:
            yield Row("cell of trials", "not run", "", "30 s; 10 % outside steps")
            return
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            flags = ["--budget", "2M", "--horizon", "3", "--storage", folder]
            flags += ["--trials", str(self.sizes.trials)]
            began = time.time()
            done = run_module("study.tune", *flags, seconds=seconds, **{SETTING: setting})
            taken = time.time() - began
            if done.code:
                raise RuntimeError(f"{name}: {(done.errors or done.output)[-200:].strip()}")
            end = "to summary" if done.code == 0 else "its time was up"
            yield from self.rows_of(Path(folder), name, f"{taken:.0f} s, {end}")
            yield from plan_rows(Path(folder), began, taken if done.code == 0 else None)

    def rows_of(self, results: Path, name: str, taken: str) -> Rows:
        """Read the records of the one cell in a results folder."""
        files = sorted(results.glob(f"*/trial_*/{EPOCHS_FILE}"))
        trials = {file.parent: epochs for file in files if (epochs := epochs_in(file))}
        if not trials:
            yield Row(name, f"{taken}; no epoch was reported", "", "30 s")
            return
        cell = next(iter(trials)).parent
        records = cell / TRIALS_FILE
        ended = json.loads(records.read_text()) if records.exists() else []
        yield Row(name, f"{taken}; {len(ended)} trials ended", "", "30 s")
        yield slot_row([*trials.values()])
        for record in ended:
            epochs = trials.get(cell / record["folder"], [])
            if not epochs:
                continue
            shape = f"d{record['params']['d_model']} L{record['params']['n_layers']}"
            inside = [sum(epoch[phase] for phase in PHASES) for epoch in epochs]
            self.epoch_seconds.append((shape, statistics.fmean(inside)))

    def study(self, seconds: float) -> Rows:
        """Plan the 600 trials of the default study, and hold its epochs against those measured."""
        if not self.sizes.trials:
            yield Row("600 trials of phase6a", "not planned", "", "1 h")
            return
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            flags = ["--budgets", *BUDGETS, "--horizons", *HORIZONS, "--storage", folder]
            done = run_module("study.plan", *flags, "--json", seconds=seconds)
        if done.code is None:
            yield Row("600 trials of phase6a", f"not planned in {seconds:.0f} s", "", "1 h")
            return
        if not done.output:
            raise RuntimeError(done.errors[-200:].strip())
        yield self.study_row(json.loads(done.output))

    def study_row(self, plan: dict[str, Any]) -> Row:
        """Return the row of a plan, which nobody has taken."""
        total = plan["total"]
        hours = total["search_seconds_expected"] / 3600
        measured = f"{hours:.2f} h planned for {total['trials']} trials, not taken"
        if total["cells_with_problem"]:
            measured += f"; {total['cells_with_problem']} cells cannot run here"
        planned: dict[str, float] = {}
        for cell in plan["cells"]:
            planned |= (cell["estimate"] or {}).get("epoch_seconds", {})
        ratios = [taken / planned[shape] for shape, taken in self.epoch_seconds if shape in planned]
        reference = ""
        if ratios:
            reference = f"epochs above took {statistics.median(ratios):.2f} of their plan"
        return Row("600 trials of phase6a", measured, reference, "1 h")


def plan_rows(results: Path, began: float, taken: float | None) -> Rows:
    """Hold the time of the one cell of a results folder against the plan that it began with.

    Args:
        results: the folder.
        began: when the command was started, in seconds since 1970.
        taken: its seconds; None if it has not come to its end.
    """
    files = [*results.glob(f"*/trial_*/{EPOCHS_FILE}")]
    firsts = [epochs[0]["began"] for file in files if (epochs := epochs_in(file))]
    if not firsts:
        return
    start = min(firsts) - began
    plan = read_cell(files[0].parent.parent, "estimate")["estimate"]
    planned = f"{plan['start_seconds']:.1f} s planned"
    yield Row("from the command to the first step", f"{start:.1f} s", planned, "15 s")
    if taken is not None:
        expected = plan["search_seconds_expected"]
        error = f"{taken / expected - 1:+.0%}"
        yield Row("the whole cell against its plan", error, f"{expected:.0f} s planned", "+-30 %")


def slot_row(trials: Epochs) -> Row:
    """Return the share of slot time in which no step was taken."""
    steps = sum(epoch[phase] for one in trials for epoch in one for phase in STEPS)
    whole = sum(one[-1]["reported"] - one[0]["began"] for one in trials)
    unknown = slot_use(trials).outside_training
    outside = f"{1 - steps / whole:.0%}, of it {unknown:.1%} in no phase"
    return Row("slot time outside steps", outside, "", "10 %")
