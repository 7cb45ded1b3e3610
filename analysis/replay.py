"""The ``replay`` command: where a convergence rule would have stopped a search, at what loss."""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from analysis.tables.trial_table import Trial, TrialTable, read_table
from study.command import Exit
from study.errors import one_line, quoted, require
from study.output import open_console
from study.results.convergence import (
    LEAST_TRIALS,
    SE_SHARE,
    THRESHOLD,
    CompletedTrial,
    ConvergenceRule,
    configuration_key,
)
from study.results.records import Metric
from study.results.scheduling.recorded import SchedulerReplay, play_schedulers
from study.results.scheduling.rules import KEYS, TODAY, Rule, SchedulerName
from study.statistics.auc_error import auc_standard_error

_METRICS = tuple(metric for metric in get_args(Metric) if metric != "loss")
"""Metrics that the values of a table may be; those of losses are log-losses."""

_MOST_DAYS = 10**9
"""Most days of one class: more than anybody has, and the product of two is still exact in a float's
range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StopPoint:
    """Where a rule stops a search, and what that costs and saves."""

    number: int
    """Number of the last trial."""
    place: int
    """Trials that had ended by then, this one included, of whatever state."""
    best: float
    """Best value of a completed trial so far."""
    lost: float
    """Difference by which the best of all is better: never negative."""
    lost_in_se: float | None
    """Difference by which the best of all is better, in standard errors of its value."""
    saved: int
    """Trials that would not have been run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleReplay:
    """What a rule does to a search."""

    rule: ConvergenceRule
    can_fire: bool
    """Can the rule fire? False for a share of a standard error where none is known."""
    stop: StopPoint | None
    stop_if_repeats_counted: StopPoint | None
    """Where it stops if each trial counted as a configuration of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchReplay:
    """A search that has been run, and where rules would have stopped it."""

    n_trials: int
    n_complete: int
    n_repeats: int
    """Completed trials whose configuration had completed before."""
    n_without_se: int
    """Completed trials whose standard error is not known."""
    best: Trial
    rules: tuple[RuleReplay, ...]


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    add = flags.add_argument
    kinds = "folder of a cell, all_trials.json, a table of trials, or a storage of Optuna"
    add("table", type=Path, metavar="STUDY", help=kinds)
    what = (
        "what the values are; may be left out for our own records, whose value is the log-loss, "
        "and for a storage of Optuna, whose study knows its direction"
    )
    add("--metric", choices=_METRICS, help=what)
    add("--value", metavar="COLUMN", help="the column or the objective that is the value")
    add("--study", metavar="NAME", help="of a study in a storage of Optuna that has several")
    least = f"distinct configurations that must have completed (default {LEAST_TRIALS})"
    add("--early-stop-patience", type=int, default=LEAST_TRIALS, metavar="N", help=least)
    absolute = f"greatest range of the five best, in units of the metric (default {THRESHOLD})"
    add("--early-stop-threshold", type=float, default=THRESHOLD, metavar="X", help=absolute)
    share = f"the same as a share of the metric's standard error (default {SE_SHARE})"
    add("--se-share", type=float, default=SE_SHARE, metavar="X", help=share)
    add("--value-se", type=float, metavar="X", help="standard error of every value")
    counts = "validation days of the {} class, from which an AUC's standard error follows"
    add("--positives", type=int, metavar="N", help=counts.format("positive"))
    add("--negatives", type=int, metavar="N", help=counts.format("negative"))
    rules = (
        "of the folder of a cell: also play these rules on the curves of its trials, such as "
        f"{TODAY} (names: {', '.join(get_args(SchedulerName))}; keys: {', '.join(KEYS)})"
    )
    add("--scheduler", nargs="+", default=(), metavar="RULE", help=rules)
    slots = "trials at once in these (default %(default)s)"
    add("--slots", type=int, default=1, metavar="N", help=slots)
    add("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Read the trials, replay both rules, print where they stop."""
    rules = (
        ConvergenceRule(
            least_trials=arguments.early_stop_patience, threshold=arguments.early_stop_threshold
        ),
        ConvergenceRule(least_trials=arguments.early_stop_patience, se_share=arguments.se_share),
    )
    schedulers = [Rule.parse(text) for text in arguments.scheduler]
    _check_errors(arguments)
    table = read_table(
        arguments.table, arguments.metric, value=arguments.value, study=arguments.study
    )
    trials = [_with_error(trial, arguments) for trial in table.trials]
    require(
        any(trial.is_complete for trial in trials),
        str(arguments.table),
        "must hold a complete trial with a finite value",
        got=f"{len(trials)} trials without one",
        remedy="There is nothing to replay.",
    )
    found = replay(trials, rules, larger_is_better=table.larger_is_better)
    played = None
    if schedulers:
        played = play_schedulers(arguments.table, schedulers, slots=arguments.slots)
    if arguments.json:
        described = {"study": str(arguments.table), **describe(found, table)}
        if played is not None:
            described["schedulers"] = played.describe()
        print(json.dumps(described, indent=2, allow_nan=False))
    else:
        console = open_console()
        console.soft_wrap = True
        _show(console, found, table)
        if played is not None:
            _show_schedulers(console, played)
    return Exit.OK


def replay(
    trials: Sequence[Trial], rules: Sequence[ConvergenceRule], *, larger_is_better: bool
) -> SearchReplay:
    """Return where each rule stops a search.

    Args:
        trials: in the order in which they ended, of whatever state; one at least is complete.
        rules: replayed each by itself.
        larger_is_better: as of an AUC.
    """
    places = [place for place, trial in enumerate(trials) if trial.is_complete]
    complete = [trials[place] for place in places]
    keys = [configuration_key(trial.params) for trial in complete]
    values = [trial.value for trial in complete]
    best_of = max if larger_is_better else min
    best = complete[values.index(best_of(values))]

    def stop(rule: ConvergenceRule, *, repeats_count: bool) -> StopPoint | None:
        known = [
            CompletedTrial(
                key=trial.number if repeats_count else key,
                value=trial.value,
                value_se=trial.value_se,
            )
            for key, trial in zip(keys, complete, strict=True)
        ]
        index = rule.first_stop(known, larger_is_better=larger_is_better)
        if index is None:
            return None
        place, best_then = places[index] + 1, best_of(values[: index + 1])
        lost = abs(best.value - best_then)
        return StopPoint(
            number=complete[index].number,
            place=place,
            best=best_then,
            lost=lost,
            lost_in_se=lost / best.value_se if best.value_se else None,
            saved=len(trials) - place,
        )

    n_without_se = sum(trial.value_se is None for trial in complete)
    return SearchReplay(
        n_trials=len(trials),
        n_complete=len(complete),
        n_repeats=len(keys) - len(set(keys)),
        n_without_se=n_without_se,
        best=best,
        rules=tuple(
            RuleReplay(
                rule=rule,
                can_fire=rule.se_share is None or n_without_se < len(complete),
                stop=stop(rule, repeats_count=False),
                stop_if_repeats_counted=stop(rule, repeats_count=True),
            )
            for rule in rules
        ),
    )


def describe(found: SearchReplay, table: TrialTable) -> dict[str, Any]:
    """Return a replay as plain values."""
    return {
        "metric": table.metric,
        "larger_is_better": table.larger_is_better,
        "notes": list(table.notes),
        "ordered_by": table.order,
        "parameters": list(table.parameters),
        "n_trials": found.n_trials,
        "n_complete": found.n_complete,
        "n_distinct": found.n_complete - found.n_repeats,
        "n_repeats": found.n_repeats,
        "n_without_se": found.n_without_se,
        "best": {
            "number": found.best.number,
            "value": found.best.value,
            "value_se": found.best.value_se,
        },
        "rules": [
            {
                "least_trials": each.rule.least_trials,
                "threshold": each.rule.threshold,
                "se_share": each.rule.se_share,
                "can_fire": each.can_fire,
                "stop": _plain(each.stop),
                "stop_if_repeats_counted": _plain(each.stop_if_repeats_counted),
            }
            for each in found.rules
        ],
    }


def _plain(stop: StopPoint | None) -> dict[str, float | None] | None:
    if stop is None:
        return None
    return {
        "number": stop.number,
        "place": stop.place,
        "best": stop.best,
        "lost": stop.lost,
        "lost_in_se": stop.lost_in_se,
        "saved": stop.saved,
    }


def _check_errors(arguments: argparse.Namespace) -> None:
    """Check the flags that give a standard error."""
    se, counts = arguments.value_se, (arguments.positives, arguments.negatives)
    has_counts = counts != (None, None)
    require(
        se is None or (math.isfinite(se) and se > 0),
        "--value-se",
        "must be a number above 0",
        got=str(se),
        remedy="Leave it out if it is not known.",
    )
    require(
        not has_counts or all(n is not None and 0 < n <= _MOST_DAYS for n in counts),
        "--positives, --negatives",
        f"must both be given, above 0 and at most {_MOST_DAYS:,}",
        got=f"{quoted(counts[0])} and {quoted(counts[1])}",
        remedy="Count the labels of the validation days.",
    )
    require(
        not has_counts or (arguments.metric == "auc" and se is None),
        "--positives, --negatives",
        "must come with --metric auc and without --value-se",
        got=f"--metric {arguments.metric}, --value-se {se}",
        remedy="Give --value-se alone for another metric.",
    )


def _with_error(trial: Trial, arguments: argparse.Namespace) -> Trial:
    """Return a trial with the standard error that the flags give it."""
    if arguments.value_se is not None:
        return replace(trial, value_se=arguments.value_se)
    if arguments.positives is None or not trial.is_complete:
        return trial
    se = auc_standard_error(trial.value, arguments.positives, arguments.negatives)
    return replace(trial, value_se=se)


def _show(console: Console, found: SearchReplay, table: TrialTable) -> None:
    best = found.best
    for note in table.notes:
        console.print(f"note: {one_line(note)}")
    error = "" if best.value_se is None else f" (standard error {best.value_se:.3g})"
    console.print(
        f"{found.n_trials} trials, {found.n_complete} complete, of which {found.n_repeats} repeat "
        f"an earlier configuration; in the order of their {table.order}s"
    )
    console.print(f"parameters: {', '.join(map(one_line, table.parameters))}")
    console.print(
        f"best {table.metric or 'value'} at the end: {best.value:.6g}, trial {best.number}{error}\n"
    )
    least = found.rules[0].rule.least_trials
    console.print(f"it stops once the five best of at least {least} distinct configurations lie")
    shown = Table(box=None, padding=(0, 1), show_edge=False)
    shown.add_column("", no_wrap=True)
    cells = [_cells(each) for each in found.rules]
    for each in found.rules:
        shown.add_column(_name(each.rule), justify="right", no_wrap=True)
    for name in cells[0]:
        shown.add_row(name, *(column[name] for column in cells))
    console.print(shown)
    if found.n_without_se:
        console.print(
            f"\n{found.n_without_se} of {found.n_complete} complete trials have no standard error, "
            "without which a share of it means nothing: give --value-se, or --positives and "
            "--negatives of an AUC."
        )


def _show_schedulers(console: Console, found: SchedulerReplay) -> None:
    console.print(
        f"\nits {found.n_epochs} epochs take {found.seconds:,.0f} s with {found.slots} at once, in "
        "the order in which its trials began; of these each rule would have trained"
    )
    shown = Table(box=None, padding=(0, 1), show_edge=False)
    shown.add_column("", no_wrap=True)
    for name in ("epochs", "seconds", "best trial", "lost", "by its whole curve", "by fresh seeds"):
        shown.add_column(name, justify="right", no_wrap=True)
    for rule, each in found.outcomes:
        shown.add_row(
            str(rule),
            f"{each.n_epochs} ({each.n_epochs / found.n_epochs:.0%})",
            f"{each.seconds:,.0f} ({each.seconds / found.seconds:.0%})",
            *(
                ("none", "-", "-")
                if each.winner is None
                else (str(each.winner), f"{each.lost:.3g}", f"{each.lost_whole:.3g}")
            ),
            "-" if each.lost_fresh is None else f"{each.lost_fresh:+.3g}",
        )
    console.print(shown)
    if found.n_short:
        console.print(
            f"\n{found.n_short} of the trials have not trained their whole schedules, and no rule "
            "trains them further than they were: what is lost is known of whole curves alone."
        )


def _name(rule: ConvergenceRule) -> str:
    if rule.threshold is not None:
        return f"within {rule.threshold:g}"
    return f"within {rule.se_share:g} SE"


def _cells(found: RuleReplay) -> dict[str, str]:
    stop, repeated = found.stop, found.stop_if_repeats_counted
    no = "never" if found.can_fire else "cannot: no SE"
    in_se = "-" if stop is None or stop.lost_in_se is None else f"{stop.lost_in_se:.2f}"
    return {
        "at trial": no if stop is None else str(stop.number),
        "trials run by then": "-" if stop is None else str(stop.place),
        "trials saved": "-" if stop is None else str(stop.saved),
        "best then": "-" if stop is None else f"{stop.best:.6g}",
        "lost": "-" if stop is None else f"{stop.lost:.3g}",
        "lost, in standard errors (SE)": in_se,
        "at trial, if repeats counted": no if repeated is None else str(repeated.number),
    }
