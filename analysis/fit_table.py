"""The ``fit`` command: scaling laws of any table of runs."""

import argparse
import json
import math
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from analysis.statistics.interval import Estimate
from analysis.statistics.law_judgement import judge
from analysis.statistics.law_report import FormReport, LawReport
from analysis.statistics.run_resampling import Runs
from analysis.statistics.verdict import is_misspecified, not_unique, told_apart
from analysis.tables.run_table import RunTable, read_runs
from study.command import Exit
from study.errors import SpecError, one_line, quoted, require
from study.output import open_console

_SHOWN_SHARE = 0.5
"""Share of the starts that must reach the best objective: with fewer, another optimum may be better
still."""

_RESAMPLES = (100, 100_000)
"""Least and greatest number of resamples. An end of a 95 % interval rests on 2.5 % of them: of 100
that is a few; of 100,000 chance moves it by a fiftieth of itself, and more take memory and
hours."""


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    add = flags.add_argument
    add("file", type=Path, metavar="FILE.csv", help="a row per run")
    add("--n", required=True, metavar="COLUMN", help="size of the model: 70000000 or 70M")
    add("--loss", required=True, metavar="COLUMN", help="loss, positive")
    add("--d", metavar="COLUMN", help="size of the training data: the law has two axes")
    add("--group", metavar="COLUMN", help="fit the rows of each value of this column by themselves")
    kinds = "of the loss: free (default) is fitted, none is 0, a number is taken as given"
    add("--floor", default="free", metavar="none|free|VALUE", help=kinds)
    add("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (default 1000)")
    add("--seed", type=int, default=0, help="of what is drawn (default 0)")
    add("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Read the table, fit it, print what follows."""
    given, n_resamples, seed = floor(arguments.floor), arguments.resamples, arguments.seed
    least, most = _RESAMPLES
    require(
        least <= n_resamples <= most,
        "--resamples",
        f"must be from {least} to {most:,}",
        got=quoted(n_resamples),
        remedy="Leave it out for the default.",
    )
    require(
        seed >= 0,
        "--seed",
        "must not be negative",
        got=quoted(seed),
        remedy="Leave it out for the default.",
    )
    axes = (arguments.n,) if arguments.d is None else (arguments.n, arguments.d)
    table = read_runs(arguments.file, axes=axes, loss=arguments.loss, group=arguments.group)
    _check_floor(given, table, arguments)
    reports = {
        name: judge(
            Runs(names=axes, sizes=sizes, losses=losses),
            floor=given,
            n_resamples=n_resamples,
            seed=seed,
        )
        for name, (sizes, losses) in table.groups.items()
    }
    if arguments.json:
        described = {name: describe(report) for name, report in reports.items()}
        whole = described[None] if arguments.group is None else {"groups": described}
        left_out = list(table.left_out)
        shown = {"file": str(arguments.file), "left_out": left_out, **whole}
        print(json.dumps(_finite(shown), indent=2, allow_nan=False))
        return Exit.OK
    console = open_console()
    console.soft_wrap = True
    if table.left_out:
        console.print(f"left out: {'; '.join(table.left_out)}")
    for name, report in reports.items():
        if name is not None:
            console.print(f"\n{one_line(arguments.group)} = {one_line(name)}", style="bold")
        _show(console, report)
    return Exit.OK


def _check_floor(
    given: float | Literal["none", "free"], table: RunTable, arguments: argparse.Namespace
) -> None:
    """Refuse a floor that a loss is not above: no law has it."""
    for name, (_, losses) in table.groups.items():
        of = "" if name is None else f" of {quoted(name)}"
        require(
            isinstance(given, str) or given < losses.min(),
            "--floor",
            f"must be below every loss in {arguments.file.name}{of}, whose least is "
            f"{losses.min():.6g}",
            got=f"{given:g}" if not isinstance(given, str) else given,
            remedy="Give a smaller one, or free.",
        )


def describe(report: LawReport) -> dict[str, Any]:
    """Return a law's report as plain values; the parameters of the chosen form come first."""
    chosen = report.forms[report.chosen]
    held_out = report.held_out
    return {
        "form": report.chosen,
        "verdict": report.verdict,
        "sentence": report.sentence,
        "parameters": {
            name: e.value if _is_one(chosen, name) else None for name, e in chosen.estimates.items()
        },
        "intervals": {
            name: None if e.low is None or _is_of_no_law(chosen, name) else [e.low, e.high]
            for name, e in chosen.estimates.items()
        },
        "fit_equally_well": {name: list(ends) for name, ends in chosen.ranges.items()},
        "n_runs": len(report.runs),
        "n_sizes": len(report.runs.levels),
        "resampled": report.resampled,
        "trend": _plain(report.trend.slope),
        "permutation_p": report.trend.p,
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


_OF_A_FIT = (
    "objective", "n_starts", "reached", "converged", "aicc", "misspecified", "misspecified_p",
    "fit_equally_well", "residuals", "grid_points", "grid_objective", "only_the_grid_found_it",
)  # fmt: skip


def _describe_form(form: FormReport) -> dict[str, Any]:
    if not form.is_defined:
        return {
            "estimates": {name: _plain(each) for name, each in form.estimates.items()},
            **dict.fromkeys(_OF_A_FIT),
        }
    return {
        "estimates": {name: _plain(estimate) for name, estimate in form.estimates.items()},
        "objective": form.fit.objective,
        "n_starts": form.fit.n_starts,
        "reached": form.fit.reached,
        "converged": form.fit.converged,
        "aicc": form.aicc,
        "misspecified": is_misspecified(form),
        "misspecified_p": form.misspecified_p,
        "fit_equally_well": {name: list(ends) for name, ends in form.ranges.items()},
        "residuals": form.fit.residuals.tolist(),
        "grid_points": len(form.fit.grid.objectives),
        "grid_objective": form.fit.grid.least,
        "only_the_grid_found_it": form.fit.is_of_the_grid,
    }


def _is_of_no_law(form: FormReport, name: str) -> bool:
    """Is it a parameter of a power term that stands for a floor, which the form does not have?"""
    return name != "E" and is_misspecified(form)


def _is_one(form: FormReport, name: str) -> bool:
    """Is there one value of a parameter that says something of the runs?"""
    return name not in form.ranges and not _is_of_no_law(form, name)


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "se": estimate.se,
    }


def _finite(value: Any) -> Any:
    """Return plain values as JSON can hold them: what is not finite is null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def floor(text: str) -> float | Literal["none", "free"]:
    """Return what the flag ``--floor`` means.

    Raises:
        SpecError: it is neither a word of it nor a number that is not negative.
    """
    if text == "none":
        return "none"
    if text == "free":
        return "free"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise SpecError(
            f"--floor: must be none, free or a number that is not negative, but got "
            f"{quoted(text)}. Leave it out for a floor that is fitted."
        )
    return value


def _show(console: Console, report: LawReport) -> None:
    table = Table(box=None, padding=(0, 1), show_edge=False)
    for heading in ("form", "parameter", "value", "95 % interval", "standard error"):
        table.add_column(heading, justify="left" if heading in ("form", "parameter") else "right")
    for name, form in report.forms.items():
        shown = [n for n in form.estimates if n != "E" or form.fit.law.has_floor]
        for parameter in shown:
            first = name if parameter == shown[0] else ""
            table.add_row(first, parameter, *_cells(form, parameter))
    console.print(table)
    for name, form in report.forms.items():
        console.print(f"{name}: {_quality(form)}")
    held_out = report.held_out
    if held_out is not None:
        covered = {True: "covers it", False: "misses it", None: "is not known"}[held_out.is_covered]
        console.print(
            f"largest size held out: predicted {held_out.predicted:.5g}, measured "
            f"{held_out.measured:.5g} (log error {held_out.log_error:+.2g}); the interval {covered}"
        )
    if report.resampled is not None:
        console.print(f"intervals: bootstrap of {report.resampled}")
    console.print(report.verdict, style="bold", end="")
    console.print(f": {report.sentence}")


def _cells(form: FormReport, name: str) -> tuple[str, str, str]:
    """Return a parameter, its interval and its standard error, as far as they are known."""
    estimate = form.estimates[name]
    if _is_of_no_law(form, name) or math.isnan(estimate.value):
        return "-", "-", "-"
    value = f"{estimate.value:.6g}"
    if name in form.ranges:
        value = f"any, {' to '.join(told_apart(*form.ranges[name], 4))}"
    interval = "-"
    if estimate.low is not None and estimate.high is not None:
        interval = " to ".join(told_apart(estimate.low, estimate.high, 5))
    return value, interval, "-" if estimate.se is None else f"{estimate.se:.3g}"


def _quality(form: FormReport) -> str:
    """Return how a form was fitted, and what speaks against it."""
    fit = form.fit
    if not form.is_defined:
        return f"not defined: {fit.law.n_parameters} parameters need as many different sizes"
    aicc = "not defined" if form.aicc is None else f"{form.aicc:.1f}"
    notes = "" if fit.converged else ", did not come to rest"
    if fit.is_of_the_grid:
        notes += ", which only a grid of exponents found"
    elif fit.reached < _SHOWN_SHARE:
        notes += ", which few starts found"
    if fit.law.n_terms:
        exponents = "exponents" if fit.law.n_terms == 1 else "pairs of exponents"
        notes += f"; no point of a grid of {len(fit.grid.objectives)} {exponents} is below it"
    if is_misspecified(form):
        notes += (
            f"; misspecified: a floor explains more (p = {form.misspecified_p:.1g}), so that no "
            "exponent is given"
        )
    unique = "".join(
        f"; {name}{not_unique(form, name)}"
        for name in ("alpha", "beta", "E")
        if name in form.ranges
    )
    return (
        f"objective {fit.objective:.6g}, reached from {fit.reached:.0%} of {fit.n_starts} "
        f"starts{notes}{unique}; AICc {aicc}"
    )
