"""Rules of a search as a user writes them, and what one would have cost a recorded search."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from study.errors import SpecError, quoted, require
from study.results.scheduling.curves import Curve, StopRule
from study.results.scheduling.rungs import can_fill_rungs, rung_positions
from study.results.scheduling.schedulers import (
    ProgressiveScheduler,
    PromotingScheduler,
    Scheduler,
    StoppingScheduler,
)
from study.results.scheduling.simulation import Played, Slots, play

SchedulerName = Literal["fifo", "asha", "promote", "pasha"]
"""Trials run to their end; ASHA that stops; ASHA that pauses and promotes; PASHA."""

KEYS = {
    "grace": "grace_share",
    "eta": "reduction_factor",
    "patience": "patience",
    "gain": "min_delta",
    "collapse": "collapse_grace_share",
    "cheap": "n_cheap_first",
    "tolerance": "tolerance",
    "finish": "finish",
}
"""Keys of a rule's text, with the fields that they set."""

_COUNTS = ("patience", "n_cheap_first", "finish")
"""Fields that are whole numbers."""

TODAY = "asha:patience=10"
"""The rule of a search with the default settings of ``search_spaces/phase6a.yaml``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A scheduler, when a trial ends by itself, and the order of the first trials."""

    scheduler: SchedulerName
    grace_share: float = 0.25
    """Share of its schedule that every trial gets before its first rung."""
    reduction_factor: float = 3.0
    """One trial in so many continues at each rung."""
    patience: int | None = None
    """Epochs without a gain of ``min_delta``, after which a trial ends; None waits for its last."""
    min_delta: float = 0.001
    """Least gain that counts, in nats."""
    collapse_grace_share: float = 0.3
    """Share of its schedule after which a trial ends whose best epoch is a collapsed one: the
    default of every search."""
    n_cheap_first: int = 0
    """Number of first trials that begin in the order of their expected cost."""
    tolerance: float = 0.001
    """Losses that differ by no more, in nats, may change their ranks without PASHA growing."""
    finish: int = 1
    """Trials that go on to their end when all others wait, of ``promote`` and ``pasha``."""

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            SpecError: they break a rule.
        """
        names = get_args(SchedulerName)
        checks = (
            ("scheduler", f"must be one of {', '.join(names)}", self.scheduler in names),
            ("grace_share", "must lie in [0.01, 1]", 0.01 <= self.grace_share <= 1),
            ("reduction_factor", "must lie in [1.1, 100]", 1.1 <= self.reduction_factor <= 100),
            ("n_cheap_first", "must be >= 0", self.n_cheap_first >= 0),
            ("tolerance", "must be finite and >= 0", 0 <= self.tolerance < math.inf),
            ("finish", "must be >= 0", self.finish >= 0),
        )
        keys = {field: key for key, field in KEYS.items()}
        for field, rule, holds in checks:
            require(
                holds,
                f"rule {quoted(str(self))}: {keys.get(field, field)}",
                rule,
                got=quoted(getattr(self, field)),
                remedy="Write for example asha:grace=0.25,eta=3,patience=10.",
            )
        _ = self.stop_rule

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Return the rule that a text means, such as ``pasha:grace=0.07,eta=3,patience=4``.

        Raises:
            SpecError: it means none.
        """
        name, _, rest = text.partition(":")
        values: dict[str, float | int] = {}
        for part in rest.split(",") if rest else ():
            key, _, value = part.partition("=")
            try:
                field = KEYS[key]
                values[field] = int(value) if field in _COUNTS else float(value)
            except (KeyError, ValueError):
                raise SpecError(
                    f"rule {quoted(text)}: must be NAME:KEY=VALUE,... with a key of "
                    f"{', '.join(KEYS)} and a number, but got {quoted(part)}. Write for example "
                    f"{TODAY}."
                ) from None
        return cls(scheduler=name, **values)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """Return the text from which ``parse`` makes it, without what is usual."""
        fields = {field.name: field.default for field in dataclasses.fields(self)}
        given = [
            f"{key}={getattr(self, field):g}"
            for key, field in KEYS.items()
            if getattr(self, field) != fields[field]
        ]
        return f"{self.scheduler}:{','.join(given)}" if given else self.scheduler

    @property
    def stop_rule(self) -> StopRule:
        """When a trial ends by itself."""
        return StopRule(
            patience=self.patience,
            min_delta=self.min_delta,
            collapse_grace_share=self.collapse_grace_share,
        )

    def order(self, curves: Sequence[Curve]) -> list[Curve]:
        """Return the curves in the order in which they begin, given the order of their draws."""
        first, rest = curves[: self.n_cheap_first], curves[self.n_cheap_first :]

        def cost(curve: Curve) -> tuple[bool, float]:
            # Those whose cost nobody expected come last: NaN has no place in an order.
            return math.isnan(curve.epoch_cost), curve.epochs * curve.epoch_cost

        return [*sorted(first, key=cost), *rest]

    def play(self, curves: Sequence[Curve], *, slots: int) -> Played:
        """Play trials in the order in which they begin.

        Args:
            curves: the trials, each with the epoch at which ``stop_rule`` ends it.
            slots: number of trials at once.
        """
        positions: Sequence[float] = ()
        if self.scheduler != "fifo" and can_fill_rungs(len(curves), self.reduction_factor):
            positions = rung_positions(self.grace_share, self.reduction_factor)
        make = functools.partial(self._scheduler, positions)
        return play(curves, make, Slots(slots))

    def _scheduler(self, positions: Sequence[float]) -> Scheduler:
        eta, finish = self.reduction_factor, self.finish
        if self.scheduler == "promote" and positions:
            return PromotingScheduler(positions, eta, finish=finish)
        if self.scheduler == "pasha" and positions:
            return ProgressiveScheduler(positions, eta, tolerance=self.tolerance, finish=finish)
        return StoppingScheduler(positions, eta)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a rule would have cost a recorded search, and what it would have lost."""

    seconds: float
    n_epochs: int
    """Trained epochs of all trials together."""
    winner: int | None
    """Number of the best trial; None without one that can be ranked."""
    lost: float
    """Result of the winner as it was stopped, less that of the best whole trial; infinite without a
    winner. Negative only where the best epoch of a trial's rest is a collapsed one."""
    lost_whole: float
    """The same with the winner's whole curve: what a final run of its configuration loses."""
    lost_fresh: float | None
    """The same with fresh seeds, of either sign; None where one of the two was not trained again.
    """


def outcome(rule: Rule, curves: Sequence[Curve], *, slots: int) -> Outcome:
    """Play one rule on the curves of a search, drawn in the order in which they stand."""
    whole = rule.order(curves)
    ended = [rule.stop_rule.applied(curve) for curve in whole]
    return judged(rule.play(ended, slots=slots), whole)


def judged(played: Played, whole: Sequence[Curve]) -> Outcome:
    """Return what was lost by the epochs that were not trained.

    Args:
        played: what was trained.
        whole: the whole curves in the same order.
    """
    trained = list(zip(whole, played.trained, strict=True))
    winner, n_epochs = min(trained, key=lambda pair: pair[0].result(pair[1]))
    best = min(whole, key=_whole_result)
    found = winner.result(n_epochs)
    fresh, fresh_best = winner.fresh_loss, best.fresh_loss
    has_won = math.isfinite(found)
    return Outcome(
        seconds=played.seconds,
        n_epochs=sum(played.trained),
        winner=winner.number if has_won else None,
        lost=found - _whole_result(best) if has_won else math.inf,
        lost_whole=_whole_result(winner) - _whole_result(best) if has_won else math.inf,
        lost_fresh=fresh - fresh_best
        if has_won and fresh is not None and fresh_best is not None
        else None,
    )


def _whole_result(curve: Curve) -> float:
    return curve.result(curve.last_epoch)
