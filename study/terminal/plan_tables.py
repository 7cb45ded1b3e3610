"""A selection of cells on the terminal: a block per budget, the total, what the days can show."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from study.results.plans.grid_record import GridRecord, MemoryMode
from study.results.plans.input_record import SplitRecord
from study.results.plans.plan_record import (
    BudgetRecord,
    Contents,
    PhaseTwoRecord,
    PlanRow,
    PlanTotal,
    PowerRecord,
    Question,
    Requirements,
)
from study.terminal.grid_overview import left_out, memory_modes
from study.terminal.market_overview import split_cells
from study.terminal.overview import (
    beyond_edges,
    data_shares,
    folds,
    print_forced,
    requests,
    search_folds,
    seconds_per_epoch,
)
from study.terminal.panel_overview import panel_power_table
from study.text.byte_text import size
from study.text.short_forms import duration

_INDENT = (0, 0, 0, 2)
"""Padding of a block: two columns on the left; what is longer than a line is indented as well."""


def print_budget(console: Console, rows: Sequence[PlanRow], shares: Sequence[float] = ()) -> None:
    """Print the cells of one budget: what they share, then a line per horizon and search.

    Args:
        console: the terminal.
        rows: the cells.
        shares: shares of the training days, below 1, on which winners are trained too.
    """
    first = next((row for row in rows if row.summary.problem is None), rows[0]).summary
    question = first.question
    phase = "" if question.phase is None else f"phase {question.phase}, "
    console.print(Text(f"{question.study} {phase}{question.budget}", style="bold"))
    if first.contents is not None:
        required = first.requirements
        seconds = {} if required is None else required.mode_seconds
        _print_contents(console, first.contents, seconds)
        if first.requirements is not None:
            _print_requirements(console, question, first.contents, first.requirements, shares)
    table = _horizons(rows)
    if table.row_count:
        console.print(table)
    for row in rows:
        for problem in filter(None, (row.summary.problem, row.folder_problem)):
            line = f"{row.summary.question.short_name} cannot run: {problem}"
            console.print(Padding(Text(line, style="yellow"), _INDENT))


def _print_contents(
    console: Console, contents: Contents, seconds: Mapping[MemoryMode, float | None]
) -> None:
    """Print what is known of a budget whether or not it can run here.

    Args:
        console: the terminal.
        contents: the budget's data and architectures.
        seconds: time of a search by memory mode, where it is known.
    """
    grid, without = contents.grid, left_out(contents.grid)
    if contents.inputs.understood:
        _fact(console, "read", contents.inputs.understood)
    if without is not None:
        _fact(console, "without", without)
    for name, text in search_folds(contents.inputs).items():
        _fact(console, name, text)
    small, large = grid.memory_min, grid.memory_max
    _fact(console, "grid", f"{grid.grid_size} architectures of {grid.params_min:,} to "
          f"{grid.params_max:,} parameters (median {grid.params_median:,}), "
          f"{grid.n_dimensions} search dimensions")  # fmt: skip
    _fact(console, "memory", f"of a step (model): {size(small.bytes)} for {small.architecture}")
    _fact(console, "", f"                   {size(large.bytes)} for {large.architecture}")
    lean = memory_modes(grid)
    if lean is not None:
        _fact(console, "lean", lean)
    console.print(_modes(grid, seconds))
    for mode in grid.modes:
        if mode.obstacle is not None:
            _fact(console, "", f"mode {mode.memory}: none, for {mode.obstacle}")


def _modes(grid: GridRecord, seconds: Mapping[MemoryMode, float | None]) -> Table:
    """Return a line for each memory mode: what a trial of its architectures takes."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("mode", no_wrap=True)
    for heading in ("planned", "memory at micro-batch 1", "checkpoints of a trial", "search"):
        table.add_column(heading, justify="right", no_wrap=True)
    for mode in grid.modes:
        known = seconds.get(mode.memory)
        ends = dict.fromkeys(map(size, (mode.needed_min_bytes, mode.needed_max_bytes)))
        table.add_row(
            mode.memory,
            f"{mode.n_planned} of {grid.grid_size}",
            " to ".join(ends),
            size(mode.checkpoint_bytes),
            "-" if known is None else f"about {duration(known)}",
        )
    return table


def _print_requirements(
    console: Console,
    question: Question,
    contents: Contents,
    required: Requirements,
    shares: Sequence[float],
) -> None:
    """Print what the cells of a budget take that can run here."""
    estimate = required.estimate
    _fact(console, "trials", f"{question.trials} per cell; {'; '.join(requests(required))}; "
          f"{contents.device}, {contents.precision}")  # fmt: skip
    _fact(console, "epoch", f"{estimate.source}: "
          f"{seconds_per_epoch(estimate.epoch_seconds_min)} at least, "
          f"{seconds_per_epoch(estimate.epoch_seconds_median)} median, "
          f"{seconds_per_epoch(estimate.epoch_seconds_max)} at most")  # fmt: skip
    facts = {
        **beyond_edges(question),
        **folds(question, contents.inputs, required),
        **data_shares(question, contents.inputs, required, shares),
    }
    for name, text in facts.items():
        _fact(console, name, text)
    if len(required.budgets) > 1:
        console.print(_side_by_side(required.budgets))
        print_forced(console, required.forced)


def _horizons(rows: Sequence[PlanRow]) -> Table:
    """Return a line for each cell that can run here."""
    table = Table(box=None, padding=(0, 1))
    for heading in ("horizon", "folder"):
        table.add_column(heading, no_wrap=True)
    for heading in ("time", "without ASHA", "trained", "checkpoints", "kept"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        required = row.summary.requirements
        if required is not None:
            estimate = required.estimate
            table.add_row(
                row.summary.question.short_name,
                row.folder_state,
                duration(estimate.search_seconds_expected),
                duration(estimate.search_seconds_most),
                f"{estimate.trained_share:.0%}",
                size(required.running_checkpoint_bytes),
                size(required.kept_checkpoint_bytes),
            )
    return table


def _side_by_side(budgets: Sequence[BudgetRecord]) -> Table:
    """Return a line for each budget of a search across budgets."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("budget", no_wrap=True)
    for heading in ("architectures", "parameters", "memory of a step", "epoch", "listed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in budgets:
        grid, epoch = each.grid, "-"
        if each.epoch_seconds_min is not None and each.epoch_seconds_max is not None:
            ends = (each.epoch_seconds_min, each.epoch_seconds_max)
            epoch = " to ".join(map(seconds_per_epoch, ends))
        table.add_row(
            each.label,
            str(grid.grid_size),
            f"{grid.params_min:,} to {grid.params_max:,}",
            f"{size(grid.memory_min.bytes)} to {size(grid.memory_max.bytes)}",
            epoch,
            str(each.n_forced),
        )
    return table


def print_phase_two(console: Console, phase_two: PhaseTwoRecord) -> None:
    """Print what is known of the second phase: how many searches, and from what they follow."""
    console.print(Text("phase 2", style="bold"))
    _fact(
        console,
        "search",
        f"{phase_two.searches_per_horizon} of {phase_two.trials} trials each for every "
        "horizon, around the best trials of the best budgets of phase 1",
    )
    for found in phase_two.horizons:
        search = "" if found.search_number == 1 else f"search {found.search_number}: "
        for line in found.lines:
            _fact(console, f"h{found.horizon}", f"{search}{line}")
    for line in phase_two.waiting:
        console.print(Padding(Text(line, style="yellow"), _INDENT))


def print_total(console: Console, total: PlanTotal) -> None:
    """Print what all cells take together."""
    console.print(Text("total", style="bold"))
    others = [
        f"{count} {what}"
        for count, what in (
            (total.cells_complete, "complete"),
            (total.cells_refused, "with a folder that cannot be gone on with"),
            (total.cells_with_problem, "cannot run here"),
        )
        if count
    ]
    reasons = f" ({', '.join(others)})" if others else ""
    counts = f"{total.cells_to_run} of {total.cells} to run, {total.trials} trials"
    _fact(console, "cells", counts + reasons)
    expected, most = total.search_seconds_expected, total.search_seconds_most
    if most:
        _fact(console, "time", f"about {duration(expected)}, one cell after the other; "
              f"{duration(most)} without ASHA, which saves {1 - expected / most:.0%}")  # fmt: skip
        _fact(console, "disk", f"up to {size(total.running_checkpoint_bytes)} of checkpoints "
              f"while trials run, {size(total.kept_checkpoint_bytes)} in the end")  # fmt: skip


def print_power(console: Console, rows: Sequence[PlanRow]) -> None:
    """Print the parts of each horizon and the smallest differences that they can show."""
    by_horizon: dict[int, Requirements] = {}
    markets: dict[int, tuple[Contents, PowerRecord]] = {}
    for row in rows:
        contents, required = row.summary.contents, row.summary.requirements
        if contents is not None and required is not None:
            horizon = row.summary.question.horizon
            by_horizon.setdefault(horizon, required)
            if isinstance(required.power, PowerRecord):
                markets.setdefault(horizon, (contents, required.power))
    if not by_horizon:
        return
    console.print(Text("what the days can show", style="bold"))
    if markets:
        _print_market_power(console, markets)
    else:
        console.print(panel_power_table(rows))
        _fact(console, "", "RankIC: the smallest true mean RankIC that the part tells from zero (5 "
              "%, four times of five)")  # fmt: skip
    for _, required in sorted(by_horizon.items()):
        for sentence in required.power.sentences:
            console.print(Padding(Text(sentence), _INDENT))


def _print_market_power(
    console: Console, markets: Mapping[int, tuple[Contents, PowerRecord]]
) -> None:
    """Print a line for each part of each horizon of a market."""
    table = Table(box=None, padding=(0, 1))
    for heading in ("horizon", "part", "days"):
        table.add_column(heading, no_wrap=True)
    for heading in ("samples", "positives", "base rate", "effective", "log-loss", "AUC"):
        table.add_column(heading, justify="right", no_wrap=True)
    for horizon, (contents, power) in sorted(markets.items()):
        for name, part in contents.inputs.splits.items():
            loss, auc = power.shown(name)
            assert isinstance(part, SplitRecord)
            table.add_row(
                f"h{horizon}",
                name,
                *split_cells(part),
                "" if loss is None else f"{loss:.4f}",
                "" if auc is None else f"{auc:.3f}",
            )
    console.print(table)
    source = next(power.source for _, power in markets.values())
    _fact(console, "", "log-loss, AUC: the smallest true difference between two networks that the "
          f"part shows (5 %, four times of five): {source}")  # fmt: skip
    _fact(console, "", "effective: independent days that would show the base rate as well, by the "
          "error of blocks of days")  # fmt: skip


def _fact(console: Console, name: str, text: str) -> None:
    console.print(Text(f"  {name:<8}{text}"), soft_wrap=True)
