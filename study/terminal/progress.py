"""What the terminal shows while a cell runs: a line per event, and a live view of what runs now."""

import atexit
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from study.byte_text import gib
from study.results.records import PHASES, BaselineRecord, TrialRecord
from study.results.short_forms import architecture, duration


class Progress:
    """Prints events as lines; on a terminal a live table of the running trials stands below them.

    Args:
        console: where to print; lines are never wrapped, so that a log stays greppable.
        log: receives every line too.
        total: trials asked for.
        slots: trials that run at once, for the estimate of the time left.
        baseline: the one to beat, shown beside the best.
    """

    def __init__(
        self,
        console: Console,
        log: Callable[[str], None],
        *,
        total: int,
        slots: int,
        baseline: BaselineRecord,
    ) -> None:
        self._console = console
        self._log = log
        self._total = total
        self._slots = slots
        self._baseline = baseline
        self._running: dict[int, dict[str, Any]] = {}
        self._ended: dict[int, TrialRecord] = {}
        self._best: TrialRecord | None = None
        self._live: Live | None = None

    def start(self, ended: list[TrialRecord], best: TrialRecord | None) -> None:
        """Begin; ``ended`` are the trials that a resumed cell has already."""
        self._ended, self._best = {record.number: record for record in ended}, best
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._view,
                console=self._console,
                refresh_per_second=2,
                transient=True,
            )
            self._live.start()
            # A second Ctrl+C skips every other way out, and a live view hides the cursor.
            atexit.register(self.stop)

    def stop(self) -> None:
        """Take the live view off the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def line(self, text: str) -> None:
        """Print one line and log it."""
        self._console.print(Text(text), soft_wrap=True)
        self._log(text)

    def trial_started(
        self,
        number: int,
        params: Mapping[str, Any],
        *,
        source: str,
        param_count: int,
        micro_batch: int,
        resumed: int,
    ) -> None:
        """Say that a trial begins, or goes on after ``resumed`` epochs."""
        self._running[number] = {"params": params, "report": None, "since": time.monotonic()}
        verb = f"resumes after epoch {resumed}" if resumed else "starts"
        self.line(
            f"trial {number:>3} {verb}: {source}, {architecture(params)}, "
            f"{param_count:,} parameters, lr {params['learning_rate']:.2e}, "
            f"wd {params['weight_decay']:.2e}, dropout {params['dropout']:.2f}, "
            f"batch {micro_batch} x {-(-params['effective_batch'] // micro_batch)}"
        )

    def epoch(self, number: int, report: Mapping[str, Any]) -> None:
        """Take in an epoch of a running trial, for the live view."""
        if number in self._running:
            self._running[number]["report"] = dict(report)

    def trial_broke_off(self, number: int, message: str, *, is_tried_again: bool, log: str) -> None:
        """Say what broke a trial off; its end, if it is not tried again, has a line of its own."""
        self._running.pop(number, None)
        if is_tried_again:
            self.line(f"trial {number:>3} broke off and is tried again: {message}; see {log}")

    def trial_ended(self, record: TrialRecord, best: TrialRecord | None) -> None:
        """Say how a trial ended, and the best so far beside the baseline."""
        self._running.pop(record.number, None)
        self._ended[record.number] = record
        self._best = best
        if record.value is None:
            outcome = f"{record.reason}, no value"
        else:
            auc = "undefined" if record.auc is None else f"{record.auc:.3f}"
            outcome = (
                f"{record.value:.4f} at epoch {record.best_epoch}, AUC {auc}, {record.reason} "
                f"after {record.epochs_trained} of {record.params['epochs']} epochs"
            )
        took = "" if record.duration_seconds is None else f", {duration(record.duration_seconds)}"
        self.line(f"trial {record.number:>3} ends: {outcome}{took} | {self._best_so_far()}")
        peak, granted = record.peak_memory_bytes, record.granted_memory_bytes
        if peak is not None and granted is not None and peak > granted:
            self.line(
                f"trial {record.number:>3} used {gib(peak, 2)}, more than the "
                f"{gib(granted, 2)} that the memory model granted it: lower --concurrency "
                "if memory runs out"
            )
        if record.message:
            self.line(f"trial {record.number:>3} said: {record.message}")

    def _best_so_far(self) -> str:
        counted = f"{len(self._ended)}/{self._total}"
        baseline = f"{self._baseline.name} {self._baseline.log_loss:.4f}"
        if self._best is None or self._best.value is None:
            return f"{counted}, no usable value yet, {baseline}"
        return f"{counted}, best {self._best.value:.4f} (trial {self._best.number}), {baseline}"

    def _view(self) -> Group:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("trial", "architecture"):
            table.add_column(heading, no_wrap=True)
        for heading in ("epoch", "train", "validation", "best", "s/epoch", "since"):
            table.add_column(heading, justify="right", no_wrap=True)
        for number, running in sorted(self._running.items()):
            report, params = running["report"] or {}, running["params"]
            table.add_row(
                str(number),
                architecture(params),
                f"{report.get('epoch', 0)}/{params['epochs']}",
                _loss(report.get("train_loss")),
                _loss(report.get("validation_loss")),
                _loss(report.get("best_validation_loss")),
                f"{_epoch_seconds(report):.1f}" if report else "",
                duration(time.monotonic() - running["since"]),
            )
        left = self._seconds_left()
        eta = "" if left is None else f", about {duration(left)} left"
        return Group(Text(""), table, Text(f"{self._best_so_far()}{eta}", style="bold"))

    def _seconds_left(self) -> float | None:
        """Estimate from the trials that ended; None before the first."""
        ended = self._ended.values()
        times = [r.duration_seconds for r in ended if r.duration_seconds is not None]
        if not times:
            return None
        return sum(times) / len(times) * (self._total - len(self._ended)) / self._slots


def _epoch_seconds(report: Mapping[str, Any]) -> float:
    return float(sum(report.get(f"{phase}_seconds", 0.0) for phase in PHASES))


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
