"""The ``fit`` command: scaling laws of any table of runs."""

import argparse
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis.estimate import Estimate
from analysis.runs import Runs
from analysis.verdict import FormReport, LawReport, is_misspecified, judge
from study.command import Exit
from study.errors import StudyError, require

_SHOWN_SHARE = 0.5
"""Of the starts: with fewer at the best objective, another optimum may be better still."""


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    add = flags.add_argument
    add("file", type=Path, metavar="FILE.csv", help="a row per run")
    add("--n", required=True, metavar="COLUMN", help="size of the model")
    add("--loss", required=True, metavar="COLUMN", help="loss, positive")
    add("--d", metavar="COLUMN", help="size of the training data: the law has two axes")
    add("--group", metavar="COLUMN", help="fit the rows of each value of this column by themselves")
    kinds = "of the loss: free (default) is fitted, none is 0, a number is taken as given"
    add("--floor", type=floor, default="free", metavar="none|free|VALUE", help=kinds)
    add("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (default 1000)")
    add("--seed", type=int, default=0, help="of what is drawn (default 0)")
    add("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Read the table, fit it, print what follows."""
    require(
        arguments.resamples >= 100,
        "--resamples",
        "must be at least 100 for an interval",
        got=str(arguments.resamples),
        remedy="Leave it out.",
    )
    table = _read(arguments)
    groups = (
        {None: table} if arguments.group is None else dict(list(table.groupby(arguments.group)))
    )
    reports = {}
    for name, rows in groups.items():
        axes = [arguments.n] if arguments.d is None else [arguments.n, arguments.d]
        runs = Runs(
            names=tuple(axes),
            sizes=rows[axes].to_numpy(np.float64),
            losses=rows[arguments.loss].to_numpy(np.float64),
        )
        reports[name] = judge(
            runs, floor=arguments.floor, n_resamples=arguments.resamples, seed=arguments.seed
        )
    if arguments.json:
        described = {str(name): describe(report) for name, report in reports.items()}
        whole = described["None"] if arguments.group is None else {"groups": described}
        print(json.dumps({"file": str(arguments.file), **whole}, indent=2, allow_nan=False))
        return Exit.OK
    console = Console(highlight=False)
    for name, report in reports.items():
        if name is not None:
            console.print(f"\n[bold]{arguments.group} = {name}[/]")
        _show(console, report)
    return Exit.OK


def describe(report: LawReport) -> dict[str, Any]:
    """Return a law's report as plain values; the parameters of the chosen form come first."""
    chosen = report.forms[report.chosen]
    held_out = report.held_out
    return {
        "form": report.chosen,
        "verdict": report.verdict,
        "sentence": report.sentence,
        "parameters": {name: e.value for name, e in chosen.estimates.items()},
        "intervals": {
            name: None if e.low is None else [e.low, e.high] for name, e in chosen.estimates.items()
        },
        "n_runs": len(report.runs),
        "n_sizes": len(report.runs.levels),
        "resampled": report.resampled,
        "trend": _plain(report.trend),
        "permutation_p": report.permutation_p,
        "forms": {name: _describe_form(form) for name, form in report.forms.items()},
        "profile": [
            {"E": floor, "objective": objective, "alpha": alpha}
            for floor, objective, alpha in report.profile
        ],
        "held_out": None
        if held_out is None
        else {
            "size": held_out.size,
            "measured": held_out.measured,
            "predicted": held_out.predicted,
            "interval": None if held_out.low is None else [held_out.low, held_out.high],
            "log_error": held_out.log_error,
            "is_covered": held_out.is_covered,
        },
    }


def _describe_form(form: FormReport) -> dict[str, Any]:
    return {
        "estimates": {name: _plain(estimate) for name, estimate in form.estimates.items()},
        "objective": form.fit.objective,
        "n_starts": form.fit.n_starts,
        "reached": form.fit.reached,
        "converged": form.fit.converged,
        "aicc": form.aicc,
        "misspecified": is_misspecified(form),
        "misspecified_p": form.misspecified_p,
        "residuals": form.fit.residuals.tolist(),
    }


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "se": estimate.se,
    }


def floor(text: str) -> float | Literal["none", "free"]:
    """Read the flag of that name."""
    if text == "none":
        return "none"
    if text == "free":
        return "free"
    value = float(text)
    if not value >= 0:
        raise ValueError(text)
    return value


def _read(arguments: argparse.Namespace) -> pd.DataFrame:
    path: Path = arguments.file
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{path}: must be a CSV file with a header, but got: {error}. Check the path."
        ) from error
    wanted = [arguments.n, arguments.loss, arguments.d, arguments.group]
    for column in (name for name in wanted if name is not None):
        require(
            column in table.columns,
            str(path),
            f"must have a column {column!r}",
            got=", ".join(map(str, table.columns)),
            remedy="Name one of them.",
            error=StudyError,
        )
    for column in (name for name in wanted[:3] if name is not None):
        numbers = pd.to_numeric(table[column], errors="coerce")
        bad = table.index[numbers.isna()]
        require(
            bad.empty,
            f"{path} column {column!r}",
            "must hold numbers alone",
            got=f"{table[column][bad[0]]!r} in line {bad[0] + 2}" if len(bad) else "",
            remedy="Leave such rows out, and say which.",
            error=StudyError,
        )
        table[column] = numbers
    require(
        not table.empty,
        str(path),
        "must have rows",
        got="a header alone",
        remedy="Check the file.",
        error=StudyError,
    )
    return table


def _show(console: Console, report: LawReport) -> None:
    table = Table(box=None, padding=(0, 1), show_edge=False)
    for heading in ("form", "parameter", "value", "95 % interval", "standard error"):
        table.add_column(heading, justify="left" if heading in ("form", "parameter") else "right")
    for name, form in report.forms.items():
        shown = [n for n in form.estimates if n != "E" or form.fit.law.has_floor]
        for parameter in shown:
            e = form.estimates[parameter]
            interval = "-" if e.low is None else f"{e.low:.5g} to {e.high:.5g}"
            se = "-" if e.se is None else f"{e.se:.3g}"
            first = name if parameter == shown[0] else ""
            table.add_row(first, parameter, f"{e.value:.6g}", interval, se)
    console.print(table)
    for name, form in report.forms.items():
        fit = form.fit
        aicc = "not defined" if form.aicc is None else f"{form.aicc:.1f}"
        notes = "" if fit.converged else ", did not come to rest"
        if fit.reached < _SHOWN_SHARE:
            notes += ", which few starts found"
        if is_misspecified(form):
            notes += f"; misspecified: a floor explains more (p = {form.misspecified_p:.1g})"
        console.print(
            f"{name}: objective {fit.objective:.6g}, reached from {fit.reached:.0%} of "
            f"{fit.n_starts} starts{notes}; AICc {aicc}"
        )
    held_out = report.held_out
    if held_out is not None:
        covered = {True: "covers it", False: "misses it", None: "is not known"}[held_out.is_covered]
        console.print(
            f"largest size held out: predicted {held_out.predicted:.5g}, measured "
            f"{held_out.measured:.5g} (log error {held_out.log_error:+.2g}); the interval {covered}"
        )
    if report.resampled is not None:
        console.print(f"intervals: bootstrap of {report.resampled}")
    console.print(f"[bold]{report.verdict}[/]: {report.sentence}")
