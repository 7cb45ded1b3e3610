"""What rules would have trained of a search that has been run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import StudyError, require
from study.results.scheduling.curves import read_curves
from study.results.scheduling.rules import Outcome, Rule, outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerReplay:
    """A search whose trials were trained, and what rules would have trained of them."""

    slots: int
    n_epochs: int
    """Trained epochs of all these trials together, as they are recorded."""
    seconds: float
    """Seconds of a search that trains all these epochs, in as many slots."""
    n_short: int
    """Number of trials whose curve ends before their schedule: no rule trains them further."""
    outcomes: tuple[tuple[Rule, Outcome], ...]

    def describe(self) -> dict[str, Any]:
        """Return the replay as plain values; what is infinite is None."""
        return {
            "slots": self.slots,
            "n_epochs": self.n_epochs,
            "seconds": self.seconds,
            "n_short": self.n_short,
            "rules": [
                {
                    "rule": str(rule),
                    "n_epochs": each.n_epochs,
                    "seconds": each.seconds,
                    "winner": each.winner,
                    "lost": None if each.winner is None else each.lost,
                    "lost_whole": None if each.winner is None else each.lost_whole,
                    "lost_fresh": each.lost_fresh,
                }
                for rule, each in self.outcomes
            ],
        }


def play_schedulers(folder: Path, rules: Sequence[Rule], *, slots: int) -> SchedulerReplay:
    """Return what each rule would have trained of a search, begun in the order that it had.

    Trials beyond an edge are not played (``read_curves``).

    Args:
        folder: folder of the cell, whose trials have their learning curves.
        rules: played each by itself.
        slots: number of trials at once.

    Raises:
        StudyError: there is no slot, the folder is none, or its records cannot be read.
    """
    require(
        slots >= 1,
        "--slots",
        "must be >= 1",
        got=str(slots),
        remedy="Give the number of trials at once.",
    )
    require(
        folder.is_dir(),
        "--scheduler",
        "needs the folder of a cell, in which each trial has its learning curve",
        got=str(folder),
        remedy="Give a folder that study.tune made, or leave --scheduler out.",
        error=StudyError,
    )
    curves = read_curves(folder)
    whole = outcome(Rule(scheduler="fifo", collapse_grace_share=1.0), curves, slots=slots)
    return SchedulerReplay(
        slots=slots,
        n_epochs=whole.n_epochs,
        seconds=whole.seconds,
        n_short=sum(curve.last_epoch < curve.epochs for curve in curves),
        outcomes=tuple((rule, outcome(rule, curves, slots=slots)) for rule in rules),
    )
