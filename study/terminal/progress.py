"""The terminal while a cell runs: a line per event, and a live view of what runs now."""

import atexit
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from study.results.epoch_report import EpochRecord
from study.results.records import BaselineRecord, Metric, PanelBaselineRecord, TrialRecord
from study.results.scores import BestEpoch, PanelBest, PanelValidation
from study.statistics.rank_scores import conflict
from study.terminal.panel_overview import further_scores, ratio, shown_baseline, shown_score, signed
from study.text.byte_text import gib
from study.text.short_forms import architecture, duration


@dataclass(frozen=True, slots=True)
class _Running:
    """A trial that is at work."""

    params: Mapping[str, Any]
    """Its configuration, flat."""
    since: float
    """Seconds of the monotonic clock at which it started."""
    report: EpochRecord | None = None
    """Its last epoch."""


class Progress:
    """Prints events as lines; on a terminal a live table of the running trials stands below them.

    Args:
        console: prints them; lines are never wrapped, so that a log stays greppable.
        log: receives every line too.
        total: number of trials asked for.
        slots: number of trials that run at once, for the estimate of the time left.
        baseline: baseline to beat, shown beside the best; None if trials have different days, so
            that there is no best.
        metric: what trials are scored by.
    """

    def __init__(
        self,
        console: Console,
        log: Callable[[str], None],
        *,
        total: int,
        slots: int,
        baseline: BaselineRecord | PanelBaselineRecord | None,
        metric: Metric,
    ) -> None:
        self._console = console
        self._log = log
        self._total = total
        self._slots = slots
        self._baseline = baseline
        self._metric = metric
        self._running: dict[int, _Running] = {}
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

    def ask_for(self, total: int) -> None:
        """Count from now on how many of ``total`` trials have ended."""
        self._total = total

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
        """Print that a trial starts, or resumes after ``resumed`` epochs."""
        self._running[number] = _Running(params, since=time.monotonic())
        verb = f"resumes after epoch {resumed}" if resumed else "starts"
        self.line(
            f"trial {number:>3} {verb}: {source}, {architecture(params)}, "
            f"{param_count:,} parameters, lr {params['learning_rate']:.2e}, "
            f"wd {params['weight_decay']:.2e}, dropout {params['dropout']:.2f}, "
            f"batch {micro_batch} x {-(-params['effective_batch'] // micro_batch)}"
        )

    def epoch(self, number: int, report: EpochRecord) -> None:
        """Take in an epoch of a running trial, for the live view."""
        if number in self._running:
            self._running[number] = dataclasses.replace(self._running[number], report=report)

    def trial_broke_off(self, number: int, message: str, *, is_tried_again: bool, log: str) -> None:
        """Print the fault that interrupted a trial, if it is retried: its end has another line."""
        self._running.pop(number, None)
        if is_tried_again:
            self.line(f"trial {number:>3} broke off and is tried again: {message}; see {log}")

    def trial_ended(
        self, record: TrialRecord, best: TrialRecord | None, epochs: Sequence[EpochRecord] = ()
    ) -> None:
        """Print how a trial ended, and the best so far beside the baseline.

        Args:
            record: the trial.
            best: the best trial so far.
            epochs: its epochs, of which a conflict of a panel's scores is printed.
        """
        self._running.pop(record.number, None)
        self._ended[record.number] = record
        self._best = best
        best_epoch = record.best
        if best_epoch is None:
            outcome = f"{record.reason}, no value"
        else:
            outcome = (
                f"{_scores(best_epoch, self._metric)}, {record.reason} after "
                f"{record.epochs_trained} of {record.params['epochs']} epochs"
            )
        took = "" if record.duration_seconds is None else f", {duration(record.duration_seconds)}"
        self.line(f"trial {record.number:>3} ends: {outcome}{took} | {self._best_so_far()}")
        scores = [e.validation for e in epochs if isinstance(e.validation, PanelValidation)]
        opposed = conflict([each.rank_ic for each in scores], [each.sharpe for each in scores])
        if opposed is not None:
            self.line(f"trial {record.number:>3} conflict: {opposed}")
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
        if self._baseline is None:
            return counted
        baseline = (
            shown_baseline(self._baseline, self._metric)
            if isinstance(self._baseline, PanelBaselineRecord)
            else f"{self._baseline.name} {self._baseline.log_loss:.4f}"
        )
        if self._best is None or self._best.best is None:
            return f"{counted}, no usable value yet, {baseline}"
        best = shown_score(self._best.best, self._metric)
        return f"{counted}, best {best} (trial {self._best.number}), {baseline}"

    def _view(self) -> Group:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("trial", "architecture"):
            table.add_column(heading, no_wrap=True)
        for heading in ("epoch", "train", "validation", "best", "s/epoch", "since"):
            table.add_column(heading, justify="right", no_wrap=True)
        for number, running in sorted(self._running.items()):
            params = running.params
            table.add_row(
                str(number),
                architecture(params),
                *_epoch_columns(running.report, params["epochs"], self._metric),
                duration(time.monotonic() - running.since),
            )
        left = self._seconds_left()
        eta = "" if left is None else f", about {duration(left)} left"
        return Group(Text(""), table, Text(f"{self._best_so_far()}{eta}", style="bold"))

    def _seconds_left(self) -> float | None:
        """Return an estimate from the trials that ended; None before the first."""
        ended = self._ended.values()
        times = [r.duration_seconds for r in ended if r.duration_seconds is not None]
        if not times:
            return None
        return sum(times) / len(times) * (self._total - len(self._ended)) / self._slots


def _epoch_columns(report: EpochRecord | None, epochs: int, metric: Metric) -> tuple[str, ...]:
    """Return epoch, losses and seconds of a trial's last epoch, empty before its first."""
    if report is None:
        return f"0/{epochs}", "", "", "", ""
    validation, best = report.validation, report.best
    return (
        f"{report.epoch}/{epochs}",
        _loss(report.train_loss),
        "" if validation is None else shown_score(validation, metric),
        "" if best is None else shown_score(best, metric),
        f"{sum(report.phase_seconds.values()):.1f}",
    )


def _scores(best: BestEpoch | PanelBest, metric: Metric) -> str:
    """Return the scores of a trial's best epoch, and which it is."""
    if isinstance(best, PanelBest):
        costs = " before costs" if metric == "sharpe" else ""
        first = "" if metric in ("rank_ic", "ic") else f"{shown_score(best, metric)}{costs}, "
        further = further_scores(best, with_errors=False)
        return (
            f"{first}RankIC {signed(best.rank_ic)} at epoch {best.epoch}, IC {signed(best.ic)}, "
            f"Sharpe {ratio(best.sharpe_net)} after costs"
            + ("" if further is None else f", {further}")
        )
    auc = "undefined" if best.auc is None else f"{best.auc:.3f}"
    return f"{best.loss:.4f} at epoch {best.epoch}, AUC {auc}"


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
