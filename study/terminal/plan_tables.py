"""A selection of cells on the terminal: a block per budget, the total, what the days can show."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from study.results.short_forms import duration
from study.terminal.overview import (
    left_out,
    print_forced,
    requests,
    seconds_per_epoch,
    size,
)

_INDENT = (0, 0, 0, 2)
"""Two columns on the left; what is longer than a line goes on there."""

Plan = Mapping[str, Any]
"""One cell, as ``CellOutlook.describe`` returns it."""


def print_budget(console: Console, plans: Sequence[Plan]) -> None:
    """Print the cells of one budget: what they share, then a line per horizon."""
    first = next((plan for plan in plans if plan["problem"] is None), plans[0])
    phase = "" if first["phase"] is None else f"phase {first['phase']}, "
    console.print(Text(f"{first['study']} {phase}{first['budget']}", style="bold"))
    if "grid_size" in first:
        if first["understood"]:
            _fact(console, "read", first["understood"])
        if first["left_out"] is not None:
            _fact(console, "without", left_out(first))
        small, large = first["memory_min"], first["memory_max"]
        _fact(console, "grid", f"{first['grid_size']} architectures of {first['params_min']:,} to "
              f"{first['params_max']:,} parameters (median {first['params_median']:,}), "
              f"{first['n_dimensions']} search dimensions")  # fmt: skip
        _fact(console, "memory", f"of a step (model): {size(small['bytes'])} for "
              f"{small['architecture']}")  # fmt: skip
        _fact(console, "", f"                   {size(large['bytes'])} for {large['architecture']}")
    if first["problem"] is None:
        estimate = first["estimate"]
        _fact(console, "trials", f"{first['trials']} per cell; {'; '.join(requests(first))}; "
              f"{first['device']}, {first['precision']}")  # fmt: skip
        _fact(console, "epoch", "measured steps: "
              f"{seconds_per_epoch(estimate['epoch_seconds_min'])} at least, "
              f"{seconds_per_epoch(estimate['epoch_seconds_median'])} median, "
              f"{seconds_per_epoch(estimate['epoch_seconds_max'])} at most")  # fmt: skip
        if len(first["budgets"]) > 1:
            console.print(_side_by_side(first["budgets"]))
            print_forced(console, first["forced"])
    table = Table(box=None, padding=(0, 1))
    for heading in ("horizon", "folder"):
        table.add_column(heading, no_wrap=True)
    for heading in ("time", "without ASHA", "trained", "checkpoints", "kept"):
        table.add_column(heading, justify="right", no_wrap=True)
    for plan in plans:
        if plan["problem"] is None:
            estimate = plan["estimate"]
            table.add_row(
                f"h{plan['horizon']}",
                plan["folder_state"],
                duration(estimate["search_seconds_expected"]),
                duration(estimate["search_seconds_most"]),
                f"{estimate['trained_share']:.0%}",
                size(plan["running_checkpoint_bytes"]),
                size(plan["kept_checkpoint_bytes"]),
            )
    if table.row_count:
        console.print(table)
    for plan in plans:
        for problem in filter(None, (plan["problem"], plan["folder_problem"])):
            text = Text(f"h{plan['horizon']} cannot run: {problem}", style="yellow")
            console.print(Padding(text, _INDENT))


def _side_by_side(budgets: Sequence[Mapping[str, Any]]) -> Table:
    """Return a line for each budget of a search across budgets."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("budget", no_wrap=True)
    for heading in ("architectures", "parameters", "memory of a step", "epoch", "listed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in budgets:
        epoch = "-"
        if each["epoch_seconds_min"] is not None:
            epoch = " to ".join(
                seconds_per_epoch(each[f"epoch_seconds_{end}"]) for end in ("min", "max")
            )
        table.add_row(
            each["label"],
            str(each["grid_size"]),
            f"{each['params_min']:,} to {each['params_max']:,}",
            f"{size(each['memory_min']['bytes'])} to {size(each['memory_max']['bytes'])}",
            epoch,
            str(each["n_forced"]),
        )
    return table


def print_phase_two(console: Console, phase_two: Mapping[str, Any]) -> None:
    """Print what is known of the second phase: how many searches, and from what they follow."""
    console.print(Text("phase 2", style="bold"))
    _fact(
        console,
        "search",
        f"{phase_two['searches_per_horizon']} of {phase_two['trials']} trials each for every "
        "horizon, around the best trials of the best budgets of phase 1",
    )
    for found in phase_two["horizons"]:
        for line in found["lines"]:
            _fact(console, f"h{found['horizon']}", line)
    for line in phase_two["waiting"]:
        console.print(Padding(Text(line, style="yellow"), _INDENT))


def print_total(console: Console, total: Mapping[str, Any]) -> None:
    """Print what all cells take together."""
    console.print(Text("total", style="bold"))
    left_out = [
        f"{total[name]} {what}"
        for name, what in (
            ("cells_complete", "complete"),
            ("cells_refused", "with a folder that cannot be gone on with"),
            ("cells_with_problem", "cannot run here"),
        )
        if total[name]
    ]
    reasons = f" ({', '.join(left_out)})" if left_out else ""
    counts = f"{total['cells_to_run']} of {total['cells']} to run, {total['trials']} trials"
    _fact(console, "cells", counts + reasons)
    expected, most = total["search_seconds_expected"], total["search_seconds_most"]
    if most:
        _fact(console, "time", f"about {duration(expected)}, one cell after the other; "
              f"{duration(most)} without ASHA, which saves {1 - expected / most:.0%}")  # fmt: skip
        _fact(console, "disk", f"up to {size(total['running_checkpoint_bytes'])} of checkpoints "
              f"while trials run, {size(total['kept_checkpoint_bytes'])} in the end")  # fmt: skip


def print_power(console: Console, plans: Sequence[Plan]) -> None:
    """Print the parts of each horizon and the smallest differences that they can show."""
    by_horizon: dict[int, Plan] = {}
    for plan in plans:
        if plan["power"] is not None:
            by_horizon.setdefault(plan["horizon"], plan)
    if not by_horizon:
        return
    console.print(Text("what the days can show", style="bold"))
    table = Table(box=None, padding=(0, 1))
    for heading in ("horizon", "part", "days"):
        table.add_column(heading, no_wrap=True)
    for heading in ("samples", "positives", "base rate", "effective", "log-loss", "AUC"):
        table.add_column(heading, justify="right", no_wrap=True)
    for horizon, plan in sorted(by_horizon.items()):
        for name, part in plan["splits"].items():
            loss, auc = (plan["power"].get(f"{score}_{name}") for score in ("log_loss", "auc"))
            table.add_row(
                f"h{horizon}",
                name,
                f"{part['first_day']} to {part['last_day']}",
                f"{part['rows']:,}",
                f"{part['positives']:,}",
                f"{part['base_rate']:.3f}",
                f"{part['effective_size']:,.0f}",
                "" if loss is None else f"{loss:.4f}",
                "" if auc is None else f"{auc:.3f}",
            )
    console.print(table)
    _fact(console, "", "log-loss, AUC: the smallest true difference between two models that the "
          "part shows (5 %, four times of five)")  # fmt: skip
    for _, plan in sorted(by_horizon.items()):
        for sentence in plan["power"]["sentences"]:
            console.print(Padding(Text(sentence), _INDENT))


def _fact(console: Console, name: str, text: str) -> None:
    console.print(Text(f"  {name:<8}{text}"), soft_wrap=True)
