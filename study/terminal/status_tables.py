"""How the state of the searches looks on a terminal."""

import time
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from study.errors import one_line
from study.results.records import shown_objective
from study.results.status_snapshot import CellStatus, StudyStatus
from study.text.byte_text import gib
from study.text.short_forms import duration, of_search

_STYLES = {
    "running": "green", "complete": "green", "waiting": "dim", "left out": "dim",
    "interrupted": "yellow",
    "stopped": "red", "failed": "red", "dead": "red", "stalled": "red", "stale": "red",
    "unknown": "yellow",
}  # fmt: skip

_YEAR_SECONDS = 365 * 86_400


def view(status: StudyStatus, machine: str) -> Group:
    """Return cells, running trials, warnings, the machine and the end of it all.

    Args:
        status: of a results folder.
        machine: what is said of the machine from which it is looked at.
    """
    if not status.cells:
        return Group(Text(f"{one_line(status.storage)}: nothing has been run here yet."))
    parts: list[Table | Text] = [_cells(status.cells)]
    if any(cell.running for cell in status.cells):
        parts += [Text(""), _trials(status.cells)]
    notes = [
        f"{cell.cell}: {note}"
        for cell in status.cells
        for note in [*([f"{cell.state}: {cell.reason}"] if cell.reason else []), *cell.warnings]
    ]
    parts += [Text(""), *(Text(note, style="yellow") for note in notes)] if notes else [Text("")]
    parts += [Text(warning, style="yellow") for warning in status.warnings]
    parts += [Text(f"{name}: {state}", style=_STYLES[state])
              for name, state in status.sweeps.items()]  # fmt: skip
    return Group(*parts, Text(machine), Text(_end(status), style="bold"))


def _cells(cells: Sequence[CellStatus]) -> Table:
    table = _table(("cell", "state"), ("done", "pruned", "failed", "best score"), ("architecture",))
    for heading in ("at work", "left", "life"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cell in cells:
        table.add_row(
            cell.cell,
            Text(cell.state, style=_STYLES[cell.state]),
            f"{cell.ended}/{'?' if cell.asked is None else cell.asked}",
            str(cell.pruned),
            str(cell.failed),
            _score(cell.best_loss, cell.best_rank_ic, cell.metric)
            + _error(cell.best_loss_se, cell.best_rank_ic_se, cell.metric),
            # Depth, width and heads; the rest is in best_params.json.
            " ".join((cell.best_architecture or "").split()[:3]),
            str(len(cell.running)) if cell.state in ("running", "stalled", "stale") else "",
            "" if cell.eta_seconds == 0.0 else _time(cell.eta_seconds, unknown="?"),
            _time(cell.heartbeat_seconds)
            if cell.state not in ("complete", "waiting", "left out")
            else "",
        )
    return table


def _trials(cells: Sequence[CellStatus]) -> Table:
    table = _table(
        ("cell", "trial", "architecture"),
        ("epoch", "loss", "s/epoch", "data", "step", "valid.", "save"),
        ("device",),
    )
    for heading in ("peak", "life"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cell in cells:
        for trial in cell.running:
            total, took = trial.epochs, trial.epoch_seconds
            table.add_row(
                of_search(f"{cell.budget or '?'} h{cell.horizon or '?'}", cell.search_number),
                str(trial.number),
                # Width, depth, heads: the rest does not change how long it takes or what it needs.
                " ".join((trial.architecture or "?").split()[:3]),
                f"{trial.epoch}/{'?' if total is None else total}",
                _score(trial.loss, trial.rank_ic, cell.metric),
                "" if took is None else f"{took:.2f}",
                *(
                    f"{trial.seconds[phase]:.2f}" if phase in trial.seconds else ""
                    for phase in ("data", "step", "validation", "checkpoint")
                ),
                trial.device or "",
                "" if trial.peak_memory_bytes is None else gib(trial.peak_memory_bytes, 2),
                _time(trial.silent_seconds, unknown="?"),
            )
    return table


def _table(left: Sequence[str], right: Sequence[str], after: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in after:
        table.add_column(heading, no_wrap=True)
    return table


def _end(status: StudyStatus) -> str:
    ended = sum(cell.ended for cell in status.cells)
    asked = [cell.asked for cell in status.cells]
    total = "?" if None in asked else str(sum(n for n in asked if n is not None))
    if status.eta_seconds == 0.0:
        return f"{ended}/{total} trials, nothing left to do"
    left = "time left unknown"
    if status.eta_seconds is not None:
        left = f"about {duration(status.eta_seconds)} of work left"
    done = ", ".join(f"{budget} {_clock(at, status.time)}" for budget, at in status.milestones)
    return f"{ended}/{total} trials, {left}" + (f"; done if it goes on: {done}" if done else "")


def _clock(at: float, now: float) -> str:
    if at - now > _YEAR_SECONDS:
        return "in more than a year"
    is_today = time.localtime(at)[:3] == time.localtime(now)[:3]
    return time.strftime("about %H:%M" if is_today else "about %a %d %b %H:%M", time.localtime(at))


def _time(seconds: float | None, *, unknown: str = "") -> str:
    return unknown if seconds is None else duration(seconds)


def _score(loss: float | None, rank_ic: float | None, metric: str | None) -> str:
    """Return the loss of a market's trial, or the score of a panel's by which it is ranked."""
    if rank_ic is not None and not _ranks_by_loss(metric):
        return f"RankIC {rank_ic:+.4f}"
    return "" if loss is None else shown_objective(loss, metric or "")


def _error(of_loss: float | None, of_rank_ic: float | None, metric: str | None) -> str:
    error = of_loss if of_rank_ic is None or _ranks_by_loss(metric) else of_rank_ic
    return "" if error is None else f" +- {error:.3f}"


def _ranks_by_loss(metric: str | None) -> bool:
    """Does the loss of a panel's trial, and not its RankIC, hold the score that ranks it?"""
    return metric in ("ic", "sharpe", "loss")
